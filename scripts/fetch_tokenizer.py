"""Fetch a tokenizer and normalise it, so that tokenizer.json alone encodes as transformers' AutoTokenizer does."""

import json
import tempfile
from pathlib import Path
from typing import Any

from lm_geometry.checkpoints.source import Revision, first_line, open_tokenizer_revision, parse_source
from lm_geometry.job import run_job
from lm_geometry.tables.files import write_text

_PROBES = ("Hello world", "", "  two  spaces\nand a line, 1999")
# How the tokenizer was loaded; says nothing about it and differs between a folder and the hub.
_LOADING_KEYS = ("is_local", "local_files_only", "name_or_path", "_name_or_path")


def fetch_tokenizer(
    *,
    files: list[Path],  # noqa: ARG001 - the folder's files, declared so that a change of theirs fetches it again
    tokenizer: Path,
    tokenizer_config: Path,
    source: str,
    revision: str,
    cache_dir: str,
) -> None:
    """Write tokenizer.json and tokenizer_config.json of a folder's or hub repository's tokenizer.

    Padding and truncation are left out of the file: they are the caller's choice. The special tokens that the
    tokenizer adds are in the file's post-processor.

    Raises
    ------
    ValueError
        If the source has no fast tokenizer, or the file would encode otherwise than AutoTokenizer.
    """
    from tokenizers import Tokenizer

    folder = _tokenizer_folder(open_tokenizer_revision(parse_source(source), revision, cache_dir))
    loaded = _load(folder, source)
    with tempfile.TemporaryDirectory() as saved:
        loaded.save_pretrained(saved)
        settings = json.loads((Path(saved) / "tokenizer_config.json").read_text(encoding="utf-8"))
        normalised = Tokenizer.from_file(str(Path(saved) / "tokenizer.json"))
    normalised.no_padding()
    normalised.no_truncation()
    for text in _PROBES:
        ours, theirs = normalised.encode(text).ids, loaded(text)["input_ids"]
        if ours != theirs:
            raise ValueError(f"{source}: tokenizer.json encodes {text!r} as {ours}, AutoTokenizer as {theirs}")
    kept = {key: value for key, value in settings.items() if key not in _LOADING_KEYS}
    write_text(tokenizer, normalised.to_str(pretty=True))
    write_text(tokenizer_config, json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _tokenizer_folder(revision: Revision) -> Path:
    """Return a local folder with the tokenizer's files, and config.json where there is one."""
    wanted = [file.path for file in revision.listing() if file.role in ("tokenizer", "config")]
    if wanted in ([], ["config.json"]):
        raise ValueError(f"{revision.model_id}: holds no tokenizer file; set `tokenizer` to a source that does")
    # All are fetched; they land in one folder.
    folders = {revision.local_file(path).parent for path in wanted}
    return min(folders)


def _load(folder: Path, source: str) -> Any:
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise ValueError(f"{source}: its tokenizer could not be loaded: {first_line(error)}") from error
    if not loaded.is_fast:
        raise ValueError(
            f"{source}: {type(loaded).__name__} is no fast tokenizer and has no tokenizer.json; set `tokenizer` to a "
            "source that has one"
        )
    return loaded


if __name__ == "__main__":
    run_job(snakemake, fetch_tokenizer)
