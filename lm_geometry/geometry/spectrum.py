"""How evenly the energy of a cloud of vectors is spread over directions."""

from collections.abc import Callable, Mapping
from functools import cache, cached_property

import numpy as np
from scipy.linalg import eigh

from lm_geometry.geometry.duplicates import DUPLICATE_TOLERANCE, distinct_rows, require_distinct
from lm_geometry.geometry.rows import DegenerateError, centre, checked_rows
from lm_geometry.geometry.statistic import Statistic, attempt


def anisotropy(x: np.ndarray, *, center: bool = True) -> float:
    """Return the share of the energy in the leading direction, sigma_1^2 / sum_i sigma_i^2.

    From the Gram matrix of rows or columns, whichever is smaller, in float64; within 1e-6 (relative) of a singular
    value decomposition in float64, both as a and as 1 - a.

    Parameters
    ----------
    x : np.ndarray
        Vectors, shape (n, d).
    center : bool
        Subtract the mean row first.

    Returns
    -------
    float
        Between 1 / min(n, d) (isotropic) and 1 (one direction).

    Raises
    ------
    DegenerateError
        If values are not finite, or all rows are equal.

    References
    ----------
    Razzhigaev et al., "The Shape of Learning: Anisotropy and Intrinsic Dimensions in Transformer-Based Models" (2023).
    """
    return Spectrum(x, center=center).leading_share


def participation_ratio(x: np.ndarray) -> float:
    """Return the effective number of directions of the centred rows, (sum lambda)^2 / sum lambda^2.

    Parameters
    ----------
    x : np.ndarray
        Vectors, shape (n, d).

    Returns
    -------
    float
        Between 1 and min(n - 1, d).

    Raises
    ------
    DegenerateError
        If values are not finite, or all rows are equal.
    """
    return Spectrum(x).participation_ratio


def spectral_statistics(
    x: np.ndarray, *, first: np.ndarray | None = None, duplicate_tolerance: float = DUPLICATE_TOLERANCE
) -> dict[str, Statistic]:
    """Return anisotropy (centred, uncentred, without first positions) and participation ratio by name.

    Parameters
    ----------
    x : np.ndarray
        Vectors, shape (n, d).
    first : np.ndarray, optional
        Mask, shape (n,), of the vectors that stand first in their chunk. Without it ``anisotropy_without_first`` is
        left out.
    duplicate_tolerance : float
        See ``distinct_rows``; it decides ``n_distinct``, all rows enter the spectrum.

    Raises
    ------
    DegenerateError
        If values are not finite. Other degenerate input gives statistics without a value.
    """
    x = checked_rows(x)
    found = _attempts(
        x,
        {
            "anisotropy": lambda spectrum: spectrum.leading_share,
            "anisotropy_uncentered": lambda _: anisotropy(x, center=False),
            "participation_ratio": lambda spectrum: spectrum.participation_ratio,
        },
        duplicate_tolerance,
    )
    if first is not None:
        measures = {"anisotropy_without_first": lambda spectrum: spectrum.leading_share}
        found |= _attempts(x[~first], measures, duplicate_tolerance)
    return found


def _attempts(
    x: np.ndarray, measures: Mapping[str, Callable[["Spectrum"], float]], duplicate_tolerance: float
) -> dict[str, Statistic]:
    n_distinct = len(distinct_rows(x, duplicate_tolerance=duplicate_tolerance)) if len(x) else 0

    @cache
    def spectrum() -> Spectrum:
        require_distinct(n_distinct, len(x))
        return Spectrum(x)

    return {
        name: attempt(lambda measure=measure: measure(spectrum()), n_vectors=len(x), n_distinct=n_distinct)
        for name, measure in measures.items()
    }


class Spectrum:
    """The spectrum of a cloud of vectors, from one Gram matrix.

    Parameters
    ----------
    x : np.ndarray
        Vectors, shape (n, d).
    center : bool
        Subtract the mean row first.

    Raises
    ------
    DegenerateError
        If values are not finite, all rows are equal, or their squares leave the range of float64.
    """

    def __init__(self, x: np.ndarray, *, center: bool = True) -> None:
        x = checked_rows(x)
        if (x == x[0]).all():
            raise DegenerateError(f"all {len(x)} rows are equal: there is no variance to measure")
        self._rows = centre(x) if center else x.astype(np.float64, copy=False)
        self._by_columns = x.shape[1] <= x.shape[0]
        with np.errstate(over="ignore"):  # the sum of squares shows it
            self._gram = self._rows.T @ self._rows if self._by_columns else self._rows @ self._rows.T
        self._energy = float(np.trace(self._gram))
        if not np.finfo(np.float64).tiny < self._energy < np.inf:
            raise DegenerateError(f"the sum of squares, {self._energy}, is out of range; rescale the {len(x)} rows")

    @cached_property
    def leading_share(self) -> float:
        """Share of the energy in the leading direction."""
        last = len(self._gram) - 1
        values, vectors = eigh(self._gram, subset_by_index=[last, last])
        share = float(values[0]) / self._energy
        return share if share < 0.5 else 1 - self._energy_beside(vectors[:, 0]) / self._energy

    @cached_property
    def participation_ratio(self) -> float:
        """Effective number of directions; sum lambda^2 is the squared Frobenius norm of the Gram matrix."""
        shares = self._gram / self._energy
        return float(1 / np.vdot(shares, shares))

    def _energy_beside(self, leading: np.ndarray) -> float:
        """Return the energy outside the leading direction, free of the cancellation in ``energy - lambda_1``.

        An error of angle t in the direction costs t^2 only.
        """
        rows = self._rows
        if self._by_columns:
            rest = rows - np.outer(rows @ leading, leading)
        else:
            rest = rows - np.outer(leading, leading @ rows)
        return float(np.vdot(rest, rest))
