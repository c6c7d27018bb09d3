"""The two nearest neighbours of every row, by a matrix product that is checked row by row."""

import numpy as np

from lm_geometry.geometry.rows import DegenerateError, centre, checked_rows, row_norms

_CANDIDATES = 8
_BLOCK_BYTES = 2**25
# Candidates stand if no other row can be nearer by more than this share of a distance.
_MARGIN = 1e-10


def nearest_two(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances of each row to its nearest and its second nearest other row.

    A product of the centred rows gives a lower bound of every squared distance; the rows with the least bounds are
    candidates, whose distances are computed from direct float64 differences. They stand if the second nearest of them
    lies below the bound of every other row. Rows whose candidates cannot be trusted are searched again in
    float64, and at last against all rows. Equal rows count as neighbours at distance 0.

    Parameters
    ----------
    x : np.ndarray
        Vectors, shape (n, d), at least three.

    Returns
    -------
    r1, r2 : np.ndarray
        Distances, shape (n,), float64, within 1e-9 (relative) of direct float64 differences.

    Raises
    ------
    DegenerateError
        With fewer than three rows, or values that are not finite.
    """
    x = checked_rows(x)
    if len(x) < 3:
        raise DegenerateError(f"two nearest neighbours need at least 3 rows, got {len(x)}")
    centred = centre(x)
    largest = row_norms(centred).max()
    if largest == 0:
        return np.zeros(len(x)), np.zeros(len(x))
    # Norms of at most 1 keep float32 squares from overflowing.
    unit = centred / largest
    nearest = np.empty((len(x), 2))
    pending = np.arange(len(x))
    for precision in (np.float32, np.float64):
        pending = _search(x, unit.astype(precision, copy=False), largest, pending, nearest)
    for row in pending:
        nearest[row] = _two_least(np.delete(_distances(x, row[None], np.arange(len(x))[None]), row, axis=1))
    return nearest[:, 0], nearest[:, 1]


def _search(x: np.ndarray, unit: np.ndarray, largest: float, pending: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """Fill ``nearest`` for the rows ``pending``; return those whose candidates are not proven to suffice."""
    n, width = unit.shape
    count = min(_CANDIDATES, n - 1)
    norms = _lowered_squares(unit)
    step = max(1, _BLOCK_BYTES // max(n * unit.itemsize, 8 * count * width))
    failed = [pending[:0]]
    for start in range(0, pending.size, step):
        rows = pending[start : start + step]
        bounds = unit[rows] @ unit.T
        bounds *= -2
        bounds += norms
        bounds += norms[rows, None]
        bounds[np.arange(rows.size), rows] = np.inf
        candidates = np.argpartition(bounds, count - 1, axis=1)[:, :count]
        others = np.take_along_axis(bounds, candidates, axis=1).max(axis=1).astype(np.float64)
        nearest[rows] = found = _two_least(_distances(x, rows, candidates))
        proven = ((1 - 2 * _MARGIN) * (found[:, 1] / largest) ** 2 <= others) | (found[:, 1] == 0)
        failed.append(rows[~proven])
    return np.concatenate(failed)


def _lowered_squares(unit: np.ndarray) -> np.ndarray:
    """Return s with ``s_i + s_j - 2 x_i.x_j``, as computed, never above the true squared distance.

    In arithmetic of unit round-off u, squares and products of d terms are off by at most d u |x_i| |x_j|, the rounding
    of the rows adds 4 u (|x_i|^2 + |x_j|^2) and the sums a few u more: (2 d + 10) u (|x_i|^2 + |x_j|^2) in all. Twice
    that is taken off (eps = 2 u), and what underflow can hide.
    """
    info = np.finfo(unit.dtype)
    width = unit.shape[1]
    squares = np.einsum("ij,ij->i", unit, unit)
    return squares * unit.dtype.type(1 - 2 * (width + 8) * info.eps) - unit.dtype.type(4 * width * info.tiny)


def _distances(x: np.ndarray, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the distances of ``rows``, shape (m,), to their ``others``, shape (m, k), from float64 differences."""
    differences = np.subtract(x[others], x[rows][:, None], dtype=np.float64)
    return np.sqrt(np.einsum("mkd,mkd->mk", differences, differences))


def _two_least(distances: np.ndarray) -> np.ndarray:
    return np.partition(distances, 1, axis=1)[:, :2]
