import math

import numpy as np
import pytest

from lm_geometry.geometry.intrinsic_dimension import likeliest_dimension, regress_dimension, two_nn, two_nn_mle
from lm_geometry.geometry.neighbors import nearest_two
from lm_geometry.geometry.rows import DegenerateError

RANDOM = np.random.default_rng(20240503)


def pareto_distances(n, dimension):
    """Distances whose ratios are the i/n quantiles of a Pareto law with exponent ``dimension``; the last is finite."""
    f = np.arange(1, n + 1) / n
    f[-1] = 1 - 1e-9
    r1 = RANDOM.uniform(0.5, 2, n)
    order = RANDOM.permutation(n)
    return r1, r1 * ((1 - f) ** (-1 / dimension))[order]


def in_space(points, width):
    """The same points, rotated into a space of ``width`` coordinates and moved off the origin."""
    rotation = np.linalg.qr(RANDOM.standard_normal((width, width)))[0]
    return points @ rotation[: points.shape[1]] + 3


def swiss_roll(n):
    angle = 1.5 * np.pi * (1 + 2 * RANDOM.random(n))
    return np.stack([angle * np.cos(angle), 21 * RANDOM.random(n), angle * np.sin(angle)], axis=1)


def sphere(n, dimension):
    x = RANDOM.standard_normal((n, dimension + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def restated(r1, r2, fraction):
    """METHODS' formula in plain Python."""
    n = len(r1)
    mu = sorted(b / a for a, b in zip(r1, r2, strict=True))
    k = min(math.floor(n * fraction + 1e-9), n - 1)
    x = [math.log(value) for value in mu[:k]]
    y = [-math.log(1 - i / n) for i in range(1, k + 1)]
    return math.fsum(a * b for a, b in zip(x, y, strict=True)) / math.fsum(a * a for a in x), k


@pytest.mark.parametrize("fraction", [0.2, 0.9, 1.0])
@pytest.mark.parametrize("dimension", [1.0, 5.5, 40.0])
def test_exact_pareto_ratios(dimension, fraction):
    found, used = regress_dimension(*pareto_distances(500, dimension), fit_fraction=fraction)
    assert found == pytest.approx(dimension, rel=1e-9)
    assert used == min(int(500 * fraction), 499)


def test_likelihood_of_a_known_mean():
    r1 = RANDOM.uniform(1, 2, 100)
    assert likeliest_dimension(r1, r1 * np.exp(0.25)) == pytest.approx(4, rel=1e-12)


@pytest.mark.parametrize(("n", "fraction", "used"), [(10, 0.9, 9), (10, 1.0, 9), (100, 0.29, 29), (15, 0.2, 3)])
def test_number_of_ratios_used(n, fraction, used):
    # 100 x 0.29 is 28.999999999999996 in floating point.
    assert two_nn(RANDOM.standard_normal((n, 3)), fit_fraction=fraction).n_used == used


def test_formula_restated():
    x = RANDOM.standard_normal((200, 7))
    r1, r2 = nearest_two(x)
    for fraction in (0.2, 0.5, 0.9):
        dimension, used = restated(r1, r2, fraction)
        found = two_nn(x, fit_fraction=fraction)
        assert found.dimension == pytest.approx(dimension, rel=1e-9)
        assert (found.n_rows, found.n_distinct, found.n_used) == (200, 200, used)
    likeliest = two_nn_mle(x)
    assert likeliest.dimension == pytest.approx(200 / sum(math.log(b / a) for a, b in zip(r1, r2, strict=True)))
    assert likeliest.n_used == 200


# Finite samples read a few per cent low near edges; the standard error of the estimate itself is d / sqrt(N).
@pytest.mark.parametrize(
    ("points", "dimension"),
    [
        (RANDOM.random((3000, 2)), 2),
        (RANDOM.random((3000, 4)), 4),
        (sphere(3000, 2), 2),
        (sphere(3000, 4), 4),
        (swiss_roll(3000), 2),
    ],
    ids=["square", "cube of 4", "sphere", "sphere of 4", "swiss roll"],
)
def test_manifolds(points, dimension):
    x = in_space(points, 20).astype(np.float32)
    assert two_nn(x).dimension == pytest.approx(dimension, rel=0.09)
    assert two_nn_mle(x).dimension == pytest.approx(dimension, rel=0.09)
    assert two_nn(x, fit_fraction=0.2).dimension == pytest.approx(dimension, rel=0.15)


def test_segment():
    """3000 points on a line stand so close that the tolerance for float noise would merge some: it is off here."""
    assert two_nn(RANDOM.random((3000, 1)), duplicate_tolerance=0).dimension == pytest.approx(1, rel=0.09)


def test_invariance():
    x = RANDOM.standard_normal((300, 6))
    truth = two_nn(x).dimension
    rotation = np.linalg.qr(RANDOM.standard_normal((6, 6)))[0]
    for same in (x @ rotation, 1e-3 * x, x + 50, x[::-1]):
        assert two_nn(same).dimension == pytest.approx(truth, rel=1e-8)


@pytest.mark.parametrize("noise", [0, 1e-7])
def test_duplicates_change_nothing(noise):
    x = RANDOM.standard_normal((300, 6))
    copies = x[RANDOM.integers(0, 300, 200)]
    both = np.vstack([x, copies * (1 + noise * RANDOM.standard_normal(copies.shape))])
    found = two_nn(both)
    assert found.dimension == pytest.approx(two_nn(x).dimension, rel=1e-12)
    assert (found.n_rows, found.n_distinct, found.n_used) == (500, 300, 270)


def test_one_pair_of_float_noise_is_merged_only_within_the_tolerance():
    x = RANDOM.standard_normal((300, 6))
    both = np.vstack([x, x[:1] + 1e-7])
    assert two_nn(both).n_distinct == 300
    assert two_nn(both, duplicate_tolerance=1e-9).n_distinct == 301


def test_degenerate_input():
    x = RANDOM.standard_normal((9, 4))
    with pytest.raises(DegenerateError, match="9 distinct rows among 90; at least 10"):
        two_nn(np.tile(x, (10, 1)))
    with pytest.raises(DegenerateError, match="1 distinct rows among 30"):
        two_nn_mle(np.full((30, 4), 0.1))
    with pytest.raises(DegenerateError, match="not finite, the first in row 3"):
        two_nn(np.where(np.arange(30)[:, None] == 3, np.nan, RANDOM.standard_normal((30, 4))))
    grid = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), axis=-1).reshape(-1, 2)
    for measure in (two_nn, two_nn_mle):
        with pytest.raises(DegenerateError, match="of 36, differs from 1"):
            measure(grid)
    with pytest.raises(DegenerateError, match="none of the 0 ratios fitted, of 20"):
        two_nn(RANDOM.standard_normal((20, 4)), fit_fraction=0.01)
    for fraction in (0, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"fit_fraction must lie in \(0, 1\]"):
            two_nn(RANDOM.standard_normal((20, 4)), fit_fraction=fraction)
