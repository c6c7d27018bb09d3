"""TwoNN as the study's group computes it, restated from its formula: alike on distinct rows, not on repeated ones.

The group's public code fits the lowest 20 % of the ratios by a line through the origin, with F_i = i / N. A row whose
nearest neighbour lies at distance 0 has no ratio and is dropped, but N still counts it, and it stays a neighbour of
others. Here equal rows are merged before anything is counted.
"""

import warnings

import numpy as np
import pytest

from lm_geometry.geometry.intrinsic_dimension import two_nn

FIT_FRACTION = 0.2


def group_exact(x):
    """Return the group's estimate: all distances, no row merged, dropped rows counted in F."""
    distances = np.sort(np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2)), axis=1)
    r1, r2 = distances[:, 1], distances[:, 2]
    mu = np.sort(r2[r1 > 0] / r1[r1 > 0])
    f = np.arange(1, mu.size + 1) / len(x)
    lowest = int(FIT_FRACTION * mu.size + 1e-9)
    log_mu, y = np.log(mu[:lowest]), -np.log(1 - f[:lowest])
    slope, *_ = np.linalg.lstsq(log_mu[:, None], y, rcond=None)
    return slope[0]


def cloud(n, width, rank, seed=0):
    random = np.random.default_rng([seed, n, width])
    return random.standard_normal((n, rank)) @ random.standard_normal((rank, width))


@pytest.mark.parametrize(("n", "width", "rank"), [(500, 3, 3), (333, 20, 5), (400, 100, 10), (300, 150, 150)])
def test_equals_the_group_s_on_distinct_rows(n, width, rank):
    x = cloud(n, width, rank)
    assert two_nn(x, fit_fraction=FIT_FRACTION).dimension == pytest.approx(group_exact(x), rel=1e-9)


def test_repeated_rows_change_the_group_s_estimate_and_not_ours():
    x = cloud(600, 20, 8)
    repeated = np.concatenate([x, x[:150]])
    alone = two_nn(x, fit_fraction=FIT_FRACTION)
    merged = two_nn(repeated, fit_fraction=FIT_FRACTION)
    assert (merged.dimension, merged.n_distinct, merged.n_rows) == (pytest.approx(alone.dimension, rel=1e-9), 600, 750)
    # A row beside a repeated one has two neighbours at one distance: mu = 1, which no dimension makes likely.
    # Those dropped, 300 of 750, are counted in F, which lowers every y by about as much.
    assert group_exact(repeated) < 0.8 * alone.dimension


def test_equals_the_group_s_where_rows_are_repeated_beside_nothing_else():
    """Pairs of equal rows far from all others leave only the count in F: y = -ln(1 - i / (N + dropped))."""
    x = cloud(600, 20, 8)
    far = 1e6 * (1 + np.arange(50))[:, None] * np.eye(20)[0]
    with_pairs = np.concatenate([x, far, far])
    log_mu, i = _lowest_log_ratios(x), np.arange(1, 121)
    assert group_exact(with_pairs) == pytest.approx(_slope(log_mu, -np.log(1 - i / 700)), rel=1e-9)
    assert two_nn(x, fit_fraction=FIT_FRACTION).dimension == pytest.approx(
        _slope(log_mu, -np.log(1 - i / 600)), rel=1e-9
    )


def test_scikit_dimension_counts_f_alike():
    """F_i = i / N in 0.5; older ones had (i - 1) / N, which is 2 % less here."""
    filters = list(warnings.filters)
    identify = pytest.importorskip("skdim.id")
    warnings.filters[:] = filters
    x = cloud(100, 5, 5)
    peer = identify.TwoNN(discard_fraction=0.8 - 1e-9).fit(x)
    assert peer.y_.ravel() == pytest.approx(-np.log(1 - np.arange(1, 21) / 100), rel=1e-12)
    assert peer.x_.ravel() == pytest.approx(_lowest_log_ratios(x), rel=1e-9)
    assert peer.dimension_ == pytest.approx(group_exact(x), rel=1e-9)


def _lowest_log_ratios(x):
    distances = np.sort(np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2)), axis=1)
    return np.sort(np.log(distances[:, 2] / distances[:, 1]))[: int(FIT_FRACTION * len(x) + 1e-9)]


def _slope(log_mu, y):
    return log_mu @ y / (log_mu @ log_mu)
