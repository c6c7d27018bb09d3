"""What is drawn of retrieval scores is what the table says, with its intervals, and captions say what these are."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from figure_tables import (
    GAP,
    IN_ORDER,
    SEEDS,
    WIDTHS,
    legend_of,
    line_of,
    score_row,
    score_rows,
    whiskers,
)
from matplotlib.colors import to_rgb
from scipy import stats

from lm_geometry.figures import scaling, score_captions, score_points, style
from lm_geometry.published import Published, read_published
from lm_geometry.tables import retrieval_scores

BLUE, RED, GREEN, PINK = style.COLORS[:4]
QUERIES, SEEDS_BAND = "95 % interval, queries", "95 % interval, seeds"


@pytest.fixture(scope="module")
def scores():
    return pa.Table.from_pylist(score_rows(), schema=retrieval_scores.SCHEMA)


@pytest.fixture(scope="module")
def pythia(scores):
    return scaling.suite_scaling(scores, suite="Pythia")


@pytest.fixture(scope="module")
def suites(scores):
    return scaling.all_suites(scores)


@pytest.fixture(scope="module")
def one_seed(scores):
    return scores.to_pandas().query("seed.isna() or seed == 42")


def bands(drawing):
    """Return the filled areas of a figure that have an extent."""
    found = [
        path.vertices
        for axes in drawing.figure.axes
        for area in axes.collections
        if type(area).__name__ in ("PolyCollection", "FillBetweenPolyCollection")
        for path in area.get_paths()
    ]
    return [vertices for vertices in found if len(vertices) and np.isfinite(vertices).any()]


def rendered(drawing):
    """Lay a figure out and return it."""
    drawing.figure.draw_without_rendering()
    return drawing.figure


# -- suite scaling -----------------------------------------------------------------------------------------------------


def test_models_stand_in_order_of_width_then_name_and_equal_widths_are_two_points(scores, pythia):
    labels = [label.get_text().split("\n") for label in pythia.figure.axes[-1].get_xticklabels()]
    assert labels == [[name, str(WIDTHS[name])] for name in IN_ORDER]
    frame = scores.to_pandas().query("model.notna() and suite == 'Pythia' and variant == 'as_is'")
    for axes, metric in zip(pythia.figure.axes, ("ndcg_at_10", "map_at_100"), strict=True):
        places, heights = line_of(axes, BLUE)
        truth = frame[frame["metric"] == metric].set_index("model")["value"][IN_ORDER]
        np.testing.assert_array_equal(np.round(places), range(4))
        np.testing.assert_allclose(heights, 100 * truth)
        np.testing.assert_array_equal(axes.get_xticks(), range(4))


def test_the_variants_of_a_model_stand_side_by_side_nearer_than_the_next_models(pythia):
    axes = pythia.figure.axes[0]
    places = np.array([line_of(axes, color)[0] for color in (BLUE, RED, GREEN, PINK)])
    steps = np.diff(places, axis=0)
    np.testing.assert_allclose(steps, steps[0, 0])
    assert steps[0, 0] > 0
    np.testing.assert_allclose(places.mean(axis=0), range(4), atol=1e-12)
    assert places[0, 1] - places[-1, 0] > 1.5 * steps[0, 0]


def test_many_variants_of_many_models_stand_apart_from_the_next_models():
    models = {f"m{number}": 100 * number for number in range(1, 13)}
    rows = rows_of_variants(ALL_VARIANTS, models)
    axes = scaling.suite_scaling(rows, suite="Pythia").figure.axes[0]
    drawn = np.array([line.get_xdata() for line in axes.get_lines() if len(line.get_xdata()) == len(models)])
    assert len(drawn) == len(ALL_VARIANTS)
    assert np.ptp(drawn[:, 0]) < 0.7
    assert np.all(np.diff(np.sort(drawn[:, 0])) > 0.05)


def test_the_data_is_the_tables_selection_and_nothing_else(scores, pythia):
    data = pythia.data.to_pandas()
    frame = scores.to_pandas()
    wanted = frame[(frame["suite"] == "Pythia") & frame["metric"].isin(["ndcg_at_10", "map_at_100"])]
    keys = ["model", "variant", "metric", "seed"]
    drawn = data[data["mark"] != "mean"]
    merged = wanted.merge(drawn, on=keys, how="outer", validate="one_to_one", suffixes=("_there", ""))
    assert len(merged) == len(wanted) == len(drawn)
    np.testing.assert_allclose(merged["y"], 100 * merged["value"])
    np.testing.assert_allclose(merged["ci_low"], 100 * merged["ci_low_there"])
    np.testing.assert_allclose(merged["ci_high"], 100 * merged["ci_high_there"])
    np.testing.assert_allclose(merged["pad_energy_share"], merged["pad_energy_share_there"])
    assert set(merged["interval"][merged["value"].notna()]) == {"queries"}
    assert set(np.round(data["x"])) == set(data["x"]) == set(range(4))


def test_every_seed_is_a_point_and_the_line_their_mean(scores, pythia):
    frame = scores.to_pandas().query("variant == 'random' and metric == 'ndcg_at_10'")
    axes = pythia.figure.axes[0]
    points = [line for line in axes.get_lines() if line.get_color() == RED and line.get_markersize() == 2.2]
    assert sorted(points[0].get_ydata()) == pytest.approx(sorted(100 * frame["value"]))
    means = frame.groupby("model")["value"].mean()[IN_ORDER]
    np.testing.assert_allclose(line_of(axes, RED)[1], 100 * means)
    assert "one seed" in legend_of(pythia)


def test_the_interval_of_three_seeds_is_students_over_them(scores, pythia):
    data = pythia.data.to_pandas()
    of_model = "model == 'pythia-1b' and variant == 'random' and metric == 'map_at_100'"
    row = data.query(f"{of_model} and mark == 'mean'").iloc[0]
    values = 100 * scores.to_pandas().query(of_model)["value"]
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert (row["ci_low"], row["ci_high"], row["n_seeds"]) == (pytest.approx(low), pytest.approx(high), 3)
    assert row["interval"] == "seeds"
    assert pd.isna(row["seed"])


def test_variants_without_seeds_have_whiskers_over_queries_seeded_ones_a_band(scores, pythia):
    frame = scores.to_pandas().query("suite == 'Pythia' and metric == 'ndcg_at_10'")
    drawn = whiskers(pythia.figure.axes[0])
    assert {color for color, *_ in drawn} == {to_rgb(BLUE), to_rgb(GREEN)}
    for color, variant in ((BLUE, "as_is"), (GREEN, "crop_256")):
        truth = frame[frame["variant"] == variant].dropna(subset=["value"]).set_index("model")
        truth = truth.reindex([name for name in IN_ORDER if name in truth.index])
        found = [(round(x), low, high) for of, x, low, high in drawn if of == to_rgb(color)]
        assert [x for x, *_ in found] == [IN_ORDER.index(name) for name in truth.index]
        np.testing.assert_allclose([low for _, low, _ in found], 100 * truth["ci_low"])
        np.testing.assert_allclose([high for *_, high in found], 100 * truth["ci_high"])
    assert len(bands(pythia)) == 2 * 2  # two seeded variants, two metrics
    assert {QUERIES, SEEDS_BAND} <= set(legend_of(pythia))
    assert "Whiskers, of variants without seeds, are 95 % intervals of the mean over queries" in pythia.caption
    assert "bands: its 95 % t interval over seeds" in pythia.caption


def test_one_seed_has_the_interval_over_queries_and_no_band(one_seed):
    drawing = scaling.suite_scaling(one_seed, suite="Pythia")
    data = drawing.data.to_pandas().query("variant == 'random' and metric == 'ndcg_at_10'").set_index(["model", "mark"])
    for model in IN_ORDER:
        mean, seed = data.loc[(model, "mean")], data.loc[(model, "seed")]
        assert (mean["y"], mean["ci_low"], mean["ci_high"]) == (seed["y"], seed["ci_low"], seed["ci_high"])
        assert (mean["interval"], mean["n_seeds"]) == ("queries", 1)
    assert to_rgb(RED) in {color for color, *_ in whiskers(drawing.figure.axes[0])}
    assert not bands(drawing)
    assert not {SEEDS_BAND, "one seed"} & set(legend_of(drawing))
    assert "Random numbers are of one seed (42): what another would give is not known." in drawing.caption
    assert "Whiskers are 95 % intervals of the mean over queries (bootstrap-t)" in drawing.caption
    assert "seeds" not in drawing.caption


def test_the_caption_sends_differences_to_the_paired_tests(pythia, suites):
    for drawing in (pythia, suites):
        assert "a difference can be sure where whiskers overlap" in drawing.caption
        assert "tested in pairs in the table comparisons (tables/comparisons)" in drawing.caption


def test_without_intervals_nothing_is_said_of_them(scores):
    bare = scores.to_pandas().assign(ci_low=None, ci_high=None)
    for drawing in (scaling.suite_scaling(bare, suite="OPT"), scaling.all_suites(bare)):
        assert not [whisker for axes in drawing.figure.axes for whisker in whiskers(axes)]
        assert QUERIES not in legend_of(drawing)
        assert "hiskers" not in drawing.caption


def test_the_panel_holds_the_intervals_over_queries(pythia):
    for axes in pythia.figure.axes:
        low, high = axes.get_ylim()
        assert all(low < ends[1] and ends[2] < high for _, *ends in ((c, x, lo, hi) for c, x, lo, hi in whiskers(axes)))


def test_a_missing_value_is_a_gap_with_its_reason(pythia):
    places, heights = line_of(pythia.figure.axes[0], GREEN)
    assert math.isnan(heights[0])
    assert np.isfinite(heights[1:]).all()
    data = pythia.data.to_pandas()
    row = data.query("model == 'pythia-14m' and variant == 'crop_256'")
    assert row["y"].isna().all()
    assert set(row["status"]) == {GAP}
    crosses = [line for line in pythia.figure.axes[0].get_lines() if line.get_marker() == "x" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in crosses] == [[places[0]]]
    assert f"Gaps: pythia-14m, crop_256 ({GAP})." in pythia.caption


def test_a_mean_over_seeds_of_which_one_failed_is_a_gap():
    rows = score_rows()
    lost = next(row for row in rows if row["variant"] == "random" and row["model"] == "pythia-1b")
    lost.update(value=None, ci_low=None, ci_high=None, status="lost")
    data = scaling.suite_scaling(pd.DataFrame(rows), suite="Pythia").data.to_pandas()
    of_lost = data.query("model == 'pythia-1b' and variant == 'random' and metric == 'ndcg_at_10'")
    mean = of_lost[of_lost["mark"] == "mean"].iloc[0]
    assert math.isnan(mean["y"])
    assert math.isnan(mean["ci_low"])
    assert mean["status"] == "lost"
    assert of_lost[of_lost["mark"] == "seed"]["y"].notna().sum() == len(SEEDS) - 1


def test_both_metrics_are_always_drawn(scores):
    for metric, panels in (("ndcg_at_10", 2), ("map_at_100", 2), ("recall_at_10", 3)):
        drawing = scaling.suite_scaling(scores, suite="Pythia", metric=metric)
        assert len(drawing.figure.axes) == panels
        assert {"ndcg_at_10", "map_at_100"} <= set(drawing.data.to_pandas()["metric"])


def test_captions_say_that_a_trained_table_scores_below_random_ones(pythia, suites):
    for drawing in (pythia, suites):
        assert "below the mean of random ones" in drawing.caption
        assert "nDCG@10 and MAP@100 pythia-14m" in drawing.caption
    better = [row | {"value": 0.9} if row["variant"] == "as_is" else row for row in score_rows()]
    assert "below the mean" not in scaling.suite_scaling(pd.DataFrame(better), suite="Pythia").caption


def test_what_cannot_be_drawn_as_one_line_is_refused(scores):
    with pytest.raises(ValueError, match=r"suite 'Gpt'.*\['OPT', 'Pythia'\]"):
        scaling.suite_scaling(scores, suite="Gpt")
    for column, other in (("collection", "NFCorpus"), ("table_precision", "float32")):
        rows = score_rows()
        rows[0][column] = other
        with pytest.raises(ValueError, match=f"'{column}' holds .*{other}"):
            scaling.suite_scaling(pd.DataFrame(rows), suite="Pythia")
    with pytest.raises(ValueError, match="lacks the columns"):
        scaling.suite_scaling(scores.drop(["status"]), suite="Pythia")


def test_two_revisions_of_a_model_are_two_points():
    rows = score_rows()
    rows += [row | {"revision": "step1", "value": 0.01} for row in rows if row["model"] == "pythia-1b"]
    drawing = scaling.suite_scaling(pd.DataFrame(rows), suite="Pythia")
    labels = [label.get_text().split("\n")[0] for label in drawing.figure.axes[-1].get_xticklabels()]
    assert labels == ["pythia-14m", "pythia-70m", "pythia-1b main", "pythia-1b step1", "pythia-1.4b"]


def test_one_judged_query_is_said_in_the_singular(scores, pythia):
    one = scores.to_pandas().assign(n_queries=1)
    assert "SCIDOCS, 1 judged query; tables" in scaling.suite_scaling(one, suite="Pythia").caption
    assert "SCIDOCS, 1000 judged queries; tables" in pythia.caption


# -- variants ----------------------------------------------------------------------------------------------------------

ALL_VARIANTS = [
    "as_is", "random", "crop_64", "crop_128", "pad_5120", "pad_14336", "pad_14336_matched", "centered",
    "all_but_the_top",
]  # fmt: skip


def rows_of_variants(variants, models=WIDTHS):
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        score_row(model, width, variant, 42 if variant.startswith(("random", "pad")) else None, metric, rng.random())
        for metric in ("ndcg_at_10", "map_at_100")
        for model, width in models.items()
        for variant in variants
    )


def test_nine_variants_keep_their_order_and_a_look_of_their_own():
    drawing = scaling.suite_scaling(rows_of_variants(ALL_VARIANTS[::-1]), suite="Pythia")
    assert legend_of(drawing) == [*ALL_VARIANTS, QUERIES]
    handles = drawing.figure.legends[0].get_lines()[: len(ALL_VARIANTS)]
    assert len({line.get_color() for line in handles}) == len(ALL_VARIANTS) - 1
    assert len({line.get_marker() for line in handles}) == len(ALL_VARIANTS)


def test_a_matched_pad_is_its_pads_colour_dashed():
    drawing = scaling.suite_scaling(rows_of_variants(ALL_VARIANTS), suite="Pythia")
    looks = {line.get_label(): line for line in drawing.figure.legends[0].get_lines()}
    pad, matched = looks["pad_14336"], looks["pad_14336_matched"]
    assert (pad.get_color(), pad.get_linestyle()) == (matched.get_color(), "-")
    assert matched.get_linestyle() == "--"
    assert looks["centered"].get_linestyle() == "-"
    alone = scaling.suite_scaling(rows_of_variants(["as_is", "pad_5120", "pad_14336_matched"]), suite="Pythia")
    assert [line.get_color() for line in alone.figure.legends[0].get_lines()[:3]] == [BLUE, RED, GREEN]


def test_the_caption_says_what_each_variant_is():
    caption = scaling.suite_scaling(rows_of_variants(ALL_VARIANTS), suite="Pythia").caption
    assert (
        "Variants: as_is, the trained table; random, a random table of the same shape; crop_64, its first 64 columns; "
        "crop_128, its first 128 columns; pad_5120, the table padded with random columns to 5120; pad_14336, the table "
        "padded with random columns to 14336; pad_14336_matched, padded with random columns to 14336, these scaled to "
        "the table's root-mean-square entry; centered, the table less its mean row; all_but_the_top, the table less "
        "its mean row and its leading directions, one per hundred columns." in caption
    )


def test_a_variant_that_is_none_is_refused():
    with pytest.raises(ValueError, match="unknown variant 'pad_x'"):
        scaling.suite_scaling(rows_of_variants(["as_is", "pad_x"]), suite="Pythia")


def test_the_caption_says_how_much_of_a_padded_table_is_padding():
    rows = rows_of_variants(["as_is", "pad_5120", "pad_14336"])
    shares = {"pythia-14m": 0.972, "pythia-70m": 0.4, "pythia-1b": 0.00312, "pythia-1.4b": 0.00001}
    unmatched = rows["variant"] == "pad_5120"
    rows.loc[unmatched, "pad_energy_share"] = rows.loc[unmatched, "model"].map(shares)
    rows.loc[rows["variant"] == "pad_14336", "pad_energy_share"] = 0.0312
    caption = scaling.suite_scaling(rows, suite="Pythia").caption
    assert (
        "Of the padded table's energy, its sum of squares, the padding holds under 0.01 to 97 % in pad_5120 and 3.1 % "
        "in pad_14336." in caption
    )
    assert "energy" not in scaling.suite_scaling(rows_of_variants(["as_is", "crop_64"]), suite="Pythia").caption


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0 %"), (0.004, "0.4 %"), (0.0954, "9.5 %"), (0.0999, "10 %"), (0.5, "50 %"), (0.9966, "99.7 %"),
     (0.99996, "over 99.9 %"), (1, "100 %")],
)  # fmt: skip
def test_shares_are_said_in_two_digits_and_never_rounded_to_all_or_nothing(share, said):
    rows = rows_of_variants(["pad_5120"]).assign(pad_energy_share=float(share))
    assert f"the padding holds {said} in pad_5120." in scaling.suite_scaling(rows, suite="Pythia").caption


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
    scores = pd.DataFrame(PUBLISHED_SCORES, columns=columns)
    scores = scores.assign(model=model, tokenizer="GPT-NeoX", embedding_dim=width, note="why")
    reference = Published(pd.DataFrame([{"model": model, **FACTS}]), scores)
    return reference.points([{"model": model, "suite": suite, "hub_id": None, "reference": model}])


def hollow_points(axes):
    """Return colour, x and y of the points without a fill of their own."""
    found = [line for line in axes.get_lines() if line.get_markerfacecolor() in ("none", "white")]
    assert all(line.get_linestyle() == "None" for line in found)
    return [(line.get_color(), round(x), float(y)) for line in found for x, y in zip(*line.get_data(), strict=True)]


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
    np.testing.assert_array_equal(np.round(line_of(above, blue)[0]), [0, 1, 3, 4])
    legend = legend_of(drawing)
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
    legend = legend_of(drawing)
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


def test_a_model_that_nobody_published_about_is_named_only(scores, pythia):
    drawing = scaling.suite_scaling(scores, suite="Pythia", left_out=["mine"], published=published_points(1024)[:0])
    assert "nothing published to show: mine." in drawing.caption
    assert not any(map(hollow_points, drawing.figure.axes))
    without = pythia
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
    legend = legend_of(drawing)
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


def test_all_suites_keep_models_of_equal_width_apart_and_name_them(scores, suites):
    frame = scores.to_pandas().query("variant == 'as_is' and metric == 'ndcg_at_10' and suite == 'Pythia'")
    places, heights = line_of(suites.figure.axes[0], RED)
    truth = frame.set_index("model")["value"][IN_ORDER]
    np.testing.assert_array_equal(places, [128, 512, 2048, 2048])
    np.testing.assert_allclose(heights, 100 * truth)
    assert {text.get_text() for text in suites.figure.axes[0].texts} == {"pythia-1b", "pythia-1.4b"}
    found = [whisker[1:] for whisker in whiskers(suites.figure.axes[0]) if whisker[0] == to_rgb(RED)]
    ends = frame.set_index("model").loc[IN_ORDER, ["embedding_dim", "ci_low", "ci_high"]] * [1, 100, 100]
    np.testing.assert_allclose(found, ends)
    assert QUERIES in legend_of(suites)


def test_names_of_three_models_of_one_width_stand_on_three_sides():
    rows = [
        score_row(name, 1024, "as_is", None, metric, value)
        for metric in ("ndcg_at_10", "map_at_100")
        for name, value in (("low", 0.01), ("high", 0.03), ("middle", 0.02))
    ]
    figure = rendered(scaling.all_suites(pd.DataFrame(rows)))
    boxes = {text.get_text(): text.get_window_extent() for text in figure.axes[0].texts}
    points = {
        name: figure.axes[0].transData.transform((1024, y)) for name, y in (("low", 1), ("middle", 2), ("high", 3))
    }
    assert boxes["low"].y1 < points["low"][1]
    assert boxes["high"].y0 > points["high"][1]
    assert boxes["middle"].x0 > points["middle"][0]
    assert boxes["middle"].y0 < points["middle"][1] < boxes["middle"].y1


def baseline_rows(tokenizers, seeds=SEEDS, widths=(128, 512, 2048)):
    """Return random tables of each tokenizer, whose value is the tokens' own number beside a noise of the seed."""
    return pd.DataFrame(
        score_row(
            None, width, "random_tokenizer", seed, metric, number / 100 + width / 1e5 + seed / 1e7, tokenizer=name
        )
        for metric in ("ndcg_at_10", "map_at_100")
        for name, number in tokenizers.items()
        for width in widths
        for seed in seeds
    )


def with_trained(rows):
    trained = [score_row("m", 512, "as_is", None, metric, 0.03) for metric in ("ndcg_at_10", "map_at_100")]
    return pd.concat([rows, pd.DataFrame(trained)])


def test_all_suites_show_the_mean_of_random_tables(scores, suites):
    frame = scores.to_pandas().query("variant == 'random_tokenizer' and metric == 'map_at_100'")
    grey = next(line for line in suites.figure.axes[1].get_lines() if line.get_color() == style.GREY)
    np.testing.assert_allclose(grey.get_ydata(), 100 * frame.groupby("embedding_dim")["value"].mean())
    assert "Grey: random tables, a line per tokenizer, means over 3 seeds; the figure" in suites.caption
    assert not bands(suites)
    assert SEEDS_BAND not in legend_of(suites)
    without = scaling.all_suites(scores.to_pandas().query("variant == 'as_is'"))
    assert set(without.data.to_pandas()["variant"]) == {"as_is"}
    assert "andom tables" not in without.caption
    assert len(without.figure.legends) == 1


def test_all_suites_tell_tokenizers_apart_and_name_those_that_coincide():
    rows = baseline_rows({"a/neox": 1, "b/bloom": 2, "c/gpt2": 3, "d/cerebras": 3})
    drawing = scaling.all_suites(with_trained(rows))
    assert legend_of(drawing, 1) == ["bloom", "cerebras and gpt2", "neox"]
    for axes in drawing.figure.axes:
        grey = [line for line in axes.get_lines() if line.get_color() == style.GREY and line.get_marker() == "None"]
        assert len(grey) == 3
        # Two lines in one grey are told apart by how they are dashed.
        assert (
            len({(line.get_linestyle(), line._dash_pattern[1] and tuple(line._dash_pattern[1])) for line in grey}) == 3
        )
    assert "One line stands for all tokenizers whose random tables score the same throughout: cerebras and gpt2." in (
        drawing.caption
    )
    assert set(drawing.data.to_pandas()["tokenizer"]) >= {"c/gpt2", "d/cerebras"}


def test_lines_that_differ_in_one_point_are_two():
    rows = baseline_rows({"c/gpt2": 3, "d/cerebras": 3})
    rows.loc[rows.index[-1], "value"] += 1e-5
    for drawing in (scaling.all_suites(with_trained(rows)), scaling.random_baselines(rows)):
        assert "One line stands" not in drawing.caption
        names = legend_of(drawing, len(drawing.figure.legends) - 1)
        assert {"gpt2", "cerebras"} <= set(names)


def test_one_seed_of_random_tables_is_no_mean():
    rows = baseline_rows({"a/neox": 1}, seeds=[42])
    caption = scaling.all_suites(with_trained(rows)).caption
    assert "Grey: random tables, a line per tokenizer, of one seed; the figure" in caption
    assert "1 seeds" not in caption
    drawing = scaling.random_baselines(rows)
    data = drawing.data.to_pandas()
    assert set(data["interval"]) == {"queries"}
    assert "Random numbers are of one seed (42)" in drawing.caption
    assert "Whiskers are" in drawing.caption
    assert len(whiskers(drawing.figure.axes[0])) == 3


def test_random_baselines_show_every_seed_and_the_interval(scores):
    drawing = scaling.random_baselines(scores)
    data = drawing.data.to_pandas()
    frame = scores.to_pandas().query("variant == 'random_tokenizer' and metric == 'ndcg_at_10'")
    seeds = data.query("mark == 'seed' and metric == 'ndcg_at_10'")
    assert sorted(seeds["y"]) == pytest.approx(sorted(100 * frame["value"]))
    assert seeds["seed"].nunique() == len(SEEDS)
    means = data.query("mark == 'mean' and metric == 'ndcg_at_10'").set_index("x")
    for width, group in frame.groupby("embedding_dim"):
        mean = means.loc[width]
        low, high = stats.t.interval(0.95, 2, 100 * group["value"].mean(), stats.sem(100 * group["value"]))
        assert (mean["ci_low"], mean["ci_high"]) == (pytest.approx(low), pytest.approx(high))
    assert not [whisker for axes in drawing.figure.axes for whisker in whiskers(axes)]


def test_seven_tokenizers_at_fifteen_widths_have_seven_looks():
    widths = (128, 256, 512, 768, 1024, 1088, 1536, 2048, 2560, 4096, 5120, 7168, 9216, 12288, 14336)
    names = {f"hub/tokenizer-{number}": number for number in range(7)}
    drawing = scaling.random_baselines(baseline_rows(names, seeds=(42, 43, 6573, 7776), widths=widths))
    assert legend_of(drawing)[:7] == [f"tokenizer-{number}" for number in range(7)]
    lines = drawing.figure.legends[0].get_lines()[:7]
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 7
    for axes in drawing.figure.axes:
        drawn = [line for line in axes.get_lines() if line.get_linestyle() == "-"]
        assert [list(line.get_xdata()) for line in drawn] == [list(widths)] * 7
    assert len(drawing.data.to_pandas().query("mark == 'seed'")) == 7 * 15 * 4 * 2


def test_two_seeds_have_no_interval_and_the_caption_says_so(scores):
    two = scores.to_pandas().query("seed.isna() or seed in (42, 43)")
    for drawing in (scaling.random_baselines(two), scaling.suite_scaling(two, suite="Pythia")):
        assert not bands(drawing)
        data = drawing.data.to_pandas().query("mark == 'mean'")
        assert data["ci_low"].isna().all()
        assert data["interval"].isna().all()
        assert "no interval is drawn for 2 seeds, 3 are needed" in drawing.caption


@pytest.mark.parametrize("beside", [0, 50], ids=["above", "below"])
def test_a_band_that_runs_beyond_the_panel_is_said_to_be_cut(beside):
    """Its other end lies inside, beside the line of another tokenizer."""
    rows = baseline_rows({"a/neox": 25, "b/bloom": beside})
    assert "cut off" not in scaling.random_baselines(rows).caption
    widest = (rows["tokenizer"] == "a/neox") & (rows["embedding_dim"] == 2048)
    rows.loc[widest, "value"] = [0.22, 0.25, 0.28] * 2
    rows.loc[rows["tokenizer"] == "a/neox", "value"] += 0.2 if beside == 0 else -0.2
    assert "A band that runs beyond the panel is cut off." in scaling.random_baselines(rows).caption


def test_random_tables_that_are_not_there_are_refused(scores):
    with pytest.raises(ValueError, match="no random_tokenizer scores of ndcg_at_10 and map_at_100"):
        scaling.random_baselines(scores.to_pandas().query("model.notna()"))
    with pytest.raises(ValueError, match="no as_is scores"):
        scaling.all_suites(scores.to_pandas().query("model.isna()"))


def test_variants_sort_by_kind_then_size():
    assert sorted(set(ALL_VARIANTS), key=score_points.variant_key) == ALL_VARIANTS


def test_metrics_are_named_as_papers_name_them():
    assert [score_captions.metric_name(name) for name in ("ndcg_at_10", "map_at_100", "hit_rate_at_1")] == [
        "nDCG@10", "MAP@100", "hit rate@1",
    ]  # fmt: skip
