"""Do the sources and paths in a config lead anywhere? Looks at folders and a corpus' first bytes, asks no hub."""

import errno
import re
from collections.abc import Iterable, Iterator
from functools import partial
from os.path import normpath
from pathlib import Path, PurePosixPath
from typing import Any

from lm_geometry.checkpoints.source import (
    CONFIG,
    MAIN,
    TOKENIZER_FILES,
    Source,
    open_revision,
    open_tokenizer_revision,
    parse_source,
)
from lm_geometry.configuration.lenient import count_at, mapping_at, text_at, texts_at, value_at
from lm_geometry.configuration.names import DYNAMICS, SCALING, profiled_models, scored_models
from lm_geometry.configuration.schema import expanded
from lm_geometry.configuration.wording import choices, did_you_mean, say
from lm_geometry.corpus.enwik8 import ENWIK8, packing

_COLLECTION_FILES = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")
_NO_SOURCE = "is no source; write a hub id (owner/name), a path that begins with ./ ../ / or ~, or embedded:NAME"
# A page of a model on its hub, as the browser's address line has it.
_HUB_PAGE = re.compile(r"https?://[^/]+/(?P<hub_id>[^/?#]+/[^/?#]+)([/?#].*)?")

# A revision that a study needs: the key that names it, and its name.
_Needed = tuple[tuple[str | int, ...], str]


def find_location_errors(config: dict[str, Any], base: Path) -> Iterator[str]:
    """Yield a line for each source or path that leads nowhere.

    Parameters
    ----------
    config : dict
        A config with its defaults, which may be malformed elsewhere.
    base : Path
        Folder that relative paths start at.
    """
    for model in mapping_at(config, "models"):
        yield from _model_source(config, model, base)
        path = ("models", model, "tokenizer")
        yield from _tokenizer_source(path, text_at(config, *path), base)
    yield from _counting_model(config, base)
    for path, text in texts_at(config, SCALING, "random_tokenizer", "tokenizers"):
        yield from _tokenizer_source(path, text, base)
    for path, look in (
        ((SCALING, "collection", "path"), _collection),
        ((DYNAMICS, "corpus", "path"), partial(_corpus, config)),
        (("results_dir",), partial(_results_folder, base)),
        (("cache_dir",), partial(_cache_folder, config, base)),
    ):
        if text := text_at(config, *path):
            yield from _readable(path, text, look(path, text, _below(base, text)))
    if text_at(config, DYNAMICS, "corpus") == ENWIK8.name:
        yield from _long_enough(config, (DYNAMICS, "corpus"), ENWIK8.name, ENWIK8.size)


def _readable(path: tuple[str | int, ...], text: str, lines: Iterator[str]) -> Iterator[str]:
    """Yield ``lines``, and one more if looking at the disk fails: no permission, or a name that is too long."""
    try:
        yield from lines
    except OSError as error:
        fix = "shorten it" if error.errno == errno.ENAMETOOLONG else "name one that this user may read"
        yield say(path, text, f"cannot be looked at ({error.strerror}); {fix}")


def _below(base: Path, path: str) -> Path:
    return base / expanded(path)


def _source_of(text: str | None) -> Source | None:
    try:
        return parse_source(text) if text else None
    except ValueError:
        return None


def _model_source(config: dict[str, Any], model: str, base: Path) -> Iterator[str]:
    text = text_at(config, "models", model, "source")
    source = _source_of(text)
    path = ("models", model, "source")
    if text and (source is None or _HUB_PAGE.fullmatch(text)):
        yield say(path, text, _no_source(text))
    elif source and source.kind == "hub" and (base / text).is_dir():
        yield say(path, text, f"is read as a hub id, but there is a folder of that name; for the folder write ./{text}")
    elif source and source.kind == "embedded":
        yield from _embedded_model(path, source.location, _needed_revisions(config, model))
    elif source and source.kind == "folder" and not _may_be_left_out(config, model, _below(base, text)):
        yield from _readable(path, text, _local_model(config, model, _below(base, text)))
    if source and source.kind != "folder" and mapping_at(config, "models", model).get("optional") is True:
        yield say(("models", model, "optional"), True, f"is for paths, and {text} is none; remove the key")


def _no_source(text: str) -> str:
    page = _HUB_PAGE.fullmatch(text)
    return f"is an address; write the hub id alone: {page['hub_id']}" if page else _NO_SOURCE


def _may_be_left_out(config: dict[str, Any], model: str, place: Path) -> bool:
    return mapping_at(config, "models", model).get("optional") is True and not place.exists()


def _counting_model(config: dict[str, Any], base: Path) -> Iterator[str]:
    """Yield a line if the model whose tokenizer counts is one that is left out."""
    path = (DYNAMICS, "chunk_tokens", "tokenizer")
    model = text_at(config, *path) or ""
    source = text_at(config, "models", model, "source")
    if source and _may_be_left_out(config, model, _below(base, source)):
        yield say(path, model, f"{source} does not exist, so that this model is left out; name one that is there")


def _local_model(config: dict[str, Any], model: str, place: Path) -> Iterator[str]:
    path = ("models", model, "source")
    text = mapping_at(config, "models", model)["source"]
    needs_tokenizer = text_at(config, "models", model, "tokenizer") is None
    if not place.is_file():
        yield from _folder_model(path, text, place, _needed_revisions(config, model), needs_tokenizer)
        return
    if needs_tokenizer:
        yield say(path, text, f"is one file, without a tokenizer; set models.{model}.tokenizer")
    if (revision := text_at(config, "models", model, "revision")) != MAIN:
        yield say(("models", model, "revision"), revision, f"{text} is one file, whose only revision is {MAIN}")
    if model in profiled_models(config) | set(mapping_at(config, DYNAMICS, "training")):
        yield say(path, text, f"is one file, without config.json; for {DYNAMICS} name a folder that holds both")


def _needed_revisions(config: dict[str, Any], model: str) -> list[_Needed]:
    named = [item for study in (SCALING, DYNAMICS) for item in texts_at(config, study, "training", model, "revisions")]
    # Braces that are left could not be expanded, which is an error of its own.
    needed: list[_Needed] = [(path, revision) for path, revision in named if "{" not in revision]
    own = text_at(config, "models", model, "revision")
    # A model that is only followed over training needs its own revision just for the tokenizer that lies there.
    brings_tokenizer = text_at(config, "models", model, "tokenizer") is None and not _is_embedded(config, model)
    if own and (brings_tokenizer or model in scored_models(config) | profiled_models(config)):
        needed.insert(0, (("models", model, "revision"), own))
    return needed


def _is_embedded(config: dict[str, Any], model: str) -> bool:
    source = _source_of(text_at(config, "models", model, "source"))
    return source is not None and source.kind == "embedded"


def _embedded_model(path: tuple[str, ...], name: str, needed: Iterable[_Needed]) -> Iterator[str]:
    from lm_geometry.demo.recipes import RECIPES

    if name not in RECIPES:
        yield say(path, f"embedded:{name}", f"no such embedded model; {_nearest(name, RECIPES)}")
        return
    revisions = RECIPES[name].revisions
    for revision_path, revision in needed:
        if revision not in revisions:
            yield say(revision_path, revision, f"embedded:{name} has no such revision; use {choices(revisions)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    guess = did_you_mean(name, known, prefix="embedded:")
    return guess or f"use {choices(f'embedded:{item}' for item in known)}"


def _folder_model(
    path: tuple[str, ...], text: str, folder: Path, needed: list[_Needed], needs_tokenizer: bool
) -> Iterator[str]:
    if not folder.is_dir():
        fix = "relative paths start at the working directory"
        yield say(path, text, f"no such file or folder ({folder.absolute()}); {fix}")
        return
    if not any((place / CONFIG).is_file() for place in [folder, *folder.iterdir()]):
        yield say(path, text, f"holds no {CONFIG}, nor does a folder in it; name the folder that a model was saved to")
        return
    for revision_path, revision in needed:
        try:
            opened = open_revision(Source("folder", str(folder)), revision)
        except ValueError as error:
            problem = str(error).removeprefix(f"{folder}: ")
            yield say(revision_path, revision, f"{text} has {problem}")
            continue
        names = {item.name for item in opened.folder.iterdir()}
        if needs_tokenizer and revision_path[0] == "models" and not names & TOKENIZER_FILES:
            yield say(path, text, f"holds no tokenizer; add tokenizer.json, or set models.{path[1]}.tokenizer")


def _tokenizer_source(path: tuple[str | int, ...], text: str | None, base: Path) -> Iterator[str]:
    from lm_geometry.demo.recipes import RECIPES

    source = _source_of(text)
    if text and (source is None or _HUB_PAGE.fullmatch(text)):
        yield say(path, text, _no_source(text))
    elif source and source.kind == "embedded":
        known = sorted({recipe.tokenizer for recipe in RECIPES.values()})
        if source.location not in known:
            yield say(path, text, f"no such embedded tokenizer; {_nearest(source.location, known)}")
    elif source and source.kind == "folder":
        yield from _readable(path, text, _folder_tokenizer(path, text, _below(base, text)))


def _folder_tokenizer(path: tuple[str | int, ...], text: str, folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        yield say(path, text, f"no such folder ({folder.absolute()})")
        return
    try:
        open_tokenizer_revision(Source("folder", str(folder)), "main")
    except ValueError:
        yield say(path, text, "holds no tokenizer files, such as tokenizer.json")


def _collection(path: tuple[str, ...], text: str, folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        problem = "is a file; name the folder" if folder.exists() else f"no such folder ({folder.absolute()})"
        yield say(path, text, problem)
    elif missing := [name for name in _COLLECTION_FILES if not (folder / name).is_file()]:
        packed = [f"{name}.gz" for name in missing if (folder / f"{name}.gz").is_file()]
        fix = f"unpack {choices(packed)}" if packed else f"a collection has {', '.join(_COLLECTION_FILES)}"
        yield say(path, text, f"holds no {choices(missing)}; {fix}")
    elif PurePosixPath(text).name in ("", ".."):
        yield say(path, text, "has no name to call the collection by; write the folder's name")


def _corpus(config: dict[str, Any], path: tuple[str, ...], text: str, file: Path) -> Iterator[str]:
    if not file.is_file():
        yield say(path, text, "is a folder; name one file" if file.is_dir() else f"no such file ({file.absolute()})")
    elif packing(file) is None:
        yield from _long_enough(config, path, text, file.stat().st_size)


def _long_enough(config: dict[str, Any], path: tuple[str, ...], text: str, n_bytes: int) -> Iterator[str]:
    """Yield a line if a corpus of so many bytes, which are no fewer than its characters, cannot hold the chunks."""
    if value_at(config, DYNAMICS, "chunk_tokens") is not None:
        if not n_bytes:
            yield say(path, text, "is empty; give a text or a MediaWiki XML dump")
        return
    n_chunks, length = count_at(config, DYNAMICS, "n_chunks"), count_at(config, DYNAMICS, "chunk_characters")
    if n_chunks and length and n_bytes < n_chunks * length:
        needed = f"n_chunks x chunk_characters = {n_chunks} x {length} = {n_chunks * length:,} characters"
        yield say(path, text, f"holds {n_bytes:,} bytes, and {needed} are asked for; give more text, or lower either")


def _results_folder(base: Path, path: tuple[str, ...], text: str, folder: Path) -> Iterator[str]:
    """Yield a line for a folder that holds more than results, among which a run removes and replaces files."""
    for holder, is_what in ((base, "the working directory"), (expanded("~"), "your home folder")):
        if Path(normpath(holder.absolute())).is_relative_to(normpath(folder.absolute())):
            yield say(path, text, f"is or holds {is_what}; name a folder for results alone, such as results")
            return
    if code := next(folder.glob("*.py"), None):
        yield say(path, text, f"holds code ({code.name}); name a folder for results alone, such as results")
        return
    yield from _writable_folder(path, text, folder)


def _cache_folder(config: dict[str, Any], base: Path, path: tuple[str, ...], text: str, folder: Path) -> Iterator[str]:
    """Yield a line for a folder among the results: whoever removes those would fetch all weights again."""
    named = text_at(config, "results_dir") or ""
    results = _below(base, named)
    good_results = named and not any(_results_folder(base, ("results_dir",), named, results))
    if good_results and Path(normpath(folder.absolute())).is_relative_to(normpath(results.absolute())):
        yield say(path, text, f"lies in results_dir ({named}), and would be removed with it; name a folder beside it")
        return
    yield from _writable_folder(path, text, folder)


def _writable_folder(path: tuple[str, ...], text: str, folder: Path) -> Iterator[str]:
    if "$" in text:
        yield say(path, text, "variables are not expanded; write the path in full")
        return
    if folder.is_file():
        yield say(path, text, "is a file; name a folder")
        return
    above = next((place for place in folder.absolute().parents if place.exists()), None)
    if above and not above.is_dir():
        yield say(path, text, f"lies below {above}, which is a file; name a folder")
