import numpy as np
import pytest

from lm_geometry.geometry import centred, neighbors, pair_bounds
from lm_geometry.geometry.centred import CentredRows
from lm_geometry.geometry.duplicates import distinct_rows
from lm_geometry.geometry.neighbors import nearest_two
from lm_geometry.geometry.pair_bounds import PairBounds
from lm_geometry.geometry.rows import DegenerateError

RANDOM = np.random.default_rng(20240502)


def brute_force(x):
    x = np.asarray(x, dtype=np.float64)
    distances = np.array([np.sqrt(np.square(x - row).sum(axis=1)) for row in x])
    np.fill_diagonal(distances, np.inf)
    return np.sort(distances, axis=1)[:, :2].T


def nasty_clouds():
    def gaussian(n=300, d=64):
        return RANDOM.standard_normal((n, d))

    wide = gaussian()
    wide[:, 3] *= 1e4
    sinks = gaussian()
    sinks[::30, 3] += 1e4
    types = gaussian(40)[RANDOM.integers(0, 40, 300)]
    # Squares of these round to a few units of the smallest float32, up or down.
    underflow = np.sqrt(2.0**-149) * RANDOM.uniform(0, 3, 50)
    grid = np.stack(np.meshgrid(*[np.arange(6.0)] * 3), axis=-1).reshape(-1, 3)
    return {
        "gaussian": gaussian().astype(np.float32),
        "one huge coordinate": wide.astype(np.float32),
        "sinks": sinks.astype(np.float32),
        "far from the origin": (gaussian() + 1e4).astype(np.float32),
        "tight clusters": types * (1 + 1e-4 * gaussian()),
        "clusters under float32 noise": types * (1 + 1e-6 * gaussian()),
        "clusters under float64 noise": types * (1 + 1e-9 * gaussian()),
        "exact duplicates": types,
        "lattice of ties": grid,
        "all pairs equally far": np.eye(60),
        "heavy tails": RANDOM.standard_cauchy((300, 20)),
        "tiny values": (1e-30 * gaussian()).astype(np.float32),
        "wide range of norms": gaussian() * 10.0 ** RANDOM.uniform(-25, 3, (300, 1)),
        "squares that underflow": np.r_[1, -1, underflow, -underflow][:, None],
        "float16": gaussian().astype(np.float16),
        "line": np.cumsum(RANDOM.random(200))[:, None],
        "fewer rows than candidates": gaussian(5, 3),
        "three rows": gaussian(3, 2),
    }


@pytest.mark.parametrize("name", nasty_clouds())
def test_equals_direct_differences(name):
    x = nasty_clouds()[name]
    np.testing.assert_allclose(nearest_two(x), brute_force(x), rtol=1e-9, atol=0)


def test_blocks_do_not_matter(monkeypatch):
    for name in ("one huge coordinate", "clusters under float64 noise"):
        x = nasty_clouds()[name]
        whole = nearest_two(x)
        with monkeypatch.context() as patched:
            patched.setattr(centred, "_BLOCK_BYTES", 1)
            patched.setattr(neighbors, "_BLOCK_BYTES", 1)
            patched.setattr(pair_bounds, "_PANEL", 7)
            np.testing.assert_array_equal(nearest_two(x), whole)


def panels_of(x):
    """The bounds in one matrix, and the true squares in its units."""
    rows = CentredRows(x)
    found = np.full((len(x), len(x)), np.inf, dtype=np.float32)

    def put(start, stop, bounds):
        found[start:stop, start:] = bounds

    PairBounds(rows)._of_each_panel(put, np.arange(len(x)))
    wide = np.asarray(x, dtype=np.float64) / rows.scale
    return found, np.square(wide[:, None] - wide[None]).sum(axis=2)


@pytest.mark.parametrize("name", nasty_clouds())
def test_bounds_never_exceed_the_true_squares(name):
    found, true = panels_of(nasty_clouds()[name])
    above = np.triu_indices(len(true), 1)
    assert (found[above] <= true[above]).all()
    assert np.isinf(found[np.tril_indices(len(true))]).all()


@pytest.mark.parametrize("name", nasty_clouds())
def test_limits_are_never_below_the_second_nearest(name):
    x = nasty_clouds()[name]
    rows = CentredRows(x)
    limits = PairBounds(rows).second_neighbor_limits(np.arange(len(x)))
    assert (limits >= (brute_force(x)[1] / rows.scale) ** 2 * (1 - 1e-12)).all()


def test_bounds_in_double_never_exceed_the_true_squares():
    for x in nasty_clouds().values():
        rows = CentredRows(x)
        everyone = np.arange(len(x))
        bounds = neighbors._Search(rows, everyone)._double_bounds(everyone)
        wide = np.asarray(x, dtype=np.float64) / rows.scale
        true = np.square(wide[:, None] - wide[None]).sum(axis=2)
        np.fill_diagonal(true, np.inf)
        assert (bounds <= true).all()


@pytest.mark.parametrize(
    ("name", "in_double", "against_all"),
    [
        ("gaussian", range(1), range(1)),
        # The sinks, 1e4 from the others, hide one another in float32.
        ("sinks", range(10, 11), range(1)),
        ("all pairs equally far", range(60, 61), range(1)),
        ("clusters under float64 noise", range(100, 301), range(30, 301)),
    ],
)
def test_which_rows_are_searched_again(name, in_double, against_all, monkeypatch):
    """Only rows whose candidates are too many, and of those only rows that float64 bounds cannot tell apart."""
    monkeypatch.setattr(pair_bounds, "_CROWD", 6)
    seen = []
    plain = neighbors._Search.search_in_double
    monkeypatch.setattr(
        neighbors._Search, "search_in_double", lambda self, rows: seen.append((rows, plain(self, rows))) or seen[-1][1]
    )
    nearest_two(nasty_clouds()[name])
    rows, failed = seen[0]
    assert len(rows) in in_double
    assert len(failed) in against_all


def test_bounds_that_are_not_kept_are_computed_again(monkeypatch):
    x = nasty_clouds()["gaussian"]
    kept = PairBounds(CentredRows(x)).squared_products
    whole = nearest_two(x)
    monkeypatch.setattr(pair_bounds, "_KEPT_BYTES", 0)
    bounds = PairBounds(CentredRows(x))
    assert bounds.squared_products == kept
    assert not bounds._panels
    np.testing.assert_array_equal(nearest_two(x), whole)


def test_equal_rows_are_neighbours_at_distance_zero():
    assert nearest_two(np.ones((5, 2)))[1].tolist() == [0] * 5


def test_two_rows_have_no_second_neighbour():
    with pytest.raises(DegenerateError, match="at least 3 rows, got 2"):
        nearest_two(np.eye(2))


def test_distinct_rows_keeps_the_first_of_each():
    types = RANDOM.standard_normal((20, 6)).astype(np.float32)
    order = np.r_[np.arange(20), RANDOM.integers(0, 20, 200)]
    assert distinct_rows(types[order]).tolist() == list(range(20))
    assert distinct_rows(types[order], duplicate_tolerance=0).tolist() == list(range(20))


def test_equal_rows_merge_though_their_projections_round_apart():
    """A matrix-vector product gives equal rows results that differ in the last bit, by their place in the matrix."""
    types = RANDOM.standard_normal((10, 37))
    assert len(distinct_rows(types[RANDOM.integers(0, 10, 1003)], duplicate_tolerance=0)) == 10


@pytest.mark.parametrize(("share", "n_distinct"), [(0.9, 30), (1.1, 60)])
def test_tolerance_is_a_share_of_the_mean_centred_norm(share, n_distinct):
    rows = RANDOM.standard_normal((30, 8)) + 100
    scale = np.linalg.norm(rows - rows.mean(axis=0), axis=1).mean()
    step = RANDOM.standard_normal((30, 8))
    step *= share * 1e-5 * scale / np.linalg.norm(step, axis=1, keepdims=True)
    assert len(distinct_rows(np.vstack([rows, rows + step]))) == n_distinct
    assert len(distinct_rows(np.vstack([rows, rows + step]), duplicate_tolerance=1e-6)) == 60


def test_chains_are_merged():
    rows = 1000 * RANDOM.standard_normal((50, 3))
    scale = np.linalg.norm(rows - rows.mean(axis=0), axis=1).mean()
    chain = rows[0] + np.arange(40)[:, None] * np.array([0.3e-5 * scale, 0, 0])
    assert len(distinct_rows(np.vstack([rows, RANDOM.permutation(chain)]))) == 50


def test_distinct_rows_equals_all_pairs():
    for name, x in nasty_clouds().items():
        x = np.asarray(x, dtype=np.float64)
        limit = 1e-3 * np.linalg.norm(x - x.mean(axis=0), axis=1).mean()
        classes = np.arange(len(x))
        for i in range(len(x)):
            for j in np.flatnonzero(np.linalg.norm(x - x[i], axis=1) < limit):
                classes[classes == classes[j]] = classes[i]
        assert len(distinct_rows(x, duplicate_tolerance=1e-3)) == np.unique(classes).size, name


def test_all_equal_rows_are_one():
    assert distinct_rows(np.full((30, 4), 0.1)).tolist() == [0]


def test_tolerance_must_be_a_number_from_zero_up():
    for tolerance in (-1e-5, np.nan, np.inf):
        with pytest.raises(ValueError, match="duplicate_tolerance must be a number from 0 up"):
            distinct_rows(np.eye(3), duplicate_tolerance=tolerance)
