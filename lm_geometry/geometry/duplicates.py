"""Rows that are equal but for float noise."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lm_geometry.geometry.centred import CentredRows
from lm_geometry.geometry.rows import DegenerateError

DUPLICATE_TOLERANCE = 1e-5
MIN_DISTINCT = 10


def distinct_rows(x: np.ndarray, *, duplicate_tolerance: float = DUPLICATE_TOLERANCE) -> np.ndarray:
    """Return the indices, ascending, of the rows that are left when equal rows are merged.

    Two rows are equal if they are the same, or closer than ``duplicate_tolerance`` times the mean norm of the centred
    rows; equality is passed on along chains, and the first row of each class stays. Rows so close have projections
    just as close, so that a few projections, one of them sorted, leave few pairs to compare.

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
    return distinct_among(CentredRows(x), duplicate_tolerance)


def distinct_among(cloud: CentredRows, duplicate_tolerance: float) -> np.ndarray:
    """Return what ``distinct_rows`` does, of rows that are centred already."""
    if not 0 <= duplicate_tolerance < np.inf:
        raise ValueError(f"duplicate_tolerance must be a number from 0 up, got {duplicate_tolerance}")
    limit = duplicate_tolerance * np.sqrt(cloud.centred_squares).mean()
    # A computed projection is off by at most d * eps * norm; the margin keeps the search exact.
    margin = 4 * cloud.width * np.finfo(np.float64).eps * np.sqrt(cloud.squares.max())
    return _first_of_each_class(cloud, limit, limit + margin)


def require_distinct(n_distinct: int, n_rows: int) -> None:
    """Refuse to measure a cloud of fewer than ``MIN_DISTINCT`` distinct rows.

    Raises
    ------
    DegenerateError
        With both numbers.
    """
    if n_distinct < MIN_DISTINCT:
        raise DegenerateError(f"{n_distinct} distinct rows among {n_rows}; at least {MIN_DISTINCT} are needed")


def _first_of_each_class(cloud: CentredRows, limit: float, window: float) -> np.ndarray:
    order = np.argsort(cloud.projections[:, 0], kind="stable")
    ranked, others = cloud.projections[order, 0], cloud.projections[:, 1:]
    classes = np.arange(cloud.n_rows)
    links = [np.empty((2, 0), dtype=np.int64)]
    for offset in range(1, cloud.n_rows):
        within = ranked[offset:] - ranked[:-offset] <= window
        if not within.any():
            break
        left, right = order[:-offset][within], order[offset:][within]
        # Pairs that a chain has joined already need no distance: a large class costs one comparison per row.
        apart = (classes[left] != classes[right]) & (np.abs(others[left] - others[right]) <= window).all(axis=1)
        left, right = left[apart], right[apart]
        distances = cloud.distances(left, right) / cloud.scale
        equal = (distances < limit) | (distances == 0)
        if equal.any():
            links.append(np.stack([left[equal], right[equal]]))
            classes = _classes(np.concatenate(links, axis=1), cloud.n_rows)
    return np.sort(np.unique(classes, return_index=True)[1])


def _classes(pairs: np.ndarray, n_rows: int) -> np.ndarray:
    graph = coo_array((np.ones(pairs.shape[1], dtype=np.int8), (pairs[0], pairs[1])), shape=(n_rows, n_rows))
    return connected_components(graph, directed=False)[1]
