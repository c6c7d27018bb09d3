"""A file whose bytes are read by ranges, wherever it lies."""

from pathlib import Path
from typing import Protocol


class ByteSource(Protocol):
    """One file of a revision, read by ranges.

    ``name`` is its path inside the revision, as errors name it; ``size`` its bytes, as listed. ``bytes_read`` sums the
    distinct bytes asked of the source, whether they came over the network or lay in the cache: the same in each run.
    """

    name: str
    size: int

    @property
    def bytes_read(self) -> int:
        """Return how many distinct bytes were asked for so far."""

    def read(self, start: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``start``.

        What lies in an earlier ``fetch`` costs no network; anything else is fetched and kept as a range of its own.

        Raises
        ------
        ValueError
            If the range leaves the file, or its bytes cannot be had.
        """

    def fetch(self, start: int, length: int) -> None:
        """Have a range on this machine: a remote file in pieces, resumed after a break; a local file lies there."""

    def discard(self, start: int, length: int) -> None:
        """Forget the cached bytes of a range, as when a checksum did not fit; a local file has none."""


class Ranges:
    """The distinct bytes among ranges that may touch or overlap."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []

    def add(self, start: int, length: int) -> None:
        """Add a range; spans that touch or overlap are merged."""
        if length == 0:
            return
        end = start + length
        apart = []
        for span in self._spans:
            if span[1] < start or end < span[0]:
                apart.append(span)
            else:
                start, end = min(start, span[0]), max(end, span[1])
        self._spans = sorted([*apart, (start, end)])

    @property
    def total(self) -> int:
        """Return the sum of the distinct bytes."""
        return sum(end - start for start, end in self._spans)


def check_range(name: str, size: int, start: int, length: int) -> None:
    """Raise ValueError if a range leaves its file."""
    if start < 0 or length < 0 or start + length > size:
        raise ValueError(f"{name}: bytes {start} to {start + length} lie outside the file of {size} bytes")


class LocalFile:
    """A file on this machine as a ``ByteSource``.

    Parameters
    ----------
    path : Path
        The file.
    name : str, optional
        Its name in errors; the file's own by default.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path = Path(path)
        self.name = name or self.path.name
        self.size = self.path.stat().st_size
        self._asked = Ranges()

    @property
    def bytes_read(self) -> int:
        """Return how many distinct bytes were asked for so far."""
        return self._asked.total

    def read(self, start: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``start``; ValueError if the file has become shorter."""
        check_range(self.name, self.size, start, length)
        self._asked.add(start, length)
        with self.path.open("rb") as stream:
            stream.seek(start)
            content = stream.read(length)
        if len(content) != length:
            raise ValueError(f"{self.name}: ends after {start + len(content)} of {self.size} bytes: it was cut short")
        return content

    def fetch(self, start: int, length: int) -> None:
        """Count the range as asked for: the file lies on this machine."""
        check_range(self.name, self.size, start, length)
        self._asked.add(start, length)

    def discard(self, start: int, length: int) -> None:
        """Do nothing: there is no copy of the file to forget."""
