"""The scripts against a hub on the loopback interface, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from loopback_hub import COMMIT, Repository, serve
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
def folder(tmp_path_factory):
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
        "HF_TOKEN": "hf_secret",
        "HF_HUB_DISABLE_XET": "1",
        "HF_DEBUG": "1",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", CALL, script, json.dumps(paths), json.dumps(arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def test_a_hub_model_takes_the_same_way_as_a_folder(folder, tmp_path):
    where = {"source": REPOSITORY, "revision": "step8", "cache_dir": "cache"}
    repository = Repository({"main": {}, "step8": folder}, commits={"step8": COMMIT}, gated=True, token="hf_secret")
    listing, config, tokenizer = "listing.parquet", "config.json", "out/tokenizer.json"
    with serve({REPOSITORY: repository}, cdn=True) as hub:
        results = [
            call("resolve_model", hub, tmp_path, {"listing": listing, "config": config}, files=[], **where),
            call(
                "fetch_tokenizer", hub, tmp_path,
                {
                    "tokenizer": tokenizer, "tokenizer_config": "out/tokenizer_config.json",
                    "listing": "out/listing.parquet",
                },
                files=[], **where,
            ),
            call(
                "extract_embedding_table", hub, tmp_path,
                {
                    "listing": listing, "config": config, "tokenizer": tokenizer,
                    "tokenizer_listing": "out/listing.parquet", "table": "table.parquet",
                },
                model="neox", verify="ranges", embedding_tensor=None, **where,
            ),
        ]  # fmt: skip
        of_weights = {
            name: count for name, count in hub.bytes_sent.items() if name.endswith((".safetensors", ".bin")) and count
        }
        results.append(
            call(
                "fetch_checkpoint", hub, tmp_path,
                {"listing": listing, "config": config, "checkpoint": "checkpoint.parquet"}, **where,
            )
        )  # fmt: skip
        downloaded = {request.path.rpartition("/")[2] for request in hub.file_requests()}
    assert [(result.returncode, result.stderr[-2000:]) for result in results if result.returncode] == []

    listed = {file.path: file for file in read_listing(tmp_path / listing)}
    assert set(listed) == {path.name for path in folder.iterdir()}
    assert listed["pytorch_model.bin"].sha256 == file_sha256(folder / "pytorch_model.bin")
    assert listed["config.json"].sha256 is None
    assert (tmp_path / config).read_bytes() == (folder / "config.json").read_bytes()
    facts = provenance.read(tmp_path / "table.parquet")
    assert facts["origin"]["commit"] == facts["origin"]["tokenizer_commit"] == COMMIT
    assert facts["origin"]["model_id"] == REPOSITORY
    model = build_model("gpt_neox")
    expected = model.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(read_embedding_table(tmp_path / "table.parquet"), expected)

    # Of several shards the table needs a part of one, and never the other weight format.
    assert len(of_weights) == 1
    assert expected.nbytes <= sum(of_weights.values()) <= expected.nbytes + 1_000_000
    assert "pytorch_model.bin" not in downloaded
    assert provenance.read(tmp_path / "checkpoint.parquet")["settings"]["folder"] is None
    assert LayerModel(tmp_path / f"cache/models--tiny--neox/snapshots/{COMMIT}", device="cpu").kind == "decoder"

    # The token went to the hub alone, and into no message and no file.
    for request in hub.requests:
        if REPOSITORY not in request.path:
            continue  # the hub client asks its hub, once a day, which tools it may be run by
        assert (request.headers.get("authorization") == "Bearer hf_secret") != (str(request.port) in hub.cdn_url)
    assert not [result.args for result in results if "hf_secret" in result.stdout + result.stderr]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hf_secret" in path.read_bytes()]


def test_what_the_hub_refuses_is_said_in_one_line(folder, tmp_path):
    with serve({REPOSITORY: Repository({"main": folder}, gated=True)}) as hub:
        result = call(
            "resolve_model", hub, tmp_path, {"listing": "listing.parquet", "config": "config.json"},
            files=[], source=REPOSITORY, revision="main", cache_dir="cache",
        )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1] == (
        f"ValueError: {REPOSITORY}: the model is gated and the account of HF_TOKEN has no access: ask for it at "
        f"{hub.url}/{REPOSITORY}"
    )
    assert not (tmp_path / "listing.parquet").exists()
    assert not (tmp_path / "config.json").exists()
