"""Retrieval with mean-pooled token embeddings: collections, token counts, pooling and scoring."""
