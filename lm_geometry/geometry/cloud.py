"""One batch of vectors, and what is measured of it."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from lm_geometry.geometry.arrays import Array, eigenvalues
from lm_geometry.geometry.centred import CentredRows
from lm_geometry.geometry.duplicates import DUPLICATE_TOLERANCE, distinct_among
from lm_geometry.geometry.leading import leading_shares
from lm_geometry.geometry.neighbors import Neighbors, find_neighbors
from lm_geometry.geometry.pair_bounds import PairBounds
from lm_geometry.geometry.rows import DegenerateError
from lm_geometry.geometry.spectrum import significant_roots
from lm_geometry.geometry.views import View, has_short_rows, unit_rows

__all__ = ["Cloud", "Neighbors", "View"]


class Cloud:
    """One batch of vectors: its rows are centred once, and one product of them serves all that compares rows.

    What nobody asks for is not computed.

    Parameters
    ----------
    x : np.ndarray or torch.Tensor
        Vectors, shape (n, d), on any device. float32 is kept; other types become float64, which costs twice the memory.
    duplicate_tolerance : float
        See ``distinct_rows``.

    Attributes
    ----------
    n_rows, width : int
        Rows and columns of ``x``.

    Raises
    ------
    ValueError
        If ``x`` is not a matrix of real numbers.
    DegenerateError
        If ``x`` is empty, holds values that are not finite, or squares leave the range of float64.
    """

    def __init__(self, x: Array, *, duplicate_tolerance: float = DUPLICATE_TOLERANCE) -> None:
        self._rows = CentredRows(x)
        self._duplicate_tolerance = duplicate_tolerance
        self.n_rows, self.width = self._rows.n_rows, self._rows.width

    @cached_property
    def distinct(self) -> np.ndarray:
        """Indices, ascending, of the rows that are left when equal ones are merged; see ``distinct_rows``."""
        return distinct_among(self._rows, self._duplicate_tolerance)

    @cached_property
    def norms(self) -> np.ndarray:
        """Norms of the rows as they are, shape (n,), float64."""
        return np.sqrt(self._rows.norms2)

    def leading_shares(self, views: Mapping[str, View]) -> dict[str, float | DegenerateError]:
        """Return the anisotropy of every view, sigma_1^2 / sum_i sigma_i^2, or why it has none.

        Within 1e-6 (relative) of a float64 singular value decomposition, both as a and as 1 - a. Views asked for
        together share the work.

        Parameters
        ----------
        views : mapping
            Views by name.
        """
        return leading_shares(self._rows, views)

    def participation_ratio(self) -> float:
        """Return the effective number of directions of the centred rows, (sum lambda)^2 / sum lambda^2.

        Raises
        ------
        DegenerateError
            If all rows are equal.
        """
        rows, energy = self._rows, self._centred_energy()
        # With G = y y' and P that takes the mean away, |P G P|^2 = |G|^2 - 2 |G 1|^2 / n + (1'G 1)^2 / n^2, and G 1 is
        # n y offset.
        squares = self._bounds.squared_products - 2 * self.n_rows * float(rows.along_offset @ rows.along_offset)
        squares += (self.n_rows * float(rows.offset @ rows.offset)) ** 2
        return energy**2 / squares

    def top_channel_share(self) -> float:
        """Return the share of the centred energy in the column of largest variance.

        Raises
        ------
        DegenerateError
            If all rows are equal.
        """
        return float(self._rows.column_squares().max() / self._centred_energy())

    def mean_cosine(self) -> float:
        """Return the mean cosine of two different rows, over all pairs, not centred; a zero row has cosine 0.

        By sums: (|sum u|^2 - sum |u|^2) / (n (n - 1)), where u are the rows at unit length.

        Raises
        ------
        DegenerateError
            If there are fewer than two rows, or all are zero.

        References
        ----------
        Ethayarajh, "How Contextual are Contextualized Word Representations?" (2019), where it is called anisotropy.
        """
        n = self.n_rows
        if n < 2:
            raise DegenerateError(f"a cosine needs two rows, got {n}")
        present = self.norms > 0
        if not present.any():
            raise DegenerateError(f"all {n} rows are zero: they have no direction")
        if has_short_rows(self._rows):
            total = unit_rows(self._rows).sum(axis=0)
        else:
            lengths = np.divide(1, self.norms, out=np.zeros(n), where=present)
            total = self._rows.weighted_sum(lengths) * self._rows.scale + lengths.sum() * self._rows.origin
        return float((total @ total - present.sum()) / (n * (n - 1)))

    def singular_values(self) -> np.ndarray:
        """Return the singular values of the centred rows that are above round-off, rising, shape (r,), float64.

        All eigenvalues of the smaller Gram matrix in float64: slow beside the rest.

        Raises
        ------
        DegenerateError
            If all rows are equal, or an eigenvalue lies below zero by more than round-off.
        """
        self._centred_energy()
        return significant_roots(eigenvalues(self._rows.gram()), (self.n_rows, self.width)) * self._rows.scale

    def nearest_two(self, rows: np.ndarray | None = None) -> Neighbors:
        """Return the two nearest of each of some rows, among themselves; see ``find_neighbors``.

        Parameters
        ----------
        rows : np.ndarray, optional
            Indices, ascending; the distinct rows without it.

        Raises
        ------
        DegenerateError
            With fewer than three rows.
        """
        return find_neighbors(self._rows, self._bounds, self.distinct if rows is None else rows)

    @cached_property
    def _bounds(self) -> PairBounds:
        return PairBounds(self._rows)

    def _centred_energy(self) -> float:
        """Return the sum of squares of the centred rows, in units of their scale."""
        if self._rows.equal(np.arange(self.n_rows)):
            raise DegenerateError(f"all {self.n_rows} rows are equal: there is no variance to measure")
        return float(self._rows.centred_squares.sum())
