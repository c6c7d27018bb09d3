"""Fetch a tokenizer and normalise it, so that tokenizer.json alone encodes as transformers' AutoTokenizer does."""

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_geometry.checkpoints.folder import FolderRevision
from lm_geometry.checkpoints.hub.whole_files import CachedRevision
from lm_geometry.checkpoints.ledger import listing_digest, listing_table
from lm_geometry.checkpoints.listed_file import CONFIG, ListedFile, role_of
from lm_geometry.checkpoints.model_config import read_config
from lm_geometry.checkpoints.revision import Revision
from lm_geometry.checkpoints.source import open_tokenizer_revision, parse_source
from lm_geometry.error_words import one_line
from lm_geometry.job import run_job
from lm_geometry.tables.files import file_sha256, write_table, write_text
from lm_geometry.tables.listing import SCHEMA
from lm_geometry.tokenizer_file import encoding_errors, read_tokenizer

_TOKENIZER = "tokenizer.json"
_PROBES = ("Hello world", "", "  two  spaces\nand a line, 1999")
# How the tokenizer was loaded; says nothing about it and differs between a folder and the hub.
_LOADING_KEYS = ("is_local", "local_files_only", "name_or_path", "_name_or_path")


def fetch_tokenizer(
    *,
    files: list[Path],  # noqa: ARG001 - the folder's files, declared so that a change of theirs fetches it again
    tokenizer: Path,
    tokenizer_config: Path,
    listing: Path,
    source: str,
    revision: str,
    cache_dir: str,
    origins: Sequence[Path] = (),
) -> None:
    """Write tokenizer.json and tokenizer_config.json of a folder's or hub repository's tokenizer, and their origin.

    Padding and truncation are left out of the file: they are the caller's choice. The special tokens that the
    tokenizer adds are in the file's post-processor. ``listing`` holds the files that were read; whatever is made with
    the tokenizer takes it as an input, and inherits from it which tokenizer of which commit it was. ``origins`` is the
    table of an embedded tokenizer, which says what made it.

    Raises
    ------
    ValueError
        If the source has no fast tokenizer or it cannot be loaded, or the file would encode otherwise than
        AutoTokenizer.
    """
    from tokenizers import Tokenizer

    found = open_tokenizer_revision(parse_source(source), revision, cache_dir)
    here = _local_files(found, cache_dir)
    # All of them lie in one folder.
    folder = min(here.values()).parent
    loaded = _load(folder, here, source)
    with tempfile.TemporaryDirectory() as saved:
        loaded.save_pretrained(saved)
        settings = json.loads((Path(saved) / "tokenizer_config.json").read_text(encoding="utf-8"))
        normalised = Tokenizer.from_file(str(Path(saved) / "tokenizer.json"))
    normalised.no_padding()
    normalised.no_truncation()
    for text in _PROBES:
        with encoding_errors(here.get(_TOKENIZER, folder)):
            ours, theirs = normalised.encode(text).ids, loaded(text)["input_ids"]
        if ours != theirs:
            raise ValueError(f"{source}: tokenizer.json encodes {text!r} as {ours}, AutoTokenizer as {theirs}")
    kept = {key: value for key, value in settings.items() if key not in _LOADING_KEYS}
    write_text(tokenizer, normalised.to_str(pretty=True))
    write_text(tokenizer_config, json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    read = [ListedFile(path, role_of(path), at.stat().st_size, file_sha256(at)) for path, at in here.items()]
    write_table(
        listing,
        listing_table(read),
        SCHEMA,
        inputs=origins,
        settings={"revision": revision},
        origin={
            "tokenizer_id": found.model_id,
            "tokenizer_commit": found.commit() or f"sha256:{listing_digest(read)}",
        },
    )


def _local_files(revision: Revision, cache_dir: str) -> dict[str, Path]:
    """Return where the tokenizer's files lie on this machine, and config.json where there is one."""
    if isinstance(revision, FolderRevision):
        # Not its listing, which has digests: there may be weights beside the tokenizer.
        found = {path.name: path for path in revision.files()}
        return {path: found[path] for path in _needed(revision, found)}
    listed = {file.path: file for file in revision.listing()}
    needed = _needed(revision, listed)
    cached = CachedRevision(revision.model_id, revision.commit(), cache_dir)
    cached.fetch([listed[path] for path in needed])
    return {path: cached.folder / path for path in needed}


def _needed(revision: Revision, paths: Iterable[str]) -> list[str]:
    needed = sorted(path for path in paths if role_of(path) in ("tokenizer", "config"))
    if needed in ([], [CONFIG]):
        raise ValueError(f"{revision.model_id}: holds no tokenizer file; set `tokenizer` to a source that does")
    return needed


def _load(folder: Path, here: Mapping[str, Path], source: str) -> Any:
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        # Whatever its code runs into: AttributeError, RecursionError, a bare Exception of the Rust library.
        _refuse_damaged(here)
        raise ValueError(
            f"{source}: its tokenizer could not be loaded from {', '.join(here)} ({one_line(error)}); set `tokenizer` "
            f"to a source with a {_TOKENIZER}"
        ) from error
    if not loaded.is_fast:
        raise ValueError(
            f"{source}: {type(loaded).__name__} is no fast tokenizer and has no tokenizer.json; set `tokenizer` to a "
            "source that has one"
        )
    return loaded


def _refuse_damaged(files: Mapping[str, Path]) -> None:
    """Raise ValueError if one of a tokenizer's files is none: it says which and where, as transformers does not."""
    for name, path in files.items():
        if name == _TOKENIZER:
            read_tokenizer(path)
        elif name.endswith(".json"):
            read_config(path)


if __name__ == "__main__":
    run_job(snakemake, fetch_tokenizer)
