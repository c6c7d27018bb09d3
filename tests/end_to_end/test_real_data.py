"""A trained model, a judged collection and real Wikipedia, each from files of the user's own, through one config."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lm_geometry as lmg

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.end_to_end

CONFIG = """\
models:
  llama: {{source: {data}/models/stories260K, suite: Stories}}
embedding_scaling:
  suites: [Stories]
  collection: {{path: {data}/collections/cranfield, lowercase: true}}
  variants: [as_is, random, crop_128, pad_512]
  random_seeds: [42]
representation_dynamics:
  corpus: {{path: {data}/enwik8_prefix/enwik8_first_4154399.bin.xz}}
  n_chunks: 64
  batch_size: 512
  n_batches: 4
  profiles: [llama]
"""


@pytest.fixture(scope="module")
def results(shared_data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    (folder / "real.yaml").write_text(CONFIG.format(data=shared_data))
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        PROJECT / "Snakefile",
        "--cores",
        "2",
        "--configfile",
        "real.yaml",
    ]
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    assert "Open results/summary.html" in done.stdout
    return folder / "results"


def test_the_table_is_the_models_own(results, shared_data):
    from safetensors.numpy import load_file

    stored = load_file(shared_data / "models/stories260K/model.safetensors")["model.embed_tokens.weight"]
    table = lmg.read_embedding_table(results / "models/llama/main/embedding_table.parquet")
    np.testing.assert_array_equal(table, stored)


def test_every_variant_has_its_rows_and_an_impossible_one_says_why(results):
    scores = pd.read_parquet(results / "tables/retrieval_scores.parquet")
    assert set(scores["collection"]) == {"cranfield"}
    by_variant = scores[scores["metric"] == "ndcg_at_10"].set_index("variant")
    assert set(by_variant.index) == {"as_is", "random", "crop_128", "pad_512"}
    assert by_variant.loc["crop_128", "status"] == "crop_128 needs 128 columns and the table has 64"
    assert np.isnan(by_variant.loc["crop_128", "value"])
    # A table of 512 random columns carries more of the words than one of 64: the gain from width alone.
    assert 0 < by_variant.loc["random", "value"] < by_variant.loc["pad_512", "value"] < 1
    assert dict(by_variant["width"]) == {"as_is": 64, "random": 64, "crop_128": 128, "pad_512": 512}


def test_geometry_of_every_layer_of_a_trained_decoder(results):
    geometry = pd.read_parquet(results / "tables/geometry.parquet")
    assert set(geometry["kind"]) == {"decoder"}
    layers = geometry[["layer", "after_final_norm"]].drop_duplicates().values.tolist()
    assert layers == [[0, False], [1, False], [2, False], [3, False], [4, False], [5, False], [5, True]]
    # A sixteenth of 125 token types is too few for a dimension, which is said and leaves a gap.
    gaps = geometry.loc[geometry["status"] != "ok", "statistic"]
    assert set(gaps) <= {"twonn_090_sixteenth", "twonn_090_sixteenth_type_matched"}
    geometry = geometry[geometry["status"] == "ok"]
    assert (geometry["ci_low"] <= geometry["value"]).all()
    assert (geometry["value"] <= geometry["ci_high"]).all()
    # Most nearest neighbours are the same token in a trained model: the two fits disagree where types repeat.
    dimensions = geometry[geometry["layer"].between(1, 5)].pivot_table(
        index=["layer", "after_final_norm"], columns="statistic", values="value"
    )
    assert (dimensions["twonn_020"] > 1.2 * dimensions["twonn_090"]).all()


def test_figures_are_there_in_every_format(results):
    found = {path.relative_to(results / "figures").as_posix() for path in (results / "figures").rglob("*.*")}
    names = ("suite_scaling/Stories", "all_suites", "embedding_geometry", "profiles", "dimension_scale")
    assert found == {f"{name}.{ending}" for name in names for ending in ("png", "svg", "pdf", "parquet", "csv", "rst")}
