"""Resamples of independent units: how often each unit is drawn, and what is made of that."""

from collections.abc import Iterator

import numpy as np

# Bounds the counts that are held at a time, 8 bytes each.
_BLOCK_ELEMENTS = 2**22

# Sums of the same numbers in another order differ by rounding: means closer than this, relative to the largest, are
# equal.
_EQUAL = 1e-9


def resample_counts(n: int, n_resamples: int, *, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each of ``n`` units is drawn in each resample of size ``n``, with replacement, in blocks.

    A product of such counts with a matrix of values, one column per statistic, gives the sums of all columns over all
    resamples. The counts depend on ``n``, ``n_resamples`` and ``seed`` only.

    Yields
    ------
    np.ndarray
        float64 whole numbers, shape (resamples of the block, n); rows add up to n.
    """
    generator = np.random.default_rng(seed)
    size = max(1, _BLOCK_ELEMENTS // n)
    for start in range(0, n_resamples, size):
        rows = min(size, n_resamples - start)
        drawn = generator.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def share_best(values: np.ndarray, *, n_resamples: int = 10_000, seed: int = 0) -> np.ndarray:
    """Return the share of bootstrap resamples of the units in which each column has the largest mean.

    Columns whose means are equal share a resample between them.

    Parameters
    ----------
    values : np.ndarray
        Shape (units, columns): queries by models. Every resample draws whole rows, so that columns stay paired.
    n_resamples, seed : int
        How many resamples are drawn, and the seed of the draw.

    Returns
    -------
    np.ndarray
        Shape (columns,); adds up to 1.

    Raises
    ------
    ValueError
        With fewer than two units, or where a value is not finite.
    """
    values = checked_columns(values)
    shares = np.zeros(values.shape[1])
    for counts in resample_counts(len(values), n_resamples, seed=seed):
        sums = counts @ values
        margin = _EQUAL * np.abs(sums).max(axis=1, keepdims=True)
        best = sums >= sums.max(axis=1, keepdims=True) - margin
        shares += (best / best.sum(axis=1, keepdims=True)).sum(axis=0)
    return shares / n_resamples


def checked_columns(values: np.ndarray) -> np.ndarray:
    """Return ``values`` as float64 of shape (units, columns); values of shape (units,) become one column.

    Raises
    ------
    ValueError
        With another number of axes, fewer than two units, or a value that is not finite; the message says which.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(f"values of shape (units,) or (units, columns) are needed, got {values.shape}")
    if len(values) < 2:
        raise ValueError(f"an interval or a test needs at least 2 values, got {len(values)}")
    columns = values if values.ndim == 2 else values[:, None]
    if not np.isfinite(columns).all():
        place = np.argwhere(~np.isfinite(columns))[0]
        where, value = ", ".join(map(str, place[: values.ndim])), columns[tuple(place)]
        raise ValueError(f"value [{where}] of {values.shape} is {value}; only finite values have a mean")
    return columns
