"""Rows that are equal but for float noise."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lm_geometry.geometry.rows import DegenerateError, centre, checked_rows, row_norms

DUPLICATE_TOLERANCE = 1e-5
MIN_DISTINCT = 10


def distinct_rows(x: np.ndarray, *, duplicate_tolerance: float = DUPLICATE_TOLERANCE) -> np.ndarray:
    """Return the indices, ascending, of the rows that are left when equal rows are merged.

    Two rows are equal if they are the same, or closer than ``duplicate_tolerance`` times the mean norm of the centred
    rows; equality is passed on along chains, and the first row of each class stays. Rows so close have projections
    just as close, so that one sorted projection leaves few pairs to compare.

    Parameters
    ----------
    x : np.ndarray
        Vectors, shape (n, d).
    duplicate_tolerance : float
        Distance, as a share of the mean centred norm, under which two rows are equal.

    Raises
    ------
    ValueError
        If the tolerance is negative or not finite.
    DegenerateError
        If ``x`` is empty or holds values that are not finite.
    """
    if not 0 <= duplicate_tolerance < np.inf:
        raise ValueError(f"duplicate_tolerance must be a number from 0 up, got {duplicate_tolerance}")
    x = checked_rows(x)
    centred = centre(x)
    norms = row_norms(centred)
    limit = duplicate_tolerance * norms.mean()
    direction = np.random.default_rng(0).standard_normal(x.shape[1])
    projection = centred @ (direction / np.linalg.norm(direction))
    # A computed projection is off by at most d * eps * norm; the margin keeps the search exact.
    margin = 4 * x.shape[1] * np.finfo(np.float64).eps * norms.max()
    return _first_of_each_class(x, projection, limit, limit + margin)


def require_distinct(n_distinct: int, n_rows: int) -> None:
    """Refuse to measure a cloud of fewer than ``MIN_DISTINCT`` distinct rows.

    Raises
    ------
    DegenerateError
        With both numbers.
    """
    if n_distinct < MIN_DISTINCT:
        raise DegenerateError(f"{n_distinct} distinct rows among {n_rows}; at least {MIN_DISTINCT} are needed")


def _first_of_each_class(x: np.ndarray, projection: np.ndarray, limit: float, window: float) -> np.ndarray:
    order = np.argsort(projection, kind="stable")
    ranked = projection[order]
    classes = np.arange(len(x))
    links = [np.empty((2, 0), dtype=np.int64)]
    for offset in range(1, len(x)):
        within = ranked[offset:] - ranked[:-offset] <= window
        if not within.any():
            break
        left, right = order[:-offset][within], order[offset:][within]
        # Pairs that a chain has joined already need no distance: a large class costs one comparison per row.
        apart = classes[left] != classes[right]
        left, right = left[apart], right[apart]
        distances = row_norms(np.subtract(x[left], x[right], dtype=np.float64))
        equal = (distances < limit) | (distances == 0)
        if equal.any():
            links.append(np.stack([left[equal], right[equal]]))
            classes = _classes(np.concatenate(links, axis=1), len(x))
    return np.sort(np.unique(classes, return_index=True)[1])


def _classes(pairs: np.ndarray, n_rows: int) -> np.ndarray:
    graph = coo_array((np.ones(pairs.shape[1], dtype=np.int8), (pairs[0], pairs[1])), shape=(n_rows, n_rows))
    return connected_components(graph, directed=False)[1]
