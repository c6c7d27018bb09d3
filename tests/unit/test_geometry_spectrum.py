import numpy as np
import pytest
from scipy.stats import entropy

from lm_geometry.geometry.nulls import frequency_null, marchenko_pastur_edge
from lm_geometry.geometry.rows import DegenerateError
from lm_geometry.geometry.spectrum import (
    Spectrum,
    anisotropy,
    effective_rank,
    participation_ratio,
)

RANDOM = np.random.default_rng(20240501)


def orthonormal(n, k):
    return np.linalg.qr(RANDOM.standard_normal((n, k)))[0]


def with_singular_values(n, values, d):
    """A matrix with these singular values whose rows have mean zero."""
    left = np.linalg.qr(np.c_[np.ones(n), RANDOM.standard_normal((n, len(values)))])[0][:, 1:]
    return left * np.asarray(values) @ orthonormal(d, len(values)).T


def share_by_svd(x, center):
    """The leading share and its complement, each summed without cancellation."""
    x = np.asarray(x, dtype=np.float64)
    squares = np.linalg.svd(x - x.mean(axis=0) if center else x, compute_uv=False) ** 2
    return squares[0] / squares.sum(), squares[1:].sum() / squares.sum()


def rank_by_entropy(singular):
    """Roy and Vetterli's definition, with 0 ln 0 = 0."""
    return np.exp(entropy(singular))  # scipy's brings them to a sum of 1


def clouds():
    gaussian = RANDOM.standard_normal((300, 40))
    massive = gaussian.copy()
    massive[::50, 3] += 1e4
    massive_everywhere = gaussian.copy()
    massive_everywhere[:, 3] *= 1e4
    return {
        "gaussian": gaussian,
        "float32": gaussian.astype(np.float32),
        "wider than long": RANDOM.standard_normal((40, 300)),
        "far from the origin": (gaussian + 1e3).astype(np.float32),
        "massive activation in a few rows": massive.astype(np.float32),
        "massive activation in a float32 column": massive_everywhere.astype(np.float32),
        "low rank": RANDOM.standard_normal((300, 3)) @ RANDOM.standard_normal((3, 40)),
        "nearly one direction": with_singular_values(200, [1e4, 1, 0.5], 30),
        "two equal directions": with_singular_values(200, [2, 2, 1e-3], 30),
    }


@pytest.mark.parametrize("shape", [(200, 30), (30, 200)])
def test_known_singular_values(shape):
    values = [5.0, 3.0, 1.0, 0.5]
    x = with_singular_values(shape[0], values, shape[1])
    squares = np.square(values)
    assert anisotropy(x) == pytest.approx(squares[0] / squares.sum(), rel=1e-12)
    assert participation_ratio(x) == pytest.approx(squares.sum() ** 2 / (squares**2).sum(), rel=1e-12)
    assert effective_rank(x) == pytest.approx(rank_by_entropy(values), rel=1e-12)


@pytest.mark.parametrize("shape", [(200, 30), (30, 200), (60, 60)])
@pytest.mark.parametrize("rank", [1, 2, 7, 25])
def test_effective_rank_of_equal_singular_values_is_their_number(shape, rank):
    """And that of one direction is 1: round-off in the other ones counts as none."""
    x = with_singular_values(shape[0], [3.0] * rank, shape[1])
    assert effective_rank(x) == pytest.approx(rank, rel=1e-12)
    assert effective_rank(x.astype(np.float32)) == pytest.approx(rank, rel=1e-5)


@pytest.mark.parametrize("name", clouds())
def test_effective_rank_against_float64_svd(name):
    x = clouds()[name]
    wide = x.astype(np.float64)
    truth = rank_by_entropy(np.linalg.svd(wide - wide.mean(axis=0), compute_uv=False))
    assert effective_rank(x) == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize("ratio", [1e-5, 1e-4, 1e-3])
def test_effective_rank_counts_small_singular_values(ratio):
    """A hundred of them hold most of the entropy; what counts as none lies lower."""
    values = [1.0, *[ratio] * 100]
    for shape in ((400, 150), (150, 400)):
        assert effective_rank(with_singular_values(shape[0], values, shape[1])) == pytest.approx(
            rank_by_entropy(values), rel=1e-6
        )


def test_an_eigenvalue_below_zero_by_more_than_round_off_is_an_error():
    spectrum = Spectrum(RANDOM.standard_normal((30, 4)), whole=True)
    spectrum._gram = np.diag([-1e-13, 1.0, 2.0, 4.0])
    with pytest.raises(DegenerateError, match=r"-1e-13, is below zero by more than round-off, .* is 4\.0"):
        _ = spectrum.effective_rank
    spectrum = Spectrum(RANDOM.standard_normal((30, 4)), whole=True)
    spectrum._gram = np.diag([-5e-15, 1.0, 1.0, 1.0])
    assert spectrum.effective_rank == pytest.approx(3, rel=1e-12)


def test_the_whole_spectrum_changes_no_other_measure():
    for x in clouds().values():
        plain, whole = Spectrum(x), Spectrum(x, whole=True)
        assert whole.leading_share == pytest.approx(plain.leading_share, rel=1e-12)
        assert whole.participation_ratio == pytest.approx(plain.participation_ratio, rel=1e-12)


def test_uncentred_sees_the_mean_and_centred_does_not():
    x = with_singular_values(50, [2.0, 1.0], 8) + np.eye(8)[0] * 100
    assert anisotropy(x) == pytest.approx(4 / 5, rel=1e-9)
    assert anisotropy(x, center=False) > 0.999


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("name", clouds())
def test_accuracy_against_float64_svd(name, center):
    x = clouds()[name]
    share, rest = share_by_svd(x, center)
    found = anisotropy(x, center=center)
    assert found == pytest.approx(share, rel=1e-6, abs=0)
    assert 1 - found == pytest.approx(rest, rel=1e-6, abs=0)


@pytest.mark.parametrize("shape", [(600, 150), (150, 600)])
def test_complement_survives_where_a_plain_ratio_has_cancelled(shape):
    """1 - a of 2e-10: lambda_1 / sum(lambda) is then off by up to 8e-16, and the nearest float by 6e-17."""
    for _ in range(8):
        x = orthonormal(shape[0], 10) * np.r_[1, np.full(9, np.sqrt(2e-10 / 9))] @ orthonormal(shape[1], 10).T
        assert 1 - anisotropy(x, center=False) == pytest.approx(share_by_svd(x, center=False)[1], rel=1e-6, abs=0)


def test_mean_is_taken_in_float64():
    x = (RANDOM.standard_normal((4096, 8)) + 1e5).astype(np.float32)
    assert anisotropy(x) == pytest.approx(share_by_svd(x, center=True)[0], rel=1e-6)


@pytest.mark.parametrize("measure", [anisotropy, participation_ratio, effective_rank])
def test_invariance(measure):
    x = RANDOM.standard_normal((100, 12)) * np.arange(1, 13)
    truth = measure(x)
    assert measure(x @ orthonormal(12, 12)) == pytest.approx(truth, rel=1e-10)
    assert measure(1e-3 * x) == pytest.approx(truth, rel=1e-10)
    assert measure(x + 50) == pytest.approx(truth, rel=1e-10)
    assert measure(x[::-1]) == pytest.approx(truth, rel=1e-10)


@pytest.mark.parametrize(("n", "d"), [(4096, 256), (2000, 500), (400, 800)])
def test_isotropic_noise_reads_the_marchenko_pastur_edge(n, d):
    # The largest eigenvalue approaches the edge from below at rate N^(-2/3): a few per cent at these sizes.
    assert anisotropy(RANDOM.standard_normal((n, d))) == pytest.approx(marchenko_pastur_edge(n, d), rel=0.04)


def test_marchenko_pastur_edge_of_the_published_size():
    assert marchenko_pastur_edge(4096, 768) == pytest.approx(0.0027, abs=5e-5)
    with pytest.raises(ValueError, match="positive"):
        marchenko_pastur_edge(0, 768)


def test_isotropic_participation_ratio():
    # E[tr S^2] / (tr S)^2 of a Wishart matrix: (sum lambda)^2 / sum lambda^2 -> D / (1 + D / N).
    assert participation_ratio(RANDOM.standard_normal((2000, 200))) == pytest.approx(200 / 1.1, rel=0.01)


def test_planted_sink_token_in_closed_form():
    """Rows +-e_i, and rows at M e_0: the covariance is diagonal and every entry is known."""
    width, n_sinks, massive = 20, 4, 30.0
    ordinary = np.vstack([np.eye(width)[1:], -np.eye(width)[1:]])
    x = np.vstack([np.tile(massive * np.eye(width)[0], (n_sinks, 1)), ordinary])
    sink_energy = n_sinks * (1 - n_sinks / len(x)) * massive**2
    assert anisotropy(x) == pytest.approx(sink_energy / (sink_energy + len(ordinary)), rel=1e-12)
    assert anisotropy(x, center=False) == pytest.approx(
        n_sinks * massive**2 / (n_sinks * massive**2 + len(ordinary)), rel=1e-12
    )
    assert anisotropy(x[n_sinks:]) == pytest.approx(1 / (width - 1), rel=1e-12)


@pytest.mark.parametrize("measure", [anisotropy, participation_ratio, effective_rank])
def test_degenerate_input(measure):
    with pytest.raises(DegenerateError, match="all 30 rows are equal"):
        measure(np.full((30, 4), 0.1))
    x = RANDOM.standard_normal((30, 4))
    x[7, 1] = np.nan
    x[9, 1] = np.inf
    with pytest.raises(DegenerateError, match="2 values in 2 of 30 rows are not finite, the first in row 7"):
        measure(x)
    with pytest.raises(DegenerateError, match="out of range"):
        measure(RANDOM.standard_normal((30, 4)) * 1e200)
    with pytest.raises(DegenerateError, match=r"shape \(0, 4\)"):
        measure(np.empty((0, 4)))
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        measure(np.ones(4))


def test_frequency_null_of_equal_counts_is_isotropic_noise_with_repeated_rows():
    n_types, width = 400, 200
    found = frequency_null(np.repeat(np.arange(n_types), 3), width, seed=1, n_draws=4)
    assert found == pytest.approx(np.full(4, marchenko_pastur_edge(n_types, width)), rel=0.06)


def test_frequency_null_equals_the_plain_repetition():
    ids = RANDOM.integers(0, 30, 200) ** 2
    types, member = np.unique(ids, return_inverse=True)
    table = np.random.default_rng(5).standard_normal((types.size, 16))
    assert frequency_null(ids, 16, seed=5, n_draws=1)[0] == pytest.approx(anisotropy(table[member]), rel=1e-10)


def test_frequency_null_of_wide_vectors_follows_the_counts():
    """Wide random vectors are orthogonal: the spectrum is that of diag(c) - c c^T / N."""
    counts = np.array([400, 90, 60, 40, 30, 20, 10, 10, 5, 5])
    spectrum = np.linalg.eigvalsh(np.diag(counts) - np.outer(counts, counts) / counts.sum())
    found = frequency_null(np.repeat(np.arange(counts.size), counts), 20_000, seed=0, n_draws=3)
    assert found == pytest.approx(np.full(3, spectrum[-1] / spectrum.sum()), rel=0.02)


def test_frequency_null_of_two_types_is_one_direction():
    assert frequency_null(np.array([7, 7, 7, 9]), 50, seed=0, n_draws=2) == pytest.approx([1, 1], abs=1e-12)
    with pytest.raises(DegenerateError, match="rows are equal"):
        frequency_null(np.full(20, 7), 50, seed=0, n_draws=1)
    with pytest.raises(ValueError, match="positive"):
        frequency_null(np.arange(20), 50, seed=0, n_draws=0)
