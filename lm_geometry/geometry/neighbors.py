"""The two nearest neighbours of rows: bounds choose few candidates, and exact distances decide."""

from typing import NamedTuple

import numpy as np

from lm_geometry.geometry.arrays import host
from lm_geometry.geometry.centred import CentredRows
from lm_geometry.geometry.pair_bounds import PairBounds, rounding_share
from lm_geometry.geometry.rows import DegenerateError

_CANDIDATES = 8
_BLOCK_BYTES = 2**24
# Candidates stand if no other row can be nearer by more than this share of a distance.
_MARGIN = 1e-10


class Neighbors(NamedTuple):
    """The two nearest other rows of each of some rows; arrays of shape (m,).

    ``rows`` are indices into the cloud, ascending; ``r1`` and ``r2`` distances in float64; ``nearest`` the index of a
    row at ``r1``, the first where float32 bounds tell of several.
    """

    rows: np.ndarray
    r1: np.ndarray
    r2: np.ndarray
    nearest: np.ndarray


def nearest_two(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances of each row to its nearest and its second nearest other row.

    Equal rows count as neighbours at distance 0; otherwise see ``find_neighbors``.

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
    rows = CentredRows(x)
    found = find_neighbors(rows, PairBounds(rows), np.arange(rows.n_rows))
    return found.r1, found.r2


def find_neighbors(cloud: CentredRows, bounds: PairBounds, rows: np.ndarray) -> Neighbors:
    """Return the two nearest of each of some rows, among themselves.

    Bounds from float32 products limit the distance to the second nearest; every row whose lower bound is within that
    limit is a candidate, and no other can be nearer. The distances of the candidates are computed from differences in
    float64. Rows with too many candidates, as where one coordinate is huge or many rows are equally far, are searched
    again in float64, where fewer candidates stand if they are proven to suffice, and at last against all rows.

    Parameters
    ----------
    cloud : CentredRows
        The vectors.
    bounds : PairBounds
        Their bounds.
    rows : np.ndarray
        Indices, ascending, shape (m,), at least three.

    Raises
    ------
    DegenerateError
        With fewer than three rows.
    """
    if len(rows) < 3:
        raise DegenerateError(f"two nearest neighbours need at least 3 rows, got {len(rows)}")
    found = _Search(cloud, rows)
    left, right, pending = bounds.rows_within(bounds.second_neighbor_limits(rows), rows)
    found.compare(left, right)
    for position in found.search_in_double(np.flatnonzero(pending)):
        others = np.delete(np.arange(len(rows)), position)
        found.compare(np.full(len(others), position), others)
    return Neighbors(rows, found.distances[:, 0], found.distances[:, 1], rows[found.nearest])


class _Search:
    """Distances found so far, by position in ``rows``."""

    def __init__(self, cloud: CentredRows, rows: np.ndarray) -> None:
        self._cloud, self._rows = cloud, rows
        self.distances = np.full((len(rows), 2), np.inf)
        self.nearest = np.zeros(len(rows), dtype=np.int64)

    def compare(self, left: np.ndarray, right: np.ndarray) -> None:
        """Set the two least distances of rows from all their candidates; each row has at least two."""
        if not left.size:
            return
        n = len(self._rows)
        pairs, member = np.unique(np.minimum(left, right) * n + np.maximum(left, right), return_inverse=True)
        distances = self._cloud.distances(*(self._rows[side] for side in np.divmod(pairs, n)))[member]
        order = np.lexsort([right, distances, left])
        left, right, distances = left[order], right[order], distances[order]
        first = np.flatnonzero(np.diff(left, prepend=-1))
        self.distances[left[first]] = np.stack([distances[first], distances[first + 1]], axis=1)
        self.nearest[left[first]] = right[first]

    def search_in_double(self, pending: np.ndarray) -> np.ndarray:
        """Search for the neighbours of some rows by float64 bounds; return those whose candidates are not proven."""
        step = max(1, _BLOCK_BYTES // (8 * len(self._rows)))
        failed = [pending[:0]]
        for start in range(0, pending.size, step):
            chosen = pending[start : start + step]
            bounds = self._double_bounds(chosen)
            count = min(_CANDIDATES, len(self._rows) - 1)
            candidates = np.argpartition(bounds, count - 1, axis=1)[:, :count]
            self.compare(np.repeat(chosen, count), candidates.ravel())
            np.put_along_axis(bounds, candidates, np.inf, axis=1)
            second = self.distances[chosen, 1]
            proven = (1 - 2 * _MARGIN) * (second / self._cloud.scale) ** 2 <= bounds.min(axis=1)
            failed.append(chosen[~proven & (second > 0)])
        return np.concatenate(failed)

    def _double_bounds(self, chosen: np.ndarray) -> np.ndarray:
        """Return lower bounds of the squared distances of some rows to all, infinite to themselves."""
        cloud, rows = self._cloud, self._rows
        share = rounding_share(cloud.width, np.float64)
        lowered = cloud.squares[rows] * (1 - share) - 4 * cloud.width * np.finfo(np.float64).tiny
        y = cloud.double(rows[chosen])
        bounds = np.empty((len(chosen), len(rows)))
        step = max(1, _BLOCK_BYTES // (8 * cloud.width))
        for start in range(0, len(rows), step):
            others = slice(start, start + step)
            bounds[:, others] = host(y @ cloud.double(rows[others]).T)
        bounds *= -2
        bounds += lowered
        bounds += lowered[chosen, None]
        bounds[np.arange(len(chosen)), chosen] = np.inf
        return bounds
