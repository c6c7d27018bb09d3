"""Tensors out of weight files: where each lies in a file, and its values by ranges. No torch, no pickle that runs."""
