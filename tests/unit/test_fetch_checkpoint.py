"""Whole checkpoints in a cache of the hub client's layout, over a hub on the loopback interface."""

import hashlib
import json
import logging
import os
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download
from loopback_hub import LARGE, Fault, Repository, serve
from tiny_models import build_model, save_bin, save_safetensors, save_tokenizer, sentences

from lm_geometry import provenance
from lm_geometry.checkpoints.hub import access, cached_file, large_file
from lm_geometry.checkpoints.hub.patience import Patience
from lm_geometry.checkpoints.hub.whole_files import CachedRevision
from lm_geometry.checkpoints.ledger import listing_table, read_listing
from lm_geometry.checkpoints.listed_file import ListedFile, role_of
from lm_geometry.checkpoints.weight_files import checkpoint_files
from lm_geometry.tables.chunks import SCHEMA as CHUNKS
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.listing import SCHEMA as LISTING
from scripts.dump_hidden_states import dump_hidden_states
from scripts.fetch_checkpoint import fetch_checkpoint
from scripts.resolve_model import resolve_model

REPOSITORY = "tiny/model"
PIECE = 1000  # bytes that the client takes from a connection at once, so that a break in mid-file leaves some
HASTY = Patience(attempts=2, first_wait=0.0, silence=0.3, slowest=20_000, worthwhile=PIECE)
TOKEN = "hf_" + "s3cret" * 5
Usage = namedtuple("Usage", "total used free")


def weights(seed, size=20_000):
    return np.random.default_rng(seed).bytes(size)


FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model-00001-of-00002.safetensors": weights(1),
    "model-00002-of-00002.safetensors": weights(2),
    "pytorch_model.bin": weights(3),
    "tokenizer.json": b"{}",
}
SHARD = "model-00001-of-00002.safetensors"
NEEDED = ("config.json", SHARD, "model-00002-of-00002.safetensors")


@pytest.fixture(autouse=True)
def small_and_quick(monkeypatch):
    """Small pieces from a connection, no waits, no token of the person who runs the tests, no Xet."""
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", PIECE)
    for module in ("file_download", "utils._http"):
        monkeypatch.setattr(f"huggingface_hub.{module}.time", SimpleNamespace(sleep=lambda _: None, time=time.time))
    monkeypatch.delenv("HF_TOKEN", raising=False)


def listed(files, names=None):
    return [
        ListedFile(
            name,
            role_of(name),
            len(content),
            hashlib.sha256(content).hexdigest() if name.endswith(LARGE) else None,
        )
        for name, content in files.items()
        if names is None or name in names
    ]


def cached(hub, folder, repository=REPOSITORY, revision="main", **options):
    commit = hub.commit(repository, revision)
    return CachedRevision(repository, commit, str(folder), endpoint=hub.url, **{"patience": HASTY, **options})


def contents(checkpoint):
    return {path.name: path.read_bytes() for path in checkpoint.folder.iterdir()}


def blobs(folder):
    return sorted(path.name for path in Path(folder).glob("models--*/blobs/*"))


# -- which files -------------------------------------------------------------------------------------------------------


def row(path, size=10):
    return ListedFile(path, role_of(path), size, None)


def test_the_settings_and_one_format_are_needed_and_code_if_it_is_trusted(tmp_path):
    index = tmp_path / "index.json"
    index.write_text('{"weight_map": {"a": "model-00001-of-00001.safetensors"}}')
    names = [
        "config.json", "generation_config.json", "model.safetensors.index.json", "model-00001-of-00001.safetensors",
        "pytorch_model.bin", "flax_model.msgpack", "tokenizer.json", "modeling_own.py", "README.md",
    ]  # fmt: skip
    files = [row(name) for name in names]
    found = [file.path for file in checkpoint_files(files, lambda path: index)]
    assert found == [names[0], names[1], names[2], names[3]]
    with_code = [file.path for file in checkpoint_files(files, lambda path: index, with_code=True)]
    assert sorted(with_code) == sorted([*found, "modeling_own.py"])

    bins = [row("config.json"), row("generation_config.json", 10_000_000), row("pytorch_model.bin")]
    assert [file.path for file in checkpoint_files(bins, lambda path: index)] == ["config.json", "pytorch_model.bin"]


def test_weights_without_a_config_are_refused():
    with pytest.raises(ValueError, match=r"^no config.json beside the weights"):
        checkpoint_files([row("model.safetensors")], lambda path: None)


# -- fetching ----------------------------------------------------------------------------------------------------------


def test_only_the_asked_files_come_and_lie_where_the_hub_client_looks(tmp_path, caplog):
    caplog.set_level(logging.INFO, "lm_geometry")
    with serve({REPOSITORY: FILES}, cdn=True) as hub:
        checkpoint = cached(hub, tmp_path)
        checkpoint.fetch(listed(FILES, NEEDED))
        assert contents(checkpoint) == {name: FILES[name] for name in NEEDED}
        assert {request.path.rpartition("/")[2] for request in hub.requests} == set(NEEDED)
        assert sum(hub.bytes_sent.values()) == sum(len(FILES[name]) for name in NEEDED)
        # The peer: huggingface_hub finds the snapshot without a request of its own.
        before = len(hub.requests)
        commit = hub.commit(REPOSITORY)
        assert snapshot_download(REPOSITORY, revision=commit, cache_dir=tmp_path, local_files_only=True) == str(
            checkpoint.folder
        )
        assert hf_hub_download(REPOSITORY, SHARD, revision=commit, cache_dir=tmp_path, endpoint=hub.url)
        assert len(hub.requests) == before
    assert len(scan_cache_dir(tmp_path).warnings) == 0
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "tiny/model: fetching 3 files, 40.0kB"
    assert sum("of 40.0kB" in line for line in said) == 3


def test_what_is_there_costs_no_request_and_no_network(tmp_path):
    with serve({REPOSITORY: FILES}) as hub:
        checkpoint = cached(hub, tmp_path)
        checkpoint.fetch(listed(FILES, NEEDED))
        before = len(hub.requests)
        cached(hub, tmp_path).fetch(listed(FILES, NEEDED))
        assert len(hub.requests) == before
        hub.close()
        cached(hub, tmp_path).fetch(listed(FILES, NEEDED))


def test_what_the_hub_client_fetched_before_is_taken(tmp_path):
    with serve({REPOSITORY: FILES}) as hub:
        hf_hub_download(REPOSITORY, SHARD, cache_dir=tmp_path, endpoint=hub.url, token=False)
        sent = hub.bytes_sent[f"{REPOSITORY}/{SHARD}"]
        cached(hub, tmp_path).fetch(listed(FILES, NEEDED))
        assert hub.bytes_sent[f"{REPOSITORY}/{SHARD}"] == sent == len(FILES[SHARD])


def test_content_that_two_revisions_share_comes_once(tmp_path):
    other = {**FILES, "config.json": b"{}", "model-00002-of-00002.safetensors": weights(9)}
    with serve({REPOSITORY: Repository({"main": FILES, "step8": other})}) as hub:
        cached(hub, tmp_path).fetch(listed(FILES, NEEDED))
        step = cached(hub, tmp_path, revision="step8")
        step.fetch(listed(other, NEEDED))
        assert contents(step) == {name: other[name] for name in NEEDED}
        assert hub.bytes_sent[f"{REPOSITORY}/{SHARD}"] == len(FILES[SHARD])


def test_a_file_is_hashed_once_while_nobody_writes_it(tmp_path, monkeypatch):
    hashed = []

    def counted(path):
        hashed.append(Path(path).name)
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()

    monkeypatch.setitem(cached_file.DIGESTS, 64, counted)
    monkeypatch.setattr(large_file, "file_sha256", counted)
    files = listed(FILES, [SHARD])
    with serve({REPOSITORY: FILES}) as hub:
        checkpoint = cached(hub, tmp_path)
        checkpoint.fetch(files)
        assert len(hashed) == 1
        cached(hub, tmp_path).fetch(files)
        assert len(hashed) == 1
        blob = (checkpoint.folder / SHARD).resolve()
        os.utime(blob)
        cached(hub, tmp_path).fetch(files)
        assert len(hashed) == 2


# -- the disk ----------------------------------------------------------------------------------------------------------


def test_a_disk_with_too_little_room_is_refused_before_a_byte(tmp_path, monkeypatch):
    needed = sum(len(FILES[name]) for name in NEEDED)
    free = needed - 1
    monkeypatch.setattr(access.shutil, "disk_usage", lambda _: Usage(10**9, 0, free))
    with serve({REPOSITORY: FILES}) as hub:
        folder = tmp_path / "not" / "there"
        with pytest.raises(ValueError, match=r"full for tiny/model: 40,023 bytes .* 40,022 are free") as refused:
            cached(hub, folder).fetch(listed(FILES, NEEDED))
        assert str(folder) in str(refused.value)
        assert "`cache_dir`" in str(refused.value)
        assert "\n" not in str(refused.value)
        assert hub.requests == []
        assert not folder.exists()
        free = needed
        cached(hub, folder).fetch(listed(FILES, NEEDED))
        # What is there needs no room; what is new does.
        free = 0
        cached(hub, folder).fetch(listed(FILES, NEEDED))
        with pytest.raises(ValueError, match=r"20,002 bytes are needed, 0 are free"):
            cached(hub, folder).fetch(listed(FILES))
        digest = hashlib.sha256(FILES["pytorch_model.bin"]).hexdigest()
        (home,) = folder.glob("models--*")
        (home / "blobs" / f"{digest}.incomplete").write_bytes(FILES["pytorch_model.bin"][:15_000])
        free = 6000
        cached(hub, folder).fetch(listed(FILES, ["pytorch_model.bin"]))


def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(stream, chunks):
        yield next(iter(chunks))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(large_file.Stream, "moving", full)
    with (
        serve({REPOSITORY: FILES}) as hub,
        pytest.raises(ValueError, match="the disk ran full: 20,000 bytes were needed"),
    ):
        cached(hub, tmp_path).fetch(listed(FILES, [SHARD]))
    assert blobs(tmp_path) == []


# -- wrong bytes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["corrupt", "other_bytes", "longer"])
def test_wrong_bytes_are_refused_and_not_left_behind(tmp_path, kind):
    fault = Fault(kind, file=SHARD, times=None, after=5, shift=0 if kind != "other_bytes" else 7)
    with serve({REPOSITORY: FILES}, faults=[fault]) as hub:
        with pytest.raises(ValueError, match=SHARD) as refused:
            cached(hub, tmp_path).fetch(listed(FILES, [SHARD]))
        assert "\n" not in str(refused.value)
        assert not (cached(hub, tmp_path).folder / SHARD).exists()
        digest = hashlib.sha256(FILES[SHARD]).hexdigest()
        assert digest not in blobs(tmp_path)
        hub.faults.clear()
        checkpoint = cached(hub, tmp_path)
        checkpoint.fetch(listed(FILES, [SHARD]))
        assert contents(checkpoint) == {SHARD: FILES[SHARD]}


def test_a_small_file_is_known_by_the_digest_that_the_hub_gave_it(tmp_path):
    fault = Fault("corrupt", file="config.json")
    with serve({REPOSITORY: FILES}, faults=[fault]) as hub:
        checkpoint = cached(hub, tmp_path)
        with pytest.raises(ValueError, match=r"^tiny/model: config.json: its digest is .* it was removed, run again"):
            checkpoint.fetch(listed(FILES, ["config.json"]))
        assert blobs(tmp_path) == []
        checkpoint.fetch(listed(FILES, ["config.json"]))
        assert contents(checkpoint) == {"config.json": FILES["config.json"]}


def test_git_names_a_small_file_by_its_own_digest(tmp_path):
    # `printf 'hello\n' | git hash-object --stdin`
    name = "ce013625030ba8dba906f756967f9e9ca394464a"
    (tmp_path / name).write_bytes(b"hello\n")
    assert cached_file.difference(tmp_path / name, row("config.json", 6)) == ""
    (tmp_path / name).write_bytes(b"hellO\n")
    assert "its digest is" in cached_file.difference(tmp_path / name, row("config.json", 6))


def test_a_cached_file_that_changed_is_refused_removed_and_fetched_anew(tmp_path):
    files = listed(FILES, [SHARD])
    with serve({REPOSITORY: FILES}) as hub:
        checkpoint = cached(hub, tmp_path)
        checkpoint.fetch(files)
        blob = (checkpoint.folder / SHARD).resolve()
        blob.write_bytes(bytes([FILES[SHARD][0] ^ 1]) + FILES[SHARD][1:])
        with pytest.raises(ValueError, match=f"^tiny/model: {SHARD}: its digest is .* it was removed"):
            checkpoint.fetch(files)
        assert not blob.exists()
        checkpoint.fetch(files)
        # One of another size is known to be wrong without a digest, and fetched anew at once.
        blob.write_bytes(b"short")
        checkpoint.fetch(files)
        assert contents(checkpoint) == {SHARD: FILES[SHARD]}


# -- breaks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["truncate", "reset"])
@pytest.mark.parametrize("cdn", [False, True])
def test_a_download_that_breaks_goes_on_where_it_was(tmp_path, kind, cdn):
    breaks = [Fault(kind, file=SHARD, after=5 * PIECE, times=3)]
    with serve({REPOSITORY: FILES}, faults=breaks, cdn=cdn) as hub:
        checkpoint = cached(hub, tmp_path)
        checkpoint.fetch(listed(FILES, [SHARD]))
        assert contents(checkpoint) == {SHARD: FILES[SHARD]}
        ranges = [request.range for request in hub.file_requests(SHARD) if request.port != 0 and request.range]
        assert len(set(ranges)) == 4
        # A break loses what the client had not yet handed on: less than one piece each time.
        assert hub.bytes_sent[f"{REPOSITORY}/{SHARD}"] <= len(FILES[SHARD]) + 3 * PIECE


def test_the_next_run_goes_on_where_this_one_gave_up(tmp_path):
    breaks = [Fault("truncate", file=SHARD, after=7 * PIECE), Fault("drop", file=SHARD, times=None)]
    with serve({REPOSITORY: FILES}, faults=breaks) as hub:
        with pytest.raises(
            ValueError, match=rf"^tiny/model/{SHARD}: .*; given up after 2 attempts: run again to go on"
        ):
            cached(hub, tmp_path).fetch(listed(FILES, [SHARD]))
        (partial,) = Path(tmp_path).glob("models--*/blobs/*.incomplete")
        there = partial.stat().st_size
        assert there >= 6 * PIECE
        assert not cached(hub, tmp_path).folder.exists()
        hub.faults.clear()
        hub.requests.clear()
        checkpoint = cached(hub, tmp_path)
        checkpoint.fetch(listed(FILES, [SHARD]))
        assert [request.range for request in hub.file_requests(SHARD)] == [f"bytes={there}-"]
        assert contents(checkpoint) == {SHARD: FILES[SHARD]}
        assert not partial.exists()


@pytest.mark.parametrize("kind", ["whole", "gzip", "no_length"])
def test_an_answer_of_another_form_does_no_harm(tmp_path, kind):
    faults = [Fault("truncate", file=SHARD, after=5 * PIECE), Fault(kind, file=SHARD)]
    with serve({REPOSITORY: FILES}, faults=faults) as hub:
        checkpoint = cached(hub, tmp_path)
        checkpoint.fetch(listed(FILES, [SHARD]))
        assert contents(checkpoint) == {SHARD: FILES[SHARD]}


def test_what_an_earlier_run_left_is_thrown_away_if_it_does_not_fit(tmp_path):
    with serve({REPOSITORY: FILES}) as hub:
        checkpoint = cached(hub, tmp_path)
        partial = checkpoint.folder.parents[1] / "blobs" / f"{hashlib.sha256(FILES[SHARD]).hexdigest()}.incomplete"
        partial.parent.mkdir(parents=True)
        for wrong in (b"wrong", bytes(len(FILES[SHARD])), bytes(len(FILES[SHARD]) + 1)):
            partial.write_bytes(wrong)
            checkpoint.fetch(listed(FILES, [SHARD]))
            assert contents(checkpoint) == {SHARD: FILES[SHARD]}
            checkpoint.remove(listed(FILES, [SHARD]))
            partial.parent.mkdir(parents=True, exist_ok=True)


def test_one_file_that_fails_ends_the_others(tmp_path):
    slow = {f"model-{number:05d}-of-00006.safetensors": weights(number, 40_000) for number in range(1, 7)}
    broken = "model-00002-of-00006.safetensors"
    faults = [Fault("trickle", file=name, rate=1000, times=None) for name in slow if name != broken]
    with serve({REPOSITORY: slow}, faults=[*faults, Fault("corrupt", file=broken)]) as hub:
        start = time.monotonic()
        with pytest.raises(ValueError, match=broken):
            cached(hub, tmp_path).fetch(listed(slow))
        assert time.monotonic() - start < 5  # each of the others takes 40 s
        assert len({request.path for request in hub.file_requests()}) <= 5


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repository", "faults", "token", "message"),
    [
        (Repository({"main": FILES}, gated=True, token=TOKEN), [], None, "the model is gated: ask for access at"),
        (Repository({"main": FILES}, gated=True, token=TOKEN), [], "hf_wrong", "the account of HF_TOKEN has no access"),
        (Repository({"main": FILES}, private=True, token=TOKEN), [], None, "no such model, or it is private"),
        (Repository({"main": FILES}), [Fault("status", file=SHARD, status=429, times=None)], None, "answered 429"),
        (Repository({"main": FILES}), [Fault("status", file=SHARD, status=500, times=None)], None, "answered 500"),
        (Repository({"main": FILES}), [Fault("status", file=SHARD, status=416, times=None)], None, "with 416"),
        (Repository({"main": FILES}), [Fault("drop", times=None), Fault("drop", method="HEAD", times=None)], None,
         "given up after 2 attempts"),
    ],
)  # fmt: skip
def test_what_the_hub_refuses_is_one_line_and_leaves_no_file(tmp_path, monkeypatch, repository, faults, token, message):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with serve({REPOSITORY: repository}, faults=faults) as hub:
        with pytest.raises(ValueError, match=message) as refused:
            cached(hub, tmp_path).fetch(listed(FILES, [SHARD]))
        assert str(refused.value).startswith(REPOSITORY)
        assert "\n" not in str(refused.value)
        assert not cached(hub, tmp_path).folder.exists()


def test_the_token_goes_to_the_hub_alone_and_is_written_nowhere(tmp_path, monkeypatch, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    closed = Repository({"main": FILES}, gated=True, token=TOKEN)
    with serve({REPOSITORY: closed}, cdn=True) as hub:
        monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\n")
        checkpoint = cached(hub, tmp_path)
        checkpoint.fetch(listed(FILES, NEEDED))
        assert contents(checkpoint) == {name: FILES[name] for name in NEEDED}
        asked = {(str(request.port) in hub.url, request.headers.get("authorization")) for request in hub.requests}
        assert asked == {(True, f"Bearer {TOKEN}"), (False, None)}
        hub.requests.clear()
        monkeypatch.delenv("HF_TOKEN")
        with pytest.raises(ValueError, match="the model is gated"):
            cached(hub, tmp_path).fetch(listed(FILES))
        assert {request.headers.get("authorization") for request in hub.requests} == {None}
    said = "".join(record.getMessage() for record in caplog.records) + "".join(capfd.readouterr())
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert TOKEN not in said
    assert TOKEN.encode() not in written


def test_the_token_that_a_login_stored_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    with serve({REPOSITORY: FILES}) as hub:
        cached(hub, tmp_path / "cache").fetch(listed(FILES, NEEDED))
        assert {request.headers.get("authorization") for request in hub.requests} == {None}


# -- removal -----------------------------------------------------------------------------------------------------------


def test_removal_keeps_what_another_revision_shares(tmp_path):
    other = {**FILES, "config.json": b"{}", "model-00002-of-00002.safetensors": weights(9)}
    with serve({REPOSITORY: Repository({"main": FILES, "step8": other})}) as hub:
        main, step = cached(hub, tmp_path), cached(hub, tmp_path, revision="step8")
        main.fetch(listed(FILES, NEEDED))
        step.fetch(listed(other, NEEDED))
        before = set(blobs(tmp_path))
        main.remove(listed(FILES, NEEDED))
        assert not main.folder.exists()
        assert contents(step) == {name: other[name] for name in NEEDED}
        # Its own second shard, and its own config.json, which the hub names by git's digest.
        gone = before - set(blobs(tmp_path))
        assert {name for name in gone if len(name) == 64} == {hashlib.sha256(FILES[NEEDED[2]]).hexdigest()}
        assert len(gone) == 2
        hub.close()
        step.fetch(listed(other, NEEDED))
        step.remove(listed(other, NEEDED))
    assert blobs(tmp_path) == []
    assert scan_cache_dir(tmp_path).repos == frozenset()


def test_removal_leaves_the_files_that_were_not_named(tmp_path):
    with serve({REPOSITORY: FILES}) as hub:
        checkpoint = cached(hub, tmp_path)
        checkpoint.fetch(listed(FILES, [*NEEDED, "tokenizer.json"]))
        checkpoint.remove(listed(FILES, NEEDED))
        assert contents(checkpoint) == {"tokenizer.json": FILES["tokenizer.json"]}
        checkpoint.fetch(listed(FILES, NEEDED))
        assert contents(checkpoint) == {name: FILES[name] for name in [*NEEDED, "tokenizer.json"]}


def test_removal_leaves_copies_of_the_repository_which_have_its_commits(tmp_path):
    copy = Repository({"main": FILES}, commits={"main": "1" * 40})
    copies = [f"tiny/copy{number}" for number in range(6)]
    with serve(dict.fromkeys([REPOSITORY, *copies], copy)) as hub:
        for name in [REPOSITORY, *copies]:
            cached(hub, tmp_path, name).fetch(listed(FILES, NEEDED))
        cached(hub, tmp_path).remove(listed(FILES, NEEDED))
        assert not cached(hub, tmp_path).folder.exists()
        for name in copies:
            assert contents(cached(hub, tmp_path, name)) == {name: FILES[name] for name in NEEDED}


def test_a_removed_checkpoint_is_fetched_again(tmp_path):
    with serve({REPOSITORY: FILES}) as hub:
        checkpoint = cached(hub, tmp_path)
        for _ in range(2):
            checkpoint.fetch(listed(FILES, NEEDED))
            checkpoint.remove(listed(FILES, NEEDED))
        assert hub.bytes_sent[f"{REPOSITORY}/{SHARD}"] == 2 * len(FILES[SHARD])


def test_what_cannot_be_read_is_not_removed(tmp_path):
    with serve({REPOSITORY: FILES}) as hub:
        checkpoint = cached(hub, tmp_path)
        checkpoint.fetch(listed(FILES, NEEDED))
        (checkpoint.folder / "broken").symlink_to("nowhere")
        with pytest.raises(ValueError, match="remove it by hand"):
            checkpoint.remove(listed(FILES, NEEDED))
        assert (checkpoint.folder / SHARD).exists()


# -- the scripts -------------------------------------------------------------------------------------------------------


class Study:
    """A tiny model on a hub, and what the rules would hand to the scripts."""

    def __init__(self, folder, hub, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.chdir(folder)
        self.folder = folder
        self.where = {"source": REPOSITORY, "revision": "main", "cache_dir": "cache"}
        rows = [{"chunk": chunk, "page": 0, "text": text} for chunk, text in enumerate(sentences(12))]
        write_table(folder / "chunks.parquet", pa.Table.from_pylist(rows, schema=CHUNKS), CHUNKS, settings={"seed": 3})
        self.tokenizer = save_tokenizer(folder / "tokenizer") / "tokenizer.json"
        write_table(folder / "tokenizer.parquet", listing_table([]), LISTING)
        resolve_model(files=[], listing=folder / "listing.parquet", config=folder / "config.json", **self.where)

    def fetch(self, **options):
        fetch_checkpoint(
            listing=self.folder / "listing.parquet",
            config=self.folder / "config.json",
            checkpoint=self.folder / "checkpoint.parquet",
            **self.where,
            **options,
        )
        return [row["path"] for row in read_table(self.folder / "checkpoint.parquet").to_pylist()]

    def dump(self, **options):
        dump_hidden_states(
            checkpoint=self.folder / "checkpoint.parquet",
            config=self.folder / "config.json",
            chunks=self.folder / "chunks.parquet",
            tokenizer=self.tokenizer,
            tokenizer_listing=self.folder / "tokenizer.parquet",
            folder=self.folder / "layers",
            manifest=self.folder / "manifest.parquet",
            device="cpu",
            cache_dir="cache",
            **options,
        )

    def weights(self):
        return sorted(path.name for path in self.folder.glob("cache/models--*/snapshots/*/*") if path.suffix != ".json")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    built = build_model("gpt_neox")
    save_bin(built, folder)
    save_safetensors(built, folder, sharded=True)
    (folder / "modeling_own.py").write_text("")
    return folder


def test_a_checkpoint_is_dumped_and_removed_if_it_is_not_kept(tmp_path, monkeypatch, model, caplog):
    caplog.set_level(logging.INFO)
    with serve({REPOSITORY: model}) as hub:
        study = Study(tmp_path, hub, monkeypatch)
        fetched = study.fetch()
        assert hub.bytes_sent[f"{REPOSITORY}/pytorch_model.bin"] == 0
        assert sorted(study.weights()) == sorted(name for name in fetched if not name.endswith(".json"))
        study.dump()
        kept = (tmp_path / "manifest.parquet").read_bytes()
        assert study.weights()
        study.dump(keep_checkpoint=False)
        assert study.weights() == []
        assert (tmp_path / "manifest.parquet").read_bytes() == kept
        # Two runs may be of one commit: the second finds its files gone, and has them again.
        study.dump(keep_checkpoint=False)
        assert (tmp_path / "manifest.parquet").read_bytes() == kept
        assert study.weights() == []


def test_without_network_a_cached_checkpoint_is_enough(tmp_path, monkeypatch, model):
    with serve({REPOSITORY: model}) as hub:
        study = Study(tmp_path, hub, monkeypatch)
        fetched = study.fetch()
        first = (tmp_path / "checkpoint.parquet").read_bytes()
        hub.close()
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert study.fetch() == fetched
        assert (tmp_path / "checkpoint.parquet").read_bytes() == first
        study.dump()
    assert (tmp_path / "manifest.parquet").is_file()


def test_a_checkpoint_that_cannot_be_removed_costs_no_forward_pass(tmp_path, monkeypatch, model, caplog):
    with serve({REPOSITORY: model}) as hub:
        study = Study(tmp_path, hub, monkeypatch)
        study.fetch()
        (snapshot,) = tmp_path.glob("cache/models--*/snapshots/*")
        (snapshot / "broken").symlink_to("nowhere")
        study.dump(keep_checkpoint=False)
    assert (tmp_path / "manifest.parquet").is_file()
    assert "the checkpoint was not removed" in caplog.text


def test_the_repository_s_code_comes_only_if_it_is_trusted(tmp_path, monkeypatch, model):
    with serve({REPOSITORY: model}) as hub:
        study = Study(tmp_path, hub, monkeypatch)
        assert "modeling_own.py" not in study.fetch()
        assert hub.file_requests("modeling_own.py") == []
        assert "modeling_own.py" in study.fetch(trust_remote_code=True)


def test_a_model_that_is_code_is_refused_before_a_weight_comes(tmp_path, monkeypatch, model):
    change = {"model_type": "own", "auto_map": {"AutoModel": "modeling_own.OwnModel"}}
    files = {path.name: path.read_bytes() for path in model.iterdir()}
    files["config.json"] = json.dumps({**json.loads(files["config.json"]), **change}).encode()
    with serve({REPOSITORY: files}) as hub:
        study = Study(tmp_path, hub, monkeypatch)
        with pytest.raises(ValueError, match="set `trust_remote_code: true`") as refused:
            study.fetch()
        assert str(refused.value).startswith("tiny/model (main): config.json: ")
        assert "\n" not in str(refused.value)
        assert hub.file_requests("-of-") == []
        assert "modeling_own.py" in study.fetch(trust_remote_code=True)


def test_a_checkpoint_that_is_not_kept_comes_with_the_job_that_needs_it(tmp_path, monkeypatch, model):
    """Fetches run ahead of forward passes; of those that are not kept there is one on the disk per forward pass."""
    with serve({REPOSITORY: model}) as hub:
        study = Study(tmp_path, hub, monkeypatch)
        study.fetch(keep_checkpoint=False)
        assert study.weights() == []
        study.dump(keep_checkpoint=False)
        assert (tmp_path / "manifest.parquet").is_file()
        assert study.weights() == []


def test_the_commit_that_was_listed_is_fetched_although_the_branch_moved(tmp_path, monkeypatch, model):
    files = {path.name: path.read_bytes() for path in model.iterdir()}
    moved = {**files, "config.json": files["config.json"] + b" "}
    before, after = "1" * 40, "2" * 40
    with serve({REPOSITORY: Repository({"main": files}, commits={"main": before})}) as hub:
        Study(tmp_path, hub, monkeypatch)
    both = Repository({"main": moved, before: files}, commits={"main": after, before: before})
    with serve({REPOSITORY: both}) as hub:
        study = Study.__new__(Study)
        study.folder, study.where = tmp_path, {"source": REPOSITORY, "revision": "main", "cache_dir": "cache"}
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        study.fetch()
        asked = [
            request.path for request in hub.requests if "/resolve/" in request.path or "/revision/" in request.path
        ]
        assert asked
        assert all(before in path for path in asked)


def test_a_folder_s_files_stay_where_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = save_safetensors(build_model("gpt_neox"), "mine/step8", sharded=True)
    (folder / "optimizer.bin").write_bytes(b"x")
    where = {"source": "./mine", "revision": "step8", "cache_dir": "cache"}
    listing, config, checkpoint = (tmp_path / name for name in ("listing.parquet", "config.json", "checkpoint.parquet"))
    resolve_model(files=[], listing=listing, config=config, **where)
    fetch_checkpoint(listing=listing, config=config, checkpoint=checkpoint, **where)
    needed = {file.path for file in read_listing(checkpoint)}
    assert needed == {path.name for path in folder.iterdir()} - {"optimizer.bin"}
    facts = provenance.read(checkpoint)
    assert facts["settings"] == {"folder": "mine/step8", "revision": "step8"}
    assert facts["origin"] == provenance.read(listing)["origin"]
    assert not (tmp_path / "cache").exists()


def test_one_file_of_weights_cannot_be_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"decoder.embed_tokens.weight": torch.ones(4, 2)}, "restored.pt")
    where = {"source": "./restored.pt", "revision": "main", "cache_dir": "cache"}
    listing, config = tmp_path / "listing.parquet", tmp_path / "config.json"
    resolve_model(files=[], listing=listing, config=config, **where)
    with pytest.raises(ValueError, match=r"^./restored.pt \(main\): no config.json beside the weights"):
        fetch_checkpoint(listing=listing, config=config, checkpoint=tmp_path / "checkpoint.parquet", **where)


def test_a_folder_of_one_s_own_is_never_removed(tmp_path, monkeypatch, model):
    with serve({REPOSITORY: model}) as hub:
        study = Study(tmp_path, hub, monkeypatch)
        study.where["source"] = str(model)
        resolve_model(files=[], listing=tmp_path / "listing.parquet", config=tmp_path / "config.json", **study.where)
        study.fetch()
        before = {path: path.stat().st_mtime_ns for path in model.iterdir()}
        study.dump(keep_checkpoint=False)
        assert {path: path.stat().st_mtime_ns for path in model.iterdir()} == before
