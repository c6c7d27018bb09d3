"""Exact moments of all tokens of a layer, against the rows held whole."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh

from lm_geometry.geometry import moments as module
from lm_geometry.geometry.layers import all_token_records
from lm_geometry.geometry.moments import FIRST, SPECIAL, Moments
from lm_geometry.geometry.rows import DegenerateError
from lm_geometry.geometry.table_measures import mean_cosine
from lm_geometry.tables import geometry_statistics as names

RANDOM = np.random.default_rng(20240507)
N, WIDTH = 700, 12
FIRST_ROWS = np.arange(N) % 35 == 0
SPECIAL_ROWS = FIRST_ROWS | (np.arange(N) % 35 == 34)


def cloud(kind):
    x = RANDOM.standard_normal((N, WIDTH)) * np.linspace(1, 3, WIDTH)
    if kind == "far mean":
        x += 1e6
    if kind == "massive coordinate":
        x[:, 4] *= 1e4
    if kind == "massive rows":
        x[FIRST_ROWS] *= 1e4
    return x


CLOUDS = ["centred", "far mean", "massive coordinate", "massive rows"]


def moments_of(x, *sizes, convert=lambda block: block):
    moments = Moments(x.shape[1])
    for rows in np.split(np.arange(len(x)), np.cumsum(sizes, dtype=int)):
        moments.add(convert(x[rows]), FIRST_ROWS[rows], SPECIAL_ROWS[rows])
    return moments


def held_whole(x):
    """Number, mean and scatter in long double, in two passes."""
    wide = x.astype(np.longdouble)
    mean = wide.mean(axis=0)
    return len(x), mean, (wide - mean).T @ (wide - mean)


def assert_equal_moments(found, truth, rel=1e-12):
    n, mean, scatter = truth
    scale = np.sqrt(np.diag(scatter)).astype(float)
    assert found.n == n
    assert np.abs((found.mean - mean) / np.maximum(np.abs(mean), scale / n)).max() < rel
    assert np.abs((found.scatter - scatter) / np.outer(scale, scale)).max() < rel


@pytest.mark.parametrize("kind", CLOUDS)
@pytest.mark.parametrize("sizes", [(), (1, 1, 300, 2, 80), tuple([7] * 99)], ids=["whole", "uneven", "sevens"])
def test_moments_are_those_of_the_rows_held_whole(kind, sizes):
    x = cloud(kind)
    moments = moments_of(x, *sizes)
    assert_equal_moments(moments.total(), held_whole(x))
    assert_equal_moments(moments.total(without=FIRST), held_whole(x[~FIRST_ROWS]))
    assert_equal_moments(moments.total(without=SPECIAL), held_whole(x[~SPECIAL_ROWS]))


def test_blocks_may_come_in_any_order():
    x = cloud("far mean")
    backwards = Moments(WIDTH)
    for rows in np.split(np.arange(N), 10)[::-1]:
        backwards.add(x[rows], FIRST_ROWS[rows], SPECIAL_ROWS[rows])
    assert_equal_moments(backwards.total(), held_whole(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors(dtype):
    x = torch.from_numpy(cloud("massive rows")).to(dtype)
    moments = moments_of(x, 100, 100)
    assert_equal_moments(moments.total(), held_whole(x.double().numpy()))
    assert_equal_moments(moments.total(without=FIRST), held_whole(x.double().numpy()[~FIRST_ROWS]))


def test_tensors_of_a_device_stay_tensors(monkeypatch):
    """What becomes an array on the CPU goes through as a tensor, as it would on a GPU."""
    monkeypatch.setattr(module, "real_matrix", lambda rows: rows)
    x = cloud("massive rows")
    moments = moments_of(torch.from_numpy(x), 100, 100)
    assert isinstance(moments._kinds[0]._scatter, torch.Tensor)
    assert_equal_moments(moments.total(without=FIRST), held_whole(x[~FIRST_ROWS]))
    on_cpu = moments_of(x, 100, 100).statistics()
    for name, statistic in moments.statistics().items():
        assert statistic.value == pytest.approx(on_cpu[name].value, rel=1e-10)
        assert type(statistic.value) is float


def test_float32_arrays_are_summed_in_float64():
    x = cloud("far mean").astype(np.float32)
    assert_equal_moments(moments_of(x, 100).total(), held_whole(x))


def test_memory_may_be_used_again():
    x = cloud("centred")
    moments = Moments(WIDTH)
    for convert in (np.asarray, torch.from_numpy):
        block = x.copy()
        moments.add(convert(block), FIRST_ROWS, SPECIAL_ROWS)
        block[:] = np.nan
    assert_equal_moments(moments.total(), held_whole(np.vstack([x, x])))


def test_many_moments_may_be_asked_of_one_sum():
    x = cloud("centred")
    moments = moments_of(x[:300])
    moments.statistics()
    assert_equal_moments(moments.total(), held_whole(x[:300]))
    moments.add(x[300:], FIRST_ROWS[300:], SPECIAL_ROWS[300:])
    assert_equal_moments(moments.total(), held_whole(x))


def test_first_tokens_wait_as_rows():
    """Twenty first tokens of width 12 need a matrix, three do not."""
    few, many = Moments(WIDTH), Moments(WIDTH)
    x = cloud("centred")
    few.add(x[:105], FIRST_ROWS[:105], SPECIAL_ROWS[:105])
    many.add(x, FIRST_ROWS, SPECIAL_ROWS)
    of_first = FIRST + SPECIAL
    assert few._kinds[of_first]._scatter is None
    assert many._kinds[of_first]._scatter is not None


def by_svd(x, center=True):
    singular = np.linalg.svd(x - x.mean(axis=0) if center else x, compute_uv=False)
    energy = singular**2
    return singular, energy[0] / energy.sum(), energy[1:].sum() / energy.sum()


@pytest.mark.parametrize("kind", CLOUDS)
def test_statistics_against_the_singular_values(kind):
    x = cloud(kind)
    found = {name: statistic.value for name, statistic in moments_of(x, 250, 250).statistics().items()}
    assert tuple(found) == names.ALL_TOKENS
    views = {
        names.ANISOTROPY: by_svd(x),
        names.UNCENTERED: by_svd(x, center=False),
        names.WITHOUT_FIRST: by_svd(x[~FIRST_ROWS]),
        names.WITHOUT_SPECIAL: by_svd(x[~SPECIAL_ROWS]),
    }
    for name, (_, share, rest) in views.items():
        assert found[name] == pytest.approx(share, rel=1e-6)
        # 1 - a of a mean at 10^6 is 10^-12 and float64 knows a itself to 10^-16.
        assert 1 - found[name] == pytest.approx(rest, rel=1e-6, abs=2e-16)
    singular = views[names.ANISOTROPY][0]
    shares = singular / singular.sum()
    energy = singular**2
    ratio = energy.sum() ** 2 / (energy**2).sum()
    variances = x.var(axis=0)
    truth = {
        "top_channel_share": variances.max() / variances.sum(),
        "participation_ratio": ratio,
        "effective_rank": np.exp(-(shares * np.log(shares)).sum()),
        "iso_score": (ratio - 1) / (WIDTH - 1),
        "mean_cosine": mean_cosine(x),
    }
    assert {name: found[name] for name in truth} == pytest.approx(truth, rel=1e-9)


def test_a_mean_that_outweighs_all_leaves_its_rest_exact():
    """Uncentred, 1 - a of unit noise around a mean of 1e4 in each channel is the noise across it, 1e-8."""
    x = RANDOM.standard_normal((4000, 16)) + 1e4
    (found,) = (1 - moments_free(x).leading_share(center=False),)
    assert found == pytest.approx(by_svd(x, center=False)[2], rel=1e-6)


@pytest.mark.parametrize("settles", [True, False])
@pytest.mark.parametrize(
    "deviations", [np.ones(90), np.arange(1, 91) ** -0.5, np.r_[1, 1, np.full(88, 0.3)], np.r_[1e4, np.ones(89)]]
)
def test_the_leading_share_of_wide_layers(deviations, settles, monkeypatch):
    """By Lanczos' method, and by a dense solver where that does not settle; two directions may lead alike."""
    if not settles:
        monkeypatch.setattr(module, "eigsh", partial(eigsh, maxiter=1, ncv=2, tol=1e-300))
    x = RANDOM.standard_normal((400, 90)) @ np.linalg.qr(RANDOM.standard_normal((90, 90)))[0] * deviations + 3
    moment = moments_free(x)
    for center in (True, False):
        _, share, rest = by_svd(x, center=center)
        found = moment.leading_share(center=center)
        assert found == pytest.approx(share, rel=1e-9)
        assert 1 - found == pytest.approx(rest, rel=1e-6)
        assert moment.leading_share(center=center) == found


def moments_free(x):
    moments = Moments(x.shape[1])
    moments.add(x, np.zeros(len(x), dtype=bool), np.zeros(len(x), dtype=bool))
    return moments.total()


def test_directions_of_no_variance_do_not_count():
    """Three directions alike in nine components: round-off of the other six must not add up to a share."""
    x = RANDOM.standard_normal((400, 3))
    rotation = np.linalg.qr(RANDOM.standard_normal((9, 9)))[0]
    alike = np.linalg.qr(x - x.mean(axis=0))[0] @ rotation[:3]
    assert len(moments_free(alike).singular_values) == 3


@pytest.mark.parametrize(
    ("x", "n_distinct"),
    [(np.full((90, 4), 0.1), 1), (np.tile(RANDOM.standard_normal((9, 4)), (10, 1)), 9)],
    ids=["equal rows", "nine rows"],
)
def test_a_degenerate_layer_is_an_explained_gap(x, n_distinct):
    x = x.astype(np.float32)
    moments = Moments(4)
    nothing = np.zeros(45, dtype=bool)
    for block in (x[:45], x[45:]):
        moments.add(block, nothing, nothing)
    for statistic in moments.statistics().values():
        assert statistic[:4] == (None, 90, n_distinct, f"{n_distinct} distinct rows among 90; at least 10 are needed")


def test_ten_distinct_rows_suffice():
    x = np.tile(RANDOM.standard_normal((10, 4)), (9, 1))
    found = moments_free(x)
    assert found.statistic(found.leading_share).value == pytest.approx(by_svd(x)[1], rel=1e-9)


def test_a_subset_has_a_gap_of_its_own():
    """All tokens but the first are one vector; where all are special, none is left."""
    x = np.ones((200, 4))
    first = np.arange(200) % 10 == 0
    x[first] = RANDOM.standard_normal((20, 4))
    moments = Moments(4)
    moments.add(x, first, np.ones(200, dtype=bool))
    found = moments.statistics()
    assert found[names.ANISOTROPY].value > 0
    assert found[names.WITHOUT_FIRST].problem == "1 distinct rows among 180; at least 10 are needed"
    assert found[names.WITHOUT_SPECIAL].problem == "0 distinct rows among 0; at least 10 are needed"
    (record,) = (
        record for record in all_token_records({"layer": 3}, moments) if record["statistic"] == names.WITHOUT_FIRST
    )
    assert (record["layer"], record["value"], record["n_vectors"]) == (3, None, 180)


def test_what_cannot_be_summed():
    moments = Moments(4)
    with pytest.raises(ValueError, match=r"expected vectors of shape \(3, 4\), got \(3, 5\)"):
        moments.add(np.ones((3, 5)), np.zeros(3, dtype=bool), np.zeros(3, dtype=bool))
    huge = moments_free(RANDOM.standard_normal((30, 4)) * 1e200)
    assert "the sum of squares, inf, is out of range" in huge.statistic(huge.leading_share).problem
    zeros = Moments(4)
    zeros.add(np.zeros((30, 4)), np.zeros(30, dtype=bool), np.zeros(30, dtype=bool))
    with pytest.raises(DegenerateError, match="all 30 rows are zero"):
        zeros._mean_cosine()
    broken = moments_free(np.where(np.arange(30)[:, None] == 3, np.nan, RANDOM.standard_normal((30, 4))))
    assert "the sum of squares, nan, is out of range" in broken.statistic(broken.leading_share).problem
