"""Variants of an embedding table as tables of their own, to compare what is scored from slices with."""

import numpy as np

from lm_geometry.embeddings.random_table import random_blocks, random_entry_rms
from lm_geometry.embeddings.variants import pad_scale, parse_variant


def variant_table(table, name, *, seed=42, generator="legacy_bf16"):
    """Return a variant made of columns as float32, shape (rows, width of the variant)."""
    rows, embedding_dim = table.shape
    variant = parse_variant(name)
    parts = []
    for part in variant.slices(embedding_dim):
        if part.draw is None:
            parts.append(table[:, part.start : part.stop])
            continue
        blocks = random_blocks(rows, part.draw, seed, generator=generator, n_columns=part.stop)
        table_rms = np.sqrt(np.mean(np.square(table, dtype=np.float64)))
        scale = pad_scale(variant, table_rms=table_rms, random_rms=random_entry_rms(rows, part.draw, generator))
        parts.append(np.concatenate([np.float32(scale) * block[:, part.start :] for block in blocks]))
    return np.concatenate(parts, axis=1).astype(np.float32, copy=False)
