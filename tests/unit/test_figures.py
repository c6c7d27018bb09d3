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
from figure_tables import duplicates_table, embedding_geometry_table, embedding_training_table, score_rows
from jinja2 import Environment

from lm_geometry import provenance
from lm_geometry.figures import dynamics, scaling, style
from lm_geometry.natural_order import natural_key
from lm_geometry.tables import (
    duplicate_checkpoints,
    embedding_geometry,
    embedding_training,
    figure_data,
    retrieval_scores,
)
from lm_geometry.tables import geometry as geometry_table
from lm_geometry.tables.files import read_table, write_table
from scripts.plot_all_suites import plot_all_suites
from scripts.plot_embedding_geometry import plot_embedding_geometry
from scripts.plot_embedding_training import plot_embedding_training
from scripts.plot_profiles import plot_profiles
from scripts.plot_random_baselines import plot_random_baselines
from scripts.plot_suite_scaling import plot_suite_scaling
from scripts.plot_training_anisotropy import plot_training_anisotropy
from scripts.plot_training_dimension import plot_training_dimension

PROJECT = Path(__file__).resolve().parents[2]


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


def test_one_of_a_kind_is_said_in_the_singular(geometry):
    rows = geometry.to_pandas().assign(n_batches=1)
    dimension = dynamics.training_dimension(rows, model="neox-64", revisions=["step16"]).caption
    anisotropy = dynamics.training_anisotropy(rows, model="neox-64", revisions=["step16"]).caption
    assert "of neox-64 at 1 checkpoint, fitted" in dimension
    assert "at step 16;" in anisotropy
    for caption in (dimension, anisotropy, dynamics.layer_profiles(rows).caption):
        assert "means over 1 disjoint batch of N = 2048 vectors" in caption


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
    assert "Nothing to draw. Left out: 1 of 1 checkpoint, whose" in drawing.caption


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
    plot_embedding_geometry: ("embedding_geometry", {}),
    plot_embedding_training: ("embedding_training", {"model": "neox-64", "revisions": ["step0", "step16"]}),
    plot_training_dimension: ("geometry", {"model": "neox-64", "revisions": ["step0", "step16"]}),
    plot_training_anisotropy: ("geometry", {"model": "neox-64", "revisions": ["step0", "step16"]}),
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory, scores, geometry):
    folder = tmp_path_factory.mktemp("tables")
    written = {
        "scores": (scores, retrieval_scores.SCHEMA),
        "geometry": (geometry, geometry_table.SUMMARY),
        "embedding_geometry": (embedding_geometry_table(), embedding_geometry.SCHEMA),
        "embedding_training": (embedding_training_table((0, 16), model="neox-64"), embedding_training.SCHEMA),
        "duplicates": (duplicates_table({"step16": "step256"}, model="neox-64"), duplicate_checkpoints.SCHEMA),
    }
    for name, (table, schema) in written.items():
        write_table(folder / f"{name}.parquet", table, schema, origin={f"{name}_sha256": "ab12"})
    return {name: folder / f"{name}.parquet" for name in written}


def outputs(folder):
    endings = {"png": "png", "svg": "svg", "pdf": "pdf", "data": "parquet", "csv": "csv", "caption": "rst"}
    return {name: folder / f"figure.{ending}" for name, ending in endings.items()}


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.__name__)
def test_a_script_writes_all_six_files_with_provenance(plot, tables, tmp_path):
    source, settings = PLOTS[plot]
    written = outputs(tmp_path)
    training = plot in (plot_embedding_training, plot_training_dimension, plot_training_anisotropy)
    others = {"duplicates": tables["duplicates"]} if training else {}
    plot(**{source.removeprefix("embedding_"): tables[source]}, **others, **written, **settings)
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
    assert sorted(names, key=natural_key) == [
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
