import hashlib
import json
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import build_model, save_bin, save_safetensors

from lm_geometry.checkpoints.byte_source import LocalFile
from lm_geometry.checkpoints.file_names import checked_path
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.checkpoints.source import open_revision, parse_source
from lm_geometry.checkpoints.tensors.weights import Weights
from lm_geometry.checkpoints.weight_files import entry_file, weight_files

INDEX = "model.safetensors.index.json"


def folder_revision(folder):
    return open_revision(parse_source(str(folder)), "main")


def weights_of(folder, **options):
    revision = folder_revision(folder)
    return Weights(revision, revision.listing(), **options)


def values(weights, name, rows=3):
    return np.concatenate(list(weights.blocks(name, rows)))


class Spy(LocalFile):
    """A local file that notes what is asked of it."""

    def __init__(self, path, name):
        super().__init__(path, name)
        self.fetched, self.discarded = [], []

    def fetch(self, start, length):
        super().fetch(start, length)
        self.fetched.append((start, length))

    def discard(self, start, length):
        self.discarded.append((start, length))


class SpiedRevision:
    """A folder's files as if they lay elsewhere."""

    model_id, remote = "owner/name", True

    def __init__(self, folder):
        self.folder, self.opened, self.whole = folder, {}, []

    def listing(self):
        return [
            ListedFile(path.name, "weights", path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in sorted(self.folder.iterdir())
        ]

    def local_file(self, path):
        self.whole.append(path)
        return self.folder / checked_path(path)

    def open(self, file):
        self.opened[file.path] = Spy(self.folder / file.path, file.path)
        return self.opened[file.path]


def spied(folder, **options):
    revision = SpiedRevision(folder)
    return revision, Weights(revision, revision.listing(), **options)


def test_safetensors_are_preferred_and_other_weights_are_not_needed(tmp_path):
    model = build_model("gpt_neox")
    save_safetensors(model, tmp_path, sharded=True)
    save_bin(model, tmp_path)
    revision = folder_revision(tmp_path)
    files = weight_files(revision.listing(), revision.local_file)
    assert files[0] == INDEX
    assert len(files) > 2
    assert all(file.endswith(".safetensors") for file in files[1:])
    with pytest.raises(ValueError, match=r"no weights: looked for model\.safetensors.*that holds config\.json"):
        entry_file([ListedFile("config.json", "config", 2, None)])


@pytest.mark.parametrize("save", [save_safetensors, save_bin])
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("verify", ["ranges", "full"])
def test_tensors_are_those_of_the_model(tmp_path, save, sharded, verify):
    model = build_model("llama")
    weights = weights_of(save(model, tmp_path, sharded=sharded), verify=verify)
    state = model.state_dict()
    assert weights.names == sorted(state)
    for name, tensor in state.items():
        assert weights.info(name).shape == tuple(tensor.shape)
        assert weights.info(name).dtype == "float32"
        np.testing.assert_array_equal(values(weights, name), tensor.numpy())
        assert (tmp_path / weights.file_of(name)).is_file()


@pytest.mark.parametrize("name", ["restored.pt", "OPT-175B", "weights.bin", "old.pth", "x.safetensors"])
def test_a_single_file_is_told_by_its_content_not_by_its_name(tmp_path, name):
    table = torch.arange(12.0).reshape(4, 3).half()
    save = {
        "old.pth": lambda path: torch.save({"x": table}, path, _use_new_zipfile_serialization=False),
        "weights.bin": lambda path: save_file({"x": table}, path),
    }
    save.get(name, lambda path: torch.save({"model": {"x": table}}, path))(tmp_path / name)
    weights = weights_of(tmp_path / name)
    assert weights.names == ["x"]
    assert weights.file_of("x") == name
    np.testing.assert_array_equal(values(weights, "x"), table.float().numpy())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "a Git LFS pointer .* `git lfs pull`"),
        (b"", "neither a whole safetensors nor a torch file: it has 0 bytes"),
        (b"\x89HDF\r\n\x1a\n", r"neither .* begins with b'\\x89HDF"),
        (b"\x10\x00", "neither a whole safetensors"),
    ],
)
def test_files_of_no_known_format_are_named(tmp_path, content, message):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=rf"^model\.safetensors: .*{message}"):
        weights_of(tmp_path)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"x": "../model.safetensors"}}, "is refused"),
        ({"weight_map": {"x": "/model.safetensors"}}, "is refused"),
        ({"weight_map": {"x": ""}}, "is refused"),
        ({"weight_map": {"x": "sub/model.safetensors"}}, "does not lie beside the index"),
        ({"weight_map": {"x": "model-00001-of-00002.safetensors"}}, "is not among the"),
        ({"weight_map": {"x": 1}}, "does not map names to files"),
        ({"weight_map": {"x": None}}, "does not map names to files"),
        ({"weight_map": ["x"]}, "does not map names to files"),
        ({"metadata": {}}, "not an index of shards"),
        ([], "not an index of shards"),
        ("[" * 100_000, "not an index of shards"),
        ("{", "not an index of shards"),
    ],
)
def test_an_index_that_points_elsewhere_is_refused(tmp_path, index, message):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / INDEX).write_text(index if isinstance(index, str) else json.dumps(index))
    revision = folder_revision(tmp_path)
    with pytest.raises(ValueError, match=message):
        weight_files(revision.listing(), revision.local_file)
    with pytest.raises(ValueError, match=message):
        weights_of(tmp_path)


def sharded(folder, tensors):
    """Save each tensor in a shard of its own."""
    for name, tensor in tensors.items():
        save_file({name: tensor}, folder / f"{name}.safetensors")
    shards = {name: f"{name}.safetensors" for name in tensors}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": shards}))


def test_only_the_shard_that_holds_the_tensor_is_opened(tmp_path):
    sharded(tmp_path, {"a": torch.ones(50, 4), "b": torch.zeros(60_000, 4)})
    revision, weights = spied(tmp_path)
    assert weights.names == ["a", "b"]
    values(weights, "a")
    assert list(revision.opened) == ["a.safetensors"]
    assert revision.whole == [INDEX]
    index = (tmp_path / INDEX).stat().st_size
    assert weights.bytes_read == index + (tmp_path / "a.safetensors").stat().st_size


def test_a_shard_without_its_tensor_is_named(tmp_path):
    sharded(tmp_path, {"a": torch.ones(5, 4)})
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "a.safetensors", "b": "a.safetensors"}}))
    _, weights = spied(tmp_path)
    with pytest.raises(ValueError, match=r"a\.safetensors: the index says that it holds b, but it does not"):
        weights.info("b")


@pytest.mark.parametrize("form", ["safetensors", "archive", "stream"])
def test_bytes_read_are_the_tensor_and_little_more(tmp_path, form):
    state = {f"layer.{number}": torch.zeros(300_000) for number in range(8)}
    state["table"] = torch.arange(200_000.0).reshape(50_000, 4)
    if form == "safetensors":
        save_file(state, tmp_path / "model.safetensors")
    else:
        torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=form == "archive")
    revision, weights = spied(tmp_path)
    np.testing.assert_array_equal(values(weights, "table", 7_000), state["table"].numpy())
    assert 800_000 < weights.bytes_read < 800_000 + 3 * 65_536
    [file] = revision.opened.values()
    # The whole range is fetched before it is read in blocks.
    assert [length for _, length in file.fetched] == [800_000]
    assert weights.bytes_read == file.bytes_read
    again = weights.bytes_read
    values(weights, "table", 10)
    assert weights.bytes_read == again
    assert weights.verified_by("table") == ("crc32" if form == "archive" else "none")


def test_blocks_have_at_most_the_rows_asked_for(tmp_path):
    table = torch.arange(40.0).reshape(10, 4)
    save_file({"x": table, "empty": torch.empty(0, 4), "line": torch.arange(5.0)}, tmp_path / "model.safetensors")
    _, weights = spied(tmp_path)
    assert [block.shape for block in weights.blocks("x", 4)] == [(4, 4), (4, 4), (2, 4)]
    assert [block.shape for block in weights.blocks("x", 100)] == [(10, 4)]
    assert [block.shape for block in weights.blocks("empty", 4)] == [(0, 4)]
    assert [block.tolist() for block in weights.blocks("line", 3)] == [[0, 1, 2], [3, 4]]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_no_more_than_two_blocks_are_held(tmp_path, dtype):
    rows, width, block = 4_000, 256, 100
    save_file({"x": torch.zeros(rows, width, dtype=getattr(torch, dtype))}, tmp_path / "model.safetensors")
    _, weights = spied(tmp_path)
    weights.info("x")
    tracemalloc.start()
    for values_ in weights.blocks("x", block):
        assert values_.shape == (block, width)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The block at hand, the next one, and its stored bytes, which are half, once or twice as much.
    stored = {"bfloat16": 0.5, "float32": 0.0, "float64": 2.0}[dtype]
    assert peak < (2.2 + stored) * block * width * 4 + 20_000


def test_damaged_bytes_are_discarded_and_refused(tmp_path):
    torch.save({"x": torch.arange(4_000.0).reshape(1_000, 4), "y": torch.ones(2, 2)}, tmp_path / "pytorch_model.bin")
    revision, weights = spied(tmp_path)
    path = tmp_path / "pytorch_model.bin"
    file = LocalFile(path)
    start = weights.info("x").place(file)
    with path.open("rb+") as stream:
        stream.seek(start + 15_999)
        stream.write(b"\xff")
    taken = []
    with pytest.raises(ValueError, match=r"^pytorch_model\.bin: x does not fit its checksum .* fetch it again$"):
        taken.extend(weights.blocks("x", 100))
    assert len(taken) == 10
    assert revision.opened["pytorch_model.bin"].discarded == [(start, 16_000)]
    assert values(weights, "y").tolist() == [[1, 1], [1, 1]]


def test_tensors_that_cannot_be_read_are_refused_by_name_and_not_fetched(tmp_path):
    state = {"codes": torch.ones(4, 4, dtype=torch.int8), "turned": torch.ones(3, 4).t()}
    torch.save(state, tmp_path / "pytorch_model.bin")
    revision, weights = spied(tmp_path)
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: codes is stored as int8: quantized"):
        values(weights, "codes")
    with pytest.raises(ValueError, match=r"turned is stored with strides \(1, 4\)"):
        values(weights, "turned")
    assert revision.opened["pytorch_model.bin"].fetched == []


# Tied and copied tensors.


def copies():
    base = torch.arange(40.0).reshape(10, 4)
    other = base.clone()
    other[9, 3] += 1
    return {
        "x": base, "tied": base, "copy": base.clone(), "other": other, "half": base.half(), "flat": base.reshape(-1),
    }  # fmt: skip


@pytest.mark.parametrize("form", ["archive", "stream", "plain zip", "safetensors"])
def test_same_bytes(tmp_path, form):
    state = copies()
    if form == "safetensors":
        save_file({name: tensor.clone() for name, tensor in state.items()}, tmp_path / "model.safetensors")
    else:
        torch.serialization.set_crc32_options(form != "plain zip")
        try:
            torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=form != "stream")
        finally:
            torch.serialization.set_crc32_options(True)
    revision, weights = spied(tmp_path)
    same = {name for name in state if weights.same_bytes("x", name)}
    assert same == {"x", "tied", "copy"}
    [file] = revision.opened.values()
    # Where checksums tell, nothing is fetched.
    assert bool(file.fetched) == (form != "archive")


def test_same_bytes_in_other_files(tmp_path):
    table = torch.arange(40.0).reshape(10, 4)
    sharded(tmp_path, {"a": table, "b": table.clone(), "c": table + 1})
    _, weights = spied(tmp_path)
    assert weights.same_bytes("a", "b")
    assert not weights.same_bytes("a", "c")


def test_equal_checksums_of_different_types_are_not_the_same(tmp_path):
    codes = torch.arange(8, dtype=torch.int16)
    state = {"a": codes.view(torch.float16), "b": codes.clone().view(torch.bfloat16)}
    torch.save(state, tmp_path / "pytorch_model.bin")
    _, weights = spied(tmp_path)
    assert weights.info("a").crc32 == weights.info("b").crc32 == zlib.crc32(codes.numpy().tobytes())
    assert not weights.same_bytes("a", "b")


# Whole files.


def test_full_verification_has_the_file_whole_and_compares_its_digest(tmp_path):
    sharded(tmp_path, {"a": torch.ones(5, 4), "b": torch.zeros(5, 4)})
    revision, weights = spied(tmp_path, verify="full")
    np.testing.assert_array_equal(values(weights, "a"), np.ones((5, 4)))
    assert revision.whole == [INDEX, "a.safetensors"]
    assert revision.opened == {}
    assert weights.verified_by("a") == "sha256"
    assert weights.bytes_read == sum((tmp_path / name).stat().st_size for name in revision.whole)

    listing = revision.listing()
    content = (tmp_path / "b.safetensors").read_bytes()
    (tmp_path / "b.safetensors").write_bytes(content[:-1] + b"\x01")
    # By ranges the damage is not seen: the table's provenance says so.
    unseen = Weights(revision, listing)
    values(unseen, "b")
    assert unseen.verified_by("b") == "none"
    with pytest.raises(ValueError, match=r"b\.safetensors: sha256 .* was listed; it was removed, run again"):
        Weights(revision, listing, verify="full").info("b")
    assert not (tmp_path / "b.safetensors").exists()


def test_a_users_own_file_that_differs_stays(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    save_file({"a": torch.ones(5, 4)}, tmp_path / "model.safetensors")
    revision = folder_revision(tmp_path)
    size = (tmp_path / "model.safetensors").stat().st_size
    with pytest.raises(ValueError, match=r"sha256 .* was listed; remove the listing"):
        Weights(revision, [ListedFile("model.safetensors", "weights", size, "0" * 64)], verify="full")
    assert (tmp_path / "model.safetensors").is_file()


def test_full_verification_needs_a_digest(tmp_path):
    save_file({"a": torch.ones(5, 4)}, tmp_path / "model.safetensors")
    files = [ListedFile("model.safetensors", "weights", (tmp_path / "model.safetensors").stat().st_size, None)]
    with pytest.raises(ValueError, match=r"model\.safetensors: its source lists no sha256 .* set verify: ranges"):
        Weights(SpiedRevision(tmp_path), files, verify="full")


def test_an_index_is_compared_with_its_listed_digest(tmp_path):
    sharded(tmp_path, {"a": torch.ones(5, 4)})
    revision = SpiedRevision(tmp_path)
    listing = revision.listing()
    text = (tmp_path / INDEX).read_text()
    (tmp_path / INDEX).write_text(text.replace('"a"', '"b"'))
    with pytest.raises(ValueError, match=r"index\.json: sha256 .* was listed"):
        Weights(revision, listing)
