"""Checkpoints: where they come from, the files they are made of, and single tensors out of them. No arithmetic."""
