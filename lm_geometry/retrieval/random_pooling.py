"""Mean pooling with a random table, which is drawn block by block and never held whole."""

import numpy as np
from scipy import sparse

from lm_geometry.embeddings.random_table import random_blocks
from lm_geometry.retrieval.pooling import mean_pool, occurring_ids


def pool_random_table(
    counts: sparse.csr_array,
    rows: int,
    columns: int,
    seed: int,
    *,
    generator: str,
    n_columns: int | None = None,
    threads: int = 1,
) -> np.ndarray:
    """Average the rows of a random table that is drawn block by block; see ``random_blocks`` and ``mean_pool``.

    Only the rows of tokens that occur in the texts are looked up, and with more than one of the ``threads`` the next
    rows are drawn while the last ones are multiplied.

    Returns
    -------
    np.ndarray
        float32, shape (texts, n_columns).

    Raises
    ------
    ValueError
        As ``random_blocks``, or if a token id has no row in the table.
    """
    ids = occurring_ids(counts, rows)
    blocks = random_blocks(rows, columns, seed, generator=generator, n_columns=n_columns, wanted=ids)
    width = columns if n_columns is None else n_columns
    return mean_pool(counts[:, ids], blocks, rows=len(ids), columns=width, accumulate=np.float32, threads=threads)
