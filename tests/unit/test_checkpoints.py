"""Sources, listings and the two weight formats."""

import hashlib
import json
import os
import pickle

import numpy as np
import pytest
from tiny_models import build_model, save_bin, save_safetensors, save_tokenizer

from lm_geometry import provenance
from lm_geometry.checkpoints import safetensors_reader, torch_reader
from lm_geometry.checkpoints.ledger import listing_digest, listing_table, read_listing, verify_file
from lm_geometry.checkpoints.source import (
    ListedFile,
    Source,
    checked_path,
    open_revision,
    open_tokenizer_revision,
    parse_source,
    role_of,
)
from lm_geometry.checkpoints.weights import Weights, entry_file, weight_files
from lm_geometry.tables.files import write_table
from lm_geometry.tables.listing import SCHEMA
from scripts.fetch_checkpoint import fetch_checkpoint
from scripts.fetch_tokenizer import fetch_tokenizer
from scripts.resolve_model import resolve_model

HELLO = {
    "bert-base-uncased": [101, 7592, 2088, 102],
    "falcon": [9856, 1079],
    "gpt-neox-20b": [12092, 1533],
    "gpt2": [15496, 995],
    "opt": [2, 31414, 232],
    "roberta-base": [0, 31414, 232, 2],
    "t5": [8774, 296, 1],
}
EMPTY = {
    "bert-base-uncased": [101, 102],
    "falcon": [],
    "gpt-neox-20b": [],
    "gpt2": [],
    "opt": [2],
    "roberta-base": [0, 2],
    "t5": [1],
}


def folder_revision(folder, revision="main"):
    return open_revision(parse_source(str(folder)), revision)


@pytest.mark.parametrize(
    ("text", "kind", "location"),
    [
        ("embedded:neox-64", "embedded", "neox-64"),
        ("./models/mine", "folder", "./models/mine"),
        ("../mine", "folder", "../mine"),
        ("/data/mine", "folder", "/data/mine"),
        ("~/mine", "folder", "~/mine"),
        ("my results/embedded/models/neox-64", "folder", "my results/embedded/models/neox-64"),
        ("EleutherAI/pythia-14m", "hub", "EleutherAI/pythia-14m"),
        ("gpt2", "hub", "gpt2"),
        ("google/t5-v1_1-xxl", "hub", "google/t5-v1_1-xxl"),
    ],
)
def test_a_source_is_told_by_its_first_characters(text, kind, location):
    assert parse_source(text) == Source(kind, location)


@pytest.mark.parametrize("text", ["", "embedded:", "embedded:a/b", "a b", "a/b c", "-a/b", "a/..b", "a--b/c", "C:\\m"])
def test_what_is_no_source_is_refused(text):
    with pytest.raises(ValueError, match="is no source: write embedded:NAME"):
        parse_source(text)


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a\\b"])
def test_file_names_that_lead_out_are_refused(path):
    with pytest.raises(ValueError, match="is refused"):
        checked_path(path)


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
        ("model.fp16.safetensors", "other"),
        ("optimizer.bin", "other"),
        ("onnx/model.safetensors", "other"),
        ("tf_model.h5", "other"),
    ],
)
def test_roles(path, role):
    assert role_of(path) == role


def test_a_folder_lists_its_files_with_sizes_and_digests(tmp_path):
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "notes.txt").write_bytes(b"abc")
    (tmp_path / "checkpoint-500").mkdir()
    (tmp_path / "checkpoint-500" / "optimizer.pt").write_bytes(b"large")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_bytes(b"x")
    listing = folder_revision(tmp_path).listing()
    assert listing == [
        ListedFile("config.json", "config", 2, hashlib.sha256(b"{}").hexdigest()),
        ListedFile("notes.txt", "other", 3, hashlib.sha256(b"abc").hexdigest()),
    ]


def test_a_folder_of_revisions(tmp_path):
    for name in ("step0", "step512", "main"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    assert folder_revision(tmp_path, "step512").local_file("config.json") == tmp_path / "step512" / "config.json"
    with pytest.raises(ValueError, match=r"no revision 'step51'; nearest of 3: step512"):
        folder_revision(tmp_path, "step51")


def test_a_folder_that_is_a_model_has_the_revision_main_only(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="no revision 'step0'; the folder itself is the one revision, 'main'"):
        folder_revision(tmp_path, "step0")


def test_folders_without_a_model_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        folder_revision(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"neither the folder nor a sub-folder of it holds a config\.json"):
        folder_revision(tmp_path)
    with pytest.raises(ValueError, match="is no folder yet"):
        open_revision(parse_source("embedded:neox-16"), "main")


def test_links_may_stay_inside_the_folder_but_not_leave_it(tmp_path):
    source = tmp_path / "source"
    (source / "step1000").mkdir(parents=True)
    (source / "step1000" / "config.json").write_text("{}")
    (source / "main").symlink_to("step1000")
    assert [file.path for file in folder_revision(source).listing()] == ["config.json"]
    (tmp_path / "secret").write_text("s")
    (source / "step1000" / "model.safetensors").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="leads out of"):
        folder_revision(source).listing()
    with pytest.raises(ValueError, match="leads out of"):
        folder_revision(source).local_file("model.safetensors")


def test_the_listing_survives_parquet_and_its_digest_follows_its_content(tmp_path):
    files = [ListedFile("b", "other", 1, None), ListedFile("a", "weights", 2, "00")]
    write_table(tmp_path / "listing.parquet", listing_table(files), SCHEMA)
    assert read_listing(tmp_path / "listing.parquet") == [files[1], files[0]]
    assert listing_digest(files) == listing_digest(files[::-1])
    assert listing_digest(files) != listing_digest([files[0], ListedFile("a", "weights", 2, "01")])


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


def test_safetensors_are_preferred_and_other_weights_are_not_needed(tmp_path):
    model = build_model("gpt_neox")
    save_safetensors(model, tmp_path, sharded=True)
    save_bin(model, tmp_path)
    revision = folder_revision(tmp_path)
    files = weight_files(revision.listing(), revision.local_file)
    assert files[0] == "model.safetensors.index.json"
    assert len(files) > 2
    assert all(file.endswith(".safetensors") for file in files[1:])
    with pytest.raises(ValueError, match=r"no weights: looked for model\.safetensors.*that holds config\.json"):
        entry_file([ListedFile("config.json", "config", 2, None)])


@pytest.mark.parametrize("save", [save_safetensors, save_bin])
@pytest.mark.parametrize("sharded", [False, True])
def test_tensors_are_those_of_the_model(tmp_path, save, sharded):
    model = build_model("llama")
    revision = folder_revision(save(model, tmp_path, sharded=sharded))
    weights = Weights(revision, revision.listing())
    state = model.state_dict()
    assert set(weights.names) == set(state)
    for name, tensor in state.items():
        assert weights.info(name).shape == tuple(tensor.shape)
        assert weights.info(name).dtype == "float32"
        np.testing.assert_array_equal(weights.read(name), tensor.numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_stored_types_are_named_and_widened_exactly(tmp_path, dtype):
    import torch
    from safetensors.torch import save_file

    values = torch.tensor([[1.0, -0.5], [3.140625, 65280.0]]).to(getattr(torch, dtype))
    save_file({"x": values}, tmp_path / "a.safetensors")
    torch.save({"x": values}, tmp_path / "a.bin")
    torch.save({"x": values}, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    for reader, name in ((safetensors_reader, "a.safetensors"), (torch_reader, "a.bin"), (torch_reader, "old.bin")):
        assert reader.describe(tmp_path / name)["x"].dtype == dtype
        found = reader.read(tmp_path / name, "x")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, [[1.0, -0.5], [3.140625, 65280.0]])


class _Command:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_a_pickle_that_would_run_something_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.bin").write_bytes(pickle.dumps(_Command(), protocol=2))
    with pytest.raises(ValueError, match="not a torch file that holds tensors alone"):
        torch_reader.describe(tmp_path / "evil.bin")
    assert not (tmp_path / "pwned").exists()


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00")
    with pytest.raises(ValueError, match=r"cut\.safetensors: not a whole safetensors file"):
        safetensors_reader.describe(tmp_path / "cut.safetensors")
    (tmp_path / "cut.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"cut\.bin: not a torch file"):
        torch_reader.describe(tmp_path / "cut.bin")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"x": "../model.safetensors"}}, "is refused"),
        ({"weight_map": {"x": "/model.safetensors"}}, "is refused"),
        ({"weight_map": {"x": "sub/model.safetensors"}}, "does not lie beside the index"),
        ({"weight_map": {"x": "model-00001-of-00002.safetensors"}}, "is not among the"),
        ({"metadata": {}}, "not an index of shards"),
    ],
)
def test_an_index_that_points_elsewhere_is_refused(tmp_path, index, message):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    revision = folder_revision(tmp_path)
    with pytest.raises(ValueError, match=message):
        weight_files(revision.listing(), revision.local_file)


def test_resolve_model_and_fetch_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = save_safetensors(build_model("gpt_neox"), "mine/step8", sharded=True)
    (folder / "optimizer.bin").write_bytes(b"x")
    arguments = {"source": "./mine", "revision": "step8"}
    resolve_model(files=[], listing=tmp_path / "listing.parquet", **arguments)
    listed = read_listing(tmp_path / "listing.parquet")
    assert {file.path for file in listed} == {path.name for path in folder.iterdir()}
    origin = provenance.read(tmp_path / "listing.parquet")["origin"]
    assert origin == {"model_id": "mine", "commit": f"sha256:{listing_digest(listed)}"}

    fetch_checkpoint(
        listing=tmp_path / "listing.parquet", checkpoint=tmp_path / "checkpoint.parquet", cache_dir="c", **arguments
    )
    needed = {file.path for file in read_listing(tmp_path / "checkpoint.parquet")}
    assert needed == {file.path for file in listed if file.role in ("config", "index", "weights")}
    facts = provenance.read(tmp_path / "checkpoint.parquet")
    assert facts["settings"]["folder"] == "mine/step8"
    assert facts["origin"] == origin
    assert not (tmp_path / "c").exists()


def fetch(source, folder, revision="main"):
    fetch_tokenizer(
        files=[],
        tokenizer=folder / "tokenizer.json",
        tokenizer_config=folder / "tokenizer_config.json",
        source=str(source),
        revision=revision,
        cache_dir="unused",
    )
    return folder / "tokenizer.json"


@pytest.mark.parametrize("name", sorted(HELLO))
def test_tokenizer_json_alone_encodes_as_the_real_tokenizer(shared_data, tmp_path, name):
    from tokenizers import Tokenizer

    path = fetch(shared_data / "tokenizers" / name, tmp_path)
    tokenizer = Tokenizer.from_file(str(path))
    assert tokenizer.encode("Hello world").ids == HELLO[name]
    assert tokenizer.encode("").ids == EMPTY[name]


@pytest.mark.parametrize("name", ["opt", "bert-base-uncased", "t5"])
def test_the_fetched_folder_is_a_tokenizer_for_transformers(shared_data, tmp_path, name):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    path = fetch(shared_data / "tokenizers" / name, tmp_path)
    texts = ["Ångström's 1,234 naïve  cafés\n\n\t東京 🙂", "<pad></s> [MASK]", "x" * 3000]
    again = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    original = AutoTokenizer.from_pretrained(shared_data / "tokenizers" / name, local_files_only=True)
    alone = Tokenizer.from_file(str(path))
    for text in texts:
        assert alone.encode(text).ids == original(text)["input_ids"] == again(text)["input_ids"]


def test_padding_and_truncation_do_not_outlive_the_fetch(tmp_path):
    from tokenizers import Tokenizer

    source = save_tokenizer(tmp_path / "source")
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=4)
    tokenizer.enable_padding(length=6)
    tokenizer.save(str(source / "tokenizer.json"))
    found = json.loads(fetch(source, tmp_path / "out").read_text())
    assert found["truncation"] is None
    assert found["padding"] is None


def test_a_tokenizer_is_found_in_a_models_revision(tmp_path):
    save_tokenizer(tmp_path / "models" / "step0")
    (tmp_path / "models" / "step0" / "config.json").write_text('{"model_type": "gpt_neox"}')
    fetch(tmp_path / "models", tmp_path / "out", "step0")
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert config["eos_token"] == "</s>"
    assert str(tmp_path) not in json.dumps(config)


def test_sources_without_a_fast_tokenizer_are_refused(tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="none: holds no tokenizer file"):
        fetch(tmp_path / "none", tmp_path / "out")
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "vocab.json").write_text(json.dumps({"<unk>": 0, "a</w>": 1}))
    (slow / "merges.txt").write_text("#version: 0.2\n")
    (slow / "tokenizer_config.json").write_text('{"tokenizer_class": "CTRLTokenizer"}')
    with pytest.raises(ValueError, match="CTRLTokenizer is no fast tokenizer"):
        fetch(slow, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_folder_needs_no_config(tmp_path):
    save_tokenizer(tmp_path)
    assert {file.role for file in open_tokenizer_revision(parse_source(str(tmp_path)), "main").listing()} == {
        "tokenizer"
    }
