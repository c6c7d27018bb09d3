"""A ``ByteSource`` as the file object that the standard library's parsers read from, in few and bounded ranges."""

import io
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager

from lm_geometry.checkpoints.byte_source import ByteSource

# A header, a directory or a pickle mostly fits into this much; more is asked for in growing steps.
FIRST_READ = 64 * 1024
_LARGEST_STEP = 512 * 1024
# No header, directory or pickle of a checkpoint comes near it; a file that asks for more is refused.
LARGEST_PART = 32 * 1024 * 1024


class _Unreadable(Exception):  # noqa: N818 - carries an error of the source through parsers that catch ValueError and OSError
    """A range could not be had; the cause says why."""


@contextmanager
def source_errors() -> Iterator[None]:
    """Raise what a source raised as it was, whichever parser it came through."""
    try:
        yield
    except _Unreadable as error:
        raise error.__cause__ from None


class RangeFile(io.RawIOBase):
    """A seekable file that keeps what it has read and reads ahead by growing steps; use it inside ``source_errors``.

    Parameters
    ----------
    file : ByteSource
        What to read.
    keep_end : bool
        Begin with the file's end, where a zip has its directory.
    """

    def __init__(self, file: ByteSource, *, keep_end: bool = False) -> None:
        super().__init__()
        self._file = file
        self._position = 0
        self._step = FIRST_READ
        self._starts: list[int] = []
        self._windows: list[bytes] = []
        self._kept = 0
        self._last = (0, b"")
        if keep_end and file.size:
            start = max(0, file.size - FIRST_READ)
            self._keep(start, file.size - start)

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move and return the position; OSError before the file's start, as files of the system have it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        if base + offset < 0:
            raise OSError(f"{self._file.name}: no position {base + offset}")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, fewer only at the file's end."""
        start, window = self._last
        # A parser asks byte by byte: mostly for one in the range that the last one came from.
        if 0 <= self._position - start <= len(window) - size and size >= 0:
            place = self._position - start
            self._position += size
            return window[place : place + size]
        return self._assembled(size)

    def _assembled(self, size: int) -> bytes:
        there = max(0, self._file.size - self._position)
        end = self._position + (there if size < 0 else min(size, there))
        parts = []
        while self._position < end:
            start, window = self._window(end)
            part = window[self._position - start : end - start]
            self._position += len(part)
            parts.append(part)
        return b"".join(parts)

    def readline(self, _size: int | None = -1) -> bytes:
        """Return the bytes up to and with the next line feed, whatever size is asked for."""
        parts = []
        while self._position < self._file.size:
            start, window = self._window(self._position + 1)
            found = window.find(b"\n", self._position - start)
            end = len(window) if found < 0 else found + 1
            parts.append(window[self._position - start : end])
            self._position = start + end
            if found >= 0:
                break
        return b"".join(parts)

    def _window(self, end: int) -> tuple[int, bytes]:
        """Return start and bytes of a kept range that holds the position; read one towards ``end`` if need be."""
        place = bisect_right(self._starts, self._position) - 1
        if place < 0 or self._position >= self._starts[place] + len(self._windows[place]):
            limit = self._starts[place + 1] if place + 1 < len(self._starts) else self._file.size
            length = min(max(end - self._position, self._step), limit - self._position)
            self._step = min(2 * self._step, _LARGEST_STEP)
            place = self._keep(self._position, length)
        self._last = (self._starts[place], self._windows[place])
        return self._last

    def _keep(self, start: int, length: int) -> int:
        self._kept += length
        try:
            if self._kept > LARGEST_PART:
                raise ValueError(
                    f"{self._file.name}: header, directory or pickle of more than {LARGEST_PART >> 20} MiB "
                    f"(bytes {start} to {start + length} asked for); the file is damaged or no checkpoint"
                )
            content = self._file.read(start, length)
        except (ValueError, OSError) as error:
            raise _Unreadable from error
        place = bisect_right(self._starts, start)
        self._starts.insert(place, start)
        self._windows.insert(place, content)
        return place
