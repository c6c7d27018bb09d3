"""The pieces of one remote file that lie on this machine, each a file named by the range it holds."""

import logging
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

from lm_geometry.tables.files import write_text

log = logging.getLogger(__name__)
_NAME = re.compile(r"(\d+)-(\d+)(\.part)?")
_SEAL = re.compile(r"(\d{1,20}) (\d{1,10})")
_READ_AT_ONCE = 1 << 20

# First byte, and the byte after the last.
Span = tuple[int, int]


class AbsentError(Exception):
    """Bytes that are not on this machine."""


class Pieces:
    """Ranges of one file at one commit, in a folder of their own.

    A piece ``<start>-<end>`` (end exclusive) appears by renaming when it is whole; ``<start>-<end>.part`` is one that
    broke. ``<start>-<end>.seal`` says how many bytes of either are on the disk for good, and their crc32: what does not
    fit it is not trusted. ``etag`` holds the entity tag that all of them came with; without it none is trusted.

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
        """Return how many bytes of a piece its part holds; a part that none are trusted of is removed."""
        part = self.part(span)
        sealed = _sealed_bytes(part, span)
        if not sealed:
            part.unlink(missing_ok=True)
        return sealed

    def seal(self, span: Span, written: BinaryIO) -> None:
        """Vouch for a part up to where ``written`` has come: behind that a power cut may leave zeros."""
        written.flush()
        os.fsync(written.fileno())
        place = written.tell()
        write_text(_seal(self.part(span)), f"{place} {_crc32(self.part(span), place)}")

    def finish(self, span: Span) -> None:
        """Rename a part that is sealed to its end."""
        part = self.part(span)
        part.rename(part.with_suffix(""))

    def missing(self, start: int, end: int, piece_bytes: int) -> list[Span]:
        """Return what is not here of a range, cut into pieces at multiples of ``piece_bytes`` from ``start``.

        The cuts do not depend on what is here, so that a part which broke is met again under its name.
        """
        self._look(start, end)
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
        self._remove(lambda span, _: _meet(span, start, end))

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

    def _look(self, start: int, end: int) -> None:
        """Find the whole pieces of a range; one that does not fit its seal was damaged, and will be written over.

        Those of other ranges stay as they were found: to compare a large file's pieces takes seconds.
        """
        others = [span for span in self._spans if not _meet(span, start, end)]
        found = [(span, path) for span, is_part, path in self._files() if not is_part and _meet(span, start, end)]
        self._spans = sorted([*others, *(span for span, path in found if _is_whole(path, span))])

    def _files(self) -> Iterator[tuple[Span, bool, Path]]:
        if self.folder.is_dir():
            for path in list(self.folder.iterdir()):
                if found := _NAME.fullmatch(path.name):
                    yield (int(found[1]), int(found[2])), found[3] is not None, path

    def _remove(self, condemned: Callable[[Span, bool], bool]) -> None:
        for span, is_part, path in self._files():
            if condemned(span, is_part):
                path.unlink(missing_ok=True)
                _seal(path).unlink(missing_ok=True)


def _meet(span: Span, start: int, end: int) -> bool:
    return span[0] < end and start < span[1]


def _seal(path: Path) -> Path:
    """Return the seal of a piece or of its part: there is one for both, so that renaming needs no second step."""
    return path.with_suffix(".seal")


def _is_whole(path: Path, span: Span) -> bool:
    return _sealed_bytes(path, span) == span[1] - span[0]


def _sealed_bytes(path: Path, span: Span) -> int:
    """Return how many bytes of a piece or part its seal vouches for; 0 if they are not those that were sealed."""
    try:
        found, seal = path.stat(), _SEAL.fullmatch(_seal(path).read_text(encoding="utf-8"))
        if seal is None or not int(seal[1]) <= found.st_size <= span[1] - span[0]:
            return 0
        count = int(seal[1])
        return count if _crc32_of(path, count, found.st_size, found.st_mtime_ns) == int(seal[2]) else 0
    except (FileNotFoundError, UnicodeDecodeError):
        return 0


@cache
def _crc32_of(path: Path, count: int, _size: int, _mtime_ns: int) -> int:
    """Return ``_crc32``, computed once for a file that is not written in between."""
    return _crc32(path, count)


def _crc32(path: Path, count: int) -> int:
    crc32 = 0
    with path.open("rb") as stream:
        while count and (chunk := stream.read(min(count, _READ_AT_ONCE))):
            crc32 = zlib.crc32(chunk, crc32)
            count -= len(chunk)
    return crc32


def _cut(gap: Span, origin: int, piece_bytes: int) -> Iterator[Span]:
    start, end = gap
    while start < end:
        upto = min(end, origin + ((start - origin) // piece_bytes + 1) * piece_bytes)
        yield start, upto
        start = upto
