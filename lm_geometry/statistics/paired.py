"""Tests of paired differences, and the correction of many p values."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from lm_geometry.statistics.resampling import checked_columns

# Sign patterns that are held at a time.
_BLOCK_FLIPS = 256

# Sums of the same numbers in another order differ by rounding: sums that differ by less than this share of the sum of
# magnitudes are equal.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class PairedT:
    """Student's paired t test of each column of differences; arrays of shape (columns,).

    Parameters
    ----------
    mean, low, high : np.ndarray
        Mean difference and the ends of its interval, in the unit of the differences.
    p : np.ndarray
        Two-sided p of a mean of zero.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray


def paired_t(differences: np.ndarray, *, confidence: float = 0.95) -> PairedT:
    """Test whether paired differences have a mean of zero, by Student's t with n - 1 degrees of freedom.

    Parameters
    ----------
    differences : np.ndarray
        Shape (n, columns), or (n,) for one column: one row per independent unit, such as a query.
    confidence : float
        Coverage of the interval.

    Returns
    -------
    PairedT
        Where all differences of a column are equal the interval is that value; p is 1 where it is zero, else 0.

    Raises
    ------
    ValueError
        With fewer than two rows, or where a difference is not finite.
    """
    differences = checked_columns(differences)
    n = len(differences)
    mean = differences.mean(axis=0)
    error = np.where(np.ptp(differences, axis=0) > 0, differences.std(axis=0, ddof=1), 0.0) / np.sqrt(n)
    half = stdtrit(n - 1, 0.5 + confidence / 2) * error
    extreme = np.where(mean == 0, 0.0, -np.inf)
    t = np.divide(-np.abs(mean), error, out=extreme, where=error > 0)
    return PairedT(mean, mean - half, mean + half, 2 * stdtr(n - 1, t))


def sign_flip_p(differences: np.ndarray, *, n_flips: int = 10_000, seed: int = 0) -> np.ndarray:
    """Return the two-sided p of the sign-flip permutation test of each column's mean (Fisher 1935, section 21).

    If the two sides of a pair are exchangeable, every difference might as well have the other sign: p is the share of
    random sign patterns whose mean is at least as far from zero as the observed one, which counts as one of them:
    (1 + count) / (1 + n_flips) (Phipson & Smyth 2010).

    Parameters
    ----------
    differences : np.ndarray
        Shape (n, columns), or (n,) for one column: one row per independent unit, such as a query.
    n_flips, seed : int
        How many random sign patterns are drawn, the same for all columns, and the seed of the draw.

    Returns
    -------
    np.ndarray
        Shape (columns,). 1 where all differences are zero.

    Raises
    ------
    ValueError
        With fewer than two rows, or where a difference is not finite.
    """
    differences = checked_columns(differences)
    margin = _ROUNDING * np.abs(differences).sum(axis=0)
    return _share_as_extreme(lambda signs: differences.T @ signs, len(differences), margin, n_flips, seed)


def pairwise_sign_flip_p(
    values: np.ndarray, first: np.ndarray, second: np.ndarray, *, n_flips: int = 10_000, seed: int = 0
) -> np.ndarray:
    """Return ``sign_flip_p(values[:, first] - values[:, second])`` by a product of the columns instead of all pairs.

    Parameters
    ----------
    values : np.ndarray
        Shape (n, columns).
    first, second : np.ndarray
        The columns of each pair, shape (pairs,).
    n_flips, seed : int
        As in ``sign_flip_p``.

    Returns
    -------
    np.ndarray
        Shape (pairs,).
    """
    values = checked_columns(values)
    size = np.abs(values).sum(axis=0)

    def flipped_sums(signs: np.ndarray) -> np.ndarray:
        sums = values.T @ signs
        return sums[first] - sums[second]

    margin = _ROUNDING * (size[first] + size[second])
    return _share_as_extreme(flipped_sums, len(values), margin, n_flips, seed)


def _share_as_extreme(
    flipped_sums: Callable[[np.ndarray], np.ndarray], n: int, margin: np.ndarray, n_flips: int, seed: int
) -> np.ndarray:
    """Return the share of sign patterns, shape (n, patterns), whose sums are at least as far from 0 as unflipped."""
    threshold = np.abs(flipped_sums(np.ones((n, 1)))) - margin[:, None]
    generator = np.random.default_rng(seed)
    count = np.zeros(len(threshold), dtype=np.int64)
    for start in range(0, n_flips, _BLOCK_FLIPS):
        positive = generator.integers(0, 2, size=(min(_BLOCK_FLIPS, n_flips - start), n), dtype=np.int8)
        sums = flipped_sums(2.0 * positive.T - 1.0)
        count += np.count_nonzero(np.abs(sums, out=sums) >= threshold, axis=1)
    return (1 + count) / (1 + n_flips)


def holm(p: np.ndarray) -> np.ndarray:
    """Return the p values of one family after Holm's step-down correction (Holm 1979).

    The i-th smallest of m is multiplied by m - i + 1; none is smaller than one before it, and none exceeds 1.

    Parameters
    ----------
    p : np.ndarray
        Shape (m,).

    Raises
    ------
    ValueError
        If a value lies outside 0 to 1, or is not a number.
    """
    p = np.asarray(p, dtype=np.float64)
    if p.ndim != 1:
        raise ValueError(f"p values of shape (m,) are needed, got {p.shape}")
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        raise ValueError(f"p value [{outside.argmax()}] of {p.size} is {p[outside.argmax()]}, which is not in 0 to 1")
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return corrected
