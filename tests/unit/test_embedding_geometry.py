"""Measures of whole embedding tables and of batches of their rows, and the collected rows."""

import numpy as np
import pyarrow.csv
import pytest

from lm_geometry import provenance
from lm_geometry.embeddings.precision import round_to_bfloat16
from lm_geometry.embeddings.table import write_embedding_table
from lm_geometry.geometry.intrinsic_dimension import two_nn
from lm_geometry.geometry.rows import DegenerateError
from lm_geometry.geometry.spectrum import anisotropy, effective_rank, participation_ratio
from lm_geometry.geometry.table_measures import BATCH_STATISTICS, TableTotals, batch_statistics, mean_cosine
from lm_geometry.statistics.intervals import t_interval
from lm_geometry.tables.files import read_table
from scripts import measure_embedding_table as script
from scripts.collect_embedding_geometry import collect_embedding_geometry
from scripts.measure_embedding_table import measure_embedding_table

RANDOM = np.random.default_rng(20261122)
WHOLE = (
    "root_mean_square", "mean_norm_share", "share_without_token", "rows_without_token", "zero_rows", "repeated_rows"
)  # fmt: skip
ROWS, WIDTH, WITHOUT_TOKEN = 200, 6, 20


def gaussian(rows=ROWS, columns=WIDTH):
    return RANDOM.standard_normal((rows, columns)).astype(np.float32)


# -- the measures ----------------------------------------------------------------------------------------------------


def test_mean_cosine_against_all_pairs():
    x = gaussian(80) + np.float32(0.3)
    x[[5, 6, 40]] = 0
    unit = x / np.maximum(np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True), 1e-300)
    pairs = (unit @ unit.T)[~np.eye(80, dtype=bool)]
    assert mean_cosine(x) == pytest.approx(pairs.mean(), rel=1e-12)


def test_mean_cosine_of_known_rows():
    assert mean_cosine(np.eye(5)) == pytest.approx(0, abs=1e-15)
    assert mean_cosine(np.full((7, 3), 0.1)) == pytest.approx(1, rel=1e-14)
    # Pairs of +e_i and -e_i: of the 7 others one is opposite.
    assert mean_cosine(np.vstack([np.eye(4), -np.eye(4)])) == pytest.approx(-1 / 7, rel=1e-14)
    assert mean_cosine(np.array([[1.0, 0.0], [3.0, 3.0]])) == pytest.approx(np.sqrt(0.5), rel=1e-14)
    scales = 10.0 ** RANDOM.uniform(-30, 30, (4, 1))
    assert mean_cosine(scales * np.ones((4, 3))) == pytest.approx(1, rel=1e-14)


def test_mean_cosine_of_a_common_mean():
    """Rows m + g: for wide rows the cosine is |m|^2 / (|m|^2 + d)."""
    x = RANDOM.standard_normal((500, 4000)) + 0.5
    assert mean_cosine(x) == pytest.approx(0.25 / 1.25, rel=0.01)


def test_mean_cosine_of_nothing():
    with pytest.raises(DegenerateError, match="needs two rows, got 1"):
        mean_cosine(np.ones((1, 3)))
    with pytest.raises(DegenerateError, match="all 4 rows are zero"):
        mean_cosine(np.zeros((4, 3)))
    with pytest.raises(DegenerateError, match="not finite"):
        mean_cosine(np.array([[1.0], [np.nan]]))


def test_a_batch_has_the_measures_of_the_hidden_states():
    x = gaussian(150) + np.float32(0.2)
    found = batch_statistics(x)
    assert {name: statistic.value for name, statistic in found.items()} == pytest.approx(
        {
            "anisotropy": anisotropy(x),
            "anisotropy_uncentered": anisotropy(x, center=False),
            "participation_ratio": participation_ratio(x),
            "effective_rank": effective_rank(x),
            "twonn_090": two_nn(x).dimension,
            "twonn_020": two_nn(x, fit_fraction=0.2).dimension,
            "mean_cosine": mean_cosine(x),
        },
        rel=1e-12,
    )
    assert tuple(found) == BATCH_STATISTICS


def totals_of(table, *sizes):
    totals = TableTotals(table.shape[1])
    for block in np.split(table, np.cumsum(sizes, dtype=int)):
        totals.add(block)
    return totals


@pytest.mark.parametrize("sizes", [(), (1, 70, 2)])
def test_totals_against_the_table_held_whole(sizes):
    table = gaussian() * np.float32(3) + np.float32(0.5)
    table[[10, 11]] = 0
    table[11, 2] = -0.0  # a zero row, and not bit for bit row 10
    table[20, 2] = 0  # a zero, and no zero row
    table[[50, 150, 151]] = table[7]
    wide = table.astype(np.float64)
    found = {name: one.value for name, one in totals_of(table, *sizes).statistics(20).items()}
    assert found == pytest.approx(
        {
            "root_mean_square": np.sqrt((wide**2).mean()),
            "mean_norm_share": (wide.mean(axis=0) ** 2).sum() / (wide**2).sum(axis=1).mean(),
            "share_without_token": 0.1,
            "rows_without_token": 20,
            "zero_rows": 2,
            "repeated_rows": 3,
        },
        rel=1e-12,
    )
    assert tuple(found) == WHOLE


def test_totals_of_known_tables():
    same = {name: one.value for name, one in totals_of(np.full((8, 4), 2, dtype=np.float32), 3).statistics(0).items()}
    assert list(same.values()) == [2, 1, 0, 0, 0, 7]
    zeros = totals_of(np.zeros((5, 4), dtype=np.float32)).statistics(5)
    assert zeros["mean_norm_share"].value is None
    assert zeros["mean_norm_share"].problem == "all 5 rows are zero: they have no norm to share"
    assert [zeros[name].value for name in ("root_mean_square", "share_without_token", "zero_rows")] == [0, 1, 5]
    opposite = totals_of(np.vstack([np.eye(3), -np.eye(3)]).astype(np.float32)).statistics(0)
    assert opposite["mean_norm_share"].value == 0


def test_squares_are_summed_in_float64():
    """Squares that float32 cannot hold, and a sum that it would stop growing at."""
    huge = totals_of(np.full((3, 4), 1e30, dtype=np.float32)).statistics(0)["root_mean_square"].value
    assert huge == pytest.approx(1e30, rel=1e-6)
    many = totals_of(np.full((300_000, 64), 1.0, dtype=np.float32), 150_000).statistics(0)
    assert many["root_mean_square"].value == many["mean_norm_share"].value == 1


# -- the measuring script --------------------------------------------------------------------------------------------


@pytest.fixture
def measured(tmp_path):
    def measure(table, *, name="m.parquet", without_token=None, origin=None, **settings):
        rows = len(table)
        absent = range(rows - WITHOUT_TOKEN, rows) if without_token is None else without_token
        tokens = [None if row in absent else f"t{row}" for row in range(rows)]
        write_embedding_table(tmp_path / "table.parquet", [table], table.shape, tokens, origin=origin)
        settings = {"table_precision": "float32", "n_batches": 3, "batch_size": 40, "seed": 5, **settings}
        measure_embedding_table(table=tmp_path / "table.parquet", measures=tmp_path / name, **settings)
        return {row["statistic"]: row for row in read_table(tmp_path / name).to_pylist()}

    return measure


@pytest.fixture
def batches_of(monkeypatch):
    """The batches that the script measures, as they come."""
    seen = []

    def keep(batch):
        seen.append(batch.copy())
        return batch_statistics(batch)

    monkeypatch.setattr(script, "batch_statistics", keep)
    return seen


def test_batches_are_disjoint_rows_that_have_a_token(measured, batches_of):
    table = gaussian()
    absent = [0, 13, *range(150, 170)]
    found = measured(table, without_token=absent)
    assert [batch.shape for batch in batches_of] == [(40, WIDTH)] * 3
    place = {row.tobytes(): number for number, row in enumerate(table)}
    drawn = [place[row.tobytes()] for batch in batches_of for row in batch]
    assert len(set(drawn)) == 120
    assert not set(drawn) & set(absent)
    for name, measure in (("anisotropy", anisotropy), ("effective_rank", effective_rank), ("mean_cosine", mean_cosine)):
        values = np.array([measure(batch) for batch in batches_of])
        row = found[name]
        assert row["value"] == pytest.approx(values.mean(), rel=1e-12)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(t_interval(values), rel=1e-9)
        assert (row["n_batches"], row["n_vectors"], row["status"]) == (3, 40, "ok")
    assert list(found) == [*BATCH_STATISTICS, *WHOLE]


def test_the_draw_depends_on_the_seed_only(measured, batches_of):
    table = gaussian()
    assert measured(table) == measured(table)
    assert measured(table, seed=6) != measured(table)
    first, again, other, _ = batches_of[::3]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_whole_table_is_measured_with_all_rows(measured):
    table = gaussian()
    table[199] = table[198] = 0
    found = measured(table)
    assert found["root_mean_square"]["value"] == pytest.approx(np.sqrt((table.astype(np.float64) ** 2).mean()))
    assert [found[name]["value"] for name in WHOLE[2:]] == [0.1, 20, 2, 1]
    for name in WHOLE:
        assert [found[name][key] for key in ("n_batches", "n_vectors", "ci_low", "ci_high")] == [1, ROWS, None, None]


def test_values_are_those_of_the_rounded_table(measured, batches_of):
    table = gaussian()
    table[30] = table[31] * np.float32(1 + 1e-5)  # equal in bfloat16 only
    table[30][table[30] == table[31]] *= np.float32(1 + 1e-6)
    found = measured(table, table_precision="bfloat16")
    rounded = round_to_bfloat16(table).astype(np.float64)
    assert found["root_mean_square"]["value"] == pytest.approx(np.sqrt((rounded**2).mean()), rel=1e-12)
    assert all(np.array_equal(round_to_bfloat16(batch), batch) for batch in batches_of)
    assert measured(table)["root_mean_square"]["value"] != found["root_mean_square"]["value"]


def test_equal_rows_are_counted_after_rounding(measured):
    table = round_to_bfloat16(gaussian())
    table[30] = table[31] * np.float32(1 + 1e-5)
    assert measured(table)["repeated_rows"]["value"] == 0
    assert measured(table, table_precision="bfloat16")["repeated_rows"]["value"] == 1


@pytest.mark.parametrize(("asked", "made"), [(4, 4), (9, 4), (1, 1)])
def test_as_many_batches_as_fit(measured, asked, made):
    found = measured(gaussian(), n_batches=asked, batch_size=45)  # of 180 rows with a token
    assert {found[name]["n_batches"] for name in BATCH_STATISTICS} == {made}


def test_one_batch_has_no_interval(measured):
    found = measured(gaussian(), batch_size=100)["twonn_020"]
    assert found["value"] > 0
    assert [found[key] for key in ("ci_low", "ci_high", "n_batches", "status")] == [None, None, 1, "ok"]


def test_a_batch_of_more_rows_than_have_a_token(measured):
    found = measured(gaussian(), batch_size=181)
    for name in BATCH_STATISTICS:
        assert found[name]["value"] is None
        assert found[name]["status"] == (
            "a batch has 181 rows, but only 180 rows of the table have a token and are not zero: lower "
            "table_geometry.batch_size"
        )
        assert (found[name]["n_batches"], found[name]["n_vectors"]) == (0, 181)
    assert found["root_mean_square"]["status"] == "ok"
    assert measured(gaussian(), batch_size=180)["anisotropy"]["n_batches"] == 1


def test_zero_rows_are_in_no_batch(measured, batches_of):
    table = gaussian()
    table[[3, 50, 99]] = 0
    measured(table, batch_size=177)
    assert all(batch.any(axis=1).all() for batch in batches_of)
    assert measured(table, batch_size=178)["anisotropy"]["n_batches"] == 0


def test_degenerate_tables_are_rows_without_value(measured):
    found = measured(np.full((ROWS, WIDTH), 0.5, dtype=np.float32))
    for name in BATCH_STATISTICS[:-1]:
        assert found[name]["value"] is None
        assert found[name]["ci_low"] is None
        assert found[name]["status"].startswith(
            "3 of 3 batches have no value: batch 0: 1 distinct rows among 40; at least 10 are needed; batch 1: "
        )
    found = measured(np.zeros((ROWS, WIDTH), dtype=np.float32))
    assert {found[name]["value"] for name in BATCH_STATISTICS} == {None}
    assert found["twonn_090"]["status"].startswith("a batch has 40 rows, but only 0 rows of the table have a token and")
    assert found["mean_norm_share"]["status"] == "all 200 rows are zero: they have no norm to share"
    assert (found["zero_rows"]["value"], found["repeated_rows"]["value"]) == (200, 199)


def test_one_degenerate_batch_leaves_no_mean(measured, monkeypatch):
    numbers = iter(range(3))

    def second_fails(batch):
        return batch_statistics(batch if next(numbers) != 1 else np.ones_like(batch))

    monkeypatch.setattr(script, "batch_statistics", second_fails)
    found = measured(gaussian())
    assert found["twonn_090"]["value"] is None
    assert found["twonn_090"]["status"] == (
        "1 of 3 batches have no value: batch 1: 1 distinct rows among 40; at least 10 are needed"
    )


def test_a_value_that_overflows_the_precision_is_named(measured):
    table = gaussian()
    table[7, 3] = np.finfo(np.float32).max
    with pytest.raises(ValueError, match="inf in row 7, column 3"):
        measured(table, table_precision="bfloat16")


def test_intervals_cover_the_truth_of_gaussian_tables():
    """t over 8 disjoint batches of independent rows; the truth is the mean over many batches drawn apart."""
    measures = (mean_cosine, participation_ratio, effective_rank, anisotropy)
    scales, mean = np.array([1.0, 0.9, 0.8, 0.5]), 0.4

    def batch_values(seed, count):
        random = np.random.default_rng(seed)
        batches = (random.standard_normal((32, 4)) * scales + mean for _ in range(count))
        return np.array([[measure(batch) for measure in measures] for batch in batches])

    truth = batch_values(1, 6000).mean(axis=0)
    trials = batch_values(2, 8 * 800).reshape(800, 8, len(measures))
    intervals = np.array([[t_interval(values) for values in trial.T] for trial in trials])
    covered = ((intervals[:, :, 0] <= truth) & (truth <= intervals[:, :, 1])).mean(axis=0)
    # 800 trials have a standard deviation of 0.8 %.
    assert covered == pytest.approx([0.95] * len(measures), abs=0.024)


# -- collected rows --------------------------------------------------------------------------------------------------


def test_collected_rows_follow_the_models(measured, tmp_path):
    expected = [
        measured(gaussian(), name="a.parquet", origin={"commit": "a"}),
        measured(gaussian(100), name="b.parquet", origin={"commit": "b"}, batch_size=20),
    ]
    models = [{"model": name, "suite": "S", "revision": "main", "step": None} for name in ("z", "c")]
    table, csv = tmp_path / "all.parquet", tmp_path / "all.csv"
    measures = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    collect_embedding_geometry(measures=measures, table=table, csv=csv, models=models)
    rows = read_table(table).to_pylist()
    assert [row["model"] for row in rows] == ["z"] * 13 + ["c"] * 13
    for row in rows:
        found = expected["zc".index(row["model"])][row["statistic"]]
        assert {key: row[key] for key in found} == found
        assert (row["suite"], row["revision"], row["table_precision"]) == ("S", "main", "float32")
        assert (row["vocab_rows"], row["embedding_dim"]) == ({"z": 200, "c": 100}[row["model"]], WIDTH)
    facts = provenance.read(table)
    assert facts["origin"] == {"commit": ["a", "b"]}
    assert facts["settings"] == {"embedding_dim": WIDTH, "table_precision": "float32", "n_batches": 3, "seed": 5}
    assert pyarrow.csv.read_csv(csv).column_names == read_table(table).column_names
    with pytest.raises(ValueError, match="2 models and revisions need as many measures, got 1"):
        collect_embedding_geometry(measures=measures[:1], table=table, csv=csv, models=models)
