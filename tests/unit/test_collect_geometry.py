"""Summaries of layers, means over layers and all batches together: what is averaged, labelled, left out and refused."""

from types import SimpleNamespace

import numpy as np
import pyarrow.csv
import pytest
from scipy import stats

from lm_geometry import provenance
from lm_geometry.tables.files import read_table
from lm_geometry.tables.geometry import SUMMARY
from lm_geometry.tables.geometry_batches import ALL_BATCHES
from lm_geometry.tables.geometry_layer_means import SCHEMA as LAYER_MEANS
from lm_geometry.tables.geometry_statistics import DECIMATED, NO_SINGLE_DIMENSION, ONE_DIMENSION
from scripts.collect_geometry import collect_geometry
from tests.batch_tables import batch_rows, token_rows, write_duplicates, write_run

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.random((8, 4))  # batches, layers
NORMED = RANDOM.random(8)
ENTRY = {"model": "mine", "suite": "Mine", "revision": "main", "step": None}


@pytest.fixture
def run(tmp_path):
    """The files of a look-up model of four layers."""
    rows = batch_rows("anisotropy", VALUES, lookup=True, normed=NORMED)
    return write_run(tmp_path / "run", rows, token_rows("anisotropy", [0.1, 0.2, None, 0.4], lookup=True))


def collect(folder, runs, entries=(ENTRY,), *, copies=(), policy="mark"):
    """Collect the files of several runs and return the outputs' paths."""
    names = ("table", "csv", "all_batches", "layer_means", "layer_means_csv")
    outputs = {name: folder / f"{name}.out" for name in names}
    collect_geometry(
        batches=[batches for batches, _ in runs],
        all_tokens=[all_tokens for _, all_tokens in runs],
        duplicates=write_duplicates(folder / "duplicates.parquet", copies),
        models=list(entries),
        on_duplicate_checkpoint=policy,
        **outputs,
    )
    return SimpleNamespace(**outputs)


def rows_of(path, **where):
    return [row for row in read_table(path).to_pylist() if all(row[key] == value for key, value in where.items())]


def assert_interval(row, values):
    peer = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert row["value"] == pytest.approx(np.mean(values))
    assert row["std"] == pytest.approx(np.std(values, ddof=1))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((peer.low, peer.high))


def test_each_layer_is_the_mean_over_batches_beside_the_value_of_all_tokens(run, tmp_path):
    found = collect(tmp_path, [run])
    rows = rows_of(found.table)
    assert [(row["layer"], row["after_final_norm"]) for row in rows] == [
        (0, False), (1, False), (2, False), (3, False), (3, True)
    ]  # fmt: skip
    for row, values in zip(rows, [*VALUES.T, NORMED], strict=True):
        assert_interval(row, values)
        assert (row["n_batches"], row["batch_size"], row["n_vectors"]) == (8, 4096, 4096)
        assert row["n_distinct"] == 4000 - row["layer"] - 7  # the least of the batches
        assert (row["dtype"], row["kind"], row["status"], row["n_used"]) == ("float32", "decoder", "ok", None)
    assert [row["value_all_tokens"] for row in rows] == [0.1, 0.2, None, 0.4, None]
    assert [row["n_all_tokens"] for row in rows] == [50_000] * 4 + [None]
    written = pyarrow.csv.read_csv(found.csv)
    assert written.column_names == SUMMARY.names
    assert written.column("value").to_pylist() == [row["value"] for row in rows]
    # Its origin is what was measured, not all that was compared.
    assert provenance.read(found.table)["origin"] == {"commit": "abc"}
    settings = provenance.read(found.table)["settings"]
    assert (settings["dtype"], settings["on_duplicate_checkpoint"]) == ("float32", "mark")


def test_the_ratios_used_are_the_least_of_the_batches_that_count_them(tmp_path):
    rows = batch_rows("twonn_090", VALUES)
    for row in rows:
        row["n_used"] = None if row["batch"] == 0 else 100 + row["batch"]
    found = collect(tmp_path, [write_run(tmp_path / "run", rows)])
    assert {row["n_used"] for row in rows_of(found.table)} == {101}


def test_a_gap_in_one_batch_is_a_gap_in_the_layer_and_in_the_mean_over_layers(tmp_path):
    gappy = VALUES.copy()
    gappy[[2, 5], 1] = np.nan
    rows = [*batch_rows("anisotropy", VALUES), *batch_rows("twonn_090", gappy)]
    found = collect(tmp_path, [write_run(tmp_path / "run", rows)])
    row = rows_of(found.table, layer=1, statistic="twonn_090")[0]
    assert [row[key] for key in ("value", "std", "ci_low", "ci_high")] == [None] * 4
    assert row["status"] == "2 of 8 batches have no value: batch 2: gap 1.2; batch 5: gap 1.5"
    assert rows_of(found.table, layer=0, statistic="twonn_090")[0]["status"] == "ok"
    mean = rows_of(found.layer_means, statistic="twonn_090")[0]
    assert [mean[key] for key in ("value", "std", "ci_low", "ci_high")] == [None] * 4
    assert mean["status"] == "2 of 32 values are missing, the first in layer 1, batch 2: gap 1.2"
    assert rows_of(found.layer_means, statistic="anisotropy")[0]["status"] == "ok"


def test_the_mean_over_layers_is_each_batch_s_own_without_a_look_up_and_before_the_norm(run, tmp_path):
    found = collect(tmp_path, [run])
    (row,) = rows_of(found.layer_means)
    assert_interval(row, VALUES[:, 1:].mean(axis=1))
    assert (row["n_layers"], row["n_batches"], row["batch_size"]) == (3, 8, 4096)
    assert row["n_distinct"] == 4000 - 3 - 7
    assert pyarrow.csv.read_csv(found.layer_means_csv).column_names == LAYER_MEANS.names
    positioned = write_run(tmp_path / "other", batch_rows("anisotropy", VALUES))
    (row,) = rows_of(collect(tmp_path, [positioned]).layer_means)
    assert_interval(row, VALUES.mean(axis=1))
    assert row["n_layers"] == 4


def test_each_stack_has_a_mean_over_its_layers(tmp_path):
    rows = [*batch_rows("anisotropy", VALUES, stack="encoder"), *batch_rows("anisotropy", VALUES + 1)]
    found = collect(tmp_path, [write_run(tmp_path / "run", rows, kind="encoder-decoder")])
    assert {row["stack"]: row["value"] for row in rows_of(found.layer_means)} == {
        "encoder": pytest.approx(VALUES.mean()), "decoder": pytest.approx(VALUES.mean() + 1)
    }  # fmt: skip


def constant(statistic, value, ending=""):
    return batch_rows(statistic + ending, np.full((8, 1), value))


@pytest.mark.parametrize(
    ("fit_gap", "variation", "label"),
    [
        (1.0, 1.0, ONE_DIMENSION),
        (0.9, 1.1, ONE_DIMENSION),
        (1.11, 1.0, NO_SINGLE_DIMENSION),
        (0.89, 1.0, NO_SINGLE_DIMENSION),
        (1.0, 1.11, NO_SINGLE_DIMENSION),
        (1.0, 0.89, NO_SINGLE_DIMENSION),
        (np.nan, 1.5, None),
        (1.5, np.nan, None),
    ],
)
@pytest.mark.parametrize("ending", ["", "_type_matched"])
def test_a_dimension_is_labelled_by_the_two_numbers_of_its_own_rows(tmp_path, fit_gap, variation, label, ending):
    other = "" if ending else "_type_matched"
    labelled = ["twonn_090", "twonn_020", "twonn_mle", "fit_gap", "log_mu_variation", *DECIMATED.values()]
    plain = ["anisotropy", "twonn_090_linear_reference"]
    values = dict.fromkeys([*labelled, *plain], 5.0) | {"fit_gap": fit_gap, "log_mu_variation": variation}
    rows = [row for name, value in values.items() for row in constant(name, value, ending)]
    rows += [*constant("twonn_090", 5.0, other), *constant("fit_gap", 1.0, other)]
    rows += constant("log_mu_variation", 1.0, other)
    found = collect(tmp_path, [write_run(tmp_path / "run", rows)])
    labels = {row["statistic"]: row["label"] for row in rows_of(found.table)}
    assert {labels[name + ending] for name in labelled} == {label}
    assert {labels[name + ending] for name in plain} == {None}
    assert labels["twonn_090" + other] == ONE_DIMENSION


def test_without_the_two_numbers_there_is_no_label(tmp_path):
    found = collect(tmp_path, [write_run(tmp_path / "run", constant("twonn_090", 5.0))])
    assert rows_of(found.table)[0]["label"] is None


def test_the_layer_s_mean_decides_the_label_not_its_batches(tmp_path):
    gap = np.array([0.5, 1.5] * 4)[:, None]
    rows = [*batch_rows("fit_gap", gap), *constant("log_mu_variation", 1.0)]
    assert rows_of(collect(tmp_path, [write_run(tmp_path / "run", rows)]).table)[0]["label"] == ONE_DIMENSION


STEPS = [{"model": "mine", "suite": "S", "revision": f"step{step}", "step": step} for step in (1, 2, 3)]
# Step 1 carries two other steps' files; step 3 is in a group and what it is called; another model's step 2 is no copy.
COPIES = [("mine", "step1", "step2"), ("mine", "step1", "step3, main"), ("mine", "step3", None), ("x", "step2", "main")]


def test_all_batches_are_those_of_the_files_with_the_run_s_name(run, tmp_path):
    entries = [{**ENTRY, "model": name} for name in ("z", "a")]
    found = collect(tmp_path, [run, run], entries)
    table = read_table(found.all_batches)
    assert table.schema.names == ALL_BATCHES.names
    original = read_table(run[0]).to_pylist()
    known = {"suite": "Mine", "kind": "decoder", "revision": "main", "step": None}
    assert table.to_pylist() == [{"model": name, **known, **row} for name in ("z", "a") for row in original]
    assert [row["model"] for row in rows_of(found.table)] == ["z"] * 5 + ["a"] * 5
    assert provenance.read(found.all_batches)["settings"]["differing"] == {}


def test_copies_are_marked_and_keep_their_rows(run, tmp_path):
    found = collect(tmp_path, [run] * 3, STEPS, copies=COPIES)
    marks = [("step1", "step2, step3, main"), ("step2", None), ("step3", None)]
    assert list(dict.fromkeys((row["revision"], row["duplicate_of"]) for row in rows_of(found.table))) == marks
    assert [(row["revision"], row["duplicate_of"]) for row in rows_of(found.layer_means)] == marks
    assert {row["revision"] for row in rows_of(found.all_batches)} == {"step1", "step2", "step3"}


def test_copies_leave_all_tables_when_asked_and_are_named(run, tmp_path, caplog):
    found = collect(tmp_path, [run] * 3, STEPS, copies=COPIES, policy="drop")
    for path in (found.table, found.layer_means, found.all_batches):
        assert list(dict.fromkeys(row["revision"] for row in rows_of(path))) == ["step2", "step3"]
    assert [record.getMessage() for record in caplog.records] == [
        "mine: step1 is left out: it carries the weights of step2, step3, main"
    ]
    everything = [("mine", entry["revision"], "main") for entry in STEPS]
    found = collect(tmp_path, [run] * 3, STEPS, copies=everything, policy="drop")
    for path in (found.table, found.layer_means, found.all_batches):
        assert rows_of(path) == []


def test_files_of_one_model_must_agree_and_those_of_two_may_differ(run, tmp_path):
    rows = batch_rows("anisotropy", VALUES)
    other = write_run(tmp_path / "other", rows, seed=1)
    for runs, entries in (([(run[0], other[1])], [ENTRY]), ([run, other, run], STEPS)):
        with pytest.raises(ValueError, match=r"measured with different settings.*'seed': 0.*'seed': 1"):
            collect(tmp_path, runs, entries)
    found = collect(tmp_path, [run, other], [ENTRY, {**ENTRY, "model": "yours"}])
    settings = provenance.read(found.all_batches)["settings"]
    assert settings["differing"] == {"mine": {"seed": 0}, "yours": {"seed": 1}}
    assert "seed" not in settings
    assert settings["chunks"] == {"seed": 0}


def test_files_that_lack_something(run, tmp_path):
    with pytest.raises(ValueError, match=r"1 models and revisions need a file .* got 2 and 2"):
        collect(tmp_path, [run, run])
    rows = [*batch_rows("anisotropy", VALUES), *batch_rows("twonn_090", VALUES[:, :3])]
    with pytest.raises(ValueError, match=r"batches\.parquet: twonn_090 was measured in 3 of 4 layers of the decoder"):
        collect(tmp_path, [write_run(tmp_path / "other", rows)])
    tokens = token_rows("iso_score", [0.5])
    with pytest.raises(ValueError, match=r"1 statistics of all tokens have no batches.*iso_score"):
        collect(tmp_path, [write_run(tmp_path / "other", batch_rows("anisotropy", VALUES), tokens)])
    rows = batch_rows("anisotropy", VALUES)
    with pytest.raises(ValueError, match="anisotropy: 2 rows of layer 2, batch 3"):
        collect(tmp_path, [write_run(tmp_path / "other", [*rows, rows[2 * 8 + 3]])])


def test_a_value_missing_in_a_layer_without_a_row_is_said(tmp_path):
    rows = batch_rows("anisotropy", VALUES)
    del rows[8 + 3]
    (row,) = rows_of(collect(tmp_path, [write_run(tmp_path / "run", rows)]).layer_means)
    assert row["status"] == "1 of 32 values are missing, the first in layer 1, batch 3: not measured"


def test_files_without_a_statement_of_their_settings(run, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.batch_tables.SETTINGS", {"kind": "decoder"})
    bare = write_run(tmp_path / "bare", batch_rows("anisotropy", VALUES))
    with pytest.raises(ValueError, match=r"provenance does not state dtype, n_batches, .*remove it and run again"):
        collect(tmp_path, [bare])


def test_one_batch_has_a_value_and_no_spread(tmp_path):
    found = collect(tmp_path, [write_run(tmp_path / "run", batch_rows("anisotropy", VALUES[:1]), n_batches=1)])
    for path in (found.table, found.layer_means):
        row = rows_of(path)[0]
        assert row["value"] > 0
        assert [row[key] for key in ("std", "ci_low", "ci_high")] == [None] * 3
        assert row["status"] == "ok"


def test_the_same_files_make_the_same_bytes(run, tmp_path):
    first = collect(tmp_path, [run])
    written = {name: path.read_bytes() for name, path in vars(first).items()}
    assert {name: path.read_bytes() for name, path in vars(collect(tmp_path, [run])).items()} == written
