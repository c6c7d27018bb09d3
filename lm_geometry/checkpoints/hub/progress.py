"""How far a fetch has come: a bar on a terminal, else a line in the log every few seconds."""

import logging
import sys
import time
from threading import Lock
from types import TracebackType

log = logging.getLogger(__name__)
_SECONDS = 10.0
# What takes a moment needs no words.
_LEAST_BYTES = 8 << 20


class Progress:
    """Shows the bytes of one fetch; many threads may add to it.

    Parameters
    ----------
    name : str
        The file.
    total : int
        Bytes that are to come.
    seconds : float
        Between two lines in the log.
    """

    def __init__(self, name: str, total: int, seconds: float = _SECONDS) -> None:
        self._name, self._total, self._seconds = name, total, seconds
        self._done = 0
        self._lock = Lock()
        self._begun = self._said = time.monotonic()
        self._bar = None
        if total >= _LEAST_BYTES and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(desc=name, total=total, unit="B", unit_scale=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def add(self, count: int) -> None:
        """Count bytes that have come; a negative count takes back what was thrown away."""
        with self._lock:
            self._done += count
            if self._bar is not None:
                self._bar.update(count)
            elif time.monotonic() - self._said >= self._seconds:
                self._say()

    def _say(self) -> None:
        self._said = time.monotonic()
        rate = self._done / (self._said - self._begun)
        log.info(
            "%s: %.0f of %.0f MB (%.0f %%), %.1f MB/s",
            self._name, self._done / 1e6, self._total / 1e6, 100 * self._done / self._total, rate / 1e6,
        )  # fmt: skip
