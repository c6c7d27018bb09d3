"""Intervals hold what they promise."""

import numpy as np
import pytest
from scipy import stats

from lm_geometry.statistics import t_interval


def test_interval_equals_scipy():
    values = np.array([1.0, 2.0, 4.0, 8.0])
    expected = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx(expected)


@pytest.mark.parametrize("n", [4, 8, 16])
def test_interval_covers_the_mean_of_normal_values(n):
    draws = np.random.default_rng(n).normal(3.0, 2.0, size=(4000, n))
    covered = np.mean([low <= 3.0 <= high for low, high in map(t_interval, draws)])
    assert 0.94 <= covered <= 0.96


def test_single_value_has_no_interval():
    with pytest.raises(ValueError, match="at least 2 values, got 1"):
        t_interval(np.array([1.0]))
