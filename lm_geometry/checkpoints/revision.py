"""What a revision of a source can be asked, wherever it lies."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from lm_geometry.checkpoints.byte_source import ByteSource
from lm_geometry.checkpoints.listed_file import ListedFile

MAIN = "main"


class Revision(Protocol):
    """One revision of a source.

    ``model_id`` is the hub id, or the last component of a folder's or file's path; ``remote`` says that ``local_file``
    may download.
    """

    model_id: str
    remote: bool

    def commit(self) -> str | None:
        """Return the commit, or None for a folder or file, which has none."""

    def listing(self) -> list[ListedFile]:
        """Return the files, sorted by path; no weight is fetched for it."""

    def local_file(self, path: str) -> Path:
        """Return where the whole file lies on this machine, fetching it if need be."""

    def open(self, file: ListedFile) -> ByteSource:
        """Return the file to be read by ranges; nothing is fetched yet."""


def unknown_revision(location: str, revision: str, names: Iterable[str]) -> str:
    """Return the message for a revision that a source does not have, with the names nearest to it."""
    names = list(names)
    nearest = difflib.get_close_matches(revision, names, n=3, cutoff=0) if names else []
    offer = f"; nearest of {len(names)}: {', '.join(nearest)}" if nearest else ""
    return f"{location}: no revision {revision!r}{offer}"
