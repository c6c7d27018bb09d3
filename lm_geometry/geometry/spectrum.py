"""How evenly the energy of a cloud of vectors is spread over directions."""

from functools import cached_property

import numpy as np
from scipy.linalg import eigh, eigvalsh

from lm_geometry.geometry.rows import DegenerateError, centre, checked_rows


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


def effective_rank(x: np.ndarray) -> float:
    """Return exp(-sum p ln p) of the centred rows' singular values, p_i = sigma_i / sum_j sigma_j.

    Singular values are roots of the eigenvalues of the smaller Gram matrix in float64. Eigenvalues up to max(n, d)
    times the round-off of the largest are those of no direction and count as 0: singular values below 1e-6 of the
    largest at n = 4096.

    Parameters
    ----------
    x : np.ndarray
        Vectors, shape (n, d).

    Returns
    -------
    float
        Between 1 (one direction) and min(n - 1, d) (all alike).

    Raises
    ------
    DegenerateError
        If values are not finite, or all rows are equal.

    References
    ----------
    Roy and Vetterli, "The effective rank: a measure of effective dimensionality" (2007), definition 1.
    """
    return Spectrum(x, whole=True).effective_rank


class Spectrum:
    """The spectrum of a cloud of vectors, from one Gram matrix.

    Parameters
    ----------
    x : np.ndarray
        Vectors, shape (n, d).
    center : bool
        Subtract the mean row first.
    whole : bool
        Find all eigenvalues at once, where the leading one alone would not do: it takes as long as they do.

    Raises
    ------
    DegenerateError
        If values are not finite, all rows are equal, or their squares leave the range of float64.
    """

    def __init__(self, x: np.ndarray, *, center: bool = True, whole: bool = False) -> None:
        x = checked_rows(x)
        if (x == x[0]).all():
            raise DegenerateError(f"all {len(x)} rows are equal: there is no variance to measure")
        self._whole = whole
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
        leading = self._eigenvalues[-1] if self._whole else self._leading_pair[0]
        share = float(leading) / self._energy
        return share if share < 0.5 else 1 - self._energy_beside(self._leading_pair[1]) / self._energy

    @cached_property
    def participation_ratio(self) -> float:
        """Effective number of directions; sum lambda^2 is the squared Frobenius norm of the Gram matrix."""
        shares = self._gram / self._energy
        return float(1 / np.vdot(shares, shares))

    @cached_property
    def effective_rank(self) -> float:
        """Exponential of the entropy of the singular values, taken as shares of their sum."""
        singular = significant_roots(self._eigenvalues, self._rows.shape)
        shares = singular / singular.sum()
        return float(np.exp(-(shares * np.log(shares)).sum()))

    @cached_property
    def _eigenvalues(self) -> np.ndarray:
        return eigvalsh(self._gram)

    @cached_property
    def _leading_pair(self) -> tuple[float, np.ndarray]:
        last = len(self._gram) - 1
        values, vectors = eigh(self._gram, subset_by_index=[last, last])
        return values[0], vectors[:, 0]

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


def significant_roots(eigenvalues: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return a matrix's singular values, rising, from the eigenvalues of its Gram matrix; only those of directions.

    Round-off of a Gram matrix and its eigenvalues is some eps times the largest one, so that the roots of what it makes
    of zeros, 1e-8 of the largest each, would add up.

    Parameters
    ----------
    eigenvalues : np.ndarray
        Rising, float64.
    shape : tuple of int
        The matrix's.

    Raises
    ------
    DegenerateError
        If the least eigenvalue lies below zero by more than round-off.
    """
    round_off = max(shape) * np.finfo(np.float64).eps * eigenvalues[-1]
    if eigenvalues[0] < -round_off:
        raise DegenerateError(
            f"the least eigenvalue of the Gram matrix, {eigenvalues[0]}, is below zero by more than round-off, "
            f"{round_off} where the largest is {eigenvalues[-1]}"
        )
    return np.sqrt(eigenvalues[eigenvalues > round_off])
