"""The scripts against a hub on the loopback interface."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from loopback_hub import COMMIT, serve
from tiny_models import build_model, save_bin, save_safetensors, save_tokenizer

from lm_geometry import provenance
from lm_geometry.checkpoints.ledger import read_listing
from lm_geometry.embeddings.table import read_embedding_table
from lm_geometry.hidden_states import LayerModel
from lm_geometry.tables.files import file_sha256

PROJECT = Path(__file__).resolve().parents[2]
REPOSITORY = "tiny/neox"
# The client reads HF_ENDPOINT when it is imported, so that each script runs in a process of its own.
CALL = """
import importlib, json, sys
from pathlib import Path
script, paths, arguments = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
function = getattr(importlib.import_module(f"scripts.{script}"), script)
try:
    function(**{name: Path(path) for name, path in paths.items()}, **arguments)
except ValueError as error:
    sys.exit(f"ValueError: {error}")
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    model = build_model("gpt_neox")
    save_bin(model, folder)
    save_safetensors(model, folder, sharded=True)
    save_tokenizer(folder)
    return folder


def call(script, hub, folder, paths, **arguments):
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(PROJECT),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", CALL, script, json.dumps(paths), json.dumps(arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def test_a_hub_model_takes_the_same_way_as_a_folder(repository, tmp_path):
    where = {"source": REPOSITORY, "revision": "step8"}
    cached = {**where, "cache_dir": "cache"}
    with serve(repository, REPOSITORY, branches=("main", "step8")) as hub:
        results = [
            call("resolve_model", hub, tmp_path, {"listing": "listing.parquet"}, files=[], **where),
            call(
                "fetch_tokenizer", hub, tmp_path,
                {"tokenizer": "out/tokenizer.json", "tokenizer_config": "out/tokenizer_config.json"},
                files=[], **cached,
            ),
            call(
                "extract_embedding_table", hub, tmp_path,
                {"listing": "listing.parquet", "tokenizer": "out/tokenizer.json", "table": "table.parquet"}, **cached,
            ),
        ]  # fmt: skip
        before_weights = {
            path.rpartition("/")[2] for _, path in hub.requests if path.endswith((".safetensors", ".bin"))
        }
        results.append(
            call(
                "fetch_checkpoint", hub, tmp_path,
                {"listing": "listing.parquet", "checkpoint": "checkpoint.parquet"}, **cached,
            )
        )  # fmt: skip
        downloaded = {path.rpartition("/")[2] for _, path in hub.requests if "/resolve/" in path}
    assert [(result.returncode, result.stderr[-2000:]) for result in results if result.returncode] == []

    listed = {file.path: file for file in read_listing(tmp_path / "listing.parquet")}
    assert set(listed) == {path.name for path in repository.iterdir()}
    assert listed["pytorch_model.bin"].sha256 == file_sha256(repository / "pytorch_model.bin")
    assert listed["config.json"].sha256 is None
    assert provenance.read(tmp_path / "table.parquet")["origin"]["commit"] == COMMIT
    assert provenance.read(tmp_path / "table.parquet")["origin"]["model_id"] == REPOSITORY
    model = build_model("gpt_neox")
    expected = model.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(read_embedding_table(tmp_path / "table.parquet"), expected)
    assert (tmp_path / "out" / "tokenizer.json").is_file()

    # Of several shards only the one with the table is needed for it, and never the other weight format.
    assert len(before_weights) == 1
    assert "pytorch_model.bin" not in downloaded
    folder = provenance.read(tmp_path / "checkpoint.parquet")["settings"]["folder"]
    assert folder == f"cache/models--tiny--neox/snapshots/{COMMIT}"
    assert LayerModel(tmp_path / folder, device="cpu").kind == "decoder"


@pytest.mark.parametrize(
    ("source", "revision", "gated", "message"),
    [
        ("tiny/absent", "main", False, "tiny/absent: the hub has no such model, or it is private"),
        (REPOSITORY, "step9", False, "tiny/neox: no revision 'step9'; nearest of 2: step8, main"),
        (REPOSITORY, "main", True, "tiny/neox: the model is gated; accept its licence"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(repository, tmp_path, source, revision, gated, message):
    with serve(repository, REPOSITORY, branches=("main", "step8"), gated=gated) as hub:
        result = call(
            "resolve_model", hub, tmp_path, {"listing": "listing.parquet"}, files=[], source=source, revision=revision
        )
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith(f"ValueError: {message}")
    assert not (tmp_path / "listing.parquet").exists()
