"""Intervals, paired tests and resampling against scipy, exact enumeration, plain loops and published examples."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from lm_geometry.statistics import resampling
from lm_geometry.statistics.intervals import bootstrap_t_interval, t_interval
from lm_geometry.statistics.paired import holm, paired_t, pairwise_sign_flip_p, sign_flip_p
from lm_geometry.statistics.resampling import resample_counts, share_best


def skewed(*shape, seed=0):
    """Values of which half are zero, as those of retrieval metrics."""
    generator = np.random.default_rng(seed)
    return generator.beta(1, 4, shape) * (generator.random(shape) < 0.5)


def resamples(n, n_resamples, *, seed=0):
    """The places drawn by each resample."""
    for counts in resample_counts(n, n_resamples, seed=seed):
        yield from (np.repeat(np.arange(n), row.astype(int)) for row in counts)


# -- Student's t -------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_paired_t_is_that_of_scipy(confidence):
    a, b = skewed(30, 5, seed=1), skewed(30, 5, seed=2)
    ours, theirs = paired_t(a - b, confidence=confidence), stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(confidence)
    for found, expected in (
        (ours.p, theirs.pvalue),
        (ours.low, interval.low),
        (ours.high, interval.high),
        (ours.mean, (a - b).mean(axis=0)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_paired_t_of_differences_without_spread():
    found = paired_t(np.tile([0.0, 0.1, -0.1], (7, 1)))
    np.testing.assert_array_equal(found.p, [1, 0, 0])
    np.testing.assert_allclose([found.low, found.mean, found.high], [[0, 0.1, -0.1]] * 3)
    assert (found.low == found.high).all()  # 0.1 has no exact mean: its deviation is rounding, not spread


# -- bootstrap-t -------------------------------------------------------------------------------------------------------


def plain_bootstrap_t(values, n_resamples, tail):
    """The definition, resample by resample; ``tail`` counts the t values from the outside."""
    n, mean, t = len(values), values.mean(), []
    for places in resamples(n, n_resamples):
        drawn = values[places]
        if np.ptp(drawn) > 0:
            t.append((drawn.mean() - mean) / (drawn.std(ddof=1) / math.sqrt(n)))
        else:
            t.append(math.copysign(math.inf, drawn[0] - mean) if drawn[0] != mean else 0.0)
    t.sort()
    error = values.std(ddof=1) / math.sqrt(n)
    return mean - t[-tail] * error, mean - t[tail - 1] * error


@pytest.mark.parametrize(("confidence", "n_resamples", "tail"), [(0.95, 2000, 50), (0.95, 1999, 50), (0.9, 99, 5)])
def test_bootstrap_t_is_its_definition(confidence, n_resamples, tail):
    values = skewed(25, 4, seed=3)
    low, high = bootstrap_t_interval(values, confidence=confidence, n_resamples=n_resamples)
    for column in range(4):
        expected = plain_bootstrap_t(values[:, column], n_resamples, tail)
        assert (low[column], high[column]) == pytest.approx(expected, rel=1e-9)


def test_bootstrap_t_of_few_values_is_its_definition():
    """Of three values 1 in 27 resamples holds the largest only, and as many the middle one, which is the mean."""
    values = np.array([0.0, 1.0, 2.0])
    found = bootstrap_t_interval(values, confidence=0.89)
    assert found == pytest.approx(plain_bootstrap_t(values, 2000, 110))
    assert np.isfinite(found).all()


def test_bootstrap_t_of_normal_values_is_students_t():
    values = np.random.default_rng(1).normal(size=400)
    np.testing.assert_allclose(bootstrap_t_interval(values, n_resamples=20_000), t_interval(values), atol=0.004)


def test_bootstrap_t_moves_and_stretches_with_the_values():
    values = skewed(40, 3, seed=4)
    low, high = bootstrap_t_interval(values)
    moved_low, moved_high = bootstrap_t_interval(5 - 2 * values)
    np.testing.assert_allclose([moved_low, moved_high], [5 - 2 * high, 5 - 2 * low], rtol=1e-9)


def test_bootstrap_t_of_one_column_is_a_pair_of_numbers():
    values = skewed(30, 2, seed=6)
    low, high = bootstrap_t_interval(values)
    single = bootstrap_t_interval(values[:, 1])
    assert [np.ndim(end) for end in single] == [0, 0]
    assert single == pytest.approx((low[1], high[1]))


def test_the_seed_decides_the_draw():
    values = skewed(60, seed=7)
    first = bootstrap_t_interval(values, seed=3)
    assert bootstrap_t_interval(values, seed=3) == first
    assert bootstrap_t_interval(values, seed=4) != first
    np.testing.assert_allclose(bootstrap_t_interval(values, seed=4), first, atol=0.01)


@pytest.mark.parametrize("n", [52, 1000])
def test_few_scores_above_zero_do_not_bound_the_mean(n):
    """A share of exp(-k) of the resamples holds zeros only: over the outer 2.5 % for k of 3 and under it for 4."""
    values = np.zeros((n, 4))
    for k in range(1, 5):
        values[:k, k - 1] = np.linspace(0.1, 0.3, k)
    low, high = bootstrap_t_interval(values)
    assert np.isinf(high).tolist() == [True, True, True, False]
    assert np.isfinite(low).all()
    limited_low, limited_high = bootstrap_t_interval(values, limits=(0, 1))
    np.testing.assert_array_equal(limited_high, np.minimum(high, 1))
    np.testing.assert_array_equal(limited_low, np.maximum(low, 0))


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_values_without_spread_have_their_mean_as_interval(value):
    low, high = bootstrap_t_interval(np.column_stack([np.full(11, value), skewed(11, seed=8)]))
    assert (low[0], high[0]) == pytest.approx((value, value), rel=1e-12)
    assert low[1] < high[1]


def test_values_beyond_the_limits_are_refused():
    with pytest.raises(ValueError, match=r"values from 0\.0 to 35\.0 lie beyond the limits 0 to 1"):
        bootstrap_t_interval(np.array([0.0, 35.0]), limits=(0, 1))
    with pytest.raises(ValueError, match=r"-0\.5 to 1\.0 lie beyond"):
        bootstrap_t_interval(np.array([-0.5, 1.0]), limits=(0, 1))
    bootstrap_t_interval(np.array([0.0, 1.0 + 1e-15]), limits=(0, 1))


def test_too_few_resamples_are_refused():
    with pytest.raises(ValueError, match=r"38 resamples have no outer 2\.50%"):
        bootstrap_t_interval(skewed(9), n_resamples=38)
    bootstrap_t_interval(skewed(9), n_resamples=39)


# -- sign flips --------------------------------------------------------------------------------------------------------


def exact_sign_flip_p(differences):
    """The share of all 2^n sign patterns as extreme as the observed one; ``differences`` are whole numbers."""
    sums = [sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in product((-1, 1), repeat=10)]
    return np.mean([abs(one) >= abs(sum(differences)) for one in sums])


TENTHS = [[3, -1, 4, 1, 5, -9, 2, 6, 5, 3], [1, 1, 1, 1, 1, 1, 1, 1, -1, 1], [0, 0, 0, 0, 0, 0, 0, 2, 1, 3]]


@pytest.mark.parametrize("tenths", TENTHS)
def test_sign_flips_are_those_of_exact_enumeration(tenths):
    """Sums of tenths are equal but for rounding, so that ties must be taken as such."""
    exact, n_flips = exact_sign_flip_p(tenths), 100_000
    differences = np.array(tenths) / 10
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert theirs.pvalue == pytest.approx(exact)
    error = math.sqrt(exact * (1 - exact) / n_flips)
    for scale in (1, 1e-9, 1e9):
        assert sign_flip_p(scale * differences, n_flips=n_flips)[0] == pytest.approx(exact, abs=4 * error)


def test_the_observed_signs_count_as_one_pattern():
    assert sign_flip_p(np.ones(60), n_flips=999)[0] == 1 / 1000


def test_no_difference_has_a_p_of_1():
    np.testing.assert_array_equal(sign_flip_p(np.zeros((12, 2))), [1, 1])


def test_the_seed_decides_the_flips():
    differences = skewed(40, seed=14) - skewed(40, seed=15)
    first = sign_flip_p(differences, seed=3)
    assert sign_flip_p(differences, seed=3) == first
    assert sign_flip_p(differences, seed=4) != first


def test_columns_are_tested_as_if_alone():
    differences = skewed(40, 6, seed=9) - skewed(40, 6, seed=10)
    together = sign_flip_p(differences)
    alone = [sign_flip_p(column)[0] for column in differences.T]
    np.testing.assert_array_equal(together, alone)


def test_pairs_are_tested_as_their_differences():
    values = skewed(50, 5, seed=11)
    values[:, 3] = values[:, 1]
    first, second = np.triu_indices(5, 1)
    found = pairwise_sign_flip_p(values, first, second, seed=5)
    np.testing.assert_array_equal(found, sign_flip_p(values[:, first] - values[:, second], seed=5))
    assert found[(first == 1) & (second == 3)] == 1


@pytest.mark.parametrize("n", [7, 1000])
def test_equal_columns_have_a_p_of_1_whatever_their_rounding(n):
    """Columns at different places of a product may be summed in different orders."""
    values = np.tile(np.random.default_rng(2).random((n, 1)), (1, 13))
    first, second = np.triu_indices(13, 1)
    np.testing.assert_array_equal(pairwise_sign_flip_p(values, first, second, n_flips=999), 1.0)


# -- Holm --------------------------------------------------------------------------------------------------------------

BENJAMINI_HOCHBERG = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0,
]  # fmt: skip


def test_holm_on_a_published_example():
    """The 15 p values of Benjamini and Hochberg (1995, section 4.1): at 5 % a step-down test rejects three."""
    corrected = holm(np.array(BENJAMINI_HOCHBERG))
    np.testing.assert_allclose(corrected[:5], [0.0015, 0.0056, 0.0247, 0.1140, 0.2211])
    assert (corrected <= 0.05).sum() == 3
    assert corrected[-1] == 1


def test_holm_keeps_order_and_monotony():
    """0.03 is the third smallest of four, and its 2 x 0.03 is more than 1 x 0.04."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_holm_of_one_and_of_none():
    assert holm(np.array([0.2])).tolist() == [0.2]
    assert holm(np.array([])).tolist() == []


NO_P = [([0.1, 1.5], r"\[1\] of 2 is 1\.5"), ([np.nan], "is nan"), ([-0.1], "is -0.1")]


@pytest.mark.parametrize(("p", "said"), NO_P)
def test_holm_refuses_what_is_no_p(p, said):
    with pytest.raises(ValueError, match=said):
        holm(np.array(p))


def test_holm_refuses_a_matrix():
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        holm(np.zeros((2, 2)))


# -- resamples ---------------------------------------------------------------------------------------------------------


def test_counts_are_those_of_draws_with_replacement():
    counts = np.concatenate(list(resample_counts(6, 40_000, seed=1)))
    assert counts.shape == (40_000, 6)
    assert (counts.sum(axis=1) == 6).all()
    shares = [np.mean(counts == k) for k in range(4)]
    np.testing.assert_allclose(shares, stats.binom.pmf(range(4), 6, 1 / 6), atol=0.005)
    assert np.corrcoef(counts.T)[0, 1:] == pytest.approx(-1 / 5, abs=0.02)


def test_counts_come_in_blocks(monkeypatch):
    monkeypatch.setattr(resampling, "_BLOCK_ELEMENTS", 70)
    assert [len(counts) for counts in resample_counts(10, 16, seed=0)] == [7, 7, 2]
    assert share_best(skewed(10, 3), n_resamples=16).sum() == pytest.approx(1)
    low, high = bootstrap_t_interval(skewed(10, 3), n_resamples=50)
    assert (low < high).all()


def test_share_best_is_that_of_plain_resampling():
    values = skewed(30, 4, seed=12)
    best = [values[places].mean(axis=0).argmax() for places in resamples(30, 500)]
    np.testing.assert_allclose(share_best(values, n_resamples=500), np.bincount(best, minlength=4) / 500)


def test_share_best_of_two_is_the_p_of_their_difference():
    """The resampled mean difference is about normal around the observed one."""
    values = np.random.default_rng(4).normal([[0.1, 0.0]], 1, size=(400, 2))
    difference = values[:, 0] - values[:, 1]
    expected = stats.norm.cdf(difference.mean() / stats.sem(difference))
    assert share_best(values)[0] == pytest.approx(expected, abs=0.02)


def test_equals_share_the_best_place():
    best = 0.5 + skewed(50, seed=13)
    values = np.column_stack([best, best, np.zeros(50), best[:, None]])
    np.testing.assert_allclose(share_best(values), [1 / 3, 1 / 3, 0, 1 / 3])
    np.testing.assert_allclose(share_best(np.zeros((5, 4))), [1 / 4] * 4)
    assert share_best(skewed(9, 1)).tolist() == [1]


def test_equals_share_the_best_place_whatever_their_rounding():
    assert 0.1 + 0.2 > 0.3
    np.testing.assert_allclose(share_best(np.tile([0.1 + 0.2, 0.3], (5, 1))), [1 / 2] * 2)


# -- what all of them refuse -------------------------------------------------------------------------------------------

EACH = pytest.mark.parametrize("function", [bootstrap_t_interval, paired_t, sign_flip_p, share_best])


@EACH
def test_one_unit_is_refused(function):
    with pytest.raises(ValueError, match="at least 2 values, got 1"):
        function(np.ones((1, 3)))


@EACH
def test_values_that_are_not_finite_are_named(function):
    values = np.ones((4, 3))
    values[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"value \[2, 1\] of \(4, 3\) is nan"):
        function(values)
    with pytest.raises(ValueError, match=r"value \[3\] of \(4,\) is -inf"):
        function(np.array([1, 2, 3, -np.inf]))


@EACH
def test_other_shapes_are_refused(function):
    with pytest.raises(ValueError, match=r"got \(2, 2, 2\)"):
        function(np.ones((2, 2, 2)))
