"""Layers, steps and models compared over the same batches: what is paired, corrected and refused."""

import numpy as np
import pyarrow.csv
import pytest
from scipy import stats

from lm_geometry import provenance
from lm_geometry.statistics.paired import holm
from lm_geometry.tables.files import read_table
from lm_geometry.tables.geometry_comparisons import SCHEMA
from scripts.compare_geometry import compare_geometry
from tests.batch_tables import batch_rows, of_run, write_batches, write_duplicates

COMPARED = [
    name + ending
    for ending in ("", "_type_matched")
    for name in ("anisotropy", "anisotropy_without_first", "twonn_090", "twonn_020")
]
BETWEEN_MODELS = ["anisotropy_excess", "twonn_090", "twonn_090_type_matched", "twonn_020", "twonn_020_type_matched"]


def draw(seed, n_layers=4):
    return np.random.default_rng(seed).random((8, n_layers))


def statistics(values, **facts):
    """Return rows of all statistics that are compared: ``values`` by name, else one array for all."""
    by_name = values if isinstance(values, dict) else {}
    names = [*COMPARED, "anisotropy_frequency_null", "mean_cosine"]
    return [
        row
        for name in names
        for row in batch_rows(name, by_name.get(name, by_name.get("others", values)), normed=np.full(8, 9.0), **facts)
    ]


def compare(folder, rows, *, profiles=(), training=None, copies=(), differing=None):
    table, csv = folder / "comparisons.parquet", folder / "comparisons.csv"
    compare_geometry(
        batches=write_batches(folder / "batches.parquet", rows, differing=differing),
        duplicates=write_duplicates(folder / "duplicates.parquet", copies),
        table=table,
        csv=csv,
        profiles=[list(run) for run in profiles],
        training=training or {},
    )
    return table


def rows_of(path, **where):
    return [row for row in read_table(path).to_pylist() if all(row[key] == value for key, value in where.items())]


def assert_paired(row, a, b):
    peer = stats.ttest_rel(a, b)
    interval = peer.confidence_interval(0.95)
    assert row["difference"] == pytest.approx(np.mean(a) - np.mean(b))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((interval.low, interval.high))
    assert row["p"] == pytest.approx(peer.pvalue)
    assert (row["n_batches"], row["status"]) == (8, "ok")


MAIN = ("mine", "main")


def test_each_layer_is_compared_with_the_one_before_it(tmp_path):
    values = {"others": draw(0), "twonn_090": draw(1)}
    table = compare(tmp_path, of_run(statistics(values), "mine"), profiles=[MAIN])
    for name in COMPARED:
        rows = rows_of(table, comparison="layers", statistic=name)
        assert [(row["layer_a"], row["layer_b"]) for row in rows] == [(1, 0), (2, 1), (3, 2)]
        expected = values.get(name, values["others"])
        for row in rows:
            assert_paired(row, expected[:, row["layer_a"]], expected[:, row["layer_b"]])
            assert (row["model_a"], row["model_b"]) == ("mine", "mine")
            assert (row["revision_a"], row["revision_b"], row["stack"]) == ("main", "main", "decoder")
        assert [row["p_holm"] for row in rows] == pytest.approx(holm(np.array([row["p"] for row in rows])))
    assert len(rows_of(table)) == 8 * 3
    assert pyarrow.csv.read_csv(tmp_path / "comparisons.csv").column_names == SCHEMA.names
    assert provenance.read(table)["origin"] == {"commit": "abc"}


def test_a_look_up_is_compared_type_matched_only(tmp_path):
    table = compare(tmp_path, of_run(statistics(draw(0), lookup=True), "mine"), profiles=[MAIN])
    for name in COMPARED:
        first = rows_of(table, statistic=name)[0]
        assert (first["layer_a"], first["layer_b"]) == ((1, 0) if name.endswith("_type_matched") else (2, 1))


def test_a_family_is_one_comparison_statistic_and_model_of_both_stacks(tmp_path):
    stacks = [row for seed, stack in enumerate(("encoder", "decoder")) for row in statistics(draw(seed), stack=stack)]
    rows = [*of_run(stacks, "t5", kind="encoder-decoder"), *of_run(statistics(draw(2)), "mine")]
    table = compare(tmp_path, rows, profiles=[("t5", "main"), MAIN])
    for model, size in (("t5", 6), ("mine", 3)):
        family = rows_of(table, statistic="anisotropy", model_a=model)
        assert len(family) == size
        assert [row["p_holm"] for row in family] == pytest.approx(holm(np.array([row["p"] for row in family])))
    assert {row["stack"] for row in rows_of(table, model_a="t5")} == {"encoder", "decoder"}


def test_a_gap_spoils_the_pairs_that_it_is_in_and_no_others(tmp_path):
    gappy = draw(0)
    gappy[5, 1] = np.nan
    table = compare(tmp_path, of_run(statistics({"others": draw(1), "twonn_090": gappy}), "mine"), profiles=[MAIN])
    rows = rows_of(table, statistic="twonn_090")
    why = "1 of 16 values are missing, the first in layer 1, batch 5: gap 1.5"
    assert [row["status"] for row in rows] == [why, why, "ok"]
    assert [rows[0][key] for key in ("difference", "ci_low", "ci_high", "p", "p_holm")] == [None] * 5
    assert rows[0]["n_batches"] == 0
    assert rows[2]["p_holm"] == pytest.approx(rows[2]["p"])  # a family of one


CHECKPOINTS = {step: draw(step) for step in (0, 8, 64, 512)}


def checkpoints(values=CHECKPOINTS, model="mine"):
    return [
        row for step, of_step in values.items()
        for row in of_run(statistics(of_step, lookup=True), model, revision=f"step{step}", step=step)
    ]  # fmt: skip


def revisions(values=CHECKPOINTS):
    return {"mine": [f"step{step}" for step in sorted(values, key=str)]}  # not in order of the steps


def test_each_step_is_compared_with_the_one_before_it_and_the_last_with_the_first(tmp_path):
    table = compare(tmp_path, checkpoints(), training=revisions())
    for name in COMPARED:
        rows = rows_of(table, statistic=name)
        pairs = [(row["revision_a"], row["revision_b"]) for row in rows]
        assert pairs == [("step8", "step0"), ("step64", "step8"), ("step512", "step64"), ("step512", "step0")]
        for row in rows:
            after, before = (CHECKPOINTS[int(row[key][4:])][:, 1:].mean(axis=1) for key in ("revision_a", "revision_b"))
            assert_paired(row, after, before)
            assert (row["comparison"], row["layer_a"], row["layer_b"]) == ("steps", None, None)
        assert [row["p_holm"] for row in rows] == pytest.approx(holm(np.array([row["p"] for row in rows])))
    assert len(rows_of(table)) == 8 * 4
    two = {step: CHECKPOINTS[step] for step in (0, 512)}
    assert len(rows_of(compare(tmp_path, checkpoints(two), training=revisions(two)))) == 8


def test_copies_are_compared_with_nothing_and_named(tmp_path, caplog):
    copies = [("mine", "step64", "step512")]
    table = compare(tmp_path, checkpoints(), training=revisions(), copies=copies)
    pairs = [(row["revision_a"], row["revision_b"]) for row in rows_of(table, statistic="twonn_090")]
    assert pairs == [("step8", "step0"), ("step512", "step8"), ("step512", "step0")]
    assert [record.getMessage() for record in caplog.records] == [
        "mine: step64 is left out: it carries the weights of step512"
    ]
    # Where the collection dropped it, its rows are not there to begin with.
    kept = {step: values for step, values in CHECKPOINTS.items() if step != 64}
    again = compare(tmp_path, checkpoints(kept), training=revisions(), copies=copies)
    assert read_table(again).equals(read_table(table))


def test_a_run_that_is_neither_there_nor_a_copy(tmp_path):
    with pytest.raises(ValueError, match="no rows of mine step7"):
        compare(tmp_path, checkpoints(), training={"mine": ["step0", "step7"]})
    with pytest.raises(ValueError, match="no rows of yours main"):
        compare(tmp_path, checkpoints(), profiles=[("yours", "main")])
    rows = [*checkpoints(), *of_run(statistics(draw(0)), "mine", revision="final", step=512)]
    with pytest.raises(ValueError, match=r"mine: each checkpoint needs a step of its own: .*step512 \(512\)"):
        compare(tmp_path, rows, training={"mine": [*revisions()["mine"], "final"]})


MODELS = {"a": 3, "b": 4, "c": 5}
NULLS = {"a": 0.2, "b": 0.05, "c": 0.1}


def models(*, kinds=None, **facts):
    return [
        row for seed, (name, n_layers) in enumerate(MODELS.items())
        for row in of_run(
            statistics(
                {"others": draw(seed, n_layers), "anisotropy_frequency_null": NULLS[name] * draw(seed + 9, n_layers)},
                **facts.get(name, {}),
            ),
            name, kind=(kinds or {}).get(name, "decoder"),
        )
    ]  # fmt: skip


def between_models(folder, rows, **others):
    table = compare(folder, rows, profiles=[(name, "main") for name in MODELS], **others)
    return [row for row in rows_of(table) if row["comparison"] == "models"]


def test_models_are_compared_by_their_means_over_layers_and_their_excess_over_their_own_null(tmp_path):
    rows = between_models(tmp_path, models())
    assert list(dict.fromkeys(row["statistic"] for row in rows)) == BETWEEN_MODELS
    for name in BETWEEN_MODELS:
        family = [row for row in rows if row["statistic"] == name]
        assert [(row["model_a"], row["model_b"]) for row in family] == [("a", "b"), ("a", "c"), ("b", "c")]
        for row in family:
            means = []
            for model in (row["model_a"], row["model_b"]):
                seed = list(MODELS).index(model)
                values = draw(seed, MODELS[model])
                if name == "anisotropy_excess":
                    values = values - NULLS[model] * draw(seed + 9, MODELS[model])
                means.append(values.mean(axis=1))
            assert_paired(row, *means)
        assert [row["p_holm"] for row in family] == pytest.approx(holm(np.array([row["p"] for row in family])))


def test_models_of_other_kinds_and_other_stacks_are_no_pairs(tmp_path):
    rows = between_models(tmp_path, models(kinds={"b": "encoder"}, b={"stack": "encoder"}))
    assert {(row["model_a"], row["model_b"]) for row in rows} == {("a", "c")}
    # The decoder of an encoder-decoder is none of a decoder's kind.
    rows = between_models(tmp_path, models(kinds={"b": "encoder-decoder"}))
    assert {(row["model_a"], row["model_b"]) for row in rows} == {("a", "c")}
    two = [
        row for name in ("s", "t") for seed, stack in enumerate(("encoder", "decoder"))
        for row in of_run(statistics(draw(seed), stack=stack), name, kind="encoder-decoder")
    ]  # fmt: skip
    table = compare(tmp_path, two, profiles=[("s", "main"), ("t", "main")])
    found = rows_of(table, comparison="models", statistic="twonn_090")
    assert [(row["model_a"], row["model_b"], row["stack"]) for row in found] == [
        ("s", "t", "encoder"), ("s", "t", "decoder")
    ]  # fmt: skip


def statuses(rows, statistic="twonn_090"):
    return [row["status"] for row in rows if row["statistic"] == statistic]


def test_models_on_other_text_are_no_pairs(tmp_path):
    differing = {"a": {"chunks": {"seed": 0}}, "b": {"chunks": {"seed": 1}}, "c": {"chunks": {"seed": 0}}}
    rows = between_models(tmp_path, models(), differing=differing)
    why = "{} main, decoder and {} main, decoder were measured with different chunks"
    assert statuses(rows) == [why.format("a", "b"), "ok", why.format("b", "c")]
    assert (
        statuses(between_models(tmp_path, models(), differing={name: {"dtype": name} for name in MODELS})) == ["ok"] * 3
    )


def test_models_with_other_batches_are_no_pairs(tmp_path):
    rows = [row for row in models() if row["model"] != "b" or row["batch"] != 7]
    found = statuses(between_models(tmp_path, rows))
    assert found[0] == ("a main, decoder has the batches 0, 1, 2, 3, 4, 5, 6, 7, b main, decoder 0, 1, 2, 3, 4, 5, 6")
    assert found[1] == "ok"


def test_type_matched_batches_compare_at_equal_numbers_of_types_only(tmp_path):
    rows = between_models(tmp_path, models(b={"n_vectors": 1200}))
    assert statuses(rows) == ["ok"] * 3
    found = statuses(rows, "twonn_090_type_matched")
    assert found[0] == "a main, decoder has 4096 token types in each batch, b main, decoder 1200"
    assert found[1] == "ok"


def test_dimensions_of_models_compare_at_like_numbers_of_distinct_vectors_only(tmp_path):
    rows = between_models(tmp_path, models(b={"n_distinct": 3700}))
    assert statuses(rows, "anisotropy_excess") == ["ok"] * 3
    found = statuses(rows, "twonn_090")
    assert "distinct vectors" in found[0]
    assert "dimensions compare at equal N only" in found[0]
    assert found[1] == "ok"


def test_dimensions_of_layers_compare_at_like_numbers_of_distinct_vectors_only(tmp_path):
    rows = of_run(statistics(draw(0)), "mine")
    for row in rows:
        if row["layer"] == 0:
            row["n_distinct"] = 3500
    table = compare(tmp_path, rows, profiles=[MAIN])
    for name in COMPARED:
        found = [row["status"] for row in rows_of(table, comparison="layers", statistic=name)]
        if name.startswith("twonn"):
            assert found[0].startswith("layer 0 has 3500 distinct vectors, layer 1 39")
        else:
            assert found[0] == "ok"
        assert found[1:] == ["ok", "ok"]


def test_a_gap_in_any_layer_leaves_models_and_steps_uncompared(tmp_path):
    rows = models()
    for row in rows:
        if (row["model"], row["statistic"], row["layer"], row["batch"]) == ("b", "anisotropy_frequency_null", 2, 1):
            row.update(value=None, status="no tokens")
    found = statuses(between_models(tmp_path, rows), "anisotropy_excess")
    assert found[0].startswith("b main, decoder: anisotropy_frequency_null: 1 of 32 values are missing, the first in")
    assert found[1] == "ok"
    unmeasured = [row for row in models() if (row["model"], row["statistic"]) != ("c", "twonn_020")]
    found = between_models(tmp_path, unmeasured)
    assert statuses(found, "twonn_020") == ["ok"] + ["c main, decoder: twonn_020 was not measured"] * 2
