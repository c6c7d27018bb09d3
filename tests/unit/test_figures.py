"""The scripts of figures write all their files, the same bytes each time; names, captions, ticks and legends."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from docutils.core import publish_string
from figure_tables import (
    duplicates_table,
    embedding_geometry_table,
    embedding_training_table,
    geometry_table,
    layer_means_table,
    score_rows,
)
from jinja2 import Environment

from lm_geometry import provenance
from lm_geometry.figures import scaling, style
from lm_geometry.natural_order import natural_key
from lm_geometry.tables import (
    duplicate_checkpoints,
    embedding_geometry,
    embedding_training,
    geometry_layer_means,
    retrieval_scores,
)
from lm_geometry.tables import geometry as geometry_schema
from lm_geometry.tables.files import read_table, write_table
from scripts.plot_all_suites import plot_all_suites
from scripts.plot_dimension_scale import plot_dimension_scale
from scripts.plot_embedding_geometry import plot_embedding_geometry
from scripts.plot_embedding_training import plot_embedding_training
from scripts.plot_profiles import plot_profiles
from scripts.plot_random_baselines import plot_random_baselines
from scripts.plot_suite_scaling import plot_suite_scaling
from scripts.plot_training_anisotropy import plot_training_anisotropy
from scripts.plot_training_dimension import plot_training_dimension
from scripts.plot_training_heatmap import plot_training_heatmap

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scores():
    return pa.Table.from_pylist(score_rows(), schema=retrieval_scores.SCHEMA)


# -- files -------------------------------------------------------------------------------------------------------------

PLOTS = {
    plot_suite_scaling: ("scores", {"suite": "Pythia", "left_out": []}),
    plot_all_suites: ("scores", {"left_out": [{"model": "opt-175b", "suite": "OPT", "reference": "opt-175b"}]}),
    plot_random_baselines: ("scores", {}),
    plot_profiles: ("geometry", {"profiles": [["neox-64", "main"], ["bert-64", "main"]]}),
    plot_embedding_geometry: ("embedding_geometry", {}),
    plot_embedding_training: ("embedding_training", {"model": "neox-64", "revisions": ["step0", "step16"]}),
    plot_dimension_scale: ("geometry", {"profiles": [["neox-64", "main"], ["bert-64", "main"]]}),
    plot_training_dimension: ("geometry", {"model": "neox-64", "revisions": ["step0", "step16"]}),
    plot_training_anisotropy: ("geometry", {"model": "neox-64", "revisions": ["step0", "step16"]}),
    plot_training_heatmap: ("geometry", {"model": "neox-64", "revisions": ["step0", "step16"]}),
}
OVER_TRAINING = (plot_embedding_training, plot_training_dimension, plot_training_anisotropy, plot_training_heatmap)


@pytest.fixture(scope="module")
def tables(tmp_path_factory, scores):
    folder = tmp_path_factory.mktemp("tables")
    geometry = geometry_table()
    written = {
        "scores": (scores, retrieval_scores.SCHEMA),
        "geometry": (geometry, geometry_schema.SUMMARY),
        "layer_means": (layer_means_table(geometry), geometry_layer_means.SCHEMA),
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
    training = plot in OVER_TRAINING
    others = {"duplicates": tables["duplicates"]} if training else {}
    if plot is plot_training_dimension:
        others["layer_means"] = tables["layer_means"]
    plot(**{source.removeprefix("embedding_"): tables[source]}, **others, **written, **settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written.values())
    assert written["png"].read_bytes().startswith(b"\x89PNG")
    assert written["pdf"].read_bytes().startswith(b"%PDF")
    assert "<svg" in written["svg"].read_text()
    facts = provenance.read(written["data"])
    inputs = [tables[source], *(path for name, path in others.items() if name == "layer_means")]
    assert facts["origin"] == provenance.describe(inputs=inputs)["origin"]
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
