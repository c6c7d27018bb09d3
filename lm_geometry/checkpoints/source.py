"""Sources of checkpoints and tokenizers: a folder, a file or the hub, and one revision of it opened.

A revision gives ``listing()``, the files with sizes and digests, ``open(file)``, one file to be read by ranges, and
``local_file(path)``, one whole file on this machine. Whoever reads a tensor asks for the bytes that hold it; how they
get here is the revision's business alone.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lm_geometry.checkpoints.file_names import checked_path
from lm_geometry.checkpoints.folder import FileRevision, FolderRevision
from lm_geometry.checkpoints.hub.revision import HubRevision
from lm_geometry.checkpoints.listed_file import CONFIG, TOKENIZER_FILES, ListedFile, role_of
from lm_geometry.checkpoints.revision import MAIN, Revision
from lm_geometry.error_words import first_line

__all__ = [
    "CONFIG",
    "MAIN",
    "TOKENIZER_FILES",
    "FileRevision",
    "FolderRevision",
    "HubRevision",
    "ListedFile",
    "Revision",
    "Source",
    "checked_path",
    "first_line",
    "open_revision",
    "open_tokenizer_revision",
    "parse_source",
    "role_of",
]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_EMBEDDED_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Source:
    """Where a model or tokenizer comes from: an embedded model's name, a path as the user wrote it, or a hub id.

    A path is of the kind "folder" until it is opened: only then is it seen whether one file lies there.
    """

    kind: Literal["embedded", "folder", "file", "hub"]
    location: str


def parse_source(text: str) -> Source:
    """Read a source as it stands in a config: ``embedded:NAME``, a path that begins with . / or ~, else a hub id.

    A hub id has at most one slash, so that a text with more is a path too (a folder below the results).

    Raises
    ------
    ValueError
        If the text is none of these.
    """
    prefix, _, name = text.partition(":")
    if prefix == "embedded" and _EMBEDDED_NAME.fullmatch(name):
        return Source("embedded", name)
    if text.startswith((".", "/", "~")) or text.count("/") > 1:
        return Source("folder", text)
    if _HUB_ID.fullmatch(text) and "--" not in text and ".." not in text:
        return Source("hub", text)
    raise ValueError(
        f"{text!r} is no source: write embedded:NAME, a path that begins with ./ ../ / or ~, or a hub id (owner/name)"
    )


def open_revision(
    source: Source, revision: str, cache_dir: str | None = None, *, endpoint: str | None = None
) -> Revision:
    """Return one revision of a model's folder, file or hub repository; nothing is fetched yet from the hub.

    Parameters
    ----------
    source : Source
        See ``parse_source``.
    revision : str
        A branch, tag or commit; of a folder 'main' or a sub-folder, of a file 'main'.
    cache_dir : str, optional
        Where bytes from the hub are kept; the hub client's own folder by default.
    endpoint : str, optional
        Address of the hub; the hub client's own (HF_ENDPOINT) by default.

    Raises
    ------
    ValueError
        If the path or its revision does not exist, or the source is an embedded model, which lies in a folder.
    """
    if source.kind == "file" or (source.kind == "folder" and Path(source.location).expanduser().is_file()):
        return FileRevision(source.location, revision)
    return _open(source, revision, cache_dir, endpoint, lambda folder: (folder / CONFIG).is_file())


def open_tokenizer_revision(
    source: Source, revision: str, cache_dir: str | None = None, *, endpoint: str | None = None
) -> Revision:
    """Return one revision of a tokenizer's source, whose folder need not hold a config.json; see ``open_revision``."""
    names = sorted(TOKENIZER_FILES | {CONFIG})
    return _open(source, revision, cache_dir, endpoint, lambda folder: any((folder / name).is_file() for name in names))


def _open(
    source: Source, revision: str, cache_dir: str | None, endpoint: str | None, is_revision: Callable[[Path], bool]
) -> Revision:
    if source.kind == "hub":
        return HubRevision(source.location, revision, cache_dir, endpoint=endpoint)
    if source.kind == "embedded":
        raise ValueError(
            f"embedded:{source.location} is no folder yet: hand over the folder that the model was trained to"
        )
    return FolderRevision(source.location, revision, is_revision)
