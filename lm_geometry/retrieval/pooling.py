"""Mean pooling as one sparse product: token counts times the embedding table."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import DTypeLike
from scipy import sparse

from lm_geometry.embeddings.blocks import block_rows, checked_blocks

# Columns of the product that are made at a time: bounds the temporary matrix beside the sums, and keeps the rows that
# are added in the processor's cache (512 columns took a fifth longer).
_COLUMN_CHUNK = 128
# Bytes of the table's rows that occur in the texts, gathered before they are multiplied. Each product passes over the
# sums of all its texts: one product for each block of a wide table took 2.7 times as long.
_GATHERED_BYTES = 128_000_000
# Bytes of the float64 sums that ``pooled_blocks`` holds at a time.
_PART_BYTES = 1_600_000_000


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
    means = _means(counts, blocks, rows=rows, columns=columns, accumulate=accumulate)
    return means.astype(np.float32, copy=False)


def pooled_blocks(
    counts: sparse.csr_array, blocks: Callable[[], Iterable[np.ndarray]], *, rows: int, columns: int
) -> Iterator[np.ndarray]:
    """Yield the rows of ``mean_pool`` in order, in blocks of at most 16 MB.

    The float64 sums of 26,657 texts under a table 14,336 wide are 3 GB. They are made for a part of the texts at a
    time, in as few parts as hold 1.6 GB each, at one pass over the table a part; float32 sums would cost digits where
    the table has a strong common mean.

    Parameters
    ----------
    counts, rows, columns
        As in ``mean_pool``.
    blocks : callable
        Returns the table's blocks from row 0; called once a part.
    """
    n_texts = counts.shape[0]
    n_parts = max(1, -(-8 * n_texts * columns // _PART_BYTES))
    size = max(1, -(-n_texts // n_parts))
    for first in range(0, n_texts, size):
        means = _means(counts[first : first + size], blocks(), rows=rows, columns=columns, accumulate=np.float64)
        for start in range(0, len(means), block_rows(columns)):
            yield means[start : start + block_rows(columns)].astype(np.float32)
        # Else it is held while the next one is made.
        del means


def _means(
    counts: sparse.csr_array, blocks: Iterable[np.ndarray], *, rows: int, columns: int, accumulate: DTypeLike
) -> np.ndarray:
    n_texts, n_ids = counts.shape
    if n_ids > rows:
        raise ValueError(
            f"token id {n_ids - 1} occurs in the texts and the embedding table has {rows} rows, ids 0 to {rows - 1}: "
            "the tokenizer is not the one of this table"
        )
    weights = counts.tocsc().astype(accumulate)
    occurring = np.flatnonzero(np.diff(weights.indptr))
    weights = weights[:, occurring]
    sums = np.zeros((n_texts, columns), dtype=accumulate)
    start = 0
    for embeddings in _gathered(checked_blocks(blocks, rows, columns), occurring):
        _add_product(weights[:, start : start + len(embeddings)].tocsr(), embeddings, sums)
        start += len(embeddings)
    lengths = counts.sum(axis=1)
    sums /= np.maximum(lengths, 1)[:, None].astype(accumulate)
    return sums


def _gathered(blocks: Iterable[tuple[int, np.ndarray]], occurring: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the table's rows of the token ids that occur, in order, many at a time."""
    waiting: list[np.ndarray] = []
    for start, block in blocks:
        first, end = np.searchsorted(occurring, [start, start + len(block)])
        waiting.append(block[occurring[first:end] - start])
        if sum(part.nbytes for part in waiting) >= _GATHERED_BYTES:
            yield _joined(waiting)
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Return the parts as one matrix and empty the list, so that they are not held beside it."""
    joined = np.concatenate(parts)
    parts.clear()
    return joined


def _add_product(weights: sparse.csr_array, embeddings: np.ndarray, sums: np.ndarray) -> None:
    used = np.flatnonzero(np.diff(weights.indptr))
    if not used.size:
        return
    weights = weights[used]
    for start in range(0, embeddings.shape[1], _COLUMN_CHUNK):
        columns = slice(start, start + _COLUMN_CHUNK)
        sums[used, columns] += weights @ embeddings[:, columns].astype(sums.dtype, order="C")
