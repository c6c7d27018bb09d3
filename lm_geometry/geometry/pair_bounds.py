"""Lower bounds of the distances of all pairs of rows, from one float32 product that uses its symmetry."""

from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from lm_geometry.geometry.arrays import (
    Array,
    count_true,
    exact_product,
    host,
    least,
    placed,
    row_squares,
    true_positions,
)
from lm_geometry.geometry.centred import CentredRows
from lm_geometry.geometry.threads import row_workers

_PANEL = 256
_KEPT_BYTES = 2**30
# Sums of squares in float32 are cut so short that round-off stays below 1e-6.
_SHORT = 512
# A row is given up if more rows than these may be its nearest.
_CROWD = 64


def rounding_share(width: int, dtype: type) -> float:
    """Return the k for which |y_i|^2 + |y_j|^2 - 2 y_i.y_j, as computed, is off by at most k (|y_i|^2 + |y_j|^2).

    In arithmetic of unit round-off u, a product of d terms, summed in any order, is off by d u |y_i| |y_j|; twice that
    is at most d u (|y_i|^2 + |y_j|^2). Rounding of the rows adds 2 u, rounding of their squares u, the three sums 2 u
    each, and second-order terms less than 1 u up to 20,000 columns.

    References
    ----------
    Higham, "Accuracy and Stability of Numerical Algorithms" (2002), section 3.1.
    """
    return (width + 16) * float(np.finfo(dtype).eps) / 2


class PairBounds:
    """Bounds b_ij <= |y_i - y_j|^2 of all pairs of a cloud's rows, in panels of the upper triangle.

    Panels are kept for further questions if they take less than a gigabyte, and computed anew otherwise.

    Parameters
    ----------
    rows : CentredRows
        The cloud.
    """

    def __init__(self, rows: CentredRows) -> None:
        self._rows = rows
        # Small clouds are cut too, so that two least bounds of a row mostly lie in two panels.
        height = max(1, min(_PANEL, rows.n_rows // 16))
        self._edges = np.append(np.arange(0, rows.n_rows, height), rows.n_rows)
        self._share = rounding_share(rows.width, np.float32)
        self._underflow = 4 * rows.width * float(np.finfo(np.float32).tiny)
        lowered = rows.squares * (1 - self._share) - self._underflow
        self._lowered = placed(lowered.astype(np.float32), rows.x)
        self._panels: dict[int, Array] = {}
        self._squares: dict[int, float] = {}

    @cached_property
    def squared_products(self) -> float:
        """The sum of (y_i.y_j)^2 over all i and j."""
        if len(self._squares) < len(self._edges) - 1:
            self._of_each_panel(lambda *_: None, np.arange(self._rows.n_rows))
        return 2 * sum(self._squares.values()) + float(np.square(self._rows.squares).sum())

    def second_neighbor_limits(self, rows: np.ndarray) -> np.ndarray:
        """Return what |y_i - y_j|^2 cannot exceed for the second nearest j of each row, both among ``rows``.

        Two rows with a bound of at most b exist. A true square s exceeds its bound by at most 2 k (|y_i|^2 + |y_j|^2)
        and what underflow hides, and |y_j| <= |y_i| + sqrt(s): a quadratic inequality in sqrt(s).

        Parameters
        ----------
        rows : np.ndarray
            Indices, ascending, shape (m,).

        Returns
        -------
        np.ndarray
            Shape (m,), float64; infinite where the panels do not tell.
        """
        bound = np.partition(self._least_by_panel(rows), 1, axis=1)[:, 1].astype(np.float64)
        k, length = self._share, np.sqrt(self._rows.squares[rows])
        product = (1 - 2 * k) * np.maximum(bound + 4 * k * length**2 + 4 * self._underflow, 0)
        return ((2 * k * length + np.sqrt((2 * k * length) ** 2 + product)) / (1 - 2 * k)) ** 2

    def rows_within(self, limits: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return all pairs of rows whose bound does not exceed the first one's limit.

        Parameters
        ----------
        limits : np.ndarray
            Squares, shape (m,).
        rows : np.ndarray
            Indices, ascending, shape (m,).

        Returns
        -------
        left, right : np.ndarray
            Positions in ``rows``.
        crowded : np.ndarray
            Mask, shape (m,), of the rows that were given up, as too many others are within their limit.
        """
        # Rounded up, but finite: pairs that are none have infinite bounds.
        limits = np.nextafter(np.minimum(limits, 8).astype(np.float32), np.float32(np.inf))

        def pairs_within(start: int, stop: int, bounds: Array) -> tuple[np.ndarray, np.ndarray]:
            above, many_above = _within(bounds, limits[start:stop], axis=0)
            below, many_below = _within(bounds, limits[start:], axis=1)
            return start + np.concatenate([above, below[::-1]], axis=1), start + np.append(many_above, many_below)

        pairs, many = zip(*self._of_each_panel(pairs_within, rows), strict=True)
        left, right = np.concatenate(pairs, axis=1)
        crowded = np.bincount(left, minlength=len(rows)) > _CROWD
        crowded[np.concatenate(many)] = True
        kept = ~crowded[left]
        return left[kept], right[kept], crowded

    def _least_by_panel(self, rows: np.ndarray) -> np.ndarray:
        edges = np.searchsorted(rows, self._edges)
        found = np.full((len(rows), len(edges) - 1), np.float32(np.inf))

        def take(start: int, stop: int, bounds: Array) -> None:
            number = int(np.searchsorted(edges, start, side="right")) - 1
            found[start:, number] = host(least(bounds, 0))
            for other, (first, last) in enumerate(pairwise(edges[number:] - start), start=number):
                if first < last:
                    here = host(least(bounds[:, first:last], 1))
                    found[start:stop, other] = np.minimum(found[start:stop, other], here)

        self._of_each_panel(take, rows)
        return found

    def _of_each_panel(self, function: Callable[[int, int, Array], Any], rows: np.ndarray) -> list[Any]:
        """Call a function with the bounds among some rows, by panels; return its results.

        It takes the positions in ``rows`` where a panel's rows start and stop, and their bounds to all rows from there.
        """
        edges = np.searchsorted(rows, self._edges).tolist()

        def call(number: int) -> Any:
            panel, start, stop = self._panel(number), edges[number], edges[number + 1]
            if len(rows) < self._rows.n_rows:
                offset = self._edges[number]
                panel = panel[placed(rows[start:stop] - offset, panel)][:, placed(rows[start:] - offset, panel)]
            return function(start, stop, panel)

        with row_workers(self._rows.x) as workers:
            return workers.each(call, [number for number, (a, b) in enumerate(pairwise(edges)) if a < b])

    def _panel(self, number: int) -> Array:
        """Return the bounds of some rows to themselves and all later rows; infinite where j <= i."""
        if number in self._panels:
            return self._panels[number]
        y, start, stop = self._rows.single, self._edges[number], self._edges[number + 1]
        panel = exact_product(y[start:stop], y[start:].T)
        lower = placed(np.tri(stop - start, dtype=bool), panel)
        panel[:, : stop - start][lower] = 0
        self._squares[number] = _sum_of_squares(panel)
        panel *= -2
        panel += self._lowered[start:]
        panel += self._lowered[start:stop, None]
        panel[:, : stop - start][lower] = np.inf
        if 2 * self._rows.n_rows**2 <= _KEPT_BYTES:
            self._panels[number] = panel
        return panel


def _sum_of_squares(panel: Array) -> float:
    parts = (row_squares(panel[:, start : start + _SHORT]) for start in range(0, panel.shape[1], _SHORT))
    return float(sum(host(part).sum(dtype=np.float64) for part in parts))


def _within(bounds: Array, limits: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns, shape (2, k), of the bounds within the limits of rows (axis 0) or columns (axis 1).

    Also the positions of limits that too many are within, which are passed over.
    """
    there = placed(limits, bounds)
    mask = bounds <= (there[:, None] if axis == 0 else there)
    crowded = np.zeros(len(limits), dtype=bool)
    if count_true(mask) > _CROWD * len(limits) // 4:
        crowded = host(mask.sum(1 - axis)) > _CROWD
        mask &= placed(~crowded[:, None] if axis == 0 else ~crowded, bounds)
    return np.stack(np.divmod(true_positions(mask), bounds.shape[1])), np.flatnonzero(crowded)
