"""What is drawn is what the table says: selections are checked against the table by pandas, lines in the axes too."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from docutils.core import publish_string
from jinja2 import Environment
from scipy import stats

from lm_geometry import provenance
from lm_geometry.figures import dynamics, scaling, style
from lm_geometry.published import Published, read_published
from lm_geometry.tables import duplicate_checkpoints, figure_data, retrieval_scores
from lm_geometry.tables import geometry as geometry_table
from lm_geometry.tables.files import read_table, write_table
from scripts.plot_all_suites import plot_all_suites
from scripts.plot_profiles import plot_profiles
from scripts.plot_random_baselines import plot_random_baselines
from scripts.plot_suite_scaling import plot_suite_scaling
from scripts.plot_training_anisotropy import plot_training_anisotropy
from scripts.plot_training_dimension import plot_training_dimension

PROJECT = Path(__file__).resolve().parents[2]
WIDTHS = {"pythia-70m": 512, "pythia-1.4b": 2048, "pythia-1b": 2048, "pythia-14m": 128}
IN_ORDER = ["pythia-14m", "pythia-70m", "pythia-1b", "pythia-1.4b"]
SEEDS = (42, 43, 6573)
GAP = "crop_256 needs at least 256 columns, the table has 128"
METRICS = ("ndcg_at_10", "map_at_100", "recall_at_10")


def score_row(model, width, variant, seed, metric, value, *, suite="Pythia", status="ok"):
    return {
        "model": model, "suite": suite if model else None, "revision": "main" if model else None,
        "tokenizer": "EleutherAI/gpt-neox-20b", "vocab_rows": 300, "embedding_dim": width, "variant": variant,
        "width": width, "seed": seed, "table_precision": "bfloat16", "collection": "SCIDOCS", "metric": metric,
        "value": value, "n_queries": 1000, "status": status,
    }  # fmt: skip


def score_rows():
    rng = np.random.default_rng(0)
    rows = []
    for metric in METRICS:
        for model, width in WIDTHS.items():
            trained = 0.001 if model == "pythia-14m" else 0.05 + rng.random() / 100
            rows.append(score_row(model, width, "as_is", None, metric, trained))
            bad = width < 256
            crop = None if bad else rng.random() / 10
            rows.append(score_row(model, width, "crop_256", None, metric, crop, status=GAP if bad else "ok"))
            for variant in ("random", "pad_14336"):
                rows += [score_row(model, width, variant, seed, metric, 0.02 + rng.random() / 100) for seed in SEEDS]
        for width in (128, 512, 2048):
            rows += [
                score_row(None, width, "random_tokenizer", seed, metric, width / 1e5 + rng.random() / 1e3)
                for seed in SEEDS
            ]
        rows.append(score_row("opt-125m", 768, "as_is", None, metric, 0.03, suite="OPT"))
    return rows


@pytest.fixture(scope="module")
def scores():
    return pa.Table.from_pylist(score_rows(), schema=retrieval_scores.SCHEMA)


LAYERS = {
    "neox-64": ("decoder", 3, 64, True),
    "neox-16": ("decoder", 2, 16, True),
    "bert-64": ("encoder", 3, 64, False),
}


def geometry_rows():
    rng = np.random.default_rng(1)
    runs = [(model, "main", None) for model in LAYERS] + [("neox-64", f"step{step}", step) for step in (0, 1, 16, 256)]
    rows = []
    for model, revision, step in runs:
        kind, n_layers, width, rotary = LAYERS[model]
        for layer in range(n_layers + 1):
            for after in [False, True] if rotary and layer == n_layers else [False]:
                for name in (
                    "anisotropy",
                    "anisotropy_frequency_null",
                    "twonn_090",
                    "twonn_020",
                    "participation_ratio",
                ):
                    for suffix, n_vectors in (("", 2048), ("_type_matched", 611)):
                        value = float(rng.random() + (8 if name.startswith("twonn") else 0))
                        bad = revision == "step16" and layer == 2 and name == "twonn_090" and not suffix
                        rows.append(
                            {
                                "model": model, "suite": "Embedded", "kind": kind, "stack": kind, "revision": revision,
                                "step": step, "layer": layer, "after_final_norm": after, "width": width,
                                "context_free": rotary and layer == 0, "statistic": name + suffix,
                                "value": None if bad else value, "std": None if bad else 0.1,
                                "ci_low": None if bad else value - 0.2, "ci_high": None if bad else value + 0.2,
                                "n_batches": 8, "batch_size": 2048, "n_vectors": n_vectors,
                                "n_distinct": n_vectors - (1500 if layer == 0 and not suffix and rotary else 5),
                                "status": "too few distinct rows" if bad else "ok",
                            }
                        )  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def geometry():
    return pa.Table.from_pylist(geometry_rows(), schema=geometry_table.SUMMARY)


def line_of(axes, color, *, marker=None):
    """Return x and y of the one line with markers in this colour."""
    found = [
        line
        for line in axes.get_lines()
        if line.get_color() == color and line.get_linestyle() == "-" and marker in (None, line.get_marker())
    ]
    assert len(found) == 1
    return np.asarray(found[0].get_xdata(), float), np.asarray(found[0].get_ydata(), float)


# -- suite scaling -----------------------------------------------------------------------------------------------------


def test_models_stand_in_order_of_width_then_name_and_equal_widths_are_two_points(scores):
    drawing = scaling.suite_scaling(scores, suite="Pythia")
    labels = [label.get_text().split("\n") for label in drawing.figure.axes[-1].get_xticklabels()]
    assert labels == [[name, str(WIDTHS[name])] for name in IN_ORDER]
    frame = scores.to_pandas().query("model.notna() and suite == 'Pythia' and variant == 'as_is'")
    for axes, metric in zip(drawing.figure.axes, ("ndcg_at_10", "map_at_100"), strict=True):
        places, heights = line_of(axes, style.COLORS[0])
        truth = frame[frame["metric"] == metric].set_index("model")["value"][IN_ORDER]
        np.testing.assert_array_equal(places, range(4))
        np.testing.assert_allclose(heights, 100 * truth)


def test_the_data_is_the_tables_selection_and_nothing_else(scores):
    data = scaling.suite_scaling(scores, suite="Pythia").data.to_pandas()
    frame = scores.to_pandas()
    wanted = frame[(frame["suite"] == "Pythia") & frame["metric"].isin(["ndcg_at_10", "map_at_100"])]
    keys = ["model", "variant", "metric", "seed"]
    drawn = data[data["mark"] != "mean"]
    merged = wanted.merge(drawn, on=keys, how="outer", validate="one_to_one")
    assert len(merged) == len(wanted) == len(drawn)
    np.testing.assert_allclose(merged["y"], 100 * merged["value"])


def test_every_seed_is_a_point_and_the_line_their_mean(scores):
    drawing = scaling.suite_scaling(scores, suite="Pythia")
    frame = scores.to_pandas().query("variant == 'random' and metric == 'ndcg_at_10'")
    axes = drawing.figure.axes[0]
    points = [line for line in axes.get_lines() if line.get_color() == style.COLORS[1] and line.get_marker() == "."]
    assert sorted(points[0].get_ydata()) == pytest.approx(sorted(100 * frame["value"]))
    means = frame.groupby("model")["value"].mean()[IN_ORDER]
    np.testing.assert_allclose(line_of(axes, style.COLORS[1])[1], 100 * means)


def test_the_interval_is_students_over_seeds(scores):
    data = scaling.suite_scaling(scores, suite="Pythia").data.to_pandas()
    row = data.query("model == 'pythia-1b' and variant == 'random' and metric == 'map_at_100' and mark == 'mean'").iloc[
        0
    ]
    values = (
        100
        * scores.to_pandas().query("model == 'pythia-1b' and variant == 'random' and metric == 'map_at_100'")["value"]
    )
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert (row["ci_low"], row["ci_high"], row["n_seeds"]) == (pytest.approx(low), pytest.approx(high), 3)


def test_a_missing_value_is_a_gap_with_its_reason(scores):
    drawing = scaling.suite_scaling(scores, suite="Pythia")
    heights = line_of(drawing.figure.axes[0], style.COLORS[2])[1]
    assert math.isnan(heights[0])
    assert np.isfinite(heights[1:]).all()
    data = drawing.data.to_pandas()
    row = data.query("model == 'pythia-14m' and variant == 'crop_256'")
    assert row["y"].isna().all()
    assert set(row["status"]) == {GAP}
    crosses = [
        line for line in drawing.figure.axes[0].get_lines() if line.get_marker() == "x" and len(line.get_xdata())
    ]
    assert [list(line.get_xdata()) for line in crosses] == [[0.0]]
    assert GAP in drawing.caption


def test_a_mean_over_seeds_of_which_one_failed_is_a_gap():
    rows = score_rows()
    lost = next(row for row in rows if row["variant"] == "random" and row["model"] == "pythia-1b")
    lost.update(value=None, status="lost")
    data = scaling.suite_scaling(pd.DataFrame(rows), suite="Pythia").data.to_pandas()
    of_lost = data.query("model == 'pythia-1b' and variant == 'random' and metric == 'ndcg_at_10'")
    mean = of_lost[of_lost["mark"] == "mean"].iloc[0]
    assert math.isnan(mean["y"])
    assert mean["status"] == "lost"
    assert of_lost[of_lost["mark"] == "seed"]["y"].notna().sum() == len(SEEDS) - 1


def test_both_metrics_are_always_drawn(scores):
    for metric, panels in (("ndcg_at_10", 2), ("map_at_100", 2), ("recall_at_10", 3)):
        drawing = scaling.suite_scaling(scores, suite="Pythia", metric=metric)
        assert len(drawing.figure.axes) == panels
        assert {"ndcg_at_10", "map_at_100"} <= set(drawing.data.to_pandas()["metric"])


def test_captions_say_that_a_trained_table_scores_below_random_ones(scores):
    for drawing in (scaling.suite_scaling(scores, suite="Pythia"), scaling.all_suites(scores)):
        assert "below the mean of random ones" in drawing.caption
        assert "nDCG@10 and MAP@100 pythia-14m" in drawing.caption
    better = [row | {"value": 0.9} if row["variant"] == "as_is" else row for row in score_rows()]
    assert "below the mean" not in scaling.suite_scaling(pd.DataFrame(better), suite="Pythia").caption


def test_what_cannot_be_drawn_as_one_line_is_refused(scores):
    with pytest.raises(ValueError, match=r"suite 'Gpt'.*\['OPT', 'Pythia'\]"):
        scaling.suite_scaling(scores, suite="Gpt")
    rows = score_rows()
    rows[0]["collection"] = "NFCorpus"
    with pytest.raises(ValueError, match=r"'collection' holds \['NFCorpus', 'SCIDOCS'\]"):
        scaling.suite_scaling(pd.DataFrame(rows), suite="Pythia")
    with pytest.raises(ValueError, match="lacks the columns"):
        scaling.suite_scaling(scores.drop(["status"]), suite="Pythia")


def test_two_revisions_of_a_model_are_two_points():
    rows = score_rows()
    rows += [row | {"revision": "step1", "value": 0.01} for row in rows if row["model"] == "pythia-1b"]
    drawing = scaling.suite_scaling(pd.DataFrame(rows), suite="Pythia")
    labels = [label.get_text().split("\n")[0] for label in drawing.figure.axes[-1].get_xticklabels()]
    assert labels == ["pythia-14m", "pythia-70m", "pythia-1b main", "pythia-1b step1", "pythia-1.4b"]


# -- published points of models that were not run ----------------------------------------------------------------------

FACTS = {"hub_id": "", "vocab_rows": "300", "tokenizer_hub_id": "EleutherAI/gpt-neox-20b"}
PUBLISHED_SCORES = [
    ("as_is", None, "ndcg_at_10", 19.5, "valid"),
    ("as_is", None, "map_at_100", 8.5, "valid"),
    ("random", 42, "ndcg_at_10", 2.5, "not_reproducible"),
    ("crop_256", None, "ndcg_at_10", 1.5, "bug"),
    ("pad_14336", 42, "ndcg_at_10", 3.5, "pad_without_effect"),
    ("pad_9999", 42, "ndcg_at_10", 4.5, "valid"),
    ("as_is", None, "recall_at_1", 5.5, "valid"),
]


def published_points(width, suite="Pythia", model="huge"):
    columns = ["variant", "seed", "metric", "published_percent", "status"]
    scores = pd.DataFrame(PUBLISHED_SCORES, columns=columns).assign(model=model, embedding_dim=width, note="why")
    reference = Published(pd.DataFrame([{"model": model, **FACTS}]), scores)
    return reference.points([{"model": model, "suite": suite, "hub_id": None, "reference": model}])


def hollow_points(axes):
    """Return colour, x and y of the points without a fill of their own."""
    found = [line for line in axes.get_lines() if line.get_markerfacecolor() in ("none", "white")]
    assert all(line.get_linestyle() == "None" for line in found)
    return [(line.get_color(), float(x), float(y)) for line in found for x, y in zip(*line.get_data(), strict=True)]


def test_a_model_that_was_not_run_is_a_hollow_point_among_the_models_by_width(scores):
    drawing = scaling.suite_scaling(scores, suite="Pythia", left_out=["huge"], published=published_points(1024))
    labels = [label.get_text().split("\n") for label in drawing.figure.axes[-1].get_xticklabels()]
    assert labels == [["pythia-14m", "128"], ["pythia-70m", "512"], ["huge", "1024"], ["pythia-1b", "2048"],
                      ["pythia-1.4b", "2048"]]  # fmt: skip
    above, below = drawing.figure.axes
    blue, brown = style.COLORS[0], style.COLORS[3]
    assert hollow_points(above) == [(blue, 2.0, 19.5), (brown, 2.0, 3.5)]
    assert hollow_points(below) == [(blue, 2.0, 8.5)]
    assert above.get_ylim()[1] > 19.5
    # The line of the models that were run goes by, unjoined.
    np.testing.assert_array_equal(line_of(above, blue)[0], [0, 1, 3, 4])
    legend = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert legend[-1] == "published, not run here"
    assert "Hollow: huge, not run here; the scores are those that Corey" in drawing.caption


def test_published_values_that_the_recipe_does_not_give_are_in_the_data_only(scores):
    drawing = scaling.suite_scaling(scores, suite="Pythia", left_out=["huge"], published=published_points(1024))
    data = drawing.data.to_pandas().query("model == 'huge'").set_index(["variant", "metric"]).sort_index()
    assert data["mark"].to_dict() == {
        ("as_is", "ndcg_at_10"): "published", ("as_is", "map_at_100"): "published",
        ("pad_14336", "ndcg_at_10"): "published", ("random", "ndcg_at_10"): "not drawn",
        ("crop_256", "ndcg_at_10"): "not drawn",
    }  # fmt: skip
    assert data["y"].to_dict()["crop_256", "ndcg_at_10"] == 1.5
    assert data["status"].to_dict()["crop_256", "ndcg_at_10"] == "published, not drawn: bug, why"
    assert (data["table_precision"].iloc[0], data["collection"].iloc[0], data["n_queries"].iloc[0]) == (
        "bfloat16", "SCIDOCS", 1000,
    )  # fmt: skip
    assert "Published, but not drawn: huge, random (not reproducible); huge, crop_256 (bug)." in drawing.caption
    legend = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert legend.count(style.GAP) == 1  # pythia-14m's own


def test_published_points_stand_on_no_other_collections_axis(scores):
    other = scores.to_pandas().assign(collection="NFCorpus")
    points = published_points(1024)
    for drawing in (
        scaling.suite_scaling(other, suite="Pythia", left_out=["huge"], published=points),
        scaling.all_suites(other, left_out=["huge"], published=points),
    ):
        assert not any(map(hollow_points, drawing.figure.axes))
        assert "huge" not in set(drawing.data.to_pandas()["model"])
        assert "Not run here: huge; published scores are of the collection SCIDOCS" in drawing.caption


def test_a_model_that_nobody_published_about_is_named_only(scores):
    drawing = scaling.suite_scaling(scores, suite="Pythia", left_out=["mine"], published=published_points(1024)[:0])
    assert "nothing published to show: mine." in drawing.caption
    assert not any(map(hollow_points, drawing.figure.axes))
    without = scaling.suite_scaling(scores, suite="Pythia")
    assert "ot run here" not in without.caption
    assert "Hollow" not in without.caption


def test_all_suites_show_published_points_at_their_width_with_their_names(scores):
    points = pd.concat([published_points(14336), published_points(512, suite="Alone", model="small")])
    drawing = scaling.all_suites(scores, left_out=["huge", "small"], published=points)
    for axes, height in zip(drawing.figure.axes, (19.5, 8.5), strict=True):
        # Suites by name: Alone, OPT, Pythia.
        assert hollow_points(axes) == [(style.COLORS[0], 512.0, height), (style.COLORS[2], 14336.0, height)]
        assert {"huge", "small"} <= {text.get_text() for text in axes.texts}
        assert axes.get_xlim()[1] > 14336
    legend = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert legend[:3] == ["Alone", "OPT", "Pythia"]
    assert legend[-1] == "published, not run here"


def test_the_published_point_of_the_model_that_is_on_no_hub(scores):
    left_out = [{"model": "opt-175b", "suite": "OPT", "hub_id": None, "reference": "opt-175b"}]
    points = read_published().points(left_out)
    drawing = scaling.all_suites(scores, left_out=["opt-175b"], published=points)
    assert [hollow_points(axes) for axes in drawing.figure.axes] == [
        [(style.COLORS[0], 12288.0, 6.398)], [(style.COLORS[0], 12288.0, 4.198)],
    ]  # fmt: skip


# -- all suites and random tables --------------------------------------------------------------------------------------


def test_all_suites_keep_models_of_equal_width_apart_and_name_them(scores):
    drawing = scaling.all_suites(scores)
    frame = scores.to_pandas().query("variant == 'as_is' and metric == 'ndcg_at_10' and suite == 'Pythia'")
    places, heights = line_of(drawing.figure.axes[0], style.COLORS[1])
    truth = frame.set_index("model")["value"][IN_ORDER]
    np.testing.assert_array_equal(places, [128, 512, 2048, 2048])
    np.testing.assert_allclose(heights, 100 * truth)
    assert {text.get_text() for text in drawing.figure.axes[0].texts} == {"pythia-1b", "pythia-1.4b"}


def test_all_suites_show_the_mean_of_random_tables(scores):
    drawing = scaling.all_suites(scores)
    frame = scores.to_pandas().query("variant == 'random_tokenizer' and metric == 'map_at_100'")
    grey = next(line for line in drawing.figure.axes[1].get_lines() if line.get_color() == "#b5b5b5")
    np.testing.assert_allclose(grey.get_ydata(), 100 * frame.groupby("embedding_dim")["value"].mean())
    without = scaling.all_suites(scores.to_pandas().query("variant == 'as_is'"))
    assert set(without.data.to_pandas()["variant"]) == {"as_is"}
    assert "andom tables" not in without.caption


def test_random_baselines_show_every_seed_and_the_interval(scores):
    data = scaling.random_baselines(scores).data.to_pandas()
    frame = scores.to_pandas().query("variant == 'random_tokenizer' and metric == 'ndcg_at_10'")
    seeds = data.query("mark == 'seed' and metric == 'ndcg_at_10'")
    assert sorted(seeds["y"]) == pytest.approx(sorted(100 * frame["value"]))
    assert seeds["seed"].nunique() == len(SEEDS)
    means = data.query("mark == 'mean' and metric == 'ndcg_at_10'").set_index("x")
    for width, group in frame.groupby("embedding_dim"):
        mean = means.loc[width]
        low, high = stats.t.interval(0.95, 2, 100 * group["value"].mean(), stats.sem(100 * group["value"]))
        assert (mean["ci_low"], mean["ci_high"]) == (pytest.approx(low), pytest.approx(high))


def test_two_seeds_have_no_band_and_the_caption_says_so(scores):
    two = scores.to_pandas().query("seed.isna() or seed in (42, 43)")
    for drawing in (scaling.random_baselines(two), scaling.suite_scaling(two, suite="Pythia")):
        bands = [band for axes in drawing.figure.axes for band in axes.collections]
        assert all(
            np.isnan(path.vertices).all() or not len(path.vertices) for band in bands for path in band.get_paths()
        )
        assert "no interval is drawn for 2 seeds" in drawing.caption


def test_one_seed_has_no_interval_and_the_caption_says_so(scores):
    one = scores.to_pandas().query("seed.isna() or seed == 42")
    drawing = scaling.random_baselines(one)
    assert drawing.data.to_pandas()["ci_low"].isna().all()
    assert "their spread is not known" in drawing.caption


# -- layer profiles ----------------------------------------------------------------------------------------------------


def test_profiles_draw_the_tables_values_of_the_main_revision(geometry):
    data = dynamics.layer_profiles(geometry).data.to_pandas()
    assert set(data["revision"]) == {"main"}
    names = [
        name + kind
        for name in ("anisotropy", "anisotropy_frequency_null", "twonn_090", "twonn_020")
        for kind in ("", "_type_matched")
    ]
    wanted = geometry.to_pandas().query("revision == 'main'")
    wanted = wanted[wanted["statistic"].isin(names)]
    keys = ["model", "layer", "after_final_norm", "statistic"]
    merged = wanted.merge(data, on=keys, how="outer", validate="one_to_one")
    assert len(merged) == len(wanted) == len(data)
    np.testing.assert_array_equal(merged["value_x"], merged["value_y"])


def test_the_bare_look_up_is_drawn_type_matched_only(geometry):
    drawing = dynamics.layer_profiles(geometry, revisions={"neox-64": "main"})
    everything, matched = drawing.figure.axes[0], drawing.figure.axes[1]
    for axes, layers in ((everything, [1, 2, 3]), (matched, [0, 1, 2, 3])):
        profile = next(line for line in axes.get_lines() if line.get_marker() == "o")
        np.testing.assert_allclose(profile.get_xdata(), np.array(layers) / 3)
    hidden = drawing.data.to_pandas().query("layer == 0 and statistic == 'anisotropy'").iloc[0]
    assert hidden["mark"] == "not drawn"
    assert "type-matched" in hidden["status"]


def test_the_copy_behind_the_final_norm_is_a_hollow_point_apart_from_the_line(geometry):
    drawing = dynamics.layer_profiles(geometry, revisions={"neox-64": "main"})
    truth = geometry.to_pandas().query("model == 'neox-64' and revision == 'main' and statistic == 'anisotropy'")
    line, hollow = (
        next(line for line in drawing.figure.axes[0].get_lines() if line.get_marker() == marker) for marker in "oD"
    )
    assert list(hollow.get_ydata()) == list(truth[truth["after_final_norm"]]["value"])
    assert hollow.get_markerfacecolor() == "white"
    assert list(line.get_ydata()) == list(truth.query("not after_final_norm and layer > 0")["value"])


def test_the_frequency_null_of_each_model_is_dotted_where_its_line_is(geometry):
    drawing = dynamics.layer_profiles(geometry, revisions={"neox-64": "main"})
    truth = geometry.to_pandas().query("model == 'neox-64' and revision == 'main' and not after_final_norm")
    for axes, suffix, least in ((drawing.figure.axes[0], "", 1), (drawing.figure.axes[1], "_type_matched", 0)):
        dotted = next(line for line in axes.get_lines() if line.get_linestyle() == ":")
        nulls = truth[(truth["statistic"] == f"anisotropy_frequency_null{suffix}") & (truth["layer"] >= least)]
        assert list(dotted.get_ydata()) == list(nulls["value"])
    assert "frequency null" in drawing.caption


def test_n_stands_in_every_panel_and_the_caption_names_n_and_the_batches(geometry):
    """The N of a dimension counts distinct vectors, of the drawn layers; that of an anisotropy counts all."""
    drawings = {
        "profiles": dynamics.layer_profiles(geometry),
        "dimension": dynamics.training_dimension(geometry, model="neox-64"),
        "anisotropy": dynamics.training_anisotropy(geometry, model="neox-64"),
    }
    titles = {
        name: [axes.get_title() for axes in drawing.figure.axes if axes.get_label() != "<colorbar>"]
        for name, drawing in drawings.items()
    }
    assert all("N = 2048" in title or "N = 611" in title for title in [*titles["profiles"][:4], *titles["anisotropy"]])
    assert all("N = 2043" in title or "N = 606" in title for title in [*titles["profiles"][4:], *titles["dimension"]])
    for drawing in drawings.values():
        assert "8 disjoint batches of N = 2048" in drawing.caption
        assert "type-matched N = 611" in drawing.caption


def test_fits_that_disagree_are_said_to_have_no_single_dimension(geometry):
    rows = geometry.to_pandas()
    rows = rows[rows["model"] == "bert-64"].copy()
    rows.loc[rows["statistic"] == "twonn_090", "value"] = [10.0, 10.0, 10.0, 10.0]
    rows.loc[rows["statistic"] == "twonn_020", "value"] = [8.9, 9.5, 10.9, 11.2]
    title = dynamics.layer_profiles(rows).figure.axes[2].get_title()
    assert "no single dimension in 2 of 4 layers" in title


def test_a_model_without_main_is_drawn_at_its_last_step(geometry):
    rows = geometry.to_pandas().query("revision != 'main'")
    assert set(dynamics.layer_profiles(rows).data.to_pandas()["revision"]) == {"step256"}
    with pytest.raises(ValueError, match=r"model 'neox-64'.*\['a', 'b'\].*no step"):
        dynamics.profile_revisions(pd.DataFrame({"model": "neox-64", "revision": ["a", "b"], "step": [None, None]}))


def test_a_profile_that_is_not_there_is_refused(geometry):
    with pytest.raises(ValueError, match="neox-64 step9"):
        dynamics.layer_profiles(geometry, revisions={"neox-64": "step9"})
    with pytest.raises(ValueError, match="twonn_020"):
        dynamics.layer_profiles(geometry.to_pandas().query("statistic != 'twonn_020'"))


# -- training ----------------------------------------------------------------------------------------------------------


def test_the_training_mean_is_over_the_same_layers_in_every_panel(geometry):
    data = dynamics.training_dimension(geometry, model="neox-64").data.to_pandas()
    frame = geometry.to_pandas().query("model == 'neox-64' and step.notna() and not after_final_norm")
    for statistic in ("twonn_020", "twonn_020_type_matched", "twonn_090_type_matched"):
        means = data[(data["mark"] == "mean") & (data["statistic"] == statistic)].set_index("step")["value"]
        layers = frame[(frame["statistic"] == statistic) & (frame["layer"] >= 1)]
        truth = layers.groupby("step")["value"].mean()
        np.testing.assert_allclose(means, truth[means.index])
    assert data.query("mark == 'mean'")["ci_low"].isna().all()


def test_a_step_with_a_missing_layer_has_no_mean(geometry):
    drawing = dynamics.training_dimension(geometry, model="neox-64")
    mean = drawing.data.to_pandas().query("mark == 'mean' and statistic == 'twonn_090'").set_index("step")
    assert mean["value"].isna().to_dict() == {0: False, 1: False, 16: True, 256: False}
    assert "layers 2: too few distinct rows" in mean.loc[16, "status"]
    thick = next(line for line in drawing.figure.axes[0].get_lines() if line.get_linewidth() == 1.8)
    assert np.isnan(thick.get_ydata()).tolist() == [False, False, True, False]


def test_step_zero_shows_beside_the_log_scale(geometry):
    axes = dynamics.training_dimension(geometry, model="neox-64").figure.axes[2]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "16", "256"]
    places = axes.transScale.transform([(step, 0) for step in (0, 1, 16, 256)])[:, 0]
    assert places[1] > places[0]
    assert places[3] - places[2] == pytest.approx(places[2] - places[1])


def test_training_anisotropy_draws_each_step_and_marks_the_untrained_null(geometry):
    drawing = dynamics.training_anisotropy(geometry, model="neox-64")
    panel = drawing.figure.axes[0]
    profiles = [line for line in panel.get_lines() if line.get_marker() == "o"]
    frame = geometry.to_pandas().query(
        "model == 'neox-64' and statistic == 'anisotropy' and not after_final_norm and layer > 0"
    )
    for line, step in zip(profiles, (0, 1, 16, 256), strict=True):
        assert list(line.get_ydata()) == list(frame[frame["step"] == step]["value"])
        assert (line.get_linestyle() == "--") == (step == 0)
    assert profiles[0].get_color() == "black"
    assert "step 0, the untrained model, is the null" in drawing.caption


def test_training_figures_take_the_named_checkpoints_and_refuse_others(geometry):
    for draw in (dynamics.training_dimension, dynamics.training_anisotropy):
        data = draw(geometry, model="neox-64", revisions=["step0", "step16"]).data.to_pandas()
        assert set(data["step"]) == {0, 16}
        with pytest.raises(ValueError, match=r"\['main'\].*step_pattern"):
            draw(geometry, model="neox-64", revisions=["step0", "main"])
        with pytest.raises(ValueError, match="model 'bert-64'"):
            draw(geometry, model="bert-64")
    rows = geometry.to_pandas()
    rows.loc[rows["revision"] == "step1", "step"] = 16
    with pytest.raises(ValueError, match=r"\['step1', 'step16'\] all have step 16"):
        dynamics.training_dimension(rows, model="neox-64")


# -- checkpoints that have another's weights ---------------------------------------------------------------------------

STEPS = (0, *(2**power for power in range(10)), *range(1000, 143_001, 1000))


def pythia_2_8b_copies():
    """Return the steps of pythia-2.8b that were published to hold other steps' weights."""
    defects = pd.read_csv(PROJECT / "reference" / "known_checkpoint_defects.csv")
    defects = defects[(defects["hub_id"] == "EleutherAI/pythia-2.8b") & (defects["revision"] != defects["genuine"])]
    return sorted(int(revision.removeprefix("step")) for revision in defects["revision"])


def training_rows(steps, copies, *, drop):
    rows = []
    for step in steps:
        if step in copies and drop:
            continue
        for layer in range(3):
            for name in ("anisotropy", "anisotropy_frequency_null", "twonn_090", "twonn_020"):
                for suffix in ("", "_type_matched"):
                    # What a copy shows is far off all others, so that it is seen wherever it is not left out.
                    value = 1000.0 if step in copies else 1 + layer + math.log1p(step) / 10
                    rows.append(
                        {
                            "model": "pythia", "suite": "Pythia", "kind": "decoder", "stack": "decoder",
                            "revision": f"step{step}", "step": step, "layer": layer, "after_final_norm": False,
                            "width": 64, "context_free": layer == 0, "statistic": name + suffix, "value": value,
                            "ci_low": value - 0.1, "ci_high": value + 0.1, "n_batches": 8, "batch_size": 2048,
                            "n_vectors": 7 if step in copies else 2048, "n_distinct": 7 if step in copies else 2043,
                            "status": "ok", "duplicate_of": "main" if step in copies else None,
                        }
                    )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=geometry_table.SUMMARY)


def duplicates_table(copies, model="pythia"):
    """Return the table of duplicates: ``copies`` are revisions with the names of those whose weights they have."""
    rows = [
        {
            "model": model, "source": "there", "revision": revision, "step": int(revision[4:]), "group": 1,
            "scope": "all weights", "is_genuine": False, "is_copy": True, "copy_of": copy_of, "status": "ok",
        }
        for revision, copy_of in copies.items()
    ]  # fmt: skip
    rows.append({**rows[0], "revision": "main", "step": None, "is_copy": False, "copy_of": None})
    return pa.Table.from_pylist(rows, schema=duplicate_checkpoints.SCHEMA)


def training_case(steps, copies, *, drop):
    """Return the arguments of a figure over training, as its script passes them."""
    return {
        "table": training_rows(steps, copies, drop=drop),
        "model": "pythia",
        "revisions": [f"step{step}" for step in steps],
        "duplicates": duplicates_table({f"step{step}": "main" for step in copies}),
    }


@pytest.mark.parametrize("drop", [False, True], ids=["mark", "drop"])
def test_copies_break_every_line_over_training(drop):
    copies = pythia_2_8b_copies()
    assert len(copies) == 85
    assert set(STEPS[:70]) <= set(copies)
    drawing = dynamics.training_dimension(**training_case(STEPS, copies, drop=drop))
    panels = [axes for axes in drawing.figure.axes if axes.get_label() != "<colorbar>"]
    for number, axes in enumerate(panels):
        lines = [line for line in axes.get_lines() if line.get_linestyle() == "-"]
        assert len(lines) == (3, 4)[number % 2]  # the mean and each layer; the look-up layer type-matched only
        for line in lines:
            assert list(line.get_xdata()) == list(STEPS)
            assert [step for step, y in zip(*line.get_data(), strict=True) if math.isnan(y)] == copies
        strokes = next(line for line in axes.get_lines() if line.get_label() == style.LEFT_OUT)
        assert list(strokes.get_xdata()) == copies
        assert not [line for line in axes.get_lines() if line.get_label() == style.GAP and len(line.get_xdata())]
        assert axes.get_ylim()[1] < 10
        assert "N = 2043" in axes.get_title()
    assert "at 69 checkpoints" in drawing.caption
    assert "Left out: 85 of 154 checkpoints, between steps 0 and 140k" in drawing.caption
    assert style.LEFT_OUT in [text.get_text() for text in drawing.figure.legends[0].get_texts()]


def test_a_copy_that_nobody_asked_for_is_not_counted():
    case = training_case((0, 1, 2, 4), [1, 2], drop=False)
    drawing = dynamics.training_dimension(**{**case, "revisions": ["step0", "step1", "step4"]})
    assert "1 of 3 checkpoints" in drawing.caption
    assert "2 of 4" not in drawing.caption


@pytest.mark.parametrize("drop", [False, True], ids=["mark", "drop"])
def test_the_data_say_which_steps_are_left_out_and_why(drop):
    case = training_case((0, 1, 2, 4), [1, 2], drop=drop)
    data = dynamics.training_dimension(**case).data.to_pandas()
    of_copies = data[data["step"].isin([1, 2])]
    means = of_copies[of_copies["mark"] == "mean"]
    assert len(means) == 2 * 4
    assert means["value"].isna().all()
    assert (means["n_batches"] == 0).all()
    assert set(of_copies["status"]) == {"not drawn: has weights of main"}
    hidden = of_copies[of_copies["mark"] != "mean"]
    assert len(hidden) == (0 if drop else 2 * 3 * 4)
    assert set(hidden["mark"]) <= {"not drawn"}
    assert data[~data["step"].isin([1, 2])]["value"].lt(10).all()
    anisotropy = dynamics.training_anisotropy(**case).data.to_pandas()
    assert set(anisotropy[anisotropy["step"].isin([1, 2])]["mark"]) == (set() if drop else {"not drawn"})


@pytest.mark.parametrize("drop", [False, True], ids=["mark", "drop"])
def test_copies_have_no_profile_and_no_part_in_the_colour_scale(drop):
    drawing = dynamics.training_anisotropy(**training_case((0, 1, 16, 256, 1000), [1, 1000], drop=drop))
    panel = drawing.figure.axes[0]
    profiles = [line for line in panel.get_lines() if line.get_marker() == "o"]
    assert len(profiles) == 3
    nulls = next(line for line in panel.get_lines() if line.get_linestyle() == ":")
    assert max(nulls.get_ydata()) < 10
    bar = next(axes for axes in drawing.figure.axes if axes.get_label() == "<colorbar>")
    assert bar.get_ylim() == pytest.approx((16, 256))
    assert "at the steps 0, 16 and 256;" in drawing.caption
    assert "Left out: 2 of 5 checkpoints" in drawing.caption
    assert "step1 (as in main) and step1000 (as in main)." in drawing.caption
    assert "N = 2048 vectors" in drawing.caption


@pytest.mark.parametrize("drop", [False, True], ids=["mark", "drop"])
@pytest.mark.parametrize("draw", [dynamics.training_dimension, dynamics.training_anisotropy])
def test_a_model_of_copies_alone_is_an_explained_empty_panel(draw, drop):
    drawing = draw(**training_case((0, 1, 16), [0, 1, 16], drop=drop))
    assert [text.get_text() for axes in drawing.figure.axes for text in axes.texts] == [
        "Nothing to draw: every checkpoint asked for (3) holds another one's weights."
    ]
    assert not [line for axes in drawing.figure.axes for line in axes.get_lines()]
    assert "Nothing to draw. Left out: 3 of 3 checkpoints" in drawing.caption
    assert drawing.data.schema.names == figure_data.LAYERS.names
    assert set(drawing.data.to_pandas()["mark"]) == (set() if drop else {"not drawn"})


def test_a_copy_is_told_by_model_and_a_missing_checkpoint_is_no_copy():
    case = training_case((0, 1, 2, 4), [2], drop=True)
    others = duplicates_table({"step1": "step0"}, model="another")
    data = dynamics.training_dimension(**{**case, "duplicates": pa.concat_tables([case["duplicates"], others])})
    assert data.data.to_pandas().query("step == 1 and mark == 'mean'")["value"].notna().all()
    for draw in (dynamics.training_dimension, dynamics.training_anisotropy):
        with pytest.raises(ValueError, match=r"\['step2'\].*step_pattern"):
            draw(**{**case, "duplicates": others})
        with pytest.raises(ValueError, match=r"\['step9'\].*step_pattern"):
            draw(**{**case, "revisions": ["step0", "step2", "step9"]})
    another = case["table"].to_pandas().assign(model="another")
    with pytest.raises(ValueError, match=r"\['step9'\].*step_pattern"):
        dynamics.training_dimension(**{**case, "table": another, "revisions": ["step2", "step9"]})


def test_by_default_all_checkpoints_are_asked_for_copies_among_them():
    marked = training_rows((0, 1, 2), [1], drop=False)
    assert "Left out: 1 of 3 checkpoints" in dynamics.training_anisotropy(marked, model="pythia").caption
    # What is left of a model whose steps are all dropped: its main revision.
    main = training_rows((5,), [], drop=False).to_pandas().assign(revision="main", step=None)
    duplicates = duplicates_table({"step1": "main"})
    drawing = dynamics.training_dimension(main, model="pythia", duplicates=duplicates)
    assert "Nothing to draw. Left out: 1 of 1 checkpoints" in drawing.caption


def test_a_copy_of_many_names_a_few():
    case = training_case((0, 1, 2, 4), [2], drop=True)
    many = duplicates_table({"step2": "step0, step1, step4"})
    assert "step2 (as in step0 and 2 more)" in dynamics.training_dimension(**{**case, "duplicates": many}).caption
    two = duplicates_table({"step2": "step0, step1"})
    assert "step2 (as in step0 and step1)" in dynamics.training_dimension(**{**case, "duplicates": two}).caption


def test_a_run_without_copies_says_nothing_of_them(geometry):
    for draw in (dynamics.training_dimension, dynamics.training_anisotropy):
        drawing = draw(geometry, model="neox-64", duplicates=duplicates_table({"step1": "step0"}, model="another"))
        assert "Left out" not in drawing.caption
        assert "strokes" not in drawing.caption
        assert style.LEFT_OUT not in [text.get_text() for text in drawing.figure.legends[0].get_texts()]


# -- files -------------------------------------------------------------------------------------------------------------

PLOTS = {
    plot_suite_scaling: ("scores", {"suite": "Pythia", "left_out": []}),
    plot_all_suites: ("scores", {"left_out": [{"model": "opt-175b", "suite": "OPT", "reference": "opt-175b"}]}),
    plot_random_baselines: ("scores", {}),
    plot_profiles: ("geometry", {"profiles": [["neox-64", "main"], ["bert-64", "main"]]}),
    plot_training_dimension: ("geometry", {"model": "neox-64", "revisions": ["step0", "step16"]}),
    plot_training_anisotropy: ("geometry", {"model": "neox-64", "revisions": ["step0", "step16"]}),
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory, scores, geometry):
    folder = tmp_path_factory.mktemp("tables")
    paths = {name: folder / f"{name}.parquet" for name in ("scores", "geometry", "duplicates")}
    write_table(paths["scores"], scores, retrieval_scores.SCHEMA, origin={"collection_sha256": "ab12"})
    write_table(paths["geometry"], geometry, geometry_table.SUMMARY, origin={"corpus_sha256": "cd34"})
    write_table(
        paths["duplicates"], duplicates_table({"step16": "step256"}, model="neox-64"), duplicate_checkpoints.SCHEMA
    )
    return paths


def outputs(folder):
    endings = {"png": "png", "svg": "svg", "pdf": "pdf", "data": "parquet", "csv": "csv", "caption": "rst"}
    return {name: folder / f"figure.{ending}" for name, ending in endings.items()}


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.__name__)
def test_a_script_writes_all_six_files_with_provenance(plot, tables, tmp_path):
    source, settings = PLOTS[plot]
    written = outputs(tmp_path)
    training = plot in (plot_training_dimension, plot_training_anisotropy)
    others = {"duplicates": tables["duplicates"]} if training else {}
    plot(**{source: tables[source]}, **others, **written, **settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written.values())
    assert written["png"].read_bytes().startswith(b"\x89PNG")
    assert written["pdf"].read_bytes().startswith(b"%PDF")
    assert "<svg" in written["svg"].read_text()
    facts = provenance.read(written["data"])
    assert facts["origin"] == provenance.read(tables[source])["origin"]
    assert facts["settings"]["caption"] == style.caption_from_rst(written["caption"].read_text())
    assert settings.items() <= facts["settings"].items()
    assert ("Left out: 1 of 2 checkpoints" in facts["settings"]["caption"]) == training
    assert len(pd.read_csv(written["csv"])) == read_table(written["data"]).num_rows


RENDER = """
import sys
from pathlib import Path
from scripts.plot_suite_scaling import plot_suite_scaling
endings = dict(png="png", svg="svg", pdf="pdf", data="parquet", csv="csv", caption="rst")
files = {key: Path(sys.argv[2], f"figure.{end}") for key, end in endings.items()}
plot_suite_scaling(scores=Path(sys.argv[1]), **files, suite="Pythia", left_out=[])
"""


def test_another_process_at_another_time_renders_the_same_bytes(tables, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    plot_suite_scaling(scores=tables["scores"], **outputs(here), suite="Pythia", left_out=[])
    # Neither the hash seed nor the date nor a matplotlibrc of the user's own may show.
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: yellow\n")
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": str(PROJECT),
        "SOURCE_DATE_EPOCH": "1000000000",
        "MATPLOTLIBRC": str(tmp_path),
    }
    command = [sys.executable, "-c", RENDER, str(tables["scores"]), str(there)]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in (here, there))
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_a_caption_survives_jinja_and_restructured_text_as_it_is():
    caption = (
        "Title of as_is_.\n\nA *star*, `tick`, |bar|, x_ link_, back\\slash, {{ 1 + 1 }}, {% no %}, [1]_, (1/2)^2 :a:"
    )
    text = style.caption_to_rst(caption)
    assert style.caption_from_rst(text) == caption
    shown = Environment().from_string(text).render()
    plain = publish_string(shown, writer="pseudoxml", settings_overrides={"report_level": 1, "halt_level": 2})
    for paragraph in caption.split("\n\n"):
        assert paragraph in plain.decode()
    assert b"emphasis" not in plain
    assert b"reference" not in plain


def test_names_sort_by_the_numbers_in_them():
    names = ["pythia-12b", "pythia-1.4b", "pythia-1b", "gpt2", "gpt2-xl", "opt-125m"]
    assert sorted(names, key=style.natural_key) == [
        "gpt2", "gpt2-xl", "opt-125m", "pythia-1b", "pythia-1.4b", "pythia-12b",
    ]  # fmt: skip


def test_short_names_stay_different():
    assert style.short_names(["a/neox", "b:bert"]) == {"a/neox": "neox", "b:bert": "bert"}
    assert style.short_names(["a/neox", "b/neox"]) == {"a/neox": "a/neox", "b/neox": "b/neox"}


def test_tick_labels_keep_their_distance():
    assert style.spaced_ticks([0, 0.05, 0.5, 0.95, 1], least=0.1) == [0, 2, 4]
    assert style.spaced_ticks([0.3], least=0.1) == [0]


def test_a_legend_stays_on_the_page(scores):
    """Its columns are as many as fit, however long the names."""
    rows = [
        {**row, "suite": f"{row['suite']} with a rather long name {number}"}
        for number in range(6)
        for row in score_rows()
        if row["suite"]
    ]
    drawing = scaling.all_suites(pd.DataFrame(rows))
    drawing.figure.draw_without_rendering()
    box = drawing.figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= drawing.figure.bbox.x1
