"""Exact moments of all tokens of a layer, added up while they go by, and what follows from them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import eigh, eigvalsh
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from lm_geometry.geometry.arrays import Array, host, real_matrix, wide
from lm_geometry.geometry.duplicates import MIN_DISTINCT, require_distinct
from lm_geometry.geometry.isotropy import effective_rank_of, iso_score, participation_ratio_of
from lm_geometry.geometry.rows import DegenerateError
from lm_geometry.geometry.spectrum import significant_roots
from lm_geometry.geometry.statistic import Statistic, attempt
from lm_geometry.tables.geometry_statistics import ALL_TOKENS, ANISOTROPY, UNCENTERED, WITHOUT_FIRST, WITHOUT_SPECIAL

FIRST, SPECIAL = 1, 2
"""What a token may be; it may be both, 3, or neither, 0."""
_KINDS = range(4)

_DENSE_UP_TO = 64


class Moments:
    """Number, mean and centred second moment of the tokens of one layer, in float64, while they go by.

    Rows are shifted by the mean of the first ones of their kind, and blocks of them are centred and merged, so that
    a mean far from zero, or one coordinate of 10^4, costs no digit. The few first and special tokens are kept apart;
    what a subset holds is merged, never subtracted.

    Memory: one d x d float64 matrix for the ordinary tokens. Of each of the four kinds of token (first, special, both,
    neither) up to d rows wait, in float32 if they came so, for a product of their own: first and special tokens get a
    matrix only if they are more. ``statistics`` takes up to five more for a while.

    Parameters
    ----------
    width : int
        Components per vector, d.

    References
    ----------
    Chan, Golub and LeVeque, "Algorithms for computing the sample variance: analysis and recommendations" (1983).
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._kinds = [_Sums(width) for _ in _KINDS]
        self._directions: Array | float = 0.0  # sum of the rows at unit length
        self._n_directions = 0

    def add(self, x: Any, first: np.ndarray, special: np.ndarray) -> None:
        """Add the rows of one block.

        Parameters
        ----------
        x : np.ndarray or torch.Tensor
            Vectors, shape (n, d); tensors are summed up on their device. Its memory may be used again.
        first, special : np.ndarray
            Masks, shape (n,), of the tokens that stand first in their chunk, and of special tokens.

        Raises
        ------
        ValueError
            If the shapes do not fit together.
        """
        kinds = FIRST * np.asarray(first, dtype=np.int8) + SPECIAL * np.asarray(special, dtype=np.int8)
        if tuple(x.shape) != (len(kinds), self._width):
            raise ValueError(f"expected vectors of shape ({len(kinds)}, {self._width}), got {tuple(x.shape)}")
        for kind in _KINDS:
            members = np.flatnonzero(kinds == kind)
            if members.size:
                rows = real_matrix(x[members])
                self._kinds[kind].add(rows)
                self._add_directions(wide(rows))

    def total(self, *, without: int = 0) -> "Moment":
        """Return the moment of all tokens, or of those that are not ``FIRST``, or not ``SPECIAL``."""
        merged = _Sums(self._width)
        for kind in _KINDS:
            if not kind & without:
                merged.merge(self._kinds[kind])
        return merged.moment()

    def statistics(self) -> dict[str, Statistic]:
        """Return the statistics ``geometry_statistics.ALL_TOKENS`` by name.

        ``n_distinct`` is counted up to ten only, the number that a layer must have.
        """
        everything = self.total()
        measures: dict[str, Callable[[], float]] = {
            ANISOTROPY: lambda: everything.leading_share(),
            UNCENTERED: lambda: everything.leading_share(center=False),
            "top_channel_share": lambda: everything.top_channel_share,
            "participation_ratio": lambda: participation_ratio_of(everything.singular_values),
            "effective_rank": lambda: effective_rank_of(everything.singular_values),
            "iso_score": lambda: iso_score(everything.singular_values, self._width),
            "mean_cosine": self._mean_cosine,
        }
        found = {name: everything.statistic(measure) for name, measure in measures.items()}
        for name, kind in ((WITHOUT_FIRST, FIRST), (WITHOUT_SPECIAL, SPECIAL)):
            rest = self.total(without=kind)
            found[name] = rest.statistic(rest.leading_share)
        return {name: found[name] for name in ALL_TOKENS}

    def _add_directions(self, rows: Array) -> None:
        with np.errstate(over="ignore"):  # the sum of squares shows it
            norms = (rows * rows).sum(1) ** 0.5
        present = norms > 0
        self._directions = self._directions + (1 / norms[present]) @ rows[present]
        self._n_directions += int(present.sum())

    def _mean_cosine(self) -> float:
        """Return the mean cosine of two different rows, |sum of unit rows|^2 less each row's own; see mean_cosine."""
        n = sum(sums.n for sums in self._kinds)
        if not self._n_directions:
            raise DegenerateError(f"all {n} rows are zero: they have no direction")
        return float((self._directions @ self._directions - self._n_directions) / (n * (n - 1)))


class _Sums:
    """Number, mean and centred second moment of some rows, of which the last ones wait to be summed up together.

    The mean is kept as a shift, near which all rows lie, and what the mean is off it.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._n_summed = 0
        self._shift: Array = None
        self._mean: Array = None
        self._scatter: Array = None
        self._waiting: list[Array] = []
        self._distinct: list[Array] = []

    @property
    def n(self) -> int:
        """Rows added."""
        return self._n_summed + sum(map(len, self._waiting))

    def add(self, rows: Array) -> None:
        """Add rows, shape (n, d), which must not change later."""
        self._waiting.append(rows)
        self._note_distinct(rows)
        if sum(map(len, self._waiting)) > self._width:
            self._sum_up()

    def merge(self, other: "_Sums") -> None:
        """Add the rows that another one holds."""
        if other._n_summed:
            self._join(other._n_summed, other._shift, other._mean, other._scatter)
        for rows in other._waiting:
            self.add(rows)
        for row in other._distinct:
            self._note_distinct(row[None])

    def moment(self) -> "Moment":
        """Return the moment of all rows, on the CPU."""
        if self._waiting:
            self._sum_up()
        if not self._n_summed:
            return Moment(0, 0, np.zeros(self._width), np.zeros((self._width, self._width)))
        return Moment(self._n_summed, len(self._distinct), host(self._shift + self._mean), host(self._scatter))

    def _sum_up(self) -> None:
        rows = wide(_joined(self._waiting))
        self._waiting = []
        shift = rows.mean(0) if self._shift is None else self._shift
        rows -= shift
        mean = rows.mean(0)
        rows -= mean
        with np.errstate(over="ignore"):  # the sum of squares shows it
            scatter = rows.T @ rows
        self._join(len(rows), shift, mean, scatter)

    def _join(self, n: int, shift: Array, mean: Array, scatter: Array) -> None:
        """Take in ``n`` rows with this scatter around their mean, which is so far off ``shift``."""
        if not self._n_summed:
            self._n_summed, self._shift, self._mean, self._scatter = n, shift, mean, scatter + 0
            return
        total = self._n_summed + n
        apart = (shift - self._shift) + mean - self._mean
        self._scatter += scatter
        self._scatter += (self._n_summed * n / total * apart)[:, None] * apart
        self._mean = self._mean + apart * (n / total)
        self._n_summed = total

    def _note_distinct(self, rows: Array) -> None:
        """Keep one of each of the first ten rows that differ."""
        if len(self._distinct) == MIN_DISTINCT:
            return
        for known in self._distinct:
            rows = rows[(rows != known).any(1)]
        while len(rows) and len(self._distinct) < MIN_DISTINCT:
            self._distinct.append(rows[0] + 0)  # a copy, not a view that keeps them all
            rows = rows[(rows != rows[0]).any(1)]


class Moment:
    """The moments of n rows and what follows from them.

    Parameters
    ----------
    n, n_distinct : int
        Rows, and how many are distinct, counted up to ten.
    mean : np.ndarray
        Shape (d,), float64.
    scatter : np.ndarray
        Sum of the products of centred rows, shape (d, d), float64.
    """

    def __init__(self, n: int, n_distinct: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        self.n, self.n_distinct, self.mean, self.scatter = n, n_distinct, mean, scatter

    def statistic(self, measure: Callable[[], float]) -> Statistic:
        """Return a measure of these rows, or why they have none."""

        def guarded() -> float:
            require_distinct(self.n_distinct, self.n)
            if not np.finfo(np.float64).tiny < self._energy < np.inf:
                raise DegenerateError(f"the sum of squares, {self._energy}, is out of range; rescale the {self.n} rows")
            return measure()

        return attempt(guarded, n_vectors=self.n, n_distinct=self.n_distinct)

    def leading_share(self, *, center: bool = True) -> float:
        """Return the share of the energy in the leading direction; the rest is known to 1e-15 of the whole."""
        n, mean = (0, self.mean) if center else (self.n, self.mean)
        second_moment = self.scatter if center else self.scatter + n * np.outer(mean, mean)
        leading, direction = _leading_pair(second_moment)
        energy = self._energy + n * (mean @ mean)
        # Where the mean outweighs all else, as in a layer that was not centred, its own rest is taken by itself.
        rest_of_mean = mean - direction * (direction @ mean)
        beside = self._energy - direction @ self.scatter @ direction + n * (rest_of_mean @ rest_of_mean)
        beside = max(beside, 0.0)  # round-off of a difference may be below it
        return float(leading / energy if leading < energy / 2 else 1 - beside / energy)

    @property
    def top_channel_share(self) -> float:
        """Share of the centred energy in the channel of largest variance."""
        return float(self.scatter.diagonal().max() / self._energy)

    @cached_property
    def singular_values(self) -> np.ndarray:
        """Singular values of the centred rows that are above round-off."""
        return significant_roots(eigvalsh(self.scatter), (self.n, len(self.mean)))

    @cached_property
    def _energy(self) -> float:
        return float(np.trace(self.scatter))


def _leading_pair(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the largest eigenvalue of a positive semidefinite matrix and its vector, to machine precision.

    Lanczos' method (ARPACK) takes a tenth of the time of a dense solver, which is for what it does not settle.
    """
    if len(matrix) > _DENSE_UP_TO:
        start = np.random.default_rng(0).standard_normal(len(matrix))
        with suppress(ArpackNoConvergence):
            (value,), vectors = eigsh(matrix, k=1, v0=start)
            return value, vectors[:, 0]
    last = len(matrix) - 1
    (value,), vectors = eigh(matrix, subset_by_index=[last, last])
    return value, vectors[:, 0]


def _joined(parts: Sequence[Array]) -> Array:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch

    return torch.cat(parts)
