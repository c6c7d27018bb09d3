"""Intervals and paired tests; arrays in, numbers out."""

import numpy as np
from scipy.special import stdtrit  # the quantile of Student's t; scipy.stats would take a second to import


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
