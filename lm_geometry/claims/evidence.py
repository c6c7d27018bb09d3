"""Tests that a claim stands or falls with: arrays of paired values in, evidence out.

A claim is put as one or several statements of the form "this mean is above zero" that must all be true. It is supported
if all means are above zero, with the largest of their p values (an intersection-union test, which needs no correction);
else it is contradicted, with the smallest p of a mean below zero, times the number of statements. All p values are
two-sided, so that 0.05 stands for 0.025 in either direction, and agrees with a 95 % interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.special import stdtr, stdtrit  # Student's t; scipy.stats would take a second to import

from lm_geometry.statistics.paired import PairedT, paired_t, sign_flip_p

N_SPLITS = 51


@dataclass(frozen=True)
class Evidence:
    """What a test found about a claim.

    Parameters
    ----------
    estimate, low, high : float or None
        What was estimated and its 95 % interval; None where there is none.
    p : float or None
        Two-sided p against the claim where it is supported, for it where it is contradicted; None where nothing was
        left to chance.
    supports : bool
        Whether the estimate is on the claim's side.
    n : int
        Independent units.
    """

    estimate: float | None
    low: float | None
    high: float | None
    p: float | None
    supports: bool
    n: int


def above_all(differences: np.ndarray) -> Evidence:
    """Test whether every column of paired differences has a mean above zero.

    Each column's p is the larger of the paired t test's and the sign-flip test's, so that both must agree.

    Parameters
    ----------
    differences : np.ndarray
        Shape (units, columns), or (units,) for one: the named one less each of its rivals, query by query.

    Returns
    -------
    Evidence
        The estimate is the least of the mean differences.
    """
    tests, p = _paired_tests(differences)
    least = int(tests.mean.argmin())
    row_p, supports = _conjunction(tests.mean, p)
    return Evidence(*_interval(tests, least), row_p, supports, len(differences))


def ratio_within(numerators: np.ndarray, denominators: np.ndarray, *, margin: float) -> Evidence:
    """Test whether the ratio of two paired means is equivalent to 1 within a relative ``margin``: two one-sided tests.

    The bounds are relative to the other mean, so the tests are those of the combinations a - (1 - margin) b and
    (1 + margin) b - a, by t: what chance does to b is in them. The interval is Fieller's (1954), which lies within the
    margin exactly where both tests say so at the same level.

    Parameters
    ----------
    numerators, denominators : np.ndarray
        Shape (units,), paired; the mean of the denominators is above zero.
    margin : float
        0.2 for 20 %.

    Returns
    -------
    Evidence
        The estimate is the ratio less 1; its interval is None where it has no ends, as b is not clearly above zero.
    """
    tests = paired_t(
        np.column_stack([numerators - (1 - margin) * denominators, (1 + margin) * denominators - numerators])
    )
    # The mean cannot be outside both bounds: a choice between them needs no correction.
    p, supports = _conjunction(tests.mean, tests.p, alternatives=1)
    estimate = numerators.mean() / denominators.mean() - 1
    low, high = _fieller(numerators, denominators)
    return Evidence(float(estimate), low, high, p, supports, len(numerators))


def difference_within(value: float, low: float, high: float, n: int, *, margin: float) -> Evidence:
    """Test whether a mean difference is equivalent to zero within ``margin``: two one-sided t tests.

    Parameters
    ----------
    value, low, high : float
        The mean difference and its 95 % t interval over ``n`` units, in the unit of ``margin``.
    """
    distances = np.array([value + margin, margin - value])
    error = (high - low) / 2 / stdtrit(n - 1, 0.975)
    extreme = np.where(distances == 0, 0.0, np.inf)
    t = np.divide(np.abs(distances), error, out=extreme, where=error > 0)
    p, supports = _conjunction(distances, 2 * stdtr(n - 1, -t), alternatives=1)
    return Evidence(value, low, high, p, supports, n)


def mean_above_zero(values: np.ndarray) -> Evidence:
    """Test by t whether every column of independent values has a mean above zero.

    Parameters
    ----------
    values : np.ndarray
        Shape (units, columns), or (units,) for one.

    Returns
    -------
    Evidence
        The estimate is the least of the means.
    """
    tests = paired_t(values)
    p, supports = _conjunction(tests.mean, tests.p)
    return Evidence(*_interval(tests, int(tests.mean.argmin())), p, supports, len(values))


def held_out_range(values: np.ndarray) -> np.ndarray:
    """Return each unit's largest less least column, with the two columns chosen on all other units.

    Chosen on the same units, the largest and the least would be noise's own, and even equal columns would have a range.
    So the mean is at most the range of the columns' true means, and it is 0 where those are equal.

    Parameters
    ----------
    values : np.ndarray
        Shape (units, columns), of two units or more.

    Returns
    -------
    np.ndarray
        Shape (units,).
    """
    others = values.sum(axis=0) - values
    unit = np.arange(len(values))
    return values[unit, others.argmax(axis=1)] - values[unit, others.argmin(axis=1)]


def held_out_peak(interior: np.ndarray, ends: np.ndarray) -> Evidence:
    """Test by t whether the best of several columns is above both ends: ``interior_peak`` for few units.

    The units at even places choose the best column and those at odd places test it. Eight units have too few halves
    and patterns of signs for the many random splits and the sign-flip tests that queries allow.

    Parameters
    ----------
    interior, ends : np.ndarray
        Shape (units, columns): the columns that may be the peak, and those that it must be above.

    Returns
    -------
    Evidence
        The estimate is the chosen column less the end that it is least above, on the units that test. Against a peak no
        choice is made: one of the ends must be above every interior column, on all units.
    """
    chosen = interior[::2].mean(axis=0).argmax()
    tests = paired_t(interior[1::2, [chosen]] - ends[1::2])
    if interior.mean(axis=0).max() > ends.mean(axis=0).max():
        p, supports = (float(tests.p.max()) if (tests.mean > 0).all() else 1.0), True
    else:
        against = [paired_t(end[:, None] - interior) for end in ends.T]
        p_above = [test.p.max() if (test.mean > 0).all() else 1.0 for test in against]
        p, supports = float(min(1.0, len(p_above) * min(p_above))), False
    units = len(interior[1::2]) if supports else len(interior)
    return Evidence(*_interval(tests, int(tests.mean.argmin())), p, supports, units)


def true_of_most(evidence: Sequence[Evidence | None], *, share: float) -> Evidence:
    """Test whether a claim is true of at least a share of several cases (partial conjunction, Benjamini & Heller 2008).

    That it is true of at least k of n is as sure as n - k + 1 times the k-th smallest p for it; that it is not, as that
    it is false of n - k + 1. The cases may depend on one another, as models on the same text do.

    Parameters
    ----------
    evidence : sequence of Evidence or None
        That of each case; None where there is none, which speaks for neither.
    share : float
        0.8 for 80 %.

    Returns
    -------
    Evidence
        The estimate is the share of the cases whose evidence supports the claim; it has no interval.
    """
    n, needed = len(evidence), ceil(share * len(evidence) - 1e-9)
    found = [one for one in evidence if one is not None]
    supporting = sum(one.supports for one in found)
    supports = supporting >= needed
    least = needed if supports else n - needed + 1
    p = sorted([*(one.p if one.supports == supports else 1.0 for one in found), *[1.0] * (n - len(found))])
    return Evidence(supporting / n, None, None, min(1.0, (n - least + 1) * p[least - 1]), supports, n)


def interior_peak(interior: np.ndarray, ends: np.ndarray, *, n_splits: int = N_SPLITS, seed: int = 0) -> Evidence:
    """Test whether the best of several columns is above all of some others.

    To choose the best column and to test it on the same queries would find a peak in noise. So half of the queries
    choose and the other half test, and that for many random halves, as one split would leave the verdict to its seed.
    Twice the median of the splits' one-sided p values is a valid p (Meinshausen, Meier & Buehlmann 2009). The estimate
    and its interval are the medians of the splits' own, so that the interval is above zero where that p is below 0.05.

    Against a peak no choice is made: one of the ends must be above every interior column, on all queries.

    Parameters
    ----------
    interior : np.ndarray
        Shape (queries, columns): scores of the models that may be the peak.
    ends : np.ndarray
        Shape (queries, columns): scores of those that the peak must be above.
    n_splits, seed : int
        How many splits are drawn, and the seed of the draw.

    Returns
    -------
    Evidence
        The estimate is the chosen column less the end that it is least surely above.
    """
    estimate, low, high, p_peak = _held_out(interior, ends, n_splits, seed)
    supports = bool(interior.mean(axis=0).max() > ends.mean(axis=0).max())
    p = p_peak if supports else min(1.0, ends.shape[1] * min(_p_above_all(end, interior) for end in ends.T))
    return Evidence(estimate, low, high, p, supports, len(interior))


def _held_out(interior: np.ndarray, ends: np.ndarray, n_splits: int, seed: int) -> tuple[float, float, float, float]:
    """Return the medians over the splits of mean, low and high, and the p of a peak."""
    generator = np.random.default_rng(seed)
    n = len(interior)
    orders = np.stack([generator.permutation(n) for _ in range(n_splits)])
    choosing, testing = orders[:, n // 2 :], orders[:, : n // 2]
    chosen = interior[choosing].mean(axis=1).argmax(axis=1)
    tested = interior[testing, chosen[:, None]][:, :, None] - ends[testing]  # (splits, queries, ends)
    tests, p = _paired_tests(tested.transpose(1, 0, 2).reshape(n // 2, -1))
    one_sided = np.where(tests.mean > 0, p / 2, 1 - p / 2).reshape(n_splits, -1)
    hardest = np.arange(n_splits), tests.low.reshape(n_splits, -1).argmin(axis=1)
    medians = (float(np.median(found.reshape(n_splits, -1)[hardest])) for found in (tests.mean, tests.low, tests.high))
    return *medians, float(min(1.0, 2 * np.median(one_sided.max(axis=1))))


def _p_above_all(column: np.ndarray, others: np.ndarray) -> float:
    """Return the p of a column's mean being above those of all others, 1 where it is not."""
    tests, p = _paired_tests(column[:, None] - others)
    return float(p.max()) if (tests.mean > 0).all() else 1.0


def _paired_tests(differences: np.ndarray) -> tuple[PairedT, np.ndarray]:
    tests = paired_t(differences)
    return tests, np.maximum(tests.p, sign_flip_p(differences))


def _conjunction(means: np.ndarray, p: np.ndarray, *, alternatives: int | None = None) -> tuple[float, bool]:
    """Return the p of "all means are above zero" and whether they are.

    ``alternatives`` is the number of ways in which it may fail that the smallest p is chosen from, all by default.
    """
    failing = means <= 0
    if not failing.any():
        return float(p.max()), True
    return float(min(1.0, (alternatives or len(means)) * p[failing].min())), False


def _interval(tests: PairedT, column: int) -> tuple[float, float, float]:
    return float(tests.mean[column]), float(tests.low[column]), float(tests.high[column])


def _fieller(numerators: np.ndarray, denominators: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """Return the ends of the 95 % interval of the ratio of two means, less 1."""
    n = len(numerators)
    a, b = numerators.mean(), denominators.mean()
    # The ratios r for which the t test does not reject a - r b = 0: a quadratic inequality in r.
    (aa, ab), (_, bb) = np.cov(numerators, denominators) * stdtrit(n - 1, 0.975) ** 2 / n
    square, linear, constant = b**2 - bb, a * b - ab, a**2 - aa
    if square <= 0:
        return None, None
    root = np.sqrt(max(0.0, linear**2 - square * constant))
    return float((linear - root) / square - 1), float((linear + root) / square - 1)
