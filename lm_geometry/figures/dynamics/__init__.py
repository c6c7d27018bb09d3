"""Figures of the representation-dynamics study: geometry of hidden states over layers and over training."""
