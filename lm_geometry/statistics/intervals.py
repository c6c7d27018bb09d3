"""Intervals of means."""

import numpy as np
from scipy.special import stdtrit  # the quantile of Student's t; scipy.stats would take a second to import

from lm_geometry.statistics.resampling import checked_columns, resample_counts

# A resample has no spread if its variance is less than this share of its mean square about the sample's mean: what is
# left then is rounding.
_NO_SPREAD = 1e-12

# By how much a value may exceed its limits: metrics are sums of rounded fractions.
_ROUNDING = 1e-9


def t_interval(values: np.ndarray, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return Student's t interval of the mean of independent ``values``, shape (n,).

    Raises
    ------
    ValueError
        With fewer than two values: one value has no spread to build an interval on.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size < 2:
        raise ValueError(f"an interval needs at least 2 values, got {values.size}")
    half = stdtrit(values.size - 1, 0.5 + confidence / 2) * values.std(ddof=1) / np.sqrt(values.size)
    return float(values.mean() - half), float(values.mean() + half)


def bootstrap_t_interval(
    values: np.ndarray,
    *,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bootstrap-t interval of the mean of each column (Efron 1982, chapter 10.10; Hall 1988).

    Each resample with mean m* and deviation s* gives t* = (m* - m) / (s* / sqrt(n)), with m of the sample; the interval
    is m - t*_high s / sqrt(n) to m - t*_low s / sqrt(n), with the outer quantiles of t*. Unlike Student's t it follows
    the skewness of the values, and unlike the percentile bootstrap it allows for s being an estimate.

    A resample of no spread whose mean is not the sample's has an infinite t*. It is kept, not left out: where most
    values are 0, as those of retrieval metrics may be, some resamples hold zeros only, and without them the mean would
    seem better known than it is. Where they make up the outer quantile (at 95 %, if 3 or fewer values are not 0), that
    end of the interval is infinite: the sample does not bound the mean, only ``limits`` does.

    Parameters
    ----------
    values : np.ndarray
        Shape (n, columns), or (n,) for one column: one row per independent unit, such as a query. All columns are
        resampled alike.
    confidence : float
        Coverage of the interval.
    n_resamples, seed : int
        How many resamples are drawn, and the seed of the draw.
    limits : pair of float
        The least and the largest value that the mean can have: (0, 1) for a retrieval metric. Ends beyond are cut.

    Returns
    -------
    low, high : np.ndarray
        Shape (columns,), or scalars for values of shape (n,). A column of no spread has no interval: both are its mean.

    Raises
    ------
    ValueError
        With fewer than two rows, where a value is not finite or beyond the limits, or with fewer resamples than the
        confidence needs.
    """
    columns = checked_columns(values)
    _check_limits(columns, limits)
    tail = int((n_resamples + 1) * (1 - confidence) / 2 + 1e-9)  # 1 - 0.9 is less than 0.1
    if tail < 1:
        raise ValueError(f"{n_resamples} resamples have no outer {(1 - confidence) / 2:.2%}; draw more")
    t = _studentized_means(columns, n_resamples, seed)
    t.partition((tail - 1, n_resamples - tail), axis=1)
    mean, spread = columns.mean(axis=0), np.ptp(columns, axis=0) > 0
    error = columns.std(axis=0, ddof=1) / np.sqrt(len(columns))
    low, high = (
        np.clip(mean - np.multiply(t[:, place], error, out=np.zeros_like(mean), where=spread), *limits)
        for place in (n_resamples - tail, tail - 1)
    )
    return (low, high) if np.ndim(values) == 2 else (low[0], high[0])


def _studentized_means(columns: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """Return t* of each column and resample, shape (columns, n_resamples)."""
    n = len(columns)
    centred = (columns - columns.mean(axis=0)).T
    squares = centred**2
    t = np.empty((len(centred), n_resamples))
    start = 0
    for counts in resample_counts(n, n_resamples, seed=seed):
        shift, mean_square = centred @ counts.T / n, squares @ counts.T / n
        variance = mean_square - shift**2
        spread = variance > _NO_SPREAD * mean_square
        infinite = np.where(shift == 0, 0.0, np.copysign(np.inf, shift))
        error = np.sqrt(np.where(spread, variance, 1.0) / (n - 1))
        t[:, start : start + len(counts)] = np.where(spread, shift / error, infinite)
        start += len(counts)
    return t


def _check_limits(columns: np.ndarray, limits: tuple[float, float]) -> None:
    low, high = columns.min(), columns.max()
    if low < limits[0] - _ROUNDING or high > limits[1] + _ROUNDING:
        raise ValueError(f"values from {low} to {high} lie beyond the limits {limits[0]} to {limits[1]}")
