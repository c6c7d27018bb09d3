import threading

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from threadpoolctl import ThreadpoolController, threadpool_limits

from lm_geometry.geometry import centred, leading
from lm_geometry.geometry.cloud import Cloud, View
from lm_geometry.geometry.duplicates import distinct_rows
from lm_geometry.geometry.ritz_space import Basis
from lm_geometry.geometry.rows import DegenerateError
from lm_geometry.geometry.spectrum import effective_rank
from lm_geometry.geometry.table_measures import mean_cosine
from lm_geometry.geometry.threads import row_workers
from lm_geometry.geometry.views import SeenRows

# Longer than wide, wider than long, square; no multiple of a panel's or a block's rows.
SHAPES = [(700, 120), (220, 500), (256, 256)]
KINDS = (
    "gaussian",
    "far from the origin",
    "low-dimensional",
    "low rank",
    "clustered",
    "duplicated",
    "massive in some rows",
    "massive in all rows",
    "massive in all rows alike",
    "power law",
)


def cloud_of(kind, n, d):
    random = np.random.default_rng([KINDS.index(kind), n, d])
    x = random.standard_normal((n, d))
    if kind == "far from the origin":
        return x + 1e4 * random.standard_normal(d)
    if kind == "low-dimensional":
        return np.tanh(random.standard_normal((n, 4)) @ random.standard_normal((4, d)))
    if kind == "low rank":
        return random.standard_normal((n, 3)) @ random.standard_normal((3, d))
    if kind == "clustered":
        return 3 * random.standard_normal((30, d))[random.integers(0, 30, n)] + 0.01 * x
    if kind == "duplicated":
        return x[random.integers(0, n // 2, n)]
    if kind == "massive in some rows":
        x[::37, 3] += 1e4
    elif kind == "massive in all rows":
        x[:, 3] *= 1e4
    elif kind == "massive in all rows alike":
        x[:, 3] += 1e4
    elif kind == "power law":
        x *= np.arange(1, d + 1) ** -0.7
    return x


def every_view(n):
    first = np.arange(n) % 37 == 0
    return {
        "centred": View(),
        "uncentred": View(center=False),
        "without first": View(rows=~first),
        "first": View(rows=first),
        "unit": View(unit=True),
        "unit without first, uncentred": View(rows=~first, center=False, unit=True),
    }


def seen(x, view):
    z = np.asarray(x, dtype=np.float64)
    z = z if view.rows is None else z[view.rows]
    if view.unit:
        norms = np.linalg.norm(z, axis=1, keepdims=True)
        z = np.divide(z, norms, out=np.zeros_like(z), where=norms > 0)
    return z - z.mean(axis=0) if view.center else z


def share_by_svd(z):
    squares = np.linalg.svd(z, compute_uv=False) ** 2
    return squares[0] / squares.sum(), squares[1:].sum() / squares.sum()


def assert_shares(x, views):
    found = Cloud(x).leading_shares(views)
    assert list(found) == list(views)
    for name, view in views.items():
        share, rest = share_by_svd(seen(x, view))
        assert found[name] == pytest.approx(share, rel=1e-6, abs=0), name
        # A share near 1 is a float whose neighbours are 1e-16 away.
        assert 1 - found[name] == pytest.approx(rest, rel=1e-6, abs=1e-16), name


def assert_neighbors(x, found):
    """Against direct float64 differences, among the rows searched."""
    wide = np.asarray(x, dtype=np.float64)[found.rows]
    distances = cdist(wide, wide)
    np.fill_diagonal(distances, np.inf)
    two = np.sort(distances, axis=1)[:, :2]
    np.testing.assert_allclose(found.r1, two[:, 0], rtol=1e-9, atol=0)
    np.testing.assert_allclose(found.r2, two[:, 1], rtol=1e-9, atol=0)
    chosen = distances[np.arange(len(wide)), np.searchsorted(found.rows, found.nearest)]
    np.testing.assert_allclose(chosen, found.r1, rtol=1e-9, atol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_accuracy(kind, shape, dtype):
    x = cloud_of(kind, *shape).astype(dtype)
    assert_shares(x, every_view(len(x)))
    cloud = Cloud(x)
    z = seen(x, View())
    squares = np.linalg.svd(z, compute_uv=False) ** 2
    assert cloud.participation_ratio() == pytest.approx(squares.sum() ** 2 / (squares**2).sum(), rel=1e-6)
    columns = np.square(z).sum(axis=0)
    assert cloud.top_channel_share() == pytest.approx(columns.max() / columns.sum(), rel=1e-9)
    assert cloud.distinct.tolist() == distinct_rows(x).tolist()
    assert_neighbors(x, cloud.nearest_two())


def test_accuracy_beyond_one_panel():
    x = cloud_of("massive in some rows", 4300, 24).astype(np.float32)
    assert_shares(x, every_view(len(x)))
    assert_neighbors(x, Cloud(x).nearest_two())


def test_a_device_goes_the_same_way(monkeypatch):
    """Where tensors are not turned to numpy arrays, all arithmetic is torch's, as it is on a GPU."""
    for kind in ("far from the origin", "massive in some rows", "clustered"):
        x = cloud_of(kind, 300, 40).astype(np.float32)
        views = every_view(len(x))
        half = np.arange(0, 300, 2)
        plain = Cloud(x)
        with monkeypatch.context() as patched:
            patched.setattr(centred, "real_matrix", torch.as_tensor)
            cloud = Cloud(x)
            assert isinstance(cloud._rows.single, torch.Tensor)
            np.testing.assert_array_equal(cloud.distinct, plain.distinct)
            assert_neighbors(x, cloud.nearest_two(half))
            shares, here = cloud.leading_shares(views), plain.leading_shares(views)
            assert list(shares.values()) == pytest.approx(list(here.values()), rel=1e-6)
            for measure in ("participation_ratio", "top_channel_share", "mean_cosine", "singular_values"):
                assert getattr(cloud, measure)() == pytest.approx(getattr(plain, measure)(), rel=1e-6), measure


def test_products_keep_float32_where_torch_was_told_to_round(monkeypatch):
    monkeypatch.setattr(centred, "real_matrix", torch.as_tensor)
    told = torch.get_float32_matmul_precision()
    seen_by_product = []
    plain = torch.Tensor.__matmul__

    def product(a, b):
        if a.dtype == torch.float32 and a.shape[1] == 40 == b.shape[0]:
            seen_by_product.append(torch.get_float32_matmul_precision())
        return plain(a, b)

    monkeypatch.setattr(torch.Tensor, "__matmul__", product)
    torch.set_float32_matmul_precision("medium")
    try:
        Cloud(cloud_of("gaussian", 100, 40).astype(np.float32)).nearest_two()
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(told)
    assert set(seen_by_product) == {"highest"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_tensors_on_the_cpu_are_taken_as_they_are(dtype):
    x = torch.from_numpy(cloud_of("gaussian", 60, 12)).to(dtype)
    assert_neighbors(x.double().numpy(), Cloud(x.requires_grad_()).nearest_two())


@pytest.mark.parametrize("distance", [0, 1e-7, 3e-6, 1e-4])
def test_two_leading_directions_nearly_alike(distance):
    """One vector would stop between them, where its residual is no longer than their distance."""
    values = np.r_[1, 1 - distance, np.linspace(0.9, 0.01, 60)]
    random = np.random.default_rng(8)
    left = np.linalg.qr(np.c_[np.ones(300), random.standard_normal((300, len(values)))])[0][:, 1:]
    x = left * np.sqrt(values) @ np.linalg.qr(random.standard_normal((90, len(values))))[0].T
    assert Cloud(x).leading_shares({"a": View()})["a"] == pytest.approx(1 / values.sum(), rel=1e-8)


@pytest.mark.parametrize("shape", [(600, 150), (150, 600)])
@pytest.mark.parametrize("rest", [2e-10, 1e-8, 1e-5])
def test_what_is_left_beside_one_direction_keeps_its_digits(shape, rest):
    random = np.random.default_rng(3)
    left, right = (np.linalg.qr(random.standard_normal((n, 10)))[0] for n in shape)
    x = left * np.r_[1, np.full(9, np.sqrt(rest / 9))] @ right.T
    found = Cloud(x).leading_shares({"a": View(center=False)})["a"]
    assert 1 - found == pytest.approx(share_by_svd(x)[1], rel=1e-6, abs=0)


def test_planted_sinks_in_closed_form():
    """Rows +-e_i, and rows at M e_0: every entry of the covariance is known."""
    width, n_sinks, massive = 20, 4, 1e4
    ordinary = np.vstack([np.eye(width)[1:], -np.eye(width)[1:]])
    x = np.vstack([np.tile(massive * np.eye(width)[0], (n_sinks, 1)), ordinary]).astype(np.float32)
    n = len(x)
    sink = n_sinks * (1 - n_sinks / n) * massive**2
    found = Cloud(x).leading_shares(
        {"all": View(), "uncentred": View(center=False), "without": View(rows=np.arange(n) >= n_sinks)}
    )
    assert 1 - found["all"] == pytest.approx(len(ordinary) / (sink + len(ordinary)), rel=1e-6)
    assert 1 - found["uncentred"] == pytest.approx(len(ordinary) / (n_sinks * massive**2 + len(ordinary)), rel=1e-6)
    assert found["without"] == pytest.approx(1 / (width - 1), rel=1e-6)
    cloud = Cloud(x)
    assert cloud.top_channel_share() == pytest.approx(found["all"], rel=1e-6)
    assert cloud.participation_ratio() == pytest.approx(
        (sink + 2 * (width - 1)) ** 2 / (sink**2 + 4 * (width - 1)), rel=1e-6
    )
    assert len(cloud.distinct) == n - n_sinks + 1


def test_a_view_that_float32_cannot_hold_is_found_in_float64(monkeypatch):
    """Among rows that are 1e7 from the origin of the cloud, float32 sees nothing of what tells them apart."""
    random = np.random.default_rng(1)
    x = random.standard_normal((400, 50))
    far = np.arange(400) < 100
    x[far] += 1e7
    x[far, 0] *= 3
    steps = []
    plain = leading.images
    monkeypatch.setattr(leading, "images", lambda *arguments: steps.append(1) or plain(*arguments))
    assert_shares(x, {"far": View(rows=far)})
    assert len(steps) > 3


def test_the_dense_solver_is_the_last_resort(monkeypatch):
    x = cloud_of("gaussian", 300, 60)
    monkeypatch.setattr(leading, "_CAPACITY", 6)
    calls = []
    plain = SeenRows.dense_share
    monkeypatch.setattr(SeenRows, "dense_share", lambda self: calls.append(self) or plain(self))
    assert_shares(x, every_view(300))
    assert len(calls) == len(every_view(300))


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("unit", [True, False])
def test_views_share_a_space_only_with_views_like_them(center, unit):
    """Views of nearly all rows, of half of the rows, and of few: alone each is the same."""
    x = cloud_of("massive in some rows", 400, 60)
    rows = np.arange(400)
    masks = {"most": rows % 37 > 0, "half": rows % 2 > 0, "few": rows < 30, "one left out": rows != 5}
    views = {name: View(rows=mask, center=center, unit=unit) for name, mask in masks.items()}
    assert_shares(x, {"all": View(), **views})


def test_a_basis_stays_orthonormal_and_takes_nothing_twice():
    """Also where images lie inside the space but for a millionth of a millionth."""
    random = np.random.default_rng(4)
    basis = Basis(random.standard_normal((2, 50)), 20)
    for _ in range(6):
        inside = random.standard_normal((2, basis.size)) @ basis.vectors
        assert basis.grow(inside + 1e-12 * random.standard_normal((2, 50)))
    np.testing.assert_allclose(basis.vectors @ basis.vectors.T, np.eye(14), rtol=0, atol=1e-14)
    assert not basis.grow(random.standard_normal((2, 14)) @ basis.vectors)
    assert not basis.grow(random.standard_normal((7, 50)))  # no room for 21
    assert basis.size == 14


def test_parts_are_searched_among_themselves():
    x = cloud_of("clustered", 500, 30).astype(np.float32)
    cloud = Cloud(x)
    rows = np.random.default_rng(0).permutation(500)
    for part in (rows[::2], rows[1::16], np.arange(20), np.arange(3)):
        found = cloud.nearest_two(np.sort(part))
        assert found.rows.tolist() == sorted(part)
        assert_neighbors(x, found)


def test_few_rows_of_one_panel():
    """Where one panel holds all rows, its least bound tells nothing of the second nearest."""
    types = np.random.default_rng(0).standard_normal((20, 6))
    cloud = Cloud(np.vstack([types] * 40))
    assert cloud.distinct.tolist() == list(range(20))
    assert_neighbors(types, cloud.nearest_two())


def test_the_nearest_of_equals_is_the_first():
    corners = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1], [5, 5]])
    assert Cloud(corners).nearest_two().nearest.tolist() == [1, 0, 0, 1, 3]


def test_distinct_rows_use_the_tolerance():
    x = np.random.default_rng(0).standard_normal((50, 8))
    x[25:] = x[:25] + 1e-4
    assert len(Cloud(x).distinct) == 50
    assert Cloud(x, duplicate_tolerance=1e-3).distinct.tolist() == list(range(25))


def test_norms_and_cosines_and_singular_values():
    x = cloud_of("power law", 90, 40).astype(np.float32) + 1
    x[4] = 0
    cloud = Cloud(x)
    assert (cloud.n_rows, cloud.width) == (90, 40)
    np.testing.assert_allclose(cloud.norms, np.linalg.norm(x.astype(np.float64), axis=1), rtol=1e-12)
    u = seen(x, View(center=False, unit=True))
    cosines = u @ u.T
    assert cloud.mean_cosine() == pytest.approx(cosines[~np.eye(90, dtype=bool)].mean(), rel=1e-10)
    assert cloud.mean_cosine() == pytest.approx(mean_cosine(x), rel=1e-10)
    for turned in (x, x.T.copy()):
        singular = np.linalg.svd(seen(turned, View()), compute_uv=False)
        found = Cloud(turned).singular_values()
        np.testing.assert_allclose(found[::-1], singular[: len(found)], rtol=1e-6)
        assert len(found) == min(turned.shape[0] - 1, turned.shape[1])
        shares = found / found.sum()
        assert np.exp(-(shares * np.log(shares)).sum()) == pytest.approx(effective_rank(turned), rel=1e-9)


def test_views_without_an_answer_say_why():
    x = np.random.default_rng(0).standard_normal((40, 6))
    x[:10] = x[0]
    x[10:20] = np.outer(np.arange(1, 11), x[0])
    rows = np.arange(40)
    found = Cloud(x).leading_shares(
        {
            "none": View(rows=rows < 0),
            "equal": View(rows=rows < 10),
            "one": View(rows=rows == 30),
            "parallel": View(rows=(rows >= 10) & (rows < 20), unit=True),
            "all": View(),
        }
    )
    assert str(found["none"]) == "no vectors to measure: shape (0, 6)"
    assert str(found["equal"]) == "all 10 rows are equal: there is no variance to measure"
    assert str(found["one"]) == "all 1 rows are equal: there is no variance to measure"
    assert str(found["parallel"]) == "all 10 rows have the same direction: there is no variance to measure"
    assert all(isinstance(error, DegenerateError) for error in list(found.values())[:-1])
    assert found["all"] == pytest.approx(share_by_svd(seen(x, View()))[0], rel=1e-6)


def test_clouds_without_an_answer_say_why():
    equal = Cloud(np.full((30, 4), 0.1))
    for measure in (equal.participation_ratio, equal.top_channel_share, equal.singular_values):
        with pytest.raises(DegenerateError, match="all 30 rows are equal"):
            measure()
    with pytest.raises(DegenerateError, match="at least 3 rows, got 1"):
        equal.nearest_two()
    with pytest.raises(DegenerateError, match="all 5 rows are zero"):
        Cloud(np.zeros((5, 3))).mean_cosine()
    with pytest.raises(DegenerateError, match="needs two rows, got 1"):
        Cloud(np.ones((1, 3))).mean_cosine()


def test_input_without_an_answer():
    x = np.random.default_rng(0).standard_normal((30, 4))
    with pytest.raises(DegenerateError, match="out of range; rescale the 30 rows"):
        Cloud(x * 1e200)
    with pytest.raises(DegenerateError, match=r"shape \(0, 4\)"):
        Cloud(np.empty((0, 4)))
    for wrong in (np.ones(4), torch.ones(4), np.ones((4, 2), dtype=complex)):
        with pytest.raises(ValueError, match="a real matrix"):
            Cloud(wrong)
    for value in (np.nan, np.inf, -np.inf):
        y = x.astype(np.float32)
        y[7, 1] = y[9, 1] = value
        with pytest.raises(DegenerateError, match="2 values in 2 of 30 rows are not finite, the first in row 7"):
            Cloud(y)


def test_threads_change_nothing_and_give_blas_its_own_back():
    x = cloud_of("power law", 1200, 200).astype(np.float32)
    controller = ThreadpoolController().select(user_api="blas")
    found = []
    for n_threads in (1, 3):
        with threadpool_limits(n_threads, "blas"):
            names = set()
            with row_workers(x) as workers:
                assert {library["num_threads"] for library in controller.info()} == {1}
                workers.each(lambda _, names=names: names.add(threading.current_thread().name), list(range(100)))
                with row_workers(x):
                    pass
                assert {library["num_threads"] for library in controller.info()} == {1}
            assert (threading.main_thread().name in names) == (n_threads == 1)
            assert {library["num_threads"] for library in controller.info()} == {n_threads}
            cloud = Cloud(x)
            shares = cloud.leading_shares(every_view(1200))
            found.append((list(shares.values()), cloud.participation_ratio(), cloud.nearest_two()))
    (alone, ratio_alone, neighbors_alone), (together, ratio_together, neighbors_together) = found
    assert together == pytest.approx(alone, rel=1e-9)
    assert ratio_together == pytest.approx(ratio_alone, rel=1e-9)
    for one, other in zip(neighbors_alone, neighbors_together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("length", [1e-8, 1e-12, 1e-16, 1e-20])
def test_directions_of_very_short_rows_are_their_own(length):
    """Beside an origin 1e16 times longer nothing would be left of them."""
    random = np.random.default_rng(7)
    x = random.normal(3, 1, (600, 64))
    x[random.random(600) < 0.4] *= length
    x = x.astype(np.float32)
    unit = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    centred = np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False) ** 2
    plain = np.linalg.svd(unit, compute_uv=False) ** 2
    cloud = Cloud(x)
    found = cloud.leading_shares({"centred": View(unit=True), "plain": View(unit=True, center=False)})
    assert found["centred"] == pytest.approx(centred[0] / centred.sum(), rel=1e-6)
    assert found["plain"] == pytest.approx(plain[0] / plain.sum(), rel=1e-6)
    cosines = unit @ unit.T
    assert cloud.mean_cosine() == pytest.approx((cosines.sum() - 600) / (600 * 599), rel=1e-6)
