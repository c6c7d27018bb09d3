"""Figures of hidden states: what is drawn is what the tables say, checked by pandas and in the axes themselves."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from figure_tables import duplicates_table, geometry_row, geometry_table, layer_means_table, legend_of, whiskers
from matplotlib.collections import QuadMesh

from lm_geometry.figures import style
from lm_geometry.figures.dynamics.dimension_scale import PLACES, dimension_scale
from lm_geometry.figures.dynamics.profiles import layer_profiles
from lm_geometry.figures.dynamics.rows import profile_revisions
from lm_geometry.figures.dynamics.training_anisotropy import training_anisotropy
from lm_geometry.figures.dynamics.training_dimension import training_dimension
from lm_geometry.figures.dynamics.training_heatmap import step_columns, training_heatmap
from lm_geometry.tables import figure_data
from lm_geometry.tables import geometry as geometry_schema
from lm_geometry.tables.geometry_statistics import (
    ANISOTROPY,
    DECIMATED,
    FREQUENCY_NULL,
    LINEAR_090,
    MARCHENKO_PASTUR,
    MATCHED,
    NO_SINGLE_DIMENSION,
    TWONN_020,
    TWONN_090,
    WITHOUT_FIRST,
)

PROJECT = Path(__file__).resolve().parents[2]
NEOX = {"neox-64": "main"}


@pytest.fixture(scope="module")
def geometry():
    return geometry_table()


@pytest.fixture(scope="module")
def profiles(geometry):
    return layer_profiles(geometry, revisions=NEOX)


@pytest.fixture(scope="module")
def training(geometry):
    """The three figures over the training of one model, which has a gap in layer 2 of step16."""
    return {draw: draw(geometry, model="neox-64") for draw in (dimension, training_anisotropy, training_heatmap)}


def dimension(table, **settings):
    """Draw the dimension over training with the means over layers that belong to the table."""
    return training_dimension(table, layer_means_table(table), **settings)


def panels_of(drawing):
    return [axes for axes in drawing.figure.axes if axes.get_label() != "<colorbar>"]


def values_of(geometry, statistic, condition="model == 'neox-64' and revision == 'main'"):
    """Return the rows of one statistic, before the final norm."""
    return geometry.to_pandas().query(f"{condition} and statistic == '{statistic}' and not after_final_norm")


def as_table(rows):
    return pa.Table.from_pylist(rows, schema=geometry_schema.SUMMARY)


# -- layer profiles ----------------------------------------------------------------------------------------------------

PROFILED = [
    *(name + kind for name in (ANISOTROPY, TWONN_090, TWONN_020) for kind in ("", MATCHED)),
    *(name + kind for name in (FREQUENCY_NULL, MARCHENKO_PASTUR, LINEAR_090) for kind in ("", MATCHED)),
    WITHOUT_FIRST,
]
ROWS = (ANISOTROPY, WITHOUT_FIRST, ANISOTROPY + MATCHED, TWONN_090, TWONN_090 + MATCHED)


def test_profiles_draw_the_tables_values_of_the_main_revision(geometry):
    data = layer_profiles(geometry).data.to_pandas()
    assert set(data["revision"]) == {"main"}
    wanted = geometry.to_pandas().query("revision == 'main'")
    wanted = wanted[wanted["statistic"].isin(PROFILED)]
    keys = ["model", "layer", "after_final_norm", "statistic"]
    merged = wanted.merge(data, on=keys, how="outer", validate="one_to_one")
    assert len(merged) == len(wanted) == len(data)
    np.testing.assert_array_equal(merged["value_x"], merged["value_y"])


def test_each_row_of_panels_draws_its_statistic_and_the_bare_look_up_type_matched_only(geometry, profiles):
    for axes, statistic in zip(profiles.figure.axes, ROWS, strict=True):
        truth = values_of(geometry, statistic)
        truth = truth if statistic.endswith(MATCHED) else truth[truth["layer"] > 0]
        line = next(line for line in axes.get_lines() if line.get_marker() == "o")
        np.testing.assert_allclose(line.get_xdata(), truth["layer"] / 3)
        np.testing.assert_array_equal(line.get_ydata(), truth["value"])
    hidden = profiles.data.to_pandas().query("layer == 0 and statistic == 'anisotropy'").iloc[0]
    assert hidden["mark"] == "not drawn"
    assert "type-matched" in hidden["status"]


def test_the_copy_behind_the_final_norm_is_a_hollow_point_apart_from_the_line(geometry, profiles):
    truth = geometry.to_pandas().query(
        "model == 'neox-64' and revision == 'main' and statistic == 'anisotropy' and after_final_norm"
    )
    hollow = next(line for line in profiles.figure.axes[0].get_lines() if line.get_marker() == "D")
    assert list(hollow.get_ydata()) == list(truth["value"])
    assert hollow.get_markerfacecolor() == "white"


def test_nulls_and_the_linear_reference_lie_behind_their_lines_and_none_behind_sinks_off(geometry, profiles):
    dotted = [[line for line in axes.get_lines() if line.get_linestyle() == ":"] for axes in profiles.figure.axes]
    assert dotted[1] == []
    nulls = (FREQUENCY_NULL, None, FREQUENCY_NULL + MATCHED, LINEAR_090, LINEAR_090 + MATCHED)
    for lines, null in zip(dotted, nulls, strict=True):
        if null:
            truth = values_of(geometry, null)
            truth = truth if null.endswith(MATCHED) else truth[truth["layer"] > 0]
            assert list(lines[0].get_ydata()) == list(truth["value"])
    fine = [line for line in profiles.figure.axes[0].get_lines() if line.get_linewidth() == 0.4]
    assert list(fine[0].get_ydata()) == list(values_of(geometry, MARCHENKO_PASTUR).query("layer > 0")["value"])
    for said in ("frequency null", "Marchenko-Pastur limit", "linear reference", "No null is drawn with sinks off"):
        assert said in profiles.caption


def test_a_null_that_the_table_lacks_is_neither_drawn_nor_explained(geometry):
    rows = geometry.to_pandas()
    drawing = layer_profiles(rows[~rows["statistic"].str.startswith(MARCHENKO_PASTUR)], revisions=NEOX)
    assert "Marchenko" not in drawing.caption
    assert "Marchenko-Pastur limit" not in legend_of(drawing, -1)


def test_the_second_fit_is_the_edge_of_a_band(geometry, profiles):
    edge = next(line for line in profiles.figure.axes[3].get_lines() if line.get_linewidth() == 0.7)
    # A look-up layer 0 has its place, and no value.
    assert list(edge.get_ydata()[1:]) == list(values_of(geometry, TWONN_020).query("layer > 0")["value"])
    legend = profiles.figure.legends[-1]
    band = legend.legend_handles[legend_of(profiles, -1).index("between fits 0.9 and 0.2")]
    assert band.get_alpha() in {area.get_alpha() for area in profiles.figure.axes[3].collections}


def test_n_stands_in_every_panel_and_the_caption_names_n_and_the_batches(profiles, training):
    """The N of a dimension counts distinct vectors, of the drawn layers; that of an anisotropy counts all."""
    wanted = {
        "profiles": (profiles, [2048, 2040, 611, 2043, 606]),
        "dimension": (training[dimension], [2043, 606] * 2),
        "anisotropy": (training[training_anisotropy], [2048, 2040, 611]),
        "heatmap": (training[training_heatmap], [2048, 611, 2040, 603, 2043, 606]),
    }
    for drawing, sizes in wanted.values():
        titles = [axes.get_title() for axes in panels_of(drawing)]
        assert [f"N = {n}" in title for title, n in zip(titles, sizes, strict=True)] == [True] * len(sizes)
        assert "8 disjoint batches of N = 2048" in drawing.caption
        assert "type-matched N = 611" in drawing.caption
    labels = [axes.get_ylabel() for axes in profiles.figure.axes[3:]]
    assert [label.endswith(f"N = {n}") for label, n in zip(labels, (2043, 606), strict=True)] == [True, True]


def test_layers_without_a_single_dimension_are_open_points_and_counted(geometry):
    rows = geometry.to_pandas().query("model == 'bert-64'").copy()
    mixed = (rows["statistic"] == TWONN_090) & rows["layer"].isin([0, 2])
    rows.loc[mixed, "label"] = NO_SINGLE_DIMENSION
    drawing = layer_profiles(rows)
    axes = drawing.figure.axes[3]
    assert "no single dimension in 2 of 4 layers" in axes.get_title()
    points = [line for line in axes.get_lines() if line.get_markerfacecolor() == "white" and line.get_marker() == "o"]
    assert [list(line.get_ydata()) for line in points] == [list(rows.loc[mixed, "value"])]
    assert "2 of 4 layers (all tokens) and 0 of 4 layers (type-matched)" in drawing.caption
    assert NO_SINGLE_DIMENSION in legend_of(drawing, -1)
    one = layer_profiles(geometry.to_pandas().query("model == 'bert-64'"))
    assert NO_SINGLE_DIMENSION not in legend_of(one, -1)


def test_half_precision_is_said(geometry):
    rows = geometry.to_pandas()
    assert "float32" not in layer_profiles(rows, revisions=NEOX).caption
    rows.loc[rows["model"] == "neox-64", "dtype"] = "bfloat16"
    assert "Not float32, which the measures ask for: neox-64 in bfloat16." in layer_profiles(rows).caption


def test_a_degenerate_layer_breaks_its_lines_and_is_one_gap_in_the_caption(geometry):
    rows = geometry.to_pandas().query("model == 'bert-64'").copy()
    for layer in (1, 2):
        gone = rows["layer"] == layer
        rows.loc[gone, ["value", "ci_low", "ci_high", "label"]] = None
        rows.loc[gone, "status"] = f"{layer} distinct rows among 2048; at least 10 are needed"
    drawing = layer_profiles(rows)
    for axes in drawing.figure.axes:
        line = next(line for line in axes.get_lines() if line.get_marker() == "o")
        assert np.isnan(line.get_ydata()).tolist() == [False, True, True, False]
        crosses = next(line for line in axes.get_lines() if line.get_label() == style.GAP)
        np.testing.assert_allclose(crosses.get_xdata(), [1 / 3, 2 / 3])
    assert drawing.caption.count("distinct rows among") == 1
    assert "and 4 more (layer 1 and 2), 1 distinct rows among 2048" in drawing.caption


def test_a_model_without_main_is_drawn_at_its_last_step(geometry):
    rows = geometry.to_pandas().query("revision != 'main'")
    assert set(layer_profiles(rows).data.to_pandas()["revision"]) == {"step256"}
    with pytest.raises(ValueError, match=r"model 'neox-64'.*\['a', 'b'\].*no step"):
        profile_revisions(pd.DataFrame({"model": "neox-64", "revision": ["a", "b"], "step": [None, None]}))


def test_a_profile_that_is_not_there_is_refused(geometry):
    with pytest.raises(ValueError, match="neox-64 step9"):
        layer_profiles(geometry, revisions={"neox-64": "step9"})
    with pytest.raises(ValueError, match="anisotropy_without_first"):
        layer_profiles(geometry.to_pandas().query("statistic != 'anisotropy_without_first'"))


# -- dimension against N -----------------------------------------------------------------------------------------------


def test_the_dimension_of_three_layers_stands_against_n_of_the_thinned_clouds(geometry):
    drawing = dimension_scale(geometry, revisions={"bert-64": "main"})
    frame = geometry.to_pandas().query("model == 'bert-64'").set_index(["statistic", "layer"])
    shares = {TWONN_090: 1, **{name: share for share, name in DECIMATED.items()}}
    for number, axes in enumerate(drawing.figure.axes):
        suffix, n, layer = ("", 2043, number + 1) if number < 3 else (MATCHED, 606, number - 2)
        line = next(line for line in axes.get_lines() if line.get_marker() == "o")
        names = sorted(shares, key=shares.get, reverse=True)
        assert list(line.get_xdata()) == [n // shares[name] for name in names]
        truth = [frame.loc[(name + suffix, layer)] for name in names]
        assert list(line.get_ydata()) == [row["value"] for row in truth]
        found = [tuple(numbers) for _, *numbers in whiskers(axes)]
        assert found == [
            (n // shares[name], row["ci_low"], row["ci_high"]) for name, row in zip(names, truth, strict=True)
        ]
        assert f"N = {n // 16} to {n}" in axes.get_title()
        dash = next(line for line in axes.get_lines() if line.get_marker() == "_")
        assert list(dash.get_ydata()) == [frame.loc[(LINEAR_090 + suffix, layer), "value"]]
    data = drawing.data.to_pandas().query("layer == 2 and statistic == 'twonn_090_eighth'")
    assert data["n_distinct"].tolist() == [2043 // 8]
    assert "Layers: 1, 2 and 3 of bert-64." in drawing.caption


def test_a_layer_is_shown_once_and_a_part_too_small_is_a_gap():
    names = [TWONN_090, LINEAR_090, *DECIMATED.values()]
    rows = [
        geometry_row("neox-16", name + kind, None if "sixteenth" in name else 5.0, layer=layer)
        for name in names
        for kind in ("", MATCHED)
        for layer in range(3)
    ]
    for row in rows:
        row["status"] = "ok" if row["value"] else "the least of 16 parts of 96 distinct rows has 6"
    drawing = dimension_scale(as_table(rows))
    # Of two layers the first is the middle one too, which has no empty panel of its own.
    assert [axes.get_title().splitlines()[0] for axes in drawing.figure.axes] == [PLACES[0], PLACES[2]] * 2
    assert all(axes.get_lines() for axes in drawing.figure.axes)
    assert "Layers: 1 and 2 of neox-16." in drawing.caption
    assert "has 6" in drawing.caption
    line = next(line for line in drawing.figure.axes[0].get_lines() if line.get_marker() == "o")
    assert np.isnan(line.get_ydata()).tolist() == [True, False, False, False, False]


# -- training ----------------------------------------------------------------------------------------------------------


def test_the_means_over_layers_and_their_intervals_are_those_of_their_table(geometry, training):
    data = training[dimension].data.to_pandas().query("mark == 'mean'")
    names = [name + kind for name in (TWONN_090, TWONN_020) for kind in ("", MATCHED)]
    truth = layer_means_table(geometry).to_pandas().query("model == 'neox-64' and step.notna()")
    truth = truth[truth["statistic"].isin(names)]
    columns = ["revision", "statistic", "value", "ci_low", "ci_high", "n_batches", "n_distinct", "status"]
    ordered = [frame.sort_values(["statistic", "revision"])[columns].reset_index(drop=True) for frame in (data, truth)]
    pd.testing.assert_frame_equal(*ordered, check_dtype=False)
    for axes, name in zip(panels_of(training[dimension]), (names[0], names[1], names[2], names[3]), strict=True):
        drawn = truth[(truth["statistic"] == name) & truth["value"].notna()].sort_values("step")
        assert [tuple(numbers) for _, *numbers in whiskers(axes)] == [
            (row.step, row.ci_low, row.ci_high) for row in drawn.itertuples()
        ]
    assert "95 % t interval over batches" in training[dimension].caption


def test_single_layers_are_drawn_from_the_table_of_layers(geometry, training):
    axes = panels_of(training[dimension])[1]
    thin = [line for line in axes.get_lines() if line.get_linewidth() == 0.7]
    truth = values_of(geometry, TWONN_090 + MATCHED, "model == 'neox-64' and step.notna()").sort_values("step")
    assert [list(line.get_ydata()) for line in thin] == [list(rows["value"]) for _, rows in truth.groupby("layer")]
    hidden = training[dimension].data.to_pandas().query("after_final_norm")
    assert set(hidden["mark"]) == {"not drawn"}
    assert "The copy of layer L behind the model's final norm is not drawn." in training[dimension].caption


def test_a_mean_that_the_table_lacks_is_refused(geometry):
    means = layer_means_table(geometry).to_pandas()
    lacking = means[(means["revision"] != "step1") | (means["statistic"] != TWONN_020)]
    with pytest.raises(
        ValueError, match="1 of 16 checkpoints and statistics, the first neox-64 step1 decoder twonn_020"
    ):
        training_dimension(geometry, lacking, model="neox-64")


def test_a_step_with_a_missing_layer_has_no_mean(training):
    mean = training[dimension].data.to_pandas().query("mark == 'mean' and statistic == 'twonn_090'").set_index("step")
    assert mean["value"].isna().to_dict() == {0: False, 1: False, 16: True, 256: False}
    thick = next(line for line in training[dimension].figure.axes[0].get_lines() if line.get_linewidth() == 1.4)
    assert np.isnan(thick.get_ydata()).tolist() == [False, False, True, False]
    assert "twonn_090 (layer 2 of step16), too few distinct rows" in training[dimension].caption


def test_step_zero_shows_beside_the_log_scale(training):
    axes = training[dimension].figure.axes[2]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "16", "256"]
    places = axes.transScale.transform([(step, 0) for step in (0, 1, 16, 256)])[:, 0]
    assert places[1] > places[0]
    assert places[3] - places[2] == pytest.approx(places[2] - places[1])


def test_one_of_a_kind_is_said_in_the_singular(geometry):
    rows = geometry.to_pandas().assign(n_batches=1)
    said = dimension(rows, model="neox-64", revisions=["step16"]).caption
    anisotropy = training_anisotropy(rows, model="neox-64", revisions=["step16"]).caption
    assert "of neox-64 at 1 checkpoint, fitted" in said
    assert "at step 16." in anisotropy
    for caption in (said, anisotropy, layer_profiles(rows).caption):
        assert "means over 1 disjoint batch of N = 2048 vectors" in caption


def test_a_heat_maps_dimensions_are_named_over_their_whole_range(geometry):
    """Type-matched dimensions are often ten times those of all tokens, on the same scale."""
    rows = geometry.to_pandas()
    low = rows["statistic"] == TWONN_090
    rows.loc[low, "value"] /= 5
    figure = training_heatmap(rows, model="neox-64").figure
    bar = next(axes for axes in figure.axes if "TwoNN" in axes.get_ylabel())
    figure.draw_without_rendering()
    named = {label.get_text() for label in bar.get_yticklabels()}
    assert {"2", "3", "5", "7"} <= named
    assert all(
        float(text) == tick
        for text, tick in zip((label.get_text() for label in bar.get_yticklabels()), bar.get_yticks(), strict=True)
    )


def test_a_heat_map_without_any_value_has_an_empty_scale(geometry):
    rows = geometry.to_pandas()
    rows.loc[rows["statistic"].str.startswith(TWONN_090), ["value", "ci_low", "ci_high"]] = np.nan
    figure = training_heatmap(rows, model="neox-64").figure
    bar = next(axes for axes in figure.axes if "TwoNN" in axes.get_ylabel())
    assert bar.get_yscale() == "linear"
    assert (bar.get_yticks()[0], bar.get_yticks()[-1]) == (0, 1)


def test_training_anisotropy_draws_each_step_and_marks_the_untrained_null(geometry, training):
    drawing = training[training_anisotropy]
    for axes, statistic in zip(panels_of(drawing), (ANISOTROPY, WITHOUT_FIRST, ANISOTROPY + MATCHED), strict=True):
        profiles = [line for line in axes.get_lines() if line.get_marker() == "o"]
        frame = values_of(geometry, statistic, "model == 'neox-64' and step.notna()")
        frame = frame if statistic.endswith(MATCHED) else frame[frame["layer"] > 0]
        for line, step in zip(profiles, (0, 1, 16, 256), strict=True):
            assert list(line.get_ydata()) == list(frame[frame["step"] == step]["value"])
            assert (line.get_linestyle() == "--") == (step == 0)
        assert profiles[0].get_color() == "black"
        dotted = [line for line in axes.get_lines() if line.get_linestyle() == ":" and len(line.get_xdata())]
        assert len(dotted) == (statistic != WITHOUT_FIRST)
    assert "step 0, the untrained model, is the null" in drawing.caption
    assert "Sinks off: without the first position of each chunk" in drawing.caption


# -- heat maps over training -------------------------------------------------------------------------------------------

MAPS = [name + kind for name in (ANISOTROPY, WITHOUT_FIRST, TWONN_090) for kind in ("", MATCHED)]


def cells_of(axes):
    """Return the values of a map by (layer, ends of the column); a masked one is None."""
    found = {}
    for mesh in axes.collections:
        assert isinstance(mesh, QuadMesh)
        edges = mesh.get_coordinates()[0, :, 0]
        for layer, row in enumerate(mesh.get_array()):
            for ends, value in zip(pairwise(map(float, edges)), row, strict=True):
                found[layer, ends] = None if value is np.ma.masked else float(value)
    return found


def patches_of(axes, look):
    """Return left end, layer and number of rows of the patches that have this hatch, or none and are grey."""
    return [
        (patch.get_x(), patch.get_y() + 0.5, patch.get_height()) for patch in axes.patches if patch.get_hatch() == look
    ]


def test_each_cell_of_a_map_is_the_tables_value(geometry, training):
    drawing = training[training_heatmap]
    columns = step_columns([0, 1, 16, 256])
    for axes, statistic in zip(panels_of(drawing), MAPS, strict=True):
        cells = cells_of(axes)
        assert len(cells) == 4 * 4
        for row in values_of(geometry, statistic, "model == 'neox-64' and step.notna()").itertuples():
            lookup = row.layer == 0 and not statistic.endswith(MATCHED)
            value = None if lookup or math.isnan(row.value) else row.value
            assert cells[row.layer, columns[row.step]] == value
    data = drawing.data.to_pandas()
    assert set(data["statistic"]) == set(MAPS)
    assert set(data.query("after_final_norm")["mark"]) == {"not drawn"}


def test_gaps_and_look_ups_of_a_map_are_told_apart_and_named(training):
    drawing, columns = training[training_heatmap], step_columns([0, 1, 16, 256])
    lefts = [ends[0] for ends in columns.values()]
    for axes, statistic in zip(panels_of(drawing), MAPS, strict=True):
        assert patches_of(axes, None) == ([(columns[16][0], 2, 1)] if statistic == TWONN_090 else [])
        lookups = [] if statistic.endswith(MATCHED) else [(left, 0, 1) for left in lefts]
        assert patches_of(axes, "......") == lookups
    assert legend_of(drawing) == [style.GAP, "not drawn: table look-up"]
    assert "Grey: no value." in drawing.caption
    assert "twonn_090 (layer 2 of step16), too few distinct rows" in drawing.caption


@pytest.mark.parametrize("drop", [False, True], ids=["mark", "drop"])
def test_copies_are_hatched_columns_without_a_part_in_the_colours(drop):
    drawing = training_heatmap(**training_case((0, 1, 16, 256), [0, 16], drop=drop))
    columns = step_columns([0, 1, 16, 256])
    for axes in panels_of(drawing):
        assert patches_of(axes, "//////") == [(columns[step][0], 0, 3) for step in (0, 16)]
        drawn = {ends for (_, ends), value in cells_of(axes).items() if value is not None}
        assert drawn == {columns[1], columns[256]}
    assert legend_of(drawing)[0] == style.LEFT_OUT
    bars = [axes for axes in drawing.figure.axes if axes.get_label() == "<colorbar>"]
    assert len(bars) == 3
    assert max(bar.get_ylim()[1] for bar in bars) < 10
    assert "Their columns are hatched." in drawing.caption


def test_columns_follow_the_log_of_the_step_but_none_is_too_narrow():
    even = step_columns([0, 1, 2, 4, 8])
    assert [ends for step, ends in even.items() if step] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert even[0][1] < 0
    late = step_columns([1, 2, 4, 8, 1000, 1001, 1002])
    widths = {step: right - left for step, (left, right) in late.items()}
    logs = np.log2([1, 2, 4, 8, 1000, 1001, 1002])
    mean = (logs[-1] - logs[0] + 0.5 + (logs[-1] - logs[-2]) / 2) / 7
    assert widths[1001] == widths[1002] == pytest.approx(mean / 2)
    assert widths[8] == pytest.approx(np.log2(1000 / 4) / 2)
    lefts, rights = zip(*late.values(), strict=True)
    assert lefts[1:] == rights[:-1]
    assert list(step_columns([0])) == [0]
    assert list(step_columns([7])) == [7]


# -- checkpoints to draw -----------------------------------------------------------------------------------------------


def test_training_figures_take_the_named_checkpoints_and_refuse_others(geometry):
    for draw in (dimension, training_anisotropy, training_heatmap):
        data = draw(geometry, model="neox-64", revisions=["step0", "step16"]).data.to_pandas()
        assert set(data["step"]) == {0, 16}
        with pytest.raises(ValueError, match=r"\['main'\].*step_pattern"):
            draw(geometry, model="neox-64", revisions=["step0", "main"])
        with pytest.raises(ValueError, match="model 'bert-64'"):
            draw(geometry, model="bert-64")
    rows = geometry.to_pandas()
    rows.loc[rows["revision"] == "step1", "step"] = 16
    with pytest.raises(ValueError, match=r"\['step1', 'step16'\] all have step 16"):
        dimension(rows, model="neox-64")


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
            for name in (ANISOTROPY, WITHOUT_FIRST, FREQUENCY_NULL, TWONN_090, TWONN_020):
                for suffix in ("", MATCHED):
                    # What a copy shows is far off all others, so that it is seen wherever it is not left out.
                    value = 1000.0 if step in copies else 1 + layer + math.log1p(step) / 10
                    rows.append(
                        {
                            "model": "pythia", "suite": "Pythia", "kind": "decoder", "stack": "decoder",
                            "revision": f"step{step}", "step": step, "layer": layer, "after_final_norm": False,
                            "width": 64, "context_free": layer == 0, "statistic": name + suffix, "value": value,
                            "ci_low": value - 0.1, "ci_high": value + 0.1, "n_batches": 8, "batch_size": 2048,
                            "n_vectors": 7 if step in copies else 2048, "n_distinct": 7 if step in copies else 2043,
                            "status": "ok", "dtype": "float32", "duplicate_of": "main" if step in copies else None,
                        }
                    )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=geometry_schema.SUMMARY)


def training_case(steps, copies, *, drop):
    """Return the arguments of a figure over training, as its script passes them."""
    return {
        "table": training_rows(steps, copies, drop=drop),
        "model": "pythia",
        "revisions": [f"step{step}" for step in steps],
        "duplicates": duplicates_table({f"step{step}": "main" for step in copies}),
    }


def test_copies_break_every_line_over_training():
    copies = pythia_2_8b_copies()
    assert len(copies) == 85
    assert set(STEPS[:70]) <= set(copies)
    drawing = dimension(**training_case(STEPS, copies, drop=False))
    for number, axes in enumerate(panels_of(drawing)):
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
    drawing = dimension(**{**case, "revisions": ["step0", "step1", "step4"]})
    assert "1 of 3 checkpoints" in drawing.caption
    assert "2 of 4" not in drawing.caption


@pytest.mark.parametrize("drop", [False, True], ids=["mark", "drop"])
def test_the_data_say_which_steps_are_left_out_and_why(drop):
    case = training_case((0, 1, 2, 4), [1, 2], drop=drop)
    data = dimension(**case).data.to_pandas()
    of_copies = data[data["step"].isin([1, 2])]
    means = of_copies[of_copies["mark"] == "mean"]
    assert len(means) == 2 * 4
    assert means["value"].isna().all()
    assert (means["n_batches"] == 0).all()
    assert set(of_copies["status"]) == {"not drawn: has weights of main"}
    hidden = of_copies[of_copies["mark"] != "mean"]
    assert len(hidden) == (0 if drop else 2 * 3 * 4)
    assert means["status"].nunique() == 1
    assert set(hidden["mark"]) <= {"not drawn"}
    assert data[~data["step"].isin([1, 2])]["value"].lt(10).all()
    anisotropy = training_anisotropy(**case).data.to_pandas()
    assert set(anisotropy[anisotropy["step"].isin([1, 2])]["mark"]) == (set() if drop else {"not drawn"})


@pytest.mark.parametrize("drop", [False, True], ids=["mark", "drop"])
def test_copies_have_no_profile_and_no_part_in_the_colour_scale(drop):
    drawing = training_anisotropy(**training_case((0, 1, 16, 256, 1000), [1, 1000], drop=drop))
    panel = drawing.figure.axes[0]
    profiles = [line for line in panel.get_lines() if line.get_marker() == "o"]
    assert len(profiles) == 3
    nulls = next(line for line in panel.get_lines() if line.get_linestyle() == ":")
    assert max(nulls.get_ydata()) < 10
    bar = next(axes for axes in drawing.figure.axes if axes.get_label() == "<colorbar>")
    assert bar.get_ylim() == pytest.approx((16, 256))
    assert "at the steps 0, 16 and 256." in drawing.caption
    assert "Left out: 2 of 5 checkpoints" in drawing.caption
    assert "step1 (as in main) and step1000 (as in main)." in drawing.caption
    assert "N = 2048 vectors" in drawing.caption


@pytest.mark.parametrize("drop", [False, True], ids=["mark", "drop"])
@pytest.mark.parametrize("draw", [dimension, training_anisotropy, training_heatmap])
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
    data = dimension(**{**case, "duplicates": pa.concat_tables([case["duplicates"], others])})
    assert data.data.to_pandas().query("step == 1 and mark == 'mean'")["value"].notna().all()
    for draw in (dimension, training_anisotropy, training_heatmap):
        with pytest.raises(ValueError, match=r"\['step2'\].*step_pattern"):
            draw(**{**case, "duplicates": others})
        with pytest.raises(ValueError, match=r"\['step9'\].*step_pattern"):
            draw(**{**case, "revisions": ["step0", "step2", "step9"]})
    another = case["table"].to_pandas().assign(model="another")
    with pytest.raises(ValueError, match=r"\['step9'\].*step_pattern"):
        dimension(**{**case, "table": another, "revisions": ["step2", "step9"]})


def test_by_default_all_checkpoints_are_asked_for_copies_among_them():
    marked = training_rows((0, 1, 2), [1], drop=False)
    assert "Left out: 1 of 3 checkpoints" in training_anisotropy(marked, model="pythia").caption
    # What is left of a model whose steps are all dropped: its main revision.
    main = training_rows((5,), [], drop=False).to_pandas().assign(revision="main", step=None)
    duplicates = duplicates_table({"step1": "main"})
    drawing = dimension(main, model="pythia", duplicates=duplicates)
    assert "Nothing to draw. Left out: 1 of 1 checkpoint, whose" in drawing.caption


def test_a_copy_of_many_names_a_few():
    case = training_case((0, 1, 2, 4), [2], drop=True)
    many = duplicates_table({"step2": "step0, step1, step4"})
    assert "step2 (as in step0 and 2 more)" in dimension(**{**case, "duplicates": many}).caption
    two = duplicates_table({"step2": "step0, step1"})
    assert "step2 (as in step0 and step1)" in dimension(**{**case, "duplicates": two}).caption


def test_a_run_without_copies_says_nothing_of_them(geometry):
    for draw in (dimension, training_anisotropy, training_heatmap):
        drawing = draw(geometry, model="neox-64", duplicates=duplicates_table({"step1": "step0"}, model="another"))
        assert "Left out" not in drawing.caption
        assert "strokes" not in drawing.caption
        assert style.LEFT_OUT not in [text.get_text() for text in drawing.figure.legends[0].get_texts()]
