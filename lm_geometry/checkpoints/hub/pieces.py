"""The pieces of one remote file that lie on this machine, each a file named by the range it holds."""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lm_geometry.tables.files import write_text

log = logging.getLogger(__name__)
_NAME = re.compile(r"(\d+)-(\d+)(\.part)?")

# First byte, and the byte after the last.
Span = tuple[int, int]


class AbsentError(Exception):
    """Bytes that are not on this machine."""


class Pieces:
    """Ranges of one file at one commit, in a folder of their own.

    A piece ``<start>-<end>`` (end exclusive) appears by renaming when it is whole; ``<start>-<end>.part`` is one that
    broke. ``etag`` holds the entity tag that all of them came with; without it none is trusted.

    Parameters
    ----------
    folder : Path
        Made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._spans: list[Span] = []

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes and threads from writing here."""
        from filelock import FileLock, Timeout

        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=1)
        except Timeout:
            log.info("%s: another process fetches this file; waiting for it", self.folder)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @property
    def etag(self) -> str | None:
        """The entity tag of the file these pieces are of, or None if there is none yet."""
        kept = self.folder / "etag"
        return kept.read_text(encoding="utf-8") if kept.is_file() else None

    def keep_etag(self, etag: str) -> None:
        """Keep the entity tag of the first answer."""
        write_text(self.folder / "etag", etag)

    def part(self, span: Span) -> Path:
        """Return where a piece grows until it is whole."""
        return self.folder / f"{span[0]}-{span[1]}.part"

    def part_bytes(self, span: Span) -> int:
        """Return how many bytes of a piece its part holds; a part that is too long is removed."""
        part = self.part(span)
        size = part.stat().st_size if part.exists() else 0
        if size <= span[1] - span[0]:
            return size
        part.unlink()
        return 0

    def finish(self, span: Span) -> None:
        """Rename a part that is whole."""
        part = self.part(span)
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        part.rename(part.with_suffix(""))

    def missing(self, start: int, end: int, piece_bytes: int) -> list[Span]:
        """Return what is not here of a range, cut into pieces at multiples of ``piece_bytes`` from ``start``.

        The cuts do not depend on what is here, so that a part which broke is met again under its name.
        """
        self._look()
        gaps = []
        place = start
        for first, last in [*self._spans, (end, end)]:
            if first > place:
                gaps.append((place, min(first, end)))
            place = max(place, last)
            if place >= end:
                break
        return [piece for gap in gaps for piece in _cut(gap, start, piece_bytes)]

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes of a range out of the pieces that hold them.

        Raises
        ------
        AbsentError
            If they are not all here.
        """
        found = []
        while start < end:
            span = max((span for span in self._spans if span[0] <= start < span[1]), key=lambda s: s[1], default=None)
            if span is None:
                raise AbsentError
            upto = min(end, span[1])
            found.append(self._bytes(span, start, upto))
            start = upto
        return found[0] if len(found) == 1 else b"".join(found)

    def discard(self, start: int, end: int) -> None:
        """Remove all pieces and parts that hold bytes of a range."""
        self._remove(lambda span, _: span[0] < end and start < span[1])

    def sweep(self, start: int, end: int) -> None:
        """Remove the parts within a range which is here now: they were begun by a fetch with other cuts."""
        self._remove(lambda span, is_part: is_part and start <= span[0] and span[1] <= end)

    def clear(self) -> None:
        """Remove everything, the entity tag too."""
        self._remove(lambda *_: True)
        (self.folder / "etag").unlink(missing_ok=True)

    def _bytes(self, span: Span, start: int, end: int) -> bytes:
        try:
            with (self.folder / f"{span[0]}-{span[1]}").open("rb") as stream:
                stream.seek(start - span[0])
                content = stream.read(end - start)
        except FileNotFoundError as error:
            raise AbsentError from error
        if len(content) != end - start:
            raise AbsentError
        return content

    def _look(self) -> None:
        """Find the whole pieces; one whose size is not its name's was damaged, and will be written over."""
        found = [(span, path) for span, is_part, path in self._files() if not is_part and path.exists()]
        self._spans = sorted(span for span, path in found if path.stat().st_size == span[1] - span[0])

    def _files(self) -> Iterator[tuple[Span, bool, Path]]:
        if self.folder.is_dir():
            for path in list(self.folder.iterdir()):
                if found := _NAME.fullmatch(path.name):
                    yield (int(found[1]), int(found[2])), found[3] is not None, path

    def _remove(self, condemned: Callable[[Span, bool], bool]) -> None:
        for span, is_part, path in self._files():
            if condemned(span, is_part):
                path.unlink(missing_ok=True)


def _cut(gap: Span, origin: int, piece_bytes: int) -> Iterator[Span]:
    start, end = gap
    while start < end:
        upto = min(end, origin + ((start - origin) // piece_bytes + 1) * piece_bytes)
        yield start, upto
        start = upto
