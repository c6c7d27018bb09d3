"""How alike two embedding tables of one vocabulary are: row by row, and by each token's neighbours."""

from collections.abc import Iterable, Iterator

import numpy as np

# Bounds the similarities that are held at a time: 4 bytes each, and 16 with the keys that they are ranked by.
_BLOCK_PAIRS = 2**22
_NEVER = np.iinfo(np.int64).min


def paired_blocks(
    first: Iterable[tuple[int, np.ndarray]], second: Iterable[tuple[int, np.ndarray]]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield the same rows of two tables of one shape, however each is parted.

    Parameters
    ----------
    first, second : iterable of (int, np.ndarray)
        Consecutive blocks of each table with the number of their first row, as ``checked_blocks`` yields them.

    Yields
    ------
    start, block, other : int, np.ndarray, np.ndarray
        Row number of the first row, and the rows of both tables, shape (n, columns).
    """
    others = iter(second)
    _, other = next(others)
    for start, block in first:
        done = 0
        while done < len(block):
            if not len(other):
                _, other = next(others)
            size = min(len(block) - done, len(other))
            yield start + done, block[done : done + size], other[:size]
            done, other = done + size, other[size:]


def row_products(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return x.y, x.x and y.y of each row x and its partner y, in float64.

    Parameters
    ----------
    rows, others : np.ndarray
        Shape (n, columns).

    Returns
    -------
    np.ndarray
        Shape (3, n).
    """
    x, y = rows.astype(np.float64), others.astype(np.float64)
    return np.stack([np.einsum("ij,ij->i", *pair) for pair in ((x, y), (x, x), (y, y))])


def cosines(products: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of rows from ``row_products``; 0 where a row is zero.

    The root is taken of the product of squares, so that equal rows have cosine 1 exactly.
    """
    dot, squares, other_squares = products
    norms = np.sqrt(squares * other_squares)
    return np.divide(dot, norms, out=np.zeros_like(dot), where=norms > 0)


def nearest_by_cosine(
    vectors: np.ndarray, ids: np.ndarray, blocks: Iterable[tuple[np.ndarray, np.ndarray]], *, n_neighbors: int
) -> np.ndarray:
    """Return the nearest other rows of each vector by cosine, out of a table that goes by in blocks.

    Rows are brought to unit length and multiplied in float32. Equal similarities go to the smaller row number; those
    that differ by less than float32 resolves, about 1e-7 times a few, are in an order of chance. A zero row has cosine
    0 with every other.

    Parameters
    ----------
    vectors : np.ndarray
        Vectors whose neighbours are wanted, shape (m, columns).
    ids : np.ndarray
        Their row numbers, shape (m,): no vector is its own neighbour.
    blocks : iterable of (np.ndarray, np.ndarray)
        Row numbers, shape (n,), each below 2**32, and rows, shape (n, columns): the candidates, each once.
    n_neighbors : int
        Neighbours of each vector.

    Returns
    -------
    np.ndarray
        Row numbers, shape (m, n_neighbors), in no particular order.

    Raises
    ------
    ValueError
        If a vector has fewer candidates than ``n_neighbors``.
    """
    unit = _unit_rows(vectors)
    best = np.empty((len(unit), 0), dtype=np.int64)
    n_candidates = 0
    for candidates, rows in _parted(blocks, max(1, _BLOCK_PAIRS // max(1, len(unit)))):
        keys = _rank_keys(unit @ _unit_rows(rows).T, candidates)
        keys[ids[:, None] == candidates] = _NEVER
        best = np.concatenate([best, keys], axis=1)
        if best.shape[1] > n_neighbors:
            best = np.partition(best, best.shape[1] - n_neighbors, axis=1)[:, -n_neighbors:]
        n_candidates += len(candidates)
    if best.shape[1] < n_neighbors or (best == _NEVER).any():
        raise ValueError(
            f"{n_neighbors} neighbours of each of {len(unit)} vectors are asked among {n_candidates} rows: too few"
        )
    return 0xFFFFFFFF - (best & 0xFFFFFFFF)


def neighbor_overlap(neighbors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the share of each row of ``neighbors``, shape (m, k), that is in the same row of ``others``."""
    return (neighbors[:, :, None] == others[:, None, :]).any(axis=2).mean(axis=1)


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    """Return rows of length 1, as float32; a zero row stays zero."""
    wide = rows.astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    return np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0).astype(np.float32)


def _rank_keys(similarities: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Return whole numbers that order by similarity, then by smaller candidate number, shape (m, n).

    The bits of float32 numbers, read as whole numbers, are in the numbers' own order once those of negative ones are
    turned round.
    """
    bits = (similarities + np.float32(0)).view(np.int32)  # adding 0 makes -0 and 0 one number
    bits ^= (bits >> 31) & np.int32(0x7FFFFFFF)
    return (bits.astype(np.int64) << 32) | (0xFFFFFFFF - candidates.astype(np.int64))


def _parted(blocks: Iterable[tuple[np.ndarray, np.ndarray]], size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for ids, rows in blocks:
        for start in range(0, len(ids), size):
            yield ids[start : start + size], rows[start : start + size]
