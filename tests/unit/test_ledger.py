"""The ledger: listings, the digests in them, resolving a revision, and the table over all of them."""

import hashlib
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.csv
import pytest
from loopback_hub import OnlyListed, Repository, serve
from pythia_2_8b_listing import CHECKPOINT_BYTES, FINAL, LARGE, SMALL, large_files, small_files
from tiny_models import build_model, save_bin, save_safetensors, save_tokenizer

from lm_geometry import provenance
from lm_geometry.checkpoints.embedding_names import is_embedding_name
from lm_geometry.checkpoints.folder import FolderRevision
from lm_geometry.checkpoints.ledger import (
    embedding_in,
    listing_digest,
    listing_table,
    mark_weights,
    read_listing,
    verify_file,
    weights_read,
)
from lm_geometry.checkpoints.listed_file import ListedFile, role_of
from lm_geometry.embeddings.table import read_embedding_table, write_embedding_table
from lm_geometry.hidden_states import LayerKey, LayerModel
from lm_geometry.tables.duplicate_checkpoints import SCHEMA as DUPLICATES
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.listing import SCHEMA
from scripts import resolve_model as script
from scripts.collect_ledger import collect_ledger
from scripts.extract_embedding_table import extract_embedding_table
from scripts.fetch_checkpoint import fetch_checkpoint
from scripts.resolve_model import resolve_model


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("config.json", "config"),
        ("model.safetensors", "weights"),
        ("model-00001-of-00003.safetensors", "weights"),
        ("pytorch_model_00001-of-00072.bin", "weights"),
        ("model.safetensors.index.json", "index"),
        ("pytorch_model.bin.index.json", "index"),
        ("tokenizer.json", "tokenizer"),
        ("modeling_mine.py", "code"),
        ("sub/configuration.py", "code"),
        ("model.fp16.safetensors", "other"),
        ("optimizer.bin", "other"),
        ("onnx/model.safetensors", "other"),
        ("tf_model.h5", "other"),
    ],
)
def test_roles(path, role):
    assert role_of(path) == role


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("gpt_neox.embed_in.weight", True),
        ("decoder.embed_tokens.weight", True),
        ("wte.weight", True),
        ("transformer.word_embeddings.weight", True),
        ("shared.weight", True),
        ("transformer.word_embeddings_layernorm.weight", False),
        ("model.decoder.embed_positions.weight", False),
        ("bert.embeddings.token_type_embeddings.weight", False),
        ("embed_out.weight", False),
    ],
)
def test_names_of_input_embeddings(name, is_one):
    assert is_embedding_name(name) == is_one


def test_the_listing_survives_parquet_and_its_digest_follows_its_content(tmp_path):
    files = [ListedFile("b", "other", 1, None), ListedFile("a", "weights", 2, "00", True)]
    write_table(tmp_path / "listing.parquet", listing_table(files), SCHEMA)
    assert read_listing(tmp_path / "listing.parquet") == [files[1], files[0]]
    assert listing_digest(files) == listing_digest(files[::-1])
    assert listing_digest(files) != listing_digest([files[0], replace(files[1], sha256="01")])
    # A mark is no part of what a folder holds.
    assert listing_digest(files) == listing_digest([files[0], replace(files[1], holds_embedding=None)])


def test_a_file_that_changed_is_noticed(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    verify_file(path, ListedFile("f", "weights", 3, digest))
    verify_file(path, ListedFile("f", "weights", 3, None))
    with pytest.raises(ValueError, match="3 bytes, but 4 were listed"):
        verify_file(path, ListedFile("f", "weights", 4, digest))
    path.write_bytes(b"abd")
    with pytest.raises(ValueError, match="was listed"):
        verify_file(path, ListedFile("f", "weights", 3, digest))
    path.unlink()
    with pytest.raises(ValueError, match="is listed but absent"):
        verify_file(path, ListedFile("f", "weights", 3, digest))


def test_the_shards_with_the_embedding_are_told_by_its_name():
    shard_of = {"encoder.embed_tokens.weight": "b", "shared.weight": "a", "lm_head.weight": "c", "x": "a"}
    assert embedding_in(shard_of) == {"a": True, "b": True, "c": False}
    assert embedding_in(shard_of, "x") == {"a": True, "b": False, "c": False}
    files = [ListedFile(path, "other", 1, None) for path in "abd"]
    marked = mark_weights(files, {"a": True, "b": False})
    assert [(file.role, file.holds_embedding) for file in marked] == [
        ("weights", True), ("weights", False), ("other", None)
    ]  # fmt: skip
    assert weights_read(marked) == marked[:2]


# -- resolve_model -----------------------------------------------------------------------------------------------------


def resolve(folder, source, revision="main", **more):
    paths = {"listing": folder / "listing.parquet", "config": folder / "config-of-it.json"}
    resolve_model(files=[], source=source, revision=revision, cache_dir=str(folder / "cache"), **paths, **more)
    return {file.path: file for file in read_listing(paths["listing"])}, paths


def test_a_folder_is_resolved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = save_safetensors(build_model("gpt_neox"), "mine/step8", sharded=True)
    (folder / "optimizer.bin").write_bytes(b"x")
    listed, paths = resolve(tmp_path, "./mine", "step8")
    assert set(listed) == {path.name for path in folder.iterdir()}
    for name, file in listed.items():
        content = (folder / name).read_bytes()
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    facts = provenance.read(paths["listing"])
    assert facts["origin"] == {"model_id": "mine", "commit": f"sha256:{listing_digest(listed.values())}"}
    assert facts["settings"] == {"revision": "step8"}
    assert paths["config"].read_bytes() == (folder / "config.json").read_bytes()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("save", [save_safetensors, save_bin])
def test_the_shard_with_the_table_is_the_one_that_transformers_put_it_in(tmp_path, save):
    folder = save(build_model("llama"), tmp_path / "mine", sharded=True)
    listed, _ = resolve(tmp_path, str(folder))
    (index,) = folder.glob("*.index.json")
    shard_of = json.loads(index.read_text())["weight_map"]
    assert len(set(shard_of.values())) > 1
    truth = {shard: shard == shard_of["model.embed_tokens.weight"] for shard in shard_of.values()}
    assert {path: file.holds_embedding for path, file in listed.items() if file.role == "weights"} == truth
    # The user's own name goes before those that are known.
    listed, _ = resolve(tmp_path, str(folder), embedding_tensor="model.norm.weight")
    assert [path for path, file in listed.items() if file.holds_embedding] == [shard_of["model.norm.weight"]]


def test_only_the_format_that_would_be_read_is_marked(tmp_path):
    model = build_model("gpt_neox")
    folder = save_safetensors(model, tmp_path / "mine")
    save_bin(model, folder, sharded=True)
    listed, _ = resolve(tmp_path, str(folder))
    assert [file.path for file in weights_read(listed.values())] == ["model.safetensors"]
    assert listed["model.safetensors"].holds_embedding
    assert {file.holds_embedding for file in listed.values() if file.path.endswith(".bin")} == {None}


def test_a_shard_of_any_name_that_the_index_gives_is_a_weight_file(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "part-a.safetensors").write_bytes(b"x")
    index = {"weight_map": {"embed_tokens.weight": "part-a.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    listed, _ = resolve(tmp_path, str(folder))
    assert (listed["part-a.safetensors"].role, listed["part-a.safetensors"].holds_embedding) == ("weights", True)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": "{}"}, "no weights: looked for model.safetensors"),
        ({"config.json": "[1]", "model.safetensors": ""}, "config.json: holds a list, not an object"),
        ({"config.json": "{", "model.safetensors": ""}, "config.json: not JSON"),
        ({"config.json": b"\xff", "model.safetensors": ""}, "config.json: not JSON"),
        ({"config.json": "{}", "model.safetensors.index.json": '{"weight_map": {}}'}, "names no tensor"),
        (
            {"config.json": "{}", "model.safetensors.index.json": '{"weight_map": {"x": "model-1.safetensors"}}'},
            "index.json names model-1.safetensors, which is not among the 2 listed files",
        ),
        (
            {"config.json": "{}", "model.safetensors.index.json": '{"weight_map": {"x": "../a.safetensors"}}'},
            "file name '../a.safetensors' is refused",
        ),
    ],
)
def test_what_cannot_be_resolved_is_said_in_one_line_and_leaves_nothing(tmp_path, files, message):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        resolve(tmp_path, str(folder))
    assert "\n" not in str(raised.value)
    assert {path.name for path in tmp_path.iterdir()} == {"mine"}


def test_a_single_file_has_no_config(tmp_path):
    (tmp_path / "175b.pt").write_bytes(b"weights")
    listed, paths = resolve(tmp_path, str(tmp_path / "175b.pt"))
    assert listed == {"175b.pt": ListedFile("175b.pt", "weights", 7, hashlib.sha256(b"weights").hexdigest(), True)}
    assert json.loads(paths["config"].read_text()) == {}


@pytest.fixture
def pythias(monkeypatch):
    """Both published models on a hub of this machine, which lists weights that nobody has."""
    from lm_geometry.checkpoints.hub.revision import HubRevision

    repositories = {
        SMALL: Repository({name: small_files(name) for name in ("main", "step66000")}),
        LARGE: Repository({name: large_files(name) for name in ("main", "step50000")}),
    }
    with serve(repositories) as hub:
        monkeypatch.setattr(
            script,
            "open_revision",
            lambda source, revision, cache_dir: HubRevision(source.location, revision, cache_dir, endpoint=hub.url),
        )
        yield hub


def test_a_hub_repository_is_resolved_from_its_listing_and_two_small_files(pythias, tmp_path):
    listed, paths = resolve(tmp_path, SMALL)
    assert listed["model.safetensors"] == ListedFile("model.safetensors", "weights", CHECKPOINT_BYTES, FINAL, True)
    assert listed["config.json"].sha256 is None
    assert listed["pytorch_model.bin"].holds_embedding is None
    assert provenance.read(paths["listing"])["origin"] == {"model_id": SMALL, "commit": pythias.commit(SMALL)}
    assert paths["config"].read_bytes() == small_files("main")["config.json"]

    listed, paths = resolve(tmp_path, LARGE, "step50000")
    assert [file.holds_embedding for file in weights_read(listed.values())] == [True, False, False]
    assert provenance.read(paths["listing"])["settings"] == {"revision": "step50000"}
    assert {request.path.rpartition("/")[2] for request in pythias.file_requests()} == {
        "config.json", "pytorch_model.bin.index.json"
    }  # fmt: skip
    assert all(isinstance(large_files("main")[file.path], OnlyListed) for file in weights_read(listed.values()))


# -- collect_ledger ----------------------------------------------------------------------------------------------------


def listing(folder, model, revision, files):
    path = folder / model / revision / "listing.parquet"
    origin = {"model_id": model, "commit": f"commit-of-{revision}"}
    write_table(path, listing_table(files), SCHEMA, settings={"revision": revision}, origin=origin)
    return path


@pytest.fixture
def collected(tmp_path):
    """A call of ``collect_ledger`` on a sharded model with a table, and a step of another that is a copy."""
    shards = [ListedFile(f"model-{number}.safetensors", "weights", 100, f"{number}", number == 1) for number in (1, 2)]
    other = [ListedFile("pytorch_model.bin", "weights", 7, "b", True), ListedFile("x.bin", "other", 999, None)]
    table = tmp_path / "table.parquet"
    settings = {
        "model": "mine", "revision": "main", "tensor": "wte.weight", "file": "model-1.safetensors",
        "bytes_read": 12345, "rows_beyond_tokenizer": 3, "verified": "none",
    }  # fmt: skip

    def write(**changed):
        kept = {key: value for key, value in {**settings, **changed}.items() if value is not None}
        write_embedding_table(table, [np.zeros((5, 4), np.float32)], (5, 4), [None] * 5, settings=kept)

    write()
    duplicates = [
        {"model": "theirs", "source": "a/b", "revision": "step1", "is_genuine": False, "is_copy": True,
         "copy_of": "step2", "published": "confirmed", "published_url": "https://example.org", "status": "ok"},
        {"model": "mine", "source": "./mine", "revision": "main", "is_genuine": False, "is_copy": False,
         "status": "ok"},
    ]  # fmt: skip
    write_table(tmp_path / "duplicates.parquet", pyarrow.Table.from_pylist(duplicates, schema=DUPLICATES), DUPLICATES)

    def collect():
        collect_ledger(
            listings=[listing(tmp_path, "theirs", "step1", other), listing(tmp_path, "mine", "main", shards)],
            tables=[table],
            duplicates=tmp_path / "duplicates.parquet",
            ledger=tmp_path / "ledger.parquet",
            csv=tmp_path / "ledger.csv",
            models=[
                {"model": "theirs", "suite": "T", "source": "a/b", "revision": "step1", "step": 1},
                {"model": "mine", "suite": "M", "source": "./mine", "revision": "main", "step": None},
            ],
        )
        return read_table(tmp_path / "ledger.parquet").to_pylist()

    collect.write_table, collect.folder = write, tmp_path
    return collect


def test_the_ledger_sets_the_bytes_read_beside_the_checkpoints_size(collected):
    theirs, mine = collected()
    assert theirs == {
        "model": "theirs", "suite": "T", "source": "a/b", "revision": "step1", "step": 1, "commit": "commit-of-step1",
        "weight_format": "bin", "n_weight_files": 1, "checkpoint_bytes": 7,
        "embedding_bytes_read": None, "embedding_file": None, "embedding_tensor": None, "vocab_rows": None,
        "width": None, "rows_beyond_tokenizer": None, "verified": None,
        "duplicate_of": "step2", "published_defect": "confirmed",
    }  # fmt: skip
    assert mine == {
        "model": "mine", "suite": "M", "source": "./mine", "revision": "main", "step": None, "commit": "commit-of-main",
        "weight_format": "safetensors", "n_weight_files": 2, "checkpoint_bytes": 200,
        "embedding_bytes_read": 12345, "embedding_file": "model-1.safetensors", "embedding_tensor": "wte.weight",
        "vocab_rows": 5, "width": 4, "rows_beyond_tokenizer": 3, "verified": "none",
        "duplicate_of": None, "published_defect": None,
    }  # fmt: skip
    written = pyarrow.csv.read_csv(collected.folder / "ledger.csv")
    assert written.column("checkpoint_bytes").to_pylist() == [7, 200]
    assert provenance.read(collected.folder / "ledger.parquet")["origin"]["model_id"] == ["mine", "theirs"]


def test_an_embedding_table_that_does_not_say_whose_it_is(collected):
    collected.write_table(bytes_read=None)
    with pytest.raises(ValueError, match=r"table\.parquet: does not say its 'bytes_read'; remove it and run again"):
        collected()
    assert not (collected.folder / "ledger.parquet").exists()


OWN_FIRST = ["model.safetensors.index.json", "pytorch_model.bin", "model.safetensors"]


@pytest.fixture
def mixed(tmp_path):
    """A branch in the way of pythia-2.8b's: shards of its own beside another checkpoint's model.safetensors."""
    folder = tmp_path / "mixed"
    save_safetensors(build_model("gpt_neox", seed=1), folder, sharded=True)
    other = save_safetensors(build_model("gpt_neox", seed=2), tmp_path / "other")
    shutil.copy(other / "model.safetensors", folder)
    save_bin(build_model("gpt_neox", seed=2), folder)
    return folder


@pytest.mark.parametrize(("order", "seed"), [(None, 2), (OWN_FIRST, 1), (["pytorch_model.bin"], 2)])
def test_the_weights_that_are_named_first_are_the_ones_that_every_step_reads(mixed, tmp_path, monkeypatch, order, seed):
    monkeypatch.chdir(tmp_path)
    truth = build_model("gpt_neox", seed=seed)
    where = {"source": "./mixed", "revision": "main", "cache_dir": "unused"}
    listing, config = tmp_path / "listing.parquet", tmp_path / "config.json"
    resolve_model(files=[], listing=listing, config=config, weight_files=order, **where)
    assert all(file.path.startswith("model-0") for file in weights_read(read_listing(listing))) == (order == OWN_FIRST)

    tokenizer, table = save_tokenizer(tmp_path / "words") / "tokenizer.json", tmp_path / "table.parquet"
    read = {"model": "mixed", "verify": "ranges", "embedding_tensor": None, "tokenizer_listing": listing}
    extract_embedding_table(listing=listing, config=config, tokenizer=tokenizer, table=table, **read, **where)
    expected = truth.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(read_embedding_table(table), expected)

    fetch_checkpoint(listing=listing, config=config, checkpoint=tmp_path / "checkpoint.parquet", **where)
    files = [file.path for file in read_listing(tmp_path / "checkpoint.parquet")]
    model = LayerModel(mixed, files=files, device="cpu", safetensors=order != ["pytorch_model.bin"])
    ids = np.array([[5, 6, 7]])
    states = model.states(ids)[LayerKey("decoder", 0, False)]
    np.testing.assert_array_equal(states[0].numpy(), expected[ids[0]])


def test_weights_that_are_not_there_are_named_beside_those_that_are(mixed, tmp_path):
    with pytest.raises(
        ValueError,
        match=r"^weight_files: pytorch_model\.bin\.index\.json: none of them is in the "
        r"revision, which has model\.safetensors, model\.safetensors\.index\.json, pytorch_model\.bin$",
    ):
        resolve_model(
            files=[], listing=tmp_path / "listing.parquet", config=tmp_path / "config.json", source=str(mixed),
            revision="main", cache_dir="unused", weight_files=["pytorch_model.bin.index.json"],
        )  # fmt: skip
    assert not (tmp_path / "listing.parquet").exists()


def test_a_quantized_model_is_refused_when_it_is_listed(tmp_path):
    folder = save_safetensors(build_model("gpt2"), tmp_path / "mine")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "quantization_config": {"quant_method": "gptq"}}))
    outputs = {"listing": tmp_path / "listing.parquet", "config": tmp_path / "out.json"}
    with pytest.raises(ValueError, match=r"^config\.json: .* \(method gptq\): take the repository of the original"):
        resolve_model(files=[], source=str(folder), revision="main", cache_dir="unused", **outputs)
    assert not any(path.exists() for path in outputs.values())


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_a_small_file_that_is_not_the_listed_one_is_refused(tmp_path, monkeypatch, name):
    folder = save_safetensors(build_model("gpt2"), tmp_path / "mine", sharded=True)
    other = tmp_path / "other"
    other.write_bytes((folder / name).read_bytes() + b" ")

    def elsewhere(revision, path):
        return other if path == name else local_file(revision, path)

    local_file = FolderRevision.local_file
    monkeypatch.setattr(FolderRevision, "local_file", elsewhere)
    outputs = {"listing": tmp_path / "listing.parquet", "config": tmp_path / "out.json"}
    with pytest.raises(ValueError, match=r"bytes, but .* were listed"):
        resolve_model(files=[], source=str(folder), revision="main", cache_dir="unused", **outputs)
    assert not any(path.exists() for path in outputs.values())
