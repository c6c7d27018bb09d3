"""What a revision of a source can be asked, wherever it lies."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from lm_geometry.checkpoints.byte_source import ByteSource
from lm_geometry.checkpoints.listed_file import ListedFile

MAIN = "main"
_LINE = 400


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


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Put in front of a ValueError's message what it is about, such as ``file:`` or ``file: tensor``."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what} {error}") from error


def one_line(error: BaseException) -> str:
    """Return an error's whole message as one line, cut where it is long, behind its type unless that says nothing."""
    words = " ".join(str(error).split())
    kind = "" if type(error) in (ValueError, OSError, RuntimeError, Exception) else type(error).__name__
    return ": ".join(filter(None, [kind, words[:_LINE]])) or type(error).__name__
