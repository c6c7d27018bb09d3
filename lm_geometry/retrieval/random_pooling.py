"""Mean pooling with a random table, which is drawn block by block and never held whole."""

import numpy as np
from scipy import sparse

from lm_geometry.embeddings.random_table import random_blocks
from lm_geometry.retrieval.pooling import mean_pool


def pool_random_table(
    counts: sparse.csr_array, rows: int, columns: int, seed: int, *, generator: str, n_columns: int | None = None
) -> np.ndarray:
    """Average the rows of a random table that is drawn block by block; see ``random_blocks`` and ``mean_pool``.

    Returns
    -------
    np.ndarray
        float32, shape (texts, n_columns).
    """
    blocks = random_blocks(rows, columns, seed, generator=generator, n_columns=n_columns)
    width = columns if n_columns is None else n_columns
    return mean_pool(counts, blocks, rows=rows, columns=width, accumulate=np.float32)
