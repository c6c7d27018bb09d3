"""How many coordinates a cloud of vectors locally needs: TwoNN."""

from dataclasses import dataclass

import numpy as np

from lm_geometry.geometry.cloud import Cloud, Neighbors
from lm_geometry.geometry.duplicates import DUPLICATE_TOLERANCE, require_distinct
from lm_geometry.geometry.rows import DegenerateError


@dataclass(frozen=True)
class TwoNN:
    """An estimate of intrinsic dimension.

    Parameters
    ----------
    dimension : float
        The estimate.
    n_rows : int
        Rows given.
    n_distinct : int
        Rows left after equal ones are merged; each gives one ratio.
    n_used : int
        Ratios that the estimate rests on.
    """

    dimension: float
    n_rows: int
    n_distinct: int
    n_used: int


def two_nn(x: np.ndarray, *, fit_fraction: float = 0.9, duplicate_tolerance: float = DUPLICATE_TOLERANCE) -> TwoNN:
    """Estimate intrinsic dimension from the ratios of second to first nearest-neighbour distances, by regression.

    Equal rows are merged first. The estimate depends on the number of rows: compare at equal numbers only.

    Parameters
    ----------
    x : np.ndarray
        Vectors, shape (n, d).
    fit_fraction : float
        Share of the ratios, the smallest, that the line is fitted to; 0.9 is Facco's.
    duplicate_tolerance : float
        See ``distinct_rows``.

    Raises
    ------
    ValueError
        If ``fit_fraction`` is not in (0, 1].
    DegenerateError
        If values are not finite, fewer than 10 rows are distinct, or no ratio differs from 1.

    References
    ----------
    Facco et al., "Estimating the intrinsic dimension of datasets by a minimal neighborhood information",
    Scientific Reports 7 (2017), 12140.
    """
    r1, r2 = _distinct_distances(x, duplicate_tolerance)
    dimension, n_used = regress_dimension(r1, r2, fit_fraction=fit_fraction)
    return TwoNN(dimension=dimension, n_rows=len(x), n_distinct=len(r1), n_used=n_used)


def two_nn_mle(x: np.ndarray, *, duplicate_tolerance: float = DUPLICATE_TOLERANCE) -> TwoNN:
    """Estimate intrinsic dimension as ``two_nn`` does, by maximum likelihood: N / sum(ln(r2 / r1)).

    Parameters
    ----------
    x : np.ndarray
        Vectors, shape (n, d).
    duplicate_tolerance : float
        See ``distinct_rows``.

    Raises
    ------
    DegenerateError
        If values are not finite, fewer than 10 rows are distinct, or no ratio differs from 1.
    """
    r1, r2 = _distinct_distances(x, duplicate_tolerance)
    return TwoNN(dimension=likeliest_dimension(r1, r2), n_rows=len(x), n_distinct=len(r1), n_used=len(r1))


def regress_dimension(r1: np.ndarray, r2: np.ndarray, *, fit_fraction: float) -> tuple[float, int]:
    """Return the slope of -ln(1 - F) over ln(r2 / r1), without intercept, and the number of ratios used.

    The i-th smallest of N ratios has F = i / N; the last, where F = 1, is never used.

    Parameters
    ----------
    r1, r2 : np.ndarray
        Distances to the nearest and second nearest neighbour, shape (n,), positive.
    fit_fraction : float
        Share of the ratios, the smallest, that the line is fitted to.

    Raises
    ------
    ValueError
        If ``fit_fraction`` is not in (0, 1].
    DegenerateError
        If the fraction leaves no ratio, or none that differs from 1.
    """
    if not 0 < fit_fraction <= 1:
        raise ValueError(f"fit_fraction must lie in (0, 1], got {fit_fraction}")
    n = len(r1)
    used = n_fitted(n, fit_fraction)
    x = np.sort(np.log(r2 / r1))[:used]
    y = -np.log1p(-np.arange(1, used + 1) / n)
    _require_spread(x, n)
    return float(x @ y / (x @ x)), used


def fitted_dimension(neighbors: Neighbors, fit_fraction: float) -> float:
    """Return the regressed dimension of a cloud's rows; see ``regress_dimension``."""
    return regress_dimension(neighbors.r1, neighbors.r2, fit_fraction=fit_fraction)[0]


def n_fitted(n: int, fit_fraction: float) -> int:
    """Return how many of ``n`` ratios a line is fitted to."""
    return min(int(n * fit_fraction + 1e-9), n - 1)


def likeliest_dimension(r1: np.ndarray, r2: np.ndarray) -> float:
    """Return N / sum(ln(r2 / r1)), the maximum likelihood estimate; arguments as in ``regress_dimension``.

    Raises
    ------
    DegenerateError
        If no ratio differs from 1.
    """
    x = np.log(r2 / r1)
    _require_spread(x, len(x))
    return float(len(x) / x.sum())


def log_mu_variation(r1: np.ndarray, r2: np.ndarray) -> float:
    """Return the coefficient of variation of ln(r2 / r1); arguments as in ``regress_dimension``.

    The deviation is taken with n - 1. Ratios of one dimension d follow a Pareto law, so that ln(r2 / r1) is exponential
    with mean and deviation 1 / d and the coefficient tends to 1 at any d; a mixture of dimensions has more.

    Raises
    ------
    DegenerateError
        If no ratio differs from 1.
    """
    x = np.log(r2 / r1)
    _require_spread(x, len(x))
    return float(x.std(ddof=1) / x.mean())


def _distinct_distances(x: np.ndarray, duplicate_tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    cloud = Cloud(x, duplicate_tolerance=duplicate_tolerance)
    require_distinct(len(cloud.distinct), cloud.n_rows)
    found = cloud.nearest_two()
    return found.r1, found.r2


def _require_spread(log_ratios: np.ndarray, n: int) -> None:
    if not np.any(log_ratios):
        raise DegenerateError(
            f"none of the {log_ratios.size} ratios fitted, of {n}, differs from 1: "
            "each row is as far from its second nearest neighbour as from its nearest"
        )
