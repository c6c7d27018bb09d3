"""Figures of the tables themselves, over training and over width: what is drawn, what is left out, what is said."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from figure_tables import (
    BATCHED,
    FINAL_SCORES,
    IN_ORDER,
    WIDTHS,
    duplicates_table,
    embedding_geometry_rows,
    embedding_geometry_table,
    embedding_training_table,
    legend_of,
    line_of,
    whiskers,
)
from matplotlib.colors import to_rgb

from lm_geometry.figures import embedding_geometry, embedding_training, style
from lm_geometry.geometry.nulls import marchenko_pastur_edge
from lm_geometry.tables import figure_data

STEPS = (0, 1, 16, 256, 4096)
STATISTICS = (
    "cosine", "neighbor_overlap", "ndcg_at_10", "map_at_100", "ndcg_at_10_difference", "map_at_100_difference",
)  # fmt: skip
BLUE, RED, GREEN = style.COLORS[:3]

# -- over training -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def training():
    return embedding_training.table_over_training(embedding_training_table(STEPS), model="pythia")


def case(steps, copies, *, drop):
    """Return the arguments of the figure, as its script passes them."""
    return {
        "table": embedding_training_table(steps, copies, drop=drop),
        "model": "pythia",
        "revisions": [f"step{step}" for step in steps],
        "duplicates": duplicates_table({f"step{step}": "main" for step in copies}),
    }


def levels(axes):
    """Return the heights of the horizontal lines across a panel."""
    return [line.get_ydata()[0] for line in axes.get_lines() if list(line.get_xdata()) == [0, 1]]


def test_each_panel_draws_its_statistic_over_the_steps(training):
    frame = embedding_training_table(STEPS).to_pandas()
    for axes, statistic in zip(training.figure.axes, STATISTICS, strict=True):
        steps, heights = line_of(axes, BLUE)
        truth = frame[frame["statistic"] == statistic]
        factor = 100 if "_at_" in statistic else 1
        np.testing.assert_array_equal(steps, STEPS)
        np.testing.assert_allclose(heights, factor * truth["value"])
        ends = [whisker[1:] for whisker in whiskers(axes)]
        known = truth.dropna(subset=["ci_low"])
        np.testing.assert_allclose(
            np.reshape(ends, (-1, 3)), known[["step", "ci_low", "ci_high"]] * [1, factor, factor]
        )
    assert len(whiskers(training.figure.axes[2])) == len(STEPS)


def test_step_zero_stands_beside_the_log_scale(training):
    axes = training.figure.axes[-1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "16", "256", "4.096k"]
    places = axes.transScale.transform([(step, 0) for step in STEPS])[:, 0]
    assert places[1] > places[0]
    assert places[3] - places[2] == pytest.approx(places[2] - places[1])


def test_the_final_score_is_a_line_and_what_the_differences_are_taken_from(training):
    above, middle, below = np.reshape(training.figure.axes, (3, 2))
    for axes, metric in zip(middle, FINAL_SCORES, strict=True):
        assert levels(axes) == [pytest.approx(100 * FINAL_SCORES[metric])]
    assert [levels(axes) for axes in below] == [[0], [0]]
    assert [levels(axes) for axes in above] == [[0.9], []]
    data = training.data.to_pandas().query("mark == 'final'")
    assert data["step"].isna().all()
    assert dict(zip(data["statistic"], data["value"], strict=True)) == {
        metric: pytest.approx(100 * value) for metric, value in FINAL_SCORES.items()
    }
    assert "final table" in legend_of(training)


def test_the_final_score_is_in_the_panel_though_all_checkpoints_score_less():
    table = embedding_training_table((0, 16, 4096))
    drawing = embedding_training.table_over_training(table, model="pythia", revisions=["step0", "step16"])
    for axes, metric in zip(drawing.figure.axes[2:4], FINAL_SCORES, strict=True):
        low, high = axes.get_ylim()
        assert levels(axes) == [pytest.approx(100 * FINAL_SCORES[metric])]
        assert low < levels(axes)[0] <= high


def test_a_tenth_of_training_and_the_points_that_count_as_none_are_marked(training):
    for axes, statistic in zip(training.figure.axes, STATISTICS, strict=True):
        vertical = [line for line in axes.get_lines() if list(line.get_ydata()) == [0, 1]]
        assert [list(line.get_xdata()) for line in vertical] == [[409.6, 409.6]]
        shades = [(patch.get_y(), patch.get_y() + patch.get_height()) for patch in axes.patches]
        assert shades == ([(pytest.approx(-0.3), pytest.approx(0.3))] if statistic.endswith("difference") else [])
    assert {"settled: 10 % of training, cosine 0.9", "within 0.3 points"} <= set(legend_of(training))
    assert "a cosine of 0.9, and 10 % of training, taken to end at the last step here, 4.096k" in training.caption
    assert "Shaded: differences within 0.3 points" in training.caption
    assert "(tables/claims) has the verdict" in training.caption


def test_the_shade_is_in_the_panel_though_all_differences_are_less():
    frame = embedding_training_table(STEPS).to_pandas()
    small = frame["statistic"].str.endswith("_difference")
    scores = frame["statistic"].isin(FINAL_SCORES)
    frame.loc[small, ["value", "ci_low", "ci_high"]] = [0.0, -1e-5, 1e-5]
    frame.loc[scores, "value"] = frame.loc[scores, "statistic"].map(FINAL_SCORES)
    for axes in embedding_training.table_over_training(frame, model="pythia").figure.axes[4:]:
        low, high = axes.get_ylim()
        assert low < -0.3 < 0.3 < high


def test_a_run_of_step_zero_alone_has_no_tenth():
    drawing = embedding_training.table_over_training(embedding_training_table((0,)), model="pythia")
    assert not [line for axes in drawing.figure.axes for line in axes.get_lines() if list(line.get_ydata()) == [0, 1]]
    assert "of pythia at 1 checkpoint, beside the final one, that of main." in drawing.caption


def test_the_data_is_the_tables_selection_and_the_final_scores(training):
    data = training.data.to_pandas()
    frame = embedding_training_table(STEPS).to_pandas()
    drawn = data[data["mark"] == "line"]
    merged = frame.merge(drawn, on=["revision", "statistic"], validate="one_to_one", suffixes=("_there", ""))
    assert len(merged) == len(frame) == len(drawn)
    factor = np.where(merged["statistic"].str.contains("_at_"), 100, 1)
    for name in ("value", "ci_low", "ci_high"):
        np.testing.assert_allclose(merged[name], factor * merged[f"{name}_there"])
    assert set(data["mark"]) == {"line", "final"}


@pytest.mark.parametrize("drop", [False, True], ids=["mark", "drop"])
def test_copies_break_every_line_and_the_caption_names_them(drop):
    drawing = embedding_training.table_over_training(**case(STEPS, [1, 16], drop=drop))
    for axes in drawing.figure.axes:
        steps, heights = line_of(axes, BLUE)
        assert list(steps) == list(STEPS)
        assert [step for step, y in zip(steps, heights, strict=True) if math.isnan(y)] == [1, 16]
        strokes = next(line for line in axes.get_lines() if line.get_label() == style.LEFT_OUT)
        assert list(strokes.get_xdata()) == [1, 16]
        assert not {1.0, 16.0} & {x for _, x, _, _ in whiskers(axes)}
        assert axes.get_ylim()[1] < 10
    assert "pythia at 3 checkpoints" in drawing.caption
    assert "Left out: 2 of 5 checkpoints" in drawing.caption
    assert "step1 (as in main) and step16 (as in main)." in drawing.caption
    assert style.LEFT_OUT in legend_of(drawing)
    data = drawing.data.to_pandas()
    copied = data[data["step"].isin([1, 16])]
    assert set(copied["status"]) == {"not drawn: has weights of main"}
    assert copied[copied["mark"] == "line"]["value"].isna().all()
    assert len(copied[copied["mark"] == "line"]) == 2 * len(STATISTICS)
    assert len(copied[copied["mark"] == "not drawn"]) == (0 if drop else 2 * len(STATISTICS))


@pytest.mark.parametrize("drop", [False, True], ids=["mark", "drop"])
def test_a_model_of_copies_alone_is_an_explained_empty_panel(drop):
    drawing = embedding_training.table_over_training(**case((0, 1), [0, 1], drop=drop))
    assert [text.get_text() for axes in drawing.figure.axes for text in axes.texts] == [
        "Nothing to draw: every checkpoint asked for (2) holds another one's weights."
    ]
    assert "Nothing to draw. Left out: 2 of 2 checkpoints" in drawing.caption
    assert drawing.data.schema.names == figure_data.TRAINING.names
    assert set(drawing.data.to_pandas()["mark"]) == (set() if drop else {"not drawn"})


def test_a_run_without_copies_says_nothing_of_them(training):
    assert "Left out" not in training.caption
    assert "strokes" not in training.caption
    assert style.LEFT_OUT not in legend_of(training)


def test_a_missing_value_is_a_gap_with_its_reason():
    frame = embedding_training_table(STEPS).to_pandas()
    lost = (frame["statistic"] == "neighbor_overlap") & (frame["step"] == 16)
    frame.loc[lost, ["value", "status"]] = [None, "11 tokens are too few"]
    drawing = embedding_training.table_over_training(frame, model="pythia")
    axes = drawing.figure.axes[1]
    crosses = next(line for line in axes.get_lines() if line.get_marker() == "x")
    assert list(crosses.get_xdata()) == [16]
    assert math.isnan(line_of(axes, BLUE)[1][2])
    assert "Gaps: neighbor_overlap at step 16 (11 tokens are too few)." in drawing.caption
    assert style.GAP in legend_of(drawing)


def test_many_checkpoints_have_a_band_in_place_of_whiskers():
    drawing = embedding_training.table_over_training(
        **case(tuple(range(style.POINTS_APART + 2)), [7], drop=True)
    )  # fmt: skip
    assert not [whisker for axes in drawing.figure.axes for whisker in whiskers(axes)]
    for axes in drawing.figure.axes[2:]:
        corners = np.concatenate([path.vertices for area in axes.collections for path in area.get_paths()])
        assert 8 in corners[:, 0]
        assert 7 not in corners[:, 0]


def test_what_cannot_be_drawn_over_training_is_refused():
    table = embedding_training_table(STEPS)
    draw = embedding_training.table_over_training
    with pytest.raises(ValueError, match=r"model 'pythia'.*\['step9'\].*step_pattern"):
        draw(table, model="pythia", revisions=["step0", "step9"])
    with pytest.raises(ValueError, match=r"model 'bloom'.*step_pattern"):
        draw(table, model="bloom")
    frame = table.to_pandas()
    with pytest.raises(ValueError, match=r"'step1', 'step16'\] all have step 16"):
        draw(frame.assign(step=frame["step"].replace(1, 16)), model="pythia")
    with pytest.raises(ValueError, match=r"revision 'step16'.*no rows of \['cosine'\]"):
        draw(frame[(frame["statistic"] != "cosine") | (frame["step"] != 16)], model="pythia")
    for column, value in (("final_revision", "step9"), ("collection", "NFCorpus")):
        mixed = frame.copy()
        mixed.loc[0, column] = value
        with pytest.raises(ValueError, match=f"'{column}' holds .*{value}"):
            draw(mixed, model="pythia")
    other = frame.copy()
    other.loc[(other["statistic"] == "map_at_100") & (other["step"] == 16), "value"] += 0.001
    with pytest.raises(ValueError, match=r"map_at_100: .*from 4\.0\d* to 4\.1\d* percent"):
        draw(other, model="pythia")
    with pytest.raises(ValueError, match="lacks the columns"):
        draw(table.drop(["n"]), model="pythia")


def test_rounding_of_scores_is_no_contradiction():
    frame = embedding_training_table(STEPS).to_pandas()
    scores = frame["statistic"].isin(FINAL_SCORES)
    frame.loc[scores, "value"] = frame.loc[scores, "value"].round(5)
    drawing = embedding_training.table_over_training(frame, model="pythia")
    finals = drawing.data.to_pandas().query("mark == 'final'")["value"]
    np.testing.assert_allclose(finals, [6.0, 4.0], atol=0.001)


# -- over width --------------------------------------------------------------------------------------------------------

PANELS = ("anisotropy", "effective_rank", "twonn_090", "mean_cosine", "share_without_token")


@pytest.fixture(scope="module")
def geometry():
    return embedding_geometry.tables_over_width(embedding_geometry_table())


def test_each_panel_draws_each_suite_over_width_with_intervals(geometry):
    frame = embedding_geometry_table().to_pandas()
    *panels, corner = geometry.figure.axes
    for axes, statistic in zip(panels, PANELS, strict=True):
        truth = frame[(frame["statistic"] == statistic) & (frame["suite"] == "Pythia")].set_index("model").loc[IN_ORDER]
        factor = 100 if statistic == "share_without_token" else 1
        places, heights = line_of(axes, RED)  # OPT comes first
        np.testing.assert_array_equal(places, [WIDTHS[name] for name in IN_ORDER])
        np.testing.assert_allclose(heights, factor * truth["value"])
        ends = [whisker[1:] for whisker in whiskers(axes) if whisker[0] == to_rgb(RED)]
        known = truth.dropna(subset=["ci_low"])
        np.testing.assert_allclose(np.reshape(ends, (-1, 3)), known[["embedding_dim", "ci_low", "ci_high"]])
    assert len(whiskers(panels[2])) == len(WIDTHS) + 2
    legend = [text.get_text() for text in corner.get_legend().get_texts()]
    assert legend == ["OPT", "Pythia", "TwoNN, fit 0.9", "TwoNN, fit 0.2", "limit, see caption",
                      "95 % interval, batches"]  # fmt: skip


def test_the_second_fit_is_hollow_beside_the_first(geometry):
    frame = embedding_geometry_table().to_pandas()
    for number, axes in enumerate(geometry.figure.axes[:5]):
        hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == "white"]
        heights = sorted(y for line in hollow for y in line.get_ydata())
        truth = frame.loc[frame["statistic"] == "twonn_020", "value"] if number == 2 else []
        assert heights == sorted(truth)
        assert all(line.get_linestyle() == "None" for line in hollow)
    data = geometry.data.to_pandas()
    assert set(data.loc[data["mark"] == "hollow", "statistic"]) == {"twonn_020"}


def test_the_limits_are_those_of_the_n_that_was_measured(geometry):
    anisotropy, rank = (
        next(line for line in axes.get_lines() if line.get_linestyle() == ":") for axes in geometry.figure.axes[:2]
    )
    widths = anisotropy.get_xdata()
    assert (min(widths), max(widths)) == (64, 2048)
    np.testing.assert_allclose(anisotropy.get_ydata(), [marchenko_pastur_edge(512, width) for width in widths])
    np.testing.assert_allclose(rank.get_ydata(), [min(511, width) for width in rank.get_xdata()])


def test_n_stands_with_every_estimate_that_depends_on_it(geometry):
    titles = [axes.get_title() for axes in geometry.figure.axes[:5]]
    assert titles == [
        "anisotropy\nN = 512", "effective rank\nN = 512", "TwoNN dimension\nN = 512",
        "mean cosine of two rows\nN = 512", "rows without a token (percent)",
    ]  # fmt: skip
    assert "means over 8 disjoint batches of N = 512 rows that have a token; whiskers: their 95 % t" in geometry.caption


def test_tables_measured_at_another_n_are_joined_to_none_and_named():
    frame = pd.DataFrame(embedding_geometry_rows())
    frame.loc[(frame["model"] == "pythia-70m") & frame["statistic"].isin(BATCHED), "n_vectors"] = 128
    drawing = embedding_geometry.tables_over_width(frame)
    for axes in drawing.figure.axes[:4]:
        lines = [list(line.get_xdata()) for line in axes.get_lines() if line.get_color() == RED
                 and line.get_linestyle() == "-"]  # fmt: skip
        assert lines == [[512], [128, 2048, 2048]]
        assert [text.get_text() for text in axes.texts] == ["N = 128"]
        assert axes.get_title().endswith("N = 128 to 512")
    np.testing.assert_array_equal(line_of(drawing.figure.axes[4], RED)[0], [128, 512, 2048, 2048])
    assert "N is 512 but for pythia-70m (N = 128); no line joins them." in drawing.caption
    assert "d at N = 512" in drawing.caption


def test_the_caption_says_where_no_single_dimension_describes_a_table():
    frame = pd.DataFrame(embedding_geometry_rows())
    ratios = dict(zip([*WIDTHS, "a", "b"], (0.89, 0.91, 1.0, 1.09, 1.11, 1.0), strict=True))
    first = frame[frame["statistic"] == "twonn_090"].set_index("model")["value"]
    second = frame["statistic"] == "twonn_020"
    frame.loc[second, "value"] = [ratios[model] * first[model] for model in frame.loc[second, "model"]]
    caption = embedding_geometry.tables_over_width(frame).caption
    assert "outside 0.9 to 1.1 no single dimension describes the table: in 2 of 6 tables." in caption


def test_models_of_one_width_are_named(geometry):
    assert (
        "Models of one suite and width are points of their own: pythia-1b and pythia-1.4b (2048)." in geometry.caption
    )


def test_shares_are_percents_and_the_data_is_the_tables_selection(geometry):
    data = geometry.data.to_pandas()
    frame = embedding_geometry_table().to_pandas()
    frame = frame[frame["statistic"].isin([*PANELS, "twonn_020"])]
    merged = frame.merge(data, on=["model", "statistic"], validate="one_to_one", suffixes=("_there", ""))
    assert len(merged) == len(frame) == len(data)
    factor = np.where(merged["statistic"] == "share_without_token", 100, 1)
    np.testing.assert_allclose(merged["value"], factor * merged["value_there"])
    assert "participation_ratio" not in set(data["statistic"])


def test_a_table_of_too_few_rows_is_a_gap_with_its_reason():
    frame = pd.DataFrame(embedding_geometry_rows())
    lost = (frame["model"] == "pythia-1b") & frame["statistic"].isin(BATCHED)
    columns = ["value", "ci_low", "ci_high", "n_batches", "status"]
    frame.loc[lost, columns] = [None, None, None, 0, "a batch has 512 rows, but only 300 have a token"]
    drawing = embedding_geometry.tables_over_width(frame)
    for axes in drawing.figure.axes[:4]:
        crosses = [line for line in axes.get_lines() if line.get_marker() == "x" and len(line.get_xdata())]
        assert [list(line.get_xdata()) for line in crosses] == [[2048]]
    assert "means over 8 disjoint batches" in drawing.caption
    assert (
        "Gaps: pythia-1b, anisotropy, effective_rank, twonn_090, mean_cosine and twonn_020 (a batch has 512 rows, but "
        "only 300 have a token)." in drawing.caption
    )
    assert style.GAP in [text.get_text() for text in drawing.figure.axes[5].get_legend().get_texts()]


def test_tables_without_any_batch_are_gaps_all_over():
    frame = pd.DataFrame(embedding_geometry_rows())
    lost = frame["statistic"].isin(BATCHED)
    frame.loc[lost, ["value", "ci_low", "ci_high", "n_batches", "status"]] = [None, None, None, 0, "too few rows"]
    drawing = embedding_geometry.tables_over_width(frame)
    drawing.figure.draw_without_rendering()
    assert [axes.get_title() for axes in drawing.figure.axes[:2]] == ["anisotropy", "effective rank"]
    assert "batches of N" not in drawing.caption
    assert "dotted" not in drawing.caption
    np.testing.assert_allclose(line_of(drawing.figure.axes[4], RED)[1], 100 * 27 / 50304)


def test_an_interval_that_reaches_below_zero_leaves_a_log_axis_to_the_values():
    frame = pd.DataFrame(embedding_geometry_rows())
    frame.loc[(frame["model"] == "a") & (frame["statistic"] == "anisotropy"), "ci_low"] = -0.5
    drawing = embedding_geometry.tables_over_width(frame)
    drawing.figure.draw_without_rendering()
    axes = drawing.figure.axes[0]
    values = frame.loc[frame["statistic"] == "anisotropy", "value"]
    low, high = axes.get_ylim()
    assert axes.get_yscale() == "log"
    assert 0 < low <= min(values) <= max(values) <= high
    assert low > 0.01 * min(values)


def test_one_batch_has_no_interval_and_is_said_in_the_singular():
    frame = pd.DataFrame(embedding_geometry_rows()).assign(n_batches=1, ci_low=None, ci_high=None)
    drawing = embedding_geometry.tables_over_width(frame)
    assert "means over 1 disjoint batch of N = 512 rows that have a token. Estimates" in drawing.caption
    assert "hiskers" not in drawing.caption
    assert not [whisker for axes in drawing.figure.axes for whisker in whiskers(axes)]


def test_what_cannot_be_drawn_over_width_is_refused():
    frame = pd.DataFrame(embedding_geometry_rows())
    draw = embedding_geometry.tables_over_width
    with pytest.raises(ValueError, match=r"model 'a', revision 'main'.*\['twonn_020'\]"):
        draw(frame[(frame["model"] != "a") | (frame["statistic"] != "twonn_020")])
    with pytest.raises(ValueError, match="no rows: there is nothing to draw"):
        draw(pa.Table.from_pylist([], schema=embedding_geometry_table().schema))
    mixed = frame.copy()
    mixed.loc[0, "table_precision"] = "float32"
    with pytest.raises(ValueError, match="'table_precision' holds"):
        draw(mixed)
