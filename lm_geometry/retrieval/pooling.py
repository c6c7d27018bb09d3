"""Mean pooling as one sparse product: token counts times the embedding table."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import DTypeLike
from scipy import sparse

# Columns of the product that are made at a time: bounds the temporary matrix beside the pooled one.
_COLUMN_CHUNK = 512


def mean_pool(
    counts: sparse.csr_array,
    blocks: Iterable[np.ndarray],
    *,
    rows: int,
    columns: int,
    accumulate: DTypeLike = np.float64,
) -> np.ndarray:
    """Average the embeddings of the tokens of each text, special tokens and repetitions included.

    Parameters
    ----------
    counts : scipy.sparse.csr_array
        How often each token occurs in each text, shape (texts, token ids); see ``count_tokens``.
    blocks : iterable of np.ndarray
        The embedding table in blocks of consecutive rows, from row 0, each of shape (n, columns). ``[table]`` for one
        that is held whole.
    rows, columns : int
        Shape of the table.
    accumulate : dtype
        Precision of the sums. float32 halves the memory and is as good where the entries are bfloat16 without a common
        mean, as in random tables: 8-bit significands leave 16 bits to the sum.

    Returns
    -------
    np.ndarray
        float32, shape (texts, columns). A text without tokens is zero.

    Raises
    ------
    ValueError
        If a token id has no row in the table, an entry is not finite, or the blocks do not have the shape announced.
    """
    n_texts, n_ids = counts.shape
    if n_ids > rows:
        raise ValueError(
            f"token id {n_ids - 1} occurs in the texts and the embedding table has {rows} rows, ids 0 to {rows - 1}: "
            "the tokenizer is not the one of this table"
        )
    weights = counts.tocsc().astype(accumulate)
    pooled = np.zeros((n_texts, columns), dtype=accumulate)
    start = 0
    for block in blocks:
        _check_block(block, start, rows, columns)
        _add_product(weights[:, start : start + len(block)].tocsr(), block, pooled)
        start += len(block)
    if start < rows:
        raise ValueError(f"the embedding table ends after {start} of {rows} rows")
    lengths = counts.sum(axis=1)
    pooled /= np.maximum(lengths, 1)[:, None].astype(accumulate)
    return pooled.astype(np.float32, copy=False)


def _check_block(block: np.ndarray, start: int, rows: int, columns: int) -> None:
    if block.shape[1] != columns or start + len(block) > rows:
        raise ValueError(
            f"rows {start} to {start + len(block) - 1} of the embedding table are {block.shape[1]} wide, and it was "
            f"announced as {rows} rows x {columns} columns"
        )
    finite = np.isfinite(block)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise ValueError(
            f"the embedding table holds {block[row, column]} in row {start + row}, column {column} ({(~finite).sum()} "
            "entries that are not finite in this block): the weights are damaged, or overflow the table's precision"
        )


def _add_product(weights: sparse.csr_array, block: np.ndarray, pooled: np.ndarray) -> None:
    used = np.flatnonzero(np.diff(weights.indptr))
    if not used.size:
        return
    weights = weights[used]
    for start in range(0, block.shape[1], _COLUMN_CHUNK):
        columns = slice(start, start + _COLUMN_CHUNK)
        # Rows behind the last token that occurs have no column in the counts.
        embeddings = block[: weights.shape[1], columns].astype(pooled.dtype, order="C")
        pooled[used, columns] += weights @ embeddings
