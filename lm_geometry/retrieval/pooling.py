"""Mean pooling as one sparse product: token counts times the embedding table."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike
from scipy import sparse

from lm_geometry.embeddings.blocks import block_rows, checked_blocks

_Item = TypeVar("_Item")

# Bytes of a table's row that are multiplied at a time: the rows of frequent tokens then stay in the processor's cache,
# and the temporary product beside the sums is small. 1024 bytes took a third longer, 128 as long.
_CHUNK_BYTES = 256
# Bytes of the table's rows that occur in the texts, gathered before they are multiplied. Each product passes over the
# sums of all its texts: with a quarter as many bytes, a table 14,336 wide took half as long again.
_GATHERED_BYTES = 512_000_000
# Bytes of the float64 sums that ``pooled_blocks`` holds at a time.
_PART_BYTES = 1_600_000_000


def mean_pool(
    counts: sparse.csr_array,
    blocks: Iterable[np.ndarray],
    *,
    rows: int,
    columns: int,
    accumulate: DTypeLike = np.float64,
    threads: int = 1,
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
    threads : int
        Threads that multiply columns, and that read or draw the next rows of the table meanwhile. The result is the
        same, bit for bit, for any number.

    Returns
    -------
    np.ndarray
        float32, shape (texts, columns). A text without tokens is zero.

    Raises
    ------
    ValueError
        If a token id has no row in the table, an entry is not finite, or the blocks do not have the shape announced.
    """
    sums = _sums(counts, blocks, rows=rows, columns=columns, accumulate=accumulate, threads=threads)
    for texts, means in _means(sums, counts):
        sums[texts] = means
    return sums.astype(np.float32, copy=False)


def pooled_blocks(
    counts: sparse.csr_array, blocks: Callable[[], Iterable[np.ndarray]], *, rows: int, columns: int, threads: int = 1
) -> Iterator[np.ndarray]:
    """Yield the rows of ``mean_pool`` in order, in blocks of at most 16 MB.

    The float64 sums of 26,657 texts under a table 14,336 wide are 3 GB. They are made for a part of the texts at a
    time, in as few parts as hold 1.6 GB each, at one pass over the table a part; float32 sums would cost digits where
    the table has a strong common mean.

    Parameters
    ----------
    counts, rows, columns, threads
        As in ``mean_pool``.
    blocks : callable
        Returns the table's blocks from row 0; called once a part.
    """
    n_texts = counts.shape[0]
    n_parts = max(1, -(-8 * n_texts * columns // _PART_BYTES))
    size = max(1, -(-n_texts // n_parts))
    for first in range(0, n_texts, size):
        part = counts[first : first + size]
        sums = _sums(part, blocks(), rows=rows, columns=columns, accumulate=np.float64, threads=threads)
        for _, means in _means(sums, part):
            yield means.astype(np.float32)
        # Else they are held while the next ones are made.
        del sums


def occurring_ids(counts: sparse.csr_array, rows: int) -> np.ndarray:
    """Return the token ids that occur in the texts, ascending.

    Raises
    ------
    ValueError
        If ``counts`` has more token ids than the table has ``rows``.
    """
    n_ids = counts.shape[1]
    if n_ids > rows:
        raise ValueError(
            f"token id {n_ids - 1} occurs in the texts and the embedding table has {rows} rows, ids 0 to {rows - 1}: "
            "the tokenizer is not the one of this table; set `tokenizer` to the model's own"
        )
    return np.flatnonzero(np.bincount(counts.indices, minlength=n_ids))


def _sums(
    counts: sparse.csr_array,
    blocks: Iterable[np.ndarray],
    *,
    rows: int,
    columns: int,
    accumulate: DTypeLike,
    threads: int,
) -> np.ndarray:
    """Return the sums over the tokens of each text, shape (texts, columns), in the order of ``_chunks``."""
    occurring = occurring_ids(counts, rows)
    weights = counts.tocsc()[:, occurring].astype(accumulate)
    sums = np.zeros((counts.shape[0], columns), dtype=accumulate)
    gathered = _gathered(checked_blocks(blocks, rows, columns), occurring, columns)
    start = 0
    with ThreadPoolExecutor(threads) as executor:
        for embeddings in _ahead(gathered, executor) if threads > 1 else gathered:
            _add_product(weights[:, start : start + len(embeddings)], embeddings, sums, executor)
            start += len(embeddings)
            del embeddings  # else it is held while the next one is made
    return sums


def _means(sums: np.ndarray, counts: sparse.csr_array) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the means of consecutive texts as a matrix in the usual order, at most 16 MB in float32."""
    lengths = np.maximum(counts.sum(axis=1), 1)[:, None].astype(sums.dtype)
    for texts in _text_blocks(sums):
        yield texts, np.concatenate(_chunks(sums[texts]), axis=1) / lengths[texts]


def _text_blocks(sums: np.ndarray) -> list[slice]:
    size = block_rows(sums.shape[1])
    return [slice(start, min(start + size, len(sums))) for start in range(0, len(sums), size)]


def _chunks(block: np.ndarray) -> list[np.ndarray]:
    """Return the memory of some texts' sums as contiguous arrays, one for each chunk of columns.

    A product adds to a chunk of columns. Strided over the rows of a wide table, that took longer than the product.
    """
    n_texts, n_columns = block.shape
    width = _CHUNK_BYTES // block.itemsize
    bounds = [*range(0, n_columns, width), n_columns]
    return [
        block.reshape(-1)[n_texts * start : n_texts * stop].reshape(n_texts, stop - start)
        for start, stop in pairwise(bounds)
    ]


def _ahead(items: Iterator[_Item], executor: Executor) -> Iterator[_Item]:
    """Yield the items in order, each while the executor makes the next one."""
    none_left = object()
    coming = executor.submit(next, items, none_left)
    while (item := coming.result()) is not none_left:
        coming = executor.submit(next, items, none_left)
        yield item


def _gathered(blocks: Iterable[tuple[int, np.ndarray]], occurring: np.ndarray, columns: int) -> Iterator[np.ndarray]:
    """Yield the table's rows of the token ids that occur, in order, many at a time."""
    size = max(1, _GATHERED_BYTES // (4 * columns))
    gathered, filled = np.empty((min(size, len(occurring)), columns), dtype=np.float32), 0
    for start, block in blocks:
        first, end = np.searchsorted(occurring, [start, start + len(block)])
        while first < end:
            ids = occurring[first : min(end, first + len(gathered) - filled)]
            gathered[filled : filled + len(ids)] = block[ids - start]
            first, filled = first + len(ids), filled + len(ids)
            if filled == len(gathered):
                yield gathered
                gathered, filled = np.empty((min(size, len(occurring) - first), columns), dtype=np.float32), 0


def _add_product(weights: sparse.csc_array, embeddings: np.ndarray, sums: np.ndarray, executor: Executor) -> None:
    """Add ``weights`` times ``embeddings`` to ``sums``, which are in the order of ``_chunks``."""
    # Rows that are added often stand together and stay in the cache, which spares a third of the time.
    order = np.argsort(-np.diff(weights.indptr), kind="stable")
    by_text = weights[:, order].tocsr()
    width = _CHUNK_BYTES // sums.itemsize
    targets = [(texts, _chunks(sums[texts])) for texts in _text_blocks(sums)]

    def add(chunk: int) -> None:
        columns = slice(chunk * width, (chunk + 1) * width)
        product = by_text @ embeddings[:, columns].take(order, axis=0).astype(sums.dtype)
        for texts, chunks in targets:
            chunks[chunk] += product[texts]

    # Taken from the iterator, an error in a thread is raised here.
    for _ in executor.map(add, range(-(-embeddings.shape[1] // width))):
        pass
