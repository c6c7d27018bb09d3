"""A file on the hub, read by ranges: only the bytes that are asked for, each answer checked, kept on this machine.

Every answer must be 206 with exactly the range asked for, the listed size, the length that follows, no encoding, the
listed commit, and the entity tag that the file's other pieces came with. What breaks is tried again and goes on where
it broke; what does not fit is never written.
"""

import logging
import re
from collections.abc import Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event, Lock
from typing import Any, BinaryIO

from lm_geometry.checkpoints.byte_source import Ranges, check_range
from lm_geometry.checkpoints.file_names import checked_path
from lm_geometry.checkpoints.hub.access import check_room, disk_errors
from lm_geometry.checkpoints.hub.patience import Patience
from lm_geometry.checkpoints.hub.pieces import AbsentError, Pieces, Span
from lm_geometry.checkpoints.hub.progress import Progress
from lm_geometry.checkpoints.hub.stream import BrokenError, StoppedError, Stream
from lm_geometry.checkpoints.listed_file import ListedFile

log = logging.getLogger(__name__)
_SHA256 = re.compile(r"[0-9a-f]{64}")
# The first finds nothing, the second what was fetched; another process may discard it in between.
_READS = 4
PIECE_BYTES = 64 << 20
THREADS = 4


class _ChangedError(Exception):
    """The file on the hub is not the one that the earlier pieces are of."""


class RemoteFile:
    """One file of a hub repository at a commit, as a ``ByteSource``.

    Parameters
    ----------
    repository, commit : str
        Where it lies.
    file : ListedFile
        Path, size and, for large files, sha256 as the hub lists them.
    cache_dir : Path
        Pieces lie in ``<cache_dir>/ranges/<repository>/<commit>/<path>/<start>-<end>``.
    endpoint : str, optional
        Address of the hub; the client's own by default.
    patience : Patience, optional
        When to give up.
    piece_bytes, threads : int
        A larger range is fetched in pieces of that size, so many at a time.

    Attributes
    ----------
    network_bytes : int
        Bytes of bodies that came over the network, those of broken answers included.
    """

    def __init__(
        self,
        repository: str,
        commit: str,
        file: ListedFile,
        cache_dir: Path,
        *,
        endpoint: str | None = None,
        patience: Patience | None = None,
        piece_bytes: int = PIECE_BYTES,
        threads: int = THREADS,
    ) -> None:
        self.name = checked_path(file.path)
        self.size = file.size
        self.network_bytes = 0
        self._commit, self._sha256 = commit, file.sha256
        self._stream = Stream(repository, commit, self.name, endpoint and endpoint.rstrip("/"), patience or Patience())
        self._piece_bytes, self._threads = piece_bytes, threads
        self._pieces = Pieces(Path(cache_dir) / "ranges" / repository.replace("/", "--") / commit / file.path)
        self._asked = Ranges()
        self._lock = Lock()
        self._served_etag: str | None = None

    @property
    def bytes_read(self) -> int:
        """Return how many distinct bytes were asked for so far, wherever they came from."""
        return self._asked.total

    def read(self, start: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``start``; what was fetched before costs no network.

        Raises
        ------
        ValueError
            If the range leaves the file, or its bytes cannot be had.
        """
        check_range(self.name, self.size, start, length)
        self._asked.add(start, length)
        for _ in range(_READS):
            try:
                return self._pieces.read(start, start + length)
            except AbsentError:
                self._have(start, start + length)
        raise ValueError(f"{self._stream.name}: its pieces vanish from {self._pieces.folder} while read")

    def fetch(self, start: int, length: int) -> None:
        """Have a range on this machine; what broke off earlier is taken up where it broke.

        Raises
        ------
        ValueError
            If the range leaves the file, its bytes cannot be had, or the disk has no room for them.
        """
        check_range(self.name, self.size, start, length)
        self._asked.add(start, length)
        self._have(start, start + length)

    def discard(self, start: int, length: int) -> None:
        """Forget the pieces that hold bytes of a range; they will be fetched again."""
        with self._pieces.lock():
            self._pieces.discard(start, start + length)

    def _have(self, start: int, end: int) -> None:
        etag = self._pieces.etag
        is_ours = etag is not None and not self._is_of_another_file(etag)
        if is_ours and not self._pieces.missing(start, end, self._piece_bytes):
            return
        with self._pieces.lock():
            try:
                self._fill(start, end)
            except _ChangedError as error:
                log.warning("%s: %s; fetching it anew", self._stream.name, error)
                self._start_anew()
                try:
                    self._fill(start, end)
                except _ChangedError as again:
                    self._start_anew()
                    raise ValueError(
                        f"{self._stream.name}: {again}, again and again; its pieces were discarded: list the model anew"
                    ) from again

    def _start_anew(self) -> None:
        self._pieces.clear()
        self._served_etag = None

    def _fill(self, start: int, end: int) -> None:
        etag = self._pieces.etag
        if etag is None:
            self._pieces.clear()
        elif self._is_of_another_file(etag):
            raise _ChangedError(f"its pieces are of sha256 {etag[:16]}… where {self._sha256[:16]}… was listed")
        spans = self._pieces.missing(start, end, self._piece_bytes)
        total = sum(last - first - self._pieces.part_bytes((first, last)) for first, last in spans)
        check_room(self._pieces.folder, total, self._stream.name)
        with disk_errors(self._pieces.folder, total), Progress(self.name, total) as progress:
            self._fetch_all(spans, progress)
        self._pieces.missing(start, end, self._piece_bytes)
        self._pieces.sweep(start, end)

    def _fetch_all(self, spans: list[Span], progress: Progress) -> None:
        """Fetch pieces side by side; the first failure stops the others, which keep what they have."""
        stop = Event()
        pool = ThreadPoolExecutor(min(self._threads, len(spans)) or 1)
        futures = [pool.submit(self._fetch_or_stop, span, stop, progress) for span in spans]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
        failures = [future.exception() for future in futures if not future.cancelled() and future.exception()]
        for failure in sorted(failures, key=lambda error: isinstance(error, StoppedError)):
            raise failure

    def _fetch_or_stop(self, span: Span, stop: Event, progress: Progress) -> None:
        if stop.is_set():
            raise StoppedError
        try:
            self._fetch_piece(span, stop, progress)
        except BaseException:
            stop.set()
            raise

    def _fetch_piece(self, span: Span, stop: Event, progress: Progress) -> None:
        self._stream.fill(
            lambda: span[1] - span[0] - self._pieces.part_bytes(span),
            lambda: self._go_on(span, stop, progress),
            f"{self._stream.name}: bytes {span[0]} to {span[1]}",
            stop,
        )
        self._pieces.finish(span)

    def _go_on(self, span: Span, stop: Event, progress: Progress) -> None:
        """Ask for what is missing of a piece and append it to its part."""
        here = self._pieces.part_bytes(span)
        first, end = span[0] + here, span[1]
        with self._stream.answer(f"{first}-{end - 1}") as answer:
            _refuse_other_bytes(answer, first, end, self.size)
            self._refuse_other_file(answer)
            self._append(answer.iter_raw(), span, here, stop, progress)

    def _append(self, chunks: Iterable[bytes], span: Span, here: int, stop: Event, progress: Progress) -> None:
        part = self._pieces.part(span)
        # At a place, not at the end: should a disk's locks not hold, two writers write the same bytes there.
        with part.open("rb+" if part.exists() else "xb", buffering=1 << 20) as stream:
            stream.seek(here)
            try:
                self._write(chunks, stream, stop, progress)
            finally:
                # However it ended: what came need not come again.
                self._pieces.seal(span, stream)

    def _write(self, chunks: Iterable[bytes], stream: BinaryIO, stop: Event, progress: Progress) -> None:
        for chunk in self._stream.moving(chunks):
            stream.write(chunk)
            progress.add(len(chunk))
            with self._lock:
                self.network_bytes += len(chunk)
            if stop.is_set():
                raise StoppedError

    def _refuse_other_file(self, answer: Any) -> None:
        """Check commit and entity tag, the hub's own and that of the server it sent us to."""
        chain = [*answer.history, answer]
        for step in chain:
            commit = step.headers.get("X-Repo-Commit")
            if commit not in (None, self._commit):
                raise _ChangedError(f"the hub serves commit {commit!r} for {self._commit}")
        linked = next((step.headers["X-Linked-ETag"] for step in chain if "X-Linked-ETag" in step.headers), None)
        served = answer.headers.get("ETag")
        etag = _plain(linked or served or "")
        if not etag:
            raise BrokenError("the answer has no ETag")
        if self._is_of_another_file(etag):
            raise _ChangedError(f"the hub serves sha256 {etag[:16]}… where {self._sha256[:16]}… was listed")
        with self._lock:
            for known, now in ((self._pieces.etag, etag), (self._served_etag, served)):
                if known is not None and known != now:
                    raise _ChangedError(f"its ETag changed from {known} to {now}")
            if self._pieces.etag is None:
                self._pieces.keep_etag(etag)
            self._served_etag = served

    def _is_of_another_file(self, etag: str) -> bool:
        """Say whether an entity tag is a sha256, as large files have it, but not the listed one."""
        return self._sha256 is not None and _SHA256.fullmatch(etag) is not None and etag != self._sha256


def _plain(etag: str) -> str:
    return etag.strip().removeprefix("W/").strip('"')


def _refuse_other_bytes(answer: Any, first: int, end: int, size: int) -> None:
    """Check that an answer is the range [first, end) of a file of that size, and nothing else."""
    if answer.status_code != 206:
        raise BrokenError(f"the server answered {answer.status_code} where a range (206) was asked for")
    headers = answer.headers
    if headers.get("Content-Encoding", "identity") != "identity":
        raise BrokenError(f"the answer is encoded ({headers['Content-Encoding']})")
    if headers.get("Content-Type", "").startswith("multipart/"):
        raise BrokenError("the answer has several parts")
    expected = {"Content-Range": f"bytes {first}-{end - 1}/{size}", "Content-Length": str(end - first)}
    for name, value in expected.items():
        if " ".join(headers.get(name, "").split()) != value:
            raise BrokenError(f"{name} is {headers.get(name)!r}, where {value!r} was expected")
