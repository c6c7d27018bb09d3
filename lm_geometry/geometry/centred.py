"""The rows of a cloud from a common origin: exact in float64, and kept once in float32."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from lm_geometry.geometry.arrays import (
    Array,
    empty,
    finite,
    host,
    is_on_host,
    narrow,
    placed,
    real_matrix,
    row_squares,
    wide,
)
from lm_geometry.geometry.rows import DegenerateError, require_finite
from lm_geometry.geometry.threads import row_workers

# Rows whose projections on all of these are close are close themselves, but for one pair in millions.
_N_PROJECTIONS = 4
# A row is far out if it is so many times as far from the middle of a sample as the median row.
_FAR_OUT = 4
_SAMPLE = 33
# What a core's own cache holds.
_BLOCK_BYTES = 2**20
# What keeps another device busy.
_DEVICE_BYTES = 2**28
# What a product of matrices needs to be fast.
_PRODUCT_ROWS = 512


class CentredRows:
    """Vectors, and the rows y = (x - origin) / scale, at most about as long as 1.

    The origin is the mean of the rows that are not far out. A few massive rows would draw the mean of all away from the
    others, whose float32 copies would then hold mostly that distance, and little of what tells them apart. Whatever is
    to be centred is centred in float64, by ``offset``.

    Parameters
    ----------
    x : np.ndarray or torch.Tensor
        Vectors, shape (n, d).

    Attributes
    ----------
    x : array
        The vectors, float32 or float64.
    origin : np.ndarray
        Shape (d,), float64.
    far : np.ndarray
        Mask, shape (n,), of the rows that are far out.
    scale : float
        A power of two, so that scaling rounds nothing.
    offset : np.ndarray
        The mean of y, shape (d,), float64.
    single : array
        y in float32, shape (n, d).
    norms2, squares : np.ndarray
        Squared norms of the rows of x, and of those of y, shape (n,), float64.
    along_offset : np.ndarray
        Inner products of y with ``offset``, shape (n,), float64.
    projections : np.ndarray
        y along four random directions, shape (n, 4), float64.

    Raises
    ------
    ValueError
        If ``x`` is not a matrix of real numbers.
    DegenerateError
        If it is empty, holds values that are not finite, or squares leave the range of float64.
    """

    def __init__(self, x: Array) -> None:
        self.x = real_matrix(x)
        self.n_rows, self.width = (int(size) for size in self.x.shape)
        if 0 in (self.n_rows, self.width):
            raise DegenerateError(f"no vectors to measure: shape {(self.n_rows, self.width)}")
        mean = self._find_origin()
        self._device_origin = placed(self.origin, self.x)
        self.offset = (mean - self.origin) / self.scale
        self._centre()

    def slices(self, step: int) -> list[slice]:
        """Return all rows in slices of ``step`` on the host, of more on another device."""
        step = step if is_on_host(self.x) else self._rows_at_once()
        return [slice(start, min(start + step, self.n_rows)) for start in range(0, self.n_rows, step)]

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Yield y in float64, some rows at a time, and which rows they are."""
        for rows in self._slices():
            yield rows, self.double(rows)

    def double(self, rows: slice | np.ndarray) -> Array:
        """Return some rows of y in float64."""
        index = rows if isinstance(rows, slice) else placed(rows, self.x)
        centred = wide(self.x[index]) - self._device_origin
        centred *= 1 / self.scale
        return centred

    def weighted_sum(self, weights: np.ndarray) -> np.ndarray:
        """Return sum_i w_i y_i, shape (d,), in float64; rows of no weight are not read."""
        used = np.flatnonzero(weights)
        total = np.zeros(self.width)
        step = self._rows_at_once()
        for start in range(0, used.size, step):
            rows = used[start : start + step]
            total += host(placed(weights[rows], self.x) @ self.double(rows))
        return total

    @cached_property
    def centred_squares(self) -> np.ndarray:
        """Squared norms of the rows y - offset, shape (n,)."""
        return np.maximum(self.squares - 2 * self.along_offset + float(self.offset @ self.offset), 0)

    def column_squares(self) -> np.ndarray:
        """Return the sums of squares of the columns of y - offset, shape (d,)."""
        offset = placed(self.offset, self.x)
        return sum(host(((block - offset) ** 2).sum(0)) for _, block in self.blocks())

    def gram(self) -> Array:
        """Return Z'Z, shape (d, d), or Z Z', shape (n, n), whichever is smaller, in float64, where Z = y - offset."""
        if self.width > self.n_rows:
            z = self.double(slice(None)) - placed(self.offset, self.x)
            return z @ z.T
        total = empty((self.width, self.width), "float64", self.x)
        total[:] = 0
        for rows in self.slices(_PRODUCT_ROWS):
            z = self.double(rows) - placed(self.offset, self.x)
            total += z.T @ z
        return total

    def distances(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return |x_i - x_j| for pairs of rows, shape (m,), from differences in float64."""
        found = np.empty(len(left))

        def measure(start: int) -> None:
            pairs = slice(start, start + step)
            difference = wide(self.x[placed(left[pairs], self.x)]) - wide(self.x[placed(right[pairs], self.x)])
            found[pairs] = np.sqrt(host(row_squares(difference)))

        step = max(1, self._rows_at_once() // 2)
        if len(left) <= step:
            measure(0)
        else:
            with row_workers(self.x) as workers:
                workers.each(measure, range(0, len(left), step))
        return found

    def equal(self, rows: np.ndarray) -> bool:
        """Return whether these rows of x are all the same; differing ones are told by the first few."""
        first = self.x[int(rows[0])]
        step = self._rows_at_once()
        starts = range(0, rows.size, step)
        return all(bool((self.x[placed(rows[start : start + step], self.x)] == first).all()) for start in starts)

    def _rows_at_once(self) -> int:
        return max(1, (_BLOCK_BYTES if is_on_host(self.x) else _DEVICE_BYTES) // (8 * self.width))

    def _slices(self) -> list[slice]:
        return self.slices(self._rows_at_once())

    def _find_origin(self) -> np.ndarray:
        """Set ``norms2``, ``origin`` and ``scale``; return the mean of all rows."""
        sample = np.linspace(0, self.n_rows - 1, min(self.n_rows, _SAMPLE)).astype(np.int64)
        with np.errstate(over="ignore", invalid="ignore"):
            middle = placed(np.median(host(wide(self.x[placed(sample, self.x)])), axis=0), self.x)
        self.norms2, distances2 = np.empty(self.n_rows), np.empty(self.n_rows)

        def add_up(rows: slice) -> np.ndarray:
            block = wide(self.x[rows])
            with np.errstate(over="ignore", invalid="ignore"):  # the sums show it
                self.norms2[rows] = host(row_squares(block))
                distances2[rows] = host(row_squares(block - middle))
                return host(block.sum(0))

        with row_workers(self.x) as workers, np.errstate(over="ignore", invalid="ignore"):
            total = workers.total(add_up, self._slices())
            energy = self.norms2.sum() + distances2.sum()
        if not np.isfinite(energy):
            require_finite(finite(self.x))
            raise DegenerateError(f"the sum of squares, {energy}, is out of range; rescale the {self.n_rows} rows")
        self.far = distances2 > _FAR_OUT**2 * np.median(distances2)
        far = np.flatnonzero(self.far)
        outside = host(wide(self.x[placed(far, self.x)]).sum(0)) if far.size else 0.0
        self.origin = (total - outside) / (self.n_rows - far.size)
        self.scale = _power_of_two(np.sqrt(distances2.max()) + np.linalg.norm(self.origin - host(middle)))
        return total / self.n_rows

    def _centre(self) -> None:
        directions = np.random.default_rng(0).standard_normal((self.width, _N_PROJECTIONS))
        directions = placed(np.c_[directions / np.linalg.norm(directions, axis=0), self.offset], self.x)
        self.single = empty((self.n_rows, self.width), "float32", self.x)
        self.squares, projections = np.empty(self.n_rows), np.empty((self.n_rows, directions.shape[1]))

        def centre(rows: slice) -> None:
            block = self.double(rows)
            self.squares[rows] = host(row_squares(block))
            for column in range(directions.shape[1]):
                projections[rows, column] = host(block @ directions[:, column])
            self.single[rows] = narrow(block)

        with row_workers(self.x) as workers:
            workers.each(centre, self._slices())
        self.projections, self.along_offset = projections[:, :_N_PROJECTIONS], projections[:, _N_PROJECTIONS]


def _power_of_two(length: float) -> float:
    """Return the least power of two that is not below a length, 1 for none."""
    return float(2.0 ** np.ceil(np.log2(length))) if length > 0 else 1.0
