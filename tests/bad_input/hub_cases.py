"""Hubs that refuse, break off, or answer something else than what was asked for."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from entry_points import BadInput, Ran, ran
from loopback_hub import Fault, Hub, OnlyListed, Repository, serve
from model_jobs import CONFIG, TOKENIZER, WEIGHTS, sound_files, tokenizer_of

from lm_geometry.checkpoints.hub.patience import Patience
from lm_geometry.checkpoints.ledger import listing_table
from lm_geometry.tables.files import write_table
from lm_geometry.tables.listing import SCHEMA as LISTING
from scripts.extract_embedding_table import extract_embedding_table
from scripts.fetch_checkpoint import fetch_checkpoint
from scripts.resolve_model import resolve_model

NAME = "tiny/neox"
COMMIT = "0" * 40
# What the jobs would wait minutes for is over in a moment; but a busy machine's silence is no stall.
HASTY = Patience(attempts=2, first_wait=0.0, longest_wait=0.0, longest_retry_after=0.0)
IMPATIENT = replace(HASTY, attempts=1, silence=0.3, slowest=100_000.0)
Files = Mapping[str, bytes | OnlyListed]
# Takes a folder and the params by which a job knows its source, and returns the job, ready to run.
Job = Callable[[Path, Mapping[str, str]], Callable[[], Ran]]


def over(
    job: Job,
    *faults: Fault,
    files: Files | None = None,
    repository: Callable[[Files], Repository] = lambda files: Repository({"main": files}),
    revision: str = "main",
    token: str | None = None,
    closed: bool = False,
    patience: Patience = HASTY,
) -> Callable[[Path], Ran]:
    """Run a job against a hub whose faults begin when the job does.

    Parameters
    ----------
    job : Job
        See there.
    *faults : Fault
        What goes wrong.
    files, repository
        What the hub has: the sound model by default, in a repository that anybody may read.
    revision : str
        Which one is asked for.
    token : str, optional
        What HF_TOKEN holds.
    closed : bool
        Whether nobody answers at all.
    patience : Patience
        The jobs'.
    """

    def run(folder: Path) -> Ran:
        served = repository(sound_files() if files is None else files)
        with pytest.MonkeyPatch.context() as patch, serve({NAME: served}) as hub:
            _ask(hub, patch, patience)
            if token is not None:
                patch.setenv("HF_TOKEN", token)
            ready = job(folder, {"source": NAME, "revision": revision, "cache_dir": str(folder / "cache")})
            hub.faults += faults
            if closed:
                hub.close()
            return ready()

    return run


def _ask(hub: Hub, patch: pytest.MonkeyPatch, patience: Patience) -> None:
    """Take this hub for the hub, without anybody's token, and have no other patience."""
    patch.delenv("HF_TOKEN", raising=False)
    patch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    patch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    for module in ("file_download", "utils._http"):
        patch.setattr(f"huggingface_hub.{module}.time", SimpleNamespace(sleep=lambda _: None, time=time.time))
    for module in ("revision", "ranges", "whole_files"):
        patch.setattr(f"lm_geometry.checkpoints.hub.{module}.Patience", lambda: patience)


def ever(kind: str, file: str = "", **how: Any) -> Fault:
    """Return a fault that strikes whatever is asked for of a file."""
    return Fault(kind, file=file, times=None, **how)


def both(kind: str, file: str, **how: Any) -> tuple[Fault, Fault]:
    """Return the fault of a file, and of what the client asks about it first."""
    return ever(kind, file, **how), ever(kind, file, method="HEAD", **how)


# -- the jobs ----------------------------------------------------------------------------------------------------------


def listing(folder: Path, params: Mapping[str, str]) -> Callable[[], Ran]:
    """List the model."""
    outputs = {"listing": "listing.parquet", "config": CONFIG}
    return lambda: ran(folder, resolve_model, input={"files": []}, output=outputs, params=params)


def tokenizer(folder: Path, params: Mapping[str, str]) -> Callable[[], Ran]:
    """Fetch the tokenizer."""
    return lambda: tokenizer_of(folder, params)


def ranges(folder: Path, params: Mapping[str, str], verify: str = "ranges") -> Callable[[], Ran]:
    """Extract the table of the listed model, by ranges."""
    (folder / TOKENIZER).write_bytes(sound_files()[TOKENIZER])
    write_table(folder / "tokenizer.parquet", listing_table([]), LISTING)
    tokenizer = {"tokenizer": folder / TOKENIZER, "tokenizer_listing": folder / "tokenizer.parquet"}
    settings = {"model": "mine", "verify": verify, "embedding_tensor": None}
    return partial(
        ran,
        folder,
        extract_embedding_table,
        input={**_listed(folder, params), **tokenizer},
        output={"table": "table.parquet"},
        params={**params, **settings},
    )


def whole(folder: Path, params: Mapping[str, str]) -> Callable[[], Ran]:
    """Fetch the listed model's weights as whole files."""
    inputs = _listed(folder, params)
    return lambda: ran(folder, fetch_checkpoint, input=inputs, output={"checkpoint": "checkpoint"}, params=params)


def verified(folder: Path, params: Mapping[str, str]) -> Callable[[], Ran]:
    """Extract the table of the listed model out of the whole file."""
    return ranges(folder, params, verify="full")


def _listed(folder: Path, params: Mapping[str, str]) -> dict[str, Path]:
    inputs = {"listing": folder / "listing.parquet", "config": folder / CONFIG}
    resolve_model(files=[], **inputs, **params)
    return inputs


# -- what it has -------------------------------------------------------------------------------------------------------


def gated(files: Files) -> Repository:
    return Repository({"main": files}, gated=True, token="hf_right")


def private(files: Files) -> Repository:
    return Repository({"main": files}, private=True, token="hf_right")


def listing_row(name: str, size: int | None = 3, **facts: Any) -> Callable[[Files], Repository]:
    """Return a repository whose list of files is this one row."""
    return lambda files: Repository({"main": files}, siblings=[{"rfilename": name, "size": size, **facts}])


def absent(name: str) -> Files:
    """Return the sound files, of which one is listed only."""
    return {**sound_files(), name: OnlyListed(len(sound_files()[name]))}


def good_hub(folder: Path) -> list[Ran]:
    """Run every job against a hub without faults, each in a folder of its own."""
    seen = []
    for job in (listing, tokenizer, ranges, whole, verified):
        (folder / job.__name__).mkdir()
        seen.append(over(job)(folder / job.__name__))
    return seen


# -- the cases: name, what is run, and what the error line says --------------------------------------------------------

CASES = {
    # Refusals.
    "hub: gated": (over(listing, repository=gated), r"tiny/neox: .*gated: ask for access at", "set HF_TOKEN"),
    "hub: gated from the account": (over(listing, repository=gated, token="hf_other"), r"HF_TOKEN has no access"),
    "hub: private": (over(listing, repository=private), r"tiny/neox: .*no such model, or", "set HF_TOKEN"),
    "hub: no such revision": (over(listing, revision="step9"), r"tiny/neox: no revision 'step9'; nearest of 1: main"),
    "hub: unknown token": (over(listing, ever("status", status=401), token="hf_old"), r"HF_TOKEN: make a new"),
    "hub: token with a blank": (over(listing, token="hf old"), r"HF_TOKEN holds a blank", "copy the token again"),
    "hub: refuses all": (over(listing, ever("status", status=403)), r"tiny/neox .* with 403;", "HF_ENDPOINT"),
    # Nobody there.
    "hub: nobody answers": (over(listing, closed=True), r"tiny/neox .*cannot be reached", "check the network"),
    "hub: 500 for ever": (over(listing, ever("status", status=500)), r"tiny/neox .*answered 500", "check the network"),
    "hub: hangs up": (over(listing, ever("drop")), r"tiny/neox .*cannot be reached", "check the network"),
    "hub: redirects in a loop": (over(listing, ever("loop")), r"tiny/neox .*redirects", "check the network"),
    # The list of files.
    "hub: list is a page": (over(listing, ever("page", "/api/")), r"tiny/neox: .*listing", "check HF_ENDPOINT"),
    "hub: list is a redirect to nowhere": (over(listing, ever("status", status=302)), r"listing", "check HF_ENDPOINT"),
    "hub: list is empty": (over(listing, files={}), r"tiny/neox .*no weights: looked for", "holds nothing; put"),
    "hub: list leads out": (
        over(listing, repository=listing_row("../a.bin")),
        r"tiny/neox: .*'\.\./a\.bin' is refused",
        "take",
    ),
    "hub: list is absolute": (
        over(listing, repository=listing_row("/etc/a")),
        r"tiny/neox: .*'/etc/a' is refused",
        "take",
    ),
    "hub: list without sizes": (
        over(listing, repository=listing_row(CONFIG, None)),
        r"config\.json",
        "has the size None; take",
    ),
    "hub: list with a digest that is none": (
        over(listing, repository=listing_row(WEIGHTS, lfs={"sha256": "zz", "size": 3, "pointerSize": 1})),
        r"tiny/neox: .*'model\.safetensors' has no sha256 digest but 'zz'; take",
    ),
    "hub: commit that is none": (
        over(listing, repository=lambda files: Repository({"main": files}, sha="main")),
        r"tiny/neox: .*commit 'main', which is none; ask again",
    ),
    # A small file.
    "hub: config.json is gone": (
        over(listing, files=absent(CONFIG)),
        r"tiny/neox .*lists config\.json",
        "try again later",
    ),
    "hub: config.json is a page": (over(listing, ever("page", CONFIG)), r"tiny/neox .*config\.json:", "Run again"),
    "hub: config.json is longer": (over(listing, ever("longer", CONFIG, after=9)), r"config\.json:", "Run again"),
    "hub: config.json breaks off": (
        over(listing, ever("truncate", CONFIG, after=9)),
        r"tiny/neox .*cannot be reached",
        "check the network",
    ),
    "hub: config.json fails": (
        over(listing, *both("status", CONFIG)),
        r"tiny/neox .*answered 500",
        "check the network",
    ),
    "hub: config.json is damaged": (over(listing, ever("corrupt", CONFIG)), r"config\.json: its digest", "run again"),
    "hub: config.json of another commit": (
        over(listing, *both("commit", CONFIG)),
        rf"tiny/neox: config\.json: .*{COMMIT}.* is of another commit",
        "run again",
    ),
    "hub: config.json redirects in a loop": (
        over(listing, *both("loop", CONFIG)),
        r"tiny/neox .*cannot be reached \(.*missing the 'X-Repo-Commit' header",
        "check the network",
    ),
    "hub: no tokenizer": (over(tokenizer, files={"README.md": b""}), r"tiny/neox:", "set `tokenizer` to a source"),
    "hub: tokenizer.json is gone": (
        over(tokenizer, files=absent(TOKENIZER)),
        r"lists tokenizer\.json",
        "try again later",
    ),
    "hub: tokenizer.json is damaged": (
        over(tokenizer, ever("corrupt", TOKENIZER)),
        r"tokenizer\.json: its digest",
        "run again",
    ),
    # A range of a large file.
    "range: is gone": (over(ranges, files=absent(WEIGHTS)), r"neox .*lists model\.safetensors", "try again later"),
    "range: 500 for ever": (over(ranges, ever("status", WEIGHTS)), r"model\.safetensors: .*answered 500;", "run again"),
    "range: refused": (over(ranges, ever("status", WEIGHTS, status=403)), r"tiny/neox .* with 403;", "HF_ENDPOINT"),
    "range: breaks off": (
        over(ranges, ever("truncate", WEIGHTS, after=9)),
        r"model\.safetensors: .*9 bytes",
        "run again",
    ),
    "range: hangs": (
        over(ranges, ever("hang", WEIGHTS, after=9), patience=IMPATIENT),
        r"model\.safetensors: .*timed out;",
        "run again",
    ),
    "range: trickles": (
        over(ranges, ever("trickle", WEIGHTS, rate=3000), patience=IMPATIENT),
        r"safetensors: .*it trickles at",
        "run again",
    ),
    "range: ignored": (over(ranges, ever("whole", WEIGHTS)), r"model\.safetensors: .*answered 200 .*206", "run again"),
    "range: another one": (over(ranges, ever("wrong_range", WEIGHTS)), r"safetensors: .*Content-Range is 'bytes 1-"),
    "range: of a longer file": (
        over(ranges, ever("wrong_total", WEIGHTS)),
        r"safetensors: .*Content-Range is",
        "run again",
    ),
    "range: longer than asked for": (over(ranges, ever("longer", WEIGHTS, after=9)), r"Content-Length is", "run again"),
    "range: compressed": (over(ranges, ever("gzip", WEIGHTS)), r"model\.safetensors: .*encoded \(gzip\);", "run again"),
    "range: without a tag": (over(ranges, ever("no_etag", WEIGHTS)), r"model\.safetensors: .*no ETag;", "run again"),
    "range: of other content": (
        over(ranges, ever("etag", WEIGHTS, value="f" * 64)),
        r"sha256 ffff",
        "list the model anew",
    ),
    "range: of another commit": (over(ranges, ever("commit", WEIGHTS)), rf"commit '{COMMIT}'", "list the model anew"),
    "range: redirects in a loop": (over(ranges, ever("loop", WEIGHTS)), r"safetensors: .*redirects", "run again"),
    # A large file as a whole.
    "file: 500 for ever": (over(whole, ever("status", WEIGHTS)), r"model\.safetensors: .*answered 500;", "run again"),
    "file: told to wait for an hour": (
        over(whole, ever("status", WEIGHTS, status=429, retry_after="3600")),
        r"tiny/neox/model\.safetensors: the server answered 429;",
        "run again",
    ),
    "file: breaks off": (
        over(whole, ever("truncate", WEIGHTS, after=9)),
        r"model\.safetensors: .*9 bytes",
        "run again",
    ),
    "file: is reset": (
        over(whole, ever("reset", WEIGHTS, after=9)),
        r"model\.safetensors: .*reset by peer;",
        "run again",
    ),
    "file: hangs": (
        over(whole, ever("hang", WEIGHTS, after=9), patience=IMPATIENT),
        r"model\.safetensors: .*timed out;",
        "run again",
    ),
    "file: trickles": (
        over(whole, ever("trickle", WEIGHTS, rate=3000), patience=IMPATIENT),
        r"safetensors: it trickles at",
        "run again",
    ),
    "file: is empty": (
        over(whole, ever("empty", WEIGHTS)),
        r"tiny/neox/model\.safetensors: .*; given up after 2 attempts",
        "run again",
    ),
    "file: is longer": (
        over(whole, ever("longer", WEIGHTS, after=9)),
        r"model\.safetensors: .*the sha256",
        "run again",
    ),
    "file: is a page": (
        over(whole, ever("page", WEIGHTS)),
        r"model\.safetensors: the answer was too short;",
        "run again",
    ),
    "file: another range": (over(whole, ever("wrong_range", WEIGHTS)), r"Content-Range is 'bytes 1-", "run again"),
    "file: is damaged": (over(whole, ever("corrupt", WEIGHTS)), r"tiny/neox/model\.safetensors:", "removed, run again"),
    "file: redirects in a loop": (over(whole, ever("loop", WEIGHTS)), r"safetensors: .*redirects", "run again"),
    "file: is damaged, verified": (over(verified, ever("corrupt", WEIGHTS)), r"model\.safetensors: sha256", "removed"),
}

HUB = [BadInput(name, run, tuple(says)) for name, (run, *says) in CASES.items()]
