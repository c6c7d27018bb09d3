"""Every statistic of one batch: known spectra, planted sinks, known neighbours, degenerate rows."""

import numpy as np
import pytest
import torch

from lm_geometry.geometry import linear_reference
from lm_geometry.geometry.cloud import Cloud
from lm_geometry.geometry.decimation import decimated_dimension
from lm_geometry.geometry.intrinsic_dimension import log_mu_variation, two_nn
from lm_geometry.geometry.isotropy import effective_rank_of, iso_score, outlying, participation_ratio_of
from lm_geometry.geometry.layers import Settings, batch_records
from lm_geometry.geometry.linear_reference import gaussian_like
from lm_geometry.geometry.measures import batch_statistics, measure_geometry
from lm_geometry.geometry.nulls import FrequencyNulls
from lm_geometry.geometry.rows import DegenerateError
from lm_geometry.geometry.spectrum import anisotropy
from lm_geometry.geometry.tokens import Tokens
from lm_geometry.tables import geometry_statistics as names

RANDOM = np.random.default_rng(20240506)
NULLS = {names.FREQUENCY_NULL, names.MARCHENKO_PASTUR}


def tokens_of(n, *, length=20, token_id=None, special=None):
    rows = np.arange(n)
    return Tokens(
        chunk=rows // length,
        position=rows % length,
        token_id=rows if token_id is None else token_id,
        special=np.zeros(n, dtype=bool) if special is None else special,
    )


def measured(x, tokens=None, **settings):
    return batch_statistics(x, tokens or tokens_of(len(x)), **{"seed": 0, **settings})


def values(found):
    return {name: statistic.value for name, statistic in found.items()}


def of_spectrum(deviations, n):
    """Rows whose centred covariance is exactly diagonal, with these standard deviations."""
    x = RANDOM.standard_normal((n, len(deviations)))
    return np.linalg.qr(x - x.mean(axis=0))[0] * np.asarray(deviations) * np.sqrt(n)


# -- spectra ---------------------------------------------------------------------------------------------------------


def test_known_spectrum():
    deviations = np.array([5.0, 3, 2, 1, 1, 0.5])
    energy = deviations**2
    shares = deviations / deviations.sum()
    found = values(measured(of_spectrum(deviations, 400)))
    ratio = energy.sum() ** 2 / (energy**2).sum()
    truth = {
        names.ANISOTROPY: 25 / energy.sum(),
        names.UNCENTERED: 25 / energy.sum(),
        "top_channel_share": 25 / energy.sum(),
        "participation_ratio": ratio,
        "effective_rank": np.exp(-(shares * np.log(shares)).sum()),
        "iso_score": (ratio - 1) / 5,
        names.MARCHENKO_PASTUR: (1 + np.sqrt(6 / 400)) ** 2 / 6,
    }
    assert {name: found[name] for name in truth} == pytest.approx(truth, rel=1e-6)


def test_an_offset_changes_the_uncentred_measures_alone():
    """A mean m adds n m m' to the second moment: along the first axis, that is to one eigenvalue."""
    deviations = np.array([1.0, 3, 2, 1, 1, 0.5])
    x = of_spectrum(deviations, 400)
    moved = measured(x + 50 * np.eye(6)[0])
    still = measured(x)
    energy = (deviations**2).sum()
    assert moved[names.UNCENTERED].value == pytest.approx((1 + 2500) / (energy + 2500), rel=1e-6)
    for name in (names.ANISOTROPY, "top_channel_share", "participation_ratio", "effective_rank", "iso_score"):
        assert moved[name].value == pytest.approx(still[name].value, rel=1e-6)
    assert moved["mean_cosine"].value > 0.99 > 0.1 > abs(still["mean_cosine"].value)


def test_iso_score_of_the_extremes():
    assert iso_score(np.ones(1), 7) == 0
    assert iso_score(np.full(7, 0.3), 7) == pytest.approx(1, rel=1e-14)
    # The paper's reading: k of d directions used alike scores (k - 1) / (d - 1).
    assert values(measured(of_spectrum([1.0] * 4 + [0] * 6, 300)))["iso_score"] == pytest.approx(3 / 9, rel=1e-6)
    with pytest.raises(DegenerateError, match="at least 2 directions, got vectors of 1"):
        iso_score(np.ones(1), 1)


def test_a_leading_direction_of_nearly_all_energy_leaves_the_score_exact():
    """Energies 1 and 1e-12: the participation ratio is 1 + 2e-12, of which float64 keeps four digits."""
    singular_values = np.array([1e-6, 1.0])
    assert iso_score(singular_values, 11) == pytest.approx(2e-13, rel=1e-11, abs=0)
    assert participation_ratio_of(np.array([1e-6, 1.0, 1.0])) == pytest.approx(2 + 2e-12, rel=1e-15, abs=0)


def test_participation_ratio_of_known_values():
    assert participation_ratio_of(np.array([3.0])) == 1
    assert participation_ratio_of(np.full(9, 1e200)) == pytest.approx(9, rel=1e-14)
    # Energies 4, 1 and 1: 36 / 18.
    assert participation_ratio_of(np.array([2.0, 1, 1])) == pytest.approx(2, rel=1e-14)


def test_effective_rank_of_known_values():
    assert effective_rank_of(np.array([2.0])) == 1
    assert effective_rank_of(np.full(9, 0.3)) == pytest.approx(9, rel=1e-14)
    # p = 1/2, 1/4, 1/4: the entropy is 3/2 ln 2.
    assert effective_rank_of(np.array([2.0, 1, 1])) == pytest.approx(2**1.5, rel=1e-14)


def axes(width, times):
    """Plus and minus every axis, so many times: mean 0, energy 2 times on each axis."""
    return np.tile(np.vstack([np.eye(width), -np.eye(width)]), (times, 1))


def test_a_planted_sink_per_chunk():
    """Of n rows f stand first, at A e_1; the others have mean 0 and energy (n - f) / d in each of d directions.

    The scatter is then (n - f) / d in all directions, and f (n - f) / n A^2 more in the first.
    """
    width, length, n_chunks, strength = 10, 21, 40, 30.0
    x = np.empty((n_chunks, length, width))
    x[:, 1:] = axes(width, 1)
    x[:, 0] = strength * np.eye(width)[0]
    x = x.reshape(-1, width)
    found = values(measured(x, tokens_of(len(x), length=length)))
    n, f = len(x), n_chunks
    sink = f * (n - f) / n * strength**2
    assert found[names.ANISOTROPY] == pytest.approx(((n - f) / width + sink) / (n - f + sink), rel=1e-6)
    assert found[names.ANISOTROPY] > 0.97
    assert found[names.WITHOUT_FIRST] == pytest.approx(1 / width, rel=1e-6)
    assert found[names.WITHOUT_OUTLYING] == pytest.approx(1 / width, rel=1e-6)
    assert found["outlying_rows"] == n_chunks
    # At unit length the sinks are 1 / 21 of the rows, no farther out than the others.
    unit = f * (n - f) / n
    assert found[names.UNIT_ROWS] == pytest.approx(((n - f) / width + unit) / (n - f + unit), rel=1e-6)


def test_special_tokens_are_left_out_by_their_mask():
    special = np.arange(300) % 30 == 7
    x = RANDOM.standard_normal((300, 8))
    x[special] += 40
    found = measured(x, tokens_of(300, special=special))
    assert found[names.WITHOUT_SPECIAL].value == pytest.approx(anisotropy(x[~special]), rel=1e-6)
    assert found[names.ANISOTROPY].value > 3 * found[names.WITHOUT_SPECIAL].value
    assert found[names.WITHOUT_SPECIAL][1:3] == (290, 290)


def test_views_of_the_same_rows_are_one_number():
    """Where the first token is the one special token, and nothing is outlying."""
    tokens = tokens_of(300)
    found = measured(
        RANDOM.standard_normal((300, 8)), Tokens(tokens.chunk, tokens.position, tokens.token_id, tokens.first)
    )
    assert found[names.WITHOUT_FIRST] == found[names.WITHOUT_SPECIAL]
    assert found[names.WITHOUT_OUTLYING].value == found[names.ANISOTROPY].value
    assert found[names.WITHOUT_FIRST].value != found[names.ANISOTROPY].value


def test_outlying_is_over_ten_times_the_median():
    assert outlying(np.array([1.0, 2, 3, 20, 30])).tolist() == [False] * 5
    assert outlying(np.array([1.0, 2, 3, 20, 30.001])).tolist() == [False] * 4 + [True]


# -- dimensions ------------------------------------------------------------------------------------------------------


def test_a_sphere_has_its_dimension_at_every_scale():
    x = RANDOM.standard_normal((4000, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    found = values(measured(x @ np.linalg.qr(RANDOM.standard_normal((9, 9)))[0][:3]))
    for name in (names.TWONN_090, names.TWONN_MLE, *names.DECIMATED.values()):
        assert found[name] == pytest.approx(2, rel=0.08)
    assert found[names.FIT_GAP] == pytest.approx(1, abs=0.12)
    assert found[names.LOG_MU_VARIATION] == pytest.approx(1, abs=0.08)
    # Its covariance is that of three directions: the linear reference is a dimension higher.
    assert found[names.LINEAR_090] == pytest.approx(3, rel=0.1)
    assert found[names.LINEAR_020] == pytest.approx(3, rel=0.15)


def test_repeated_tokens_are_no_single_dimension():
    """Most rows have their own token as neighbour, much nearer than the next token: ratios are a mixture."""
    types = RANDOM.standard_normal((500, 30))
    token_id = RANDOM.integers(0, 500, 1500)
    x = types[token_id] + 0.05 * RANDOM.standard_normal((1500, 30))
    found = measured(x, tokens_of(1500, token_id=token_id))
    low, high = names.SINGLE_DIMENSION
    assert found[names.LOG_MU_VARIATION].value > high
    assert not low <= found[names.FIT_GAP].value <= high
    counts = np.bincount(token_id)
    assert found["same_token_neighbors"].value == counts[counts > 1].sum() / 1500
    assert found[names.FIT_GAP].value == found[names.TWONN_020].value / found[names.TWONN_090].value


def test_variation_of_exact_ratios():
    n = 20_000
    quantiles = -np.log1p(-(np.arange(n) + 0.5) / n)
    assert log_mu_variation(np.ones(n), np.exp(quantiles / 7)) == pytest.approx(1, abs=1e-3)
    # ln mu of 1, 2 and 3: deviation 1 with n - 1, mean 2.
    assert log_mu_variation(np.ones(3), np.exp([1.0, 2, 3])) == pytest.approx(0.5, rel=1e-12)


def test_neighbours_of_known_kind():
    """Pairs of the same token in other chunks, and pairs of other tokens in the same chunk."""
    centres = 10 * RANDOM.standard_normal((40, 6))
    x = np.repeat(centres, 2, axis=0) + 0.01 * RANDOM.standard_normal((80, 6))
    pair = np.repeat(np.arange(40), 2)
    own = np.arange(80)
    same_token = pair < 30
    tokens = Tokens(
        chunk=np.where(same_token, own, 100 + pair),
        position=np.ones(80, dtype=int),
        token_id=np.where(same_token, pair, 100 + own),
        special=np.zeros(80, dtype=bool),
    )
    found = measured(np.vstack([x[:5], x]), tokens.take(np.r_[0:5, 0:80]))
    assert found["same_token_neighbors"].value == 60 / 80
    assert found["same_chunk_neighbors"].value == 20 / 80
    assert found["same_chunk_neighbors"][1:] == (85, 80, None, 80)


class RecordingCloud(Cloud):
    parts: list

    def nearest_two(self, rows=None):
        self.parts.append(rows)
        return super().nearest_two(rows)


def test_a_thinned_cloud_is_the_mean_over_disjoint_parts():
    x = RANDOM.standard_normal((103, 5))
    cloud = RecordingCloud(np.vstack([x, x[:20]]))
    cloud.parts = []
    found = decimated_dimension(cloud, 4, seed=3)
    assert sorted(map(len, cloud.parts)) == [25, 26, 26, 26]
    assert sorted(np.concatenate(cloud.parts)) == list(range(103))
    assert found == pytest.approx(np.mean([two_nn(x[part]).dimension for part in cloud.parts]), rel=1e-9)
    assert decimated_dimension(cloud, 4, seed=3) == found != decimated_dimension(cloud, 4, seed=4)
    assert decimated_dimension(cloud, 1, seed=3) == pytest.approx(two_nn(x).dimension, rel=1e-9)
    with pytest.raises(DegenerateError, match="the least of 16 parts of 103 distinct rows has 6; at least 10"):
        decimated_dimension(cloud, 16, seed=3)


def test_the_dimension_of_noise_falls_with_fewer_rows():
    """The finite-size bias of a 50-dimensional Gaussian, 31 to 34 at 4096 rows, is what a plateau is held against."""
    found = values(measured(np.random.default_rng(1).standard_normal((2000, 50))))
    scale = [found[name] for name in (names.TWONN_090, *names.DECIMATED.values())]
    # The standard error of each is d / sqrt(N), 2 per cent.
    assert scale[4] < 0.92 * scale[0]
    assert scale[4] < 0.95 * scale[1]
    assert all(found < 40 for found in scale)


# -- the linear reference --------------------------------------------------------------------------------------------


def test_the_reference_has_the_covariance_and_no_mean():
    x = RANDOM.standard_normal((50, 4)) @ RANDOM.standard_normal((4, 4)) + 1000
    covariance = np.cov(x.T, bias=True)
    drawn = gaussian_like(x, 100_000, seed=1)
    deviations = np.sqrt(np.diag(covariance))
    # Five standard errors; that of a covariance is at most sqrt(2 / n) of the deviations' product.
    error = (drawn.T @ drawn / 100_000 - covariance) / np.outer(deviations, deviations)
    assert np.abs(error).max() < 5 * np.sqrt(2 / 100_000)
    assert np.abs(drawn.mean(axis=0) / deviations).max() < 5 / np.sqrt(100_000)
    standard = drawn / drawn.std(axis=0)
    assert np.abs((standard**4).mean(axis=0) - 3).max() < 5 * np.sqrt(96 / 100_000)


def test_a_seed_is_a_draw_of_the_input_type():
    x = RANDOM.standard_normal((50, 4)).astype(np.float32)
    drawn = gaussian_like(x, 60, seed=[1, 2])
    assert drawn.dtype == np.float32
    assert np.array_equal(drawn, gaussian_like(x, 60, seed=[1, 2]))
    assert not np.array_equal(drawn, gaussian_like(x, 60, seed=[1, 3]))
    assert np.array_equal(gaussian_like(torch.from_numpy(x), 60, seed=[1, 2]), drawn)


def test_the_reference_of_a_tensor_on_a_device_stays_there(monkeypatch):
    """What becomes an array on the CPU goes through as a tensor, as it would on a GPU."""
    x = RANDOM.standard_normal((50, 4)).astype(np.float32)
    drawn = gaussian_like(x, 60, seed=1)
    monkeypatch.setattr(linear_reference, "real_matrix", lambda rows: rows)
    on_device = gaussian_like(torch.from_numpy(x), 60, seed=1)
    assert (type(on_device), on_device.dtype) == (torch.Tensor, torch.float32)
    assert on_device.numpy() == pytest.approx(drawn, rel=1e-3, abs=1e-5)


def test_the_reference_leaves_first_positions_and_copies_out():
    """First positions fill thirty more directions, and one row is repeated until it outweighs all."""
    x = np.zeros((600, 33))
    x[:, :3] = RANDOM.standard_normal((600, 3))
    first = np.arange(600) % 20 == 0
    x[first, 3:] = 50 * RANDOM.standard_normal((30, 30))
    x[np.arange(600) % 3 == 1] = 20 * np.eye(33)[0]
    found = measured(x)
    n_distinct = len(np.unique(x, axis=0))
    assert found[names.LINEAR_090].value == pytest.approx(3, rel=0.2)
    assert found[names.LINEAR_090][1:] == (600, n_distinct, None, int(0.9 * n_distinct))
    # Without tokens nothing is known of first positions, and of copies all the same.
    assert measure_geometry(x)[names.LINEAR_090] > 5
    distinct = measure_geometry(np.unique(x, axis=0))
    assert measure_geometry(np.repeat(np.unique(x, axis=0), 2, axis=0))[names.LINEAR_090] == distinct[names.LINEAR_090]


# -- the whole -------------------------------------------------------------------------------------------------------


def test_names_and_their_order():
    found = measured(RANDOM.standard_normal((200, 6)), frequency_null=FrequencyNulls(seed=0))
    assert list(found) == list(names.MEANINGS)
    assert set(names.MEANINGS) - set(measured(RANDOM.standard_normal((200, 6)))) == {names.FREQUENCY_NULL}
    assert all(type(statistic.value) is float for statistic in found.values())


def test_counts():
    x = RANDOM.standard_normal((200, 6))
    x[150:] = x[:50]
    x[190] *= 1000  # no longer a copy
    found = measured(x, tokens_of(200, token_id=np.arange(200) % 150), frequency_null=FrequencyNulls(seed=0))
    assert found[names.ANISOTROPY][1:] == (200, 151, None, None)
    # Ten first positions are left out; rows 0, 20, 160 and 180 have a copy elsewhere, 40 has lost its own.
    assert found[names.WITHOUT_FIRST][1:] == (190, 145, None, 190)
    assert found[names.WITHOUT_OUTLYING][1:] == (199, 150, None, 199)
    assert found["outlying_rows"].value == 1
    assert found[names.TWONN_090][1:] == (200, 151, None, 135)
    assert found[names.TWONN_020].n_used == 30
    assert found[names.TWONN_MLE].n_used == found[names.LOG_MU_VARIATION].n_used == 151
    assert found[names.DECIMATED[4]][1:] == (200, 151, None, 33)
    assert found[names.FREQUENCY_NULL].n_distinct == 150


def test_tensors_and_arrays_are_measured_alike():
    x = RANDOM.standard_normal((200, 6)).astype(np.float32)
    assert values(measured(torch.from_numpy(x))) == pytest.approx(values(measured(x)), rel=1e-6)


def test_only_what_is_drawn_depends_on_seed_and_batch():
    x = RANDOM.standard_normal((200, 6))
    drawn = {names.LINEAR_090, names.LINEAR_020, *names.DECIMATED.values()}
    one = values(measured(x))
    for other in (values(measured(x, seed=1)), values(measured(x, batch=1))):
        assert {name for name in one if one[name] != other[name]} == drawn
    assert values(measured(x)) == one


@pytest.mark.parametrize(
    ("x", "problem"),
    [
        (np.full((60, 5), 0.1), "1 distinct rows among 60; at least 10 are needed"),
        (np.tile(RANDOM.standard_normal((9, 5)), (7, 1)), "9 distinct rows among 63; at least 10 are needed"),
        (np.zeros((60, 5)), "1 distinct rows among 60; at least 10 are needed"),
    ],
    ids=["equal rows", "nine rows", "zeros"],
)
def test_a_degenerate_batch_is_an_explained_gap(x, problem):
    found = measured(x.astype(np.float32), frequency_null=FrequencyNulls(seed=0))
    assert list(found) == list(names.MEANINGS)
    for name, statistic in found.items():
        assert (statistic.value is not None) == (name in NULLS)
        if name not in {*NULLS, names.WITHOUT_FIRST, names.WITHOUT_SPECIAL, names.WITHOUT_OUTLYING}:
            assert statistic.problem == problem


def test_a_view_without_rows_is_a_gap_of_its_own():
    tokens = tokens_of(60)
    everything_special = Tokens(tokens.chunk, tokens.position, tokens.token_id, np.ones(60, dtype=bool))
    found = measured(RANDOM.standard_normal((60, 5)), everything_special)
    assert found[names.WITHOUT_SPECIAL][:4] == (None, 0, 0, "0 distinct rows among 0; at least 10 are needed")
    assert found[names.ANISOTROPY].value > 0
    assert found[names.DECIMATED[8]].problem == "the least of 8 parts of 60 distinct rows has 7; at least 10 are needed"


def test_rows_that_are_not_finite_are_an_error():
    x = RANDOM.standard_normal((60, 5))
    x[7, 1] = np.nan
    with pytest.raises(DegenerateError, match="not finite"):
        measured(x)


def test_tokens_of_another_number_or_shape():
    with pytest.raises(ValueError, match="60 vectors stand for 40 tokens"):
        measured(RANDOM.standard_normal((60, 5)), tokens_of(40))
    with pytest.raises(ValueError, match=r"one shape \(n,\), got \[\(3,\), \(2,\)"):
        Tokens(np.arange(3), np.arange(2), np.arange(3), np.zeros(3, dtype=bool))
    with pytest.raises(ValueError, match="special must be a mask, got int64"):
        Tokens(*[np.arange(3)] * 4)


def test_records_of_a_batch():
    x, tokens = RANDOM.standard_normal((200, 6)), tokens_of(200)
    settings = Settings(n_batches=3, batch_size=200, duplicate_tolerance=1e-5, seed=4)
    place = {"stack": "decoder", "layer": 2, "after_final_norm": False, "context_free": False, "width": 6}
    matched = np.arange(0, 200, 3)
    records = batch_records(place, 2, (x, tokens), (x[matched], tokens.take(matched)), settings, FrequencyNulls(seed=4))
    assert [record["statistic"] for record in records] == [
        *names.MEANINGS,
        *(name + names.MATCHED for name in names.MEANINGS if name != names.FREQUENCY_NULL),
    ]
    assert all(record.items() >= {**place, "batch": 2}.items() for record in records)
    found = {record["statistic"]: record["value"] for record in records}
    assert found[names.TWONN_090] == two_nn(x).dimension
    assert found[names.TWONN_090 + names.MATCHED] == two_nn(x[matched]).dimension
    assert found[names.LINEAR_090] == measured(x, seed=4, batch=2)[names.LINEAR_090].value


# -- the public function ---------------------------------------------------------------------------------------------


def test_measure_geometry():
    x = RANDOM.standard_normal((200, 7)) + 2
    found = measure_geometry(x)
    unknown = {names.WITHOUT_FIRST, names.WITHOUT_SPECIAL, names.FREQUENCY_NULL, "same_token_neighbors"}
    unknown |= {"same_chunk_neighbors"}
    assert list(found) == [*(name for name in names.MEANINGS if name not in unknown), "n_vectors", "n_distinct"]
    assert found["anisotropy"] == pytest.approx(anisotropy(x), rel=1e-6)
    assert found["anisotropy_uncentered"] == pytest.approx(anisotropy(x, center=False), rel=1e-6)
    assert (found["n_vectors"], found["n_distinct"]) == (200, 200)
    assert measure_geometry(x, seed=1)[names.LINEAR_090] != found[names.LINEAR_090]


def test_measure_geometry_of_few_rows_leaves_out_what_they_are_too_few_for():
    found = measure_geometry(RANDOM.standard_normal((100, 1)))
    assert set(names.DECIMATED.values()) & set(found) == {names.DECIMATED[2], names.DECIMATED[4], names.DECIMATED[8]}
    assert "iso_score" not in found
    assert found["anisotropy"] == 1


def test_measure_geometry_of_type_matched_rows():
    x = RANDOM.standard_normal((200, 7))
    tokens = tokens_of(200)
    found = measure_geometry(
        x,
        first=tokens.first,
        special=tokens.first,
        token_id=tokens.token_id,
        chunk=tokens.chunk,
        type_matched=x[:40],
        type_matched_first=tokens.first[:40],
    )
    assert found["anisotropy_without_first"] == pytest.approx(anisotropy(x[~tokens.first]), rel=1e-6)
    matched = anisotropy(x[:40][~tokens.first[:40]])
    assert found["anisotropy_without_first_type_matched"] == pytest.approx(matched, rel=1e-6)
    assert found["twonn_090_type_matched"] == two_nn(x[:40]).dimension
    assert set(names.MEANINGS) - set(found) == {names.FREQUENCY_NULL}
    assert found["n_vectors"] == 200


def test_measure_geometry_of_degenerate_rows():
    with pytest.raises(DegenerateError, match="anisotropy: 1 distinct rows among 30"):
        measure_geometry(np.ones((30, 4)))
    with pytest.raises(DegenerateError, match="anisotropy_type_matched: 5 distinct rows among 5"):
        measure_geometry(RANDOM.standard_normal((30, 4)), type_matched=RANDOM.standard_normal((5, 4)))
