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
from time import monotonic
from typing import Any, BinaryIO

from lm_geometry.checkpoints.byte_source import Ranges, check_range
from lm_geometry.checkpoints.file_names import checked_path
from lm_geometry.checkpoints.hub.access import check_room, disk_errors, in_one_line, token
from lm_geometry.checkpoints.hub.patience import TRANSIENT, Patience, retry_after
from lm_geometry.checkpoints.hub.pieces import AbsentError, Pieces, Span
from lm_geometry.checkpoints.hub.progress import Progress
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.checkpoints.revision import first_line

log = logging.getLogger(__name__)
_SHA256 = re.compile(r"[0-9a-f]{64}")
# The first finds nothing, the second what was fetched; another process may discard it in between.
_READS = 4
PIECE_BYTES = 64 << 20
THREADS = 4


class _BrokenError(Exception):
    """An answer that is not the right one, or breaks off; the next may be better."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class _ChangedError(Exception):
    """The file on the hub is not the one that the earlier pieces are of."""


class _StoppedError(Exception):
    """Another piece failed, so that this one need not go on."""


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
        self._repository, self._commit, self._sha256 = repository, commit, file.sha256
        self._endpoint = endpoint and endpoint.rstrip("/")
        self._patience = patience or Patience()
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
        raise ValueError(f"{self._repository}/{self.name}: its pieces vanish from {self._pieces.folder} while read")

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
                log.warning("%s/%s: %s; fetching it anew", self._repository, self.name, error)
                self._start_anew()
                try:
                    self._fill(start, end)
                except _ChangedError as again:
                    self._start_anew()
                    raise ValueError(
                        f"{self._repository}/{self.name}: {again}, again and again; its pieces were discarded: "
                        "list the model anew"
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
        check_room(self._pieces.folder, total)
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
        for failure in sorted(failures, key=lambda error: isinstance(error, _StoppedError)):
            raise failure

    def _fetch_or_stop(self, span: Span, stop: Event, progress: Progress) -> None:
        if stop.is_set():
            raise _StoppedError
        try:
            self._fetch_piece(span, stop, progress)
        except BaseException:
            stop.set()
            raise

    def _fetch_piece(self, span: Span, stop: Event, progress: Progress) -> None:
        failures = 0
        while (here := self._pieces.part_bytes(span)) < span[1] - span[0]:
            try:
                self._stream(span, here, stop, progress)
            except _BrokenError as error:
                gain = self._pieces.part_bytes(span) - here
                failures = 1 if gain >= self._patience.worthwhile else failures + 1
                self._wait(span, error, failures, stop)
        self._pieces.finish(span)

    def _wait(self, span: Span, error: _BrokenError, failures: int, stop: Event) -> None:
        what = f"{self._repository}/{self.name}: bytes {span[0]} to {span[1]}: {error}"
        if failures >= self._patience.attempts:
            raise ValueError(f"{what}; given up after {failures} attempts: run again to go on from here") from error
        seconds = self._patience.wait(failures, error.retry_after)
        log.info("%s; attempt %d of %d in %.1f s", what, failures + 1, self._patience.attempts, seconds)
        if stop.wait(seconds):
            raise _StoppedError

    def _stream(self, span: Span, here: int, stop: Event, progress: Progress) -> None:
        """Ask for what is missing of a piece and append it to its part."""
        from huggingface_hub import errors, get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers

        first, end = span[0] + here, span[1]
        url = hf_hub_url(self._repository, self.name, revision=self._commit, endpoint=self._endpoint)
        asked = {"Range": f"bytes={first}-{end - 1}", "Accept-Encoding": "identity"}
        headers = build_hf_headers(token=token(), headers=asked)
        try:
            with (
                in_one_line(self._repository, self._commit, self._endpoint, only_answers=True),
                get_session().stream("GET", url, headers=headers, timeout=self._patience.silence) as answer,
            ):
                _refuse_status(answer)
                _refuse_other_bytes(answer, first, end, self.size)
                self._refuse_other_file(answer)
                self._append(answer.iter_raw(), span, here, stop, progress)
        except errors.HTTPError as error:
            raise _BrokenError(first_line(error)) from error
        if self._pieces.part_bytes(span) < end - span[0]:
            raise _BrokenError("the answer was too short")

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
        begun, come = monotonic(), 0
        for chunk in chunks:
            stream.write(chunk)
            progress.add(len(chunk))
            come += len(chunk)
            with self._lock:
                self.network_bytes += len(chunk)
            if stop.is_set():
                raise _StoppedError
            if (seconds := monotonic() - begun) >= self._patience.silence:
                if come < self._patience.slowest * seconds:
                    raise _BrokenError(f"it trickles at {come / seconds:.0f} bytes per second")
                begun, come = monotonic(), 0

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
            raise _BrokenError("the answer has no ETag")
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


def _refuse_status(answer: Any) -> None:
    from huggingface_hub.utils import hf_raise_for_status

    status = answer.status_code
    # A signed address that the hub sent us to may have expired; the hub itself means what it refuses.
    elsewhere = bool(answer.history) and "X-Error-Code" not in answer.headers
    if status in TRANSIENT or status >= 500 or (status >= 400 and elsewhere):
        raise _BrokenError(f"the server answered {status}", retry_after(answer.headers))
    hf_raise_for_status(answer)
    if status != 206:
        raise _BrokenError(f"the server answered {status} where a range (206) was asked for")


def _refuse_other_bytes(answer: Any, first: int, end: int, size: int) -> None:
    """Check that an answer is the range [first, end) of a file of that size, and nothing else."""
    headers = answer.headers
    if headers.get("Content-Encoding", "identity") != "identity":
        raise _BrokenError(f"the answer is encoded ({headers['Content-Encoding']})")
    if headers.get("Content-Type", "").startswith("multipart/"):
        raise _BrokenError("the answer has several parts")
    expected = {"Content-Range": f"bytes {first}-{end - 1}/{size}", "Content-Length": str(end - first)}
    for name, value in expected.items():
        if " ".join(headers.get(name, "").split()) != value:
            raise _BrokenError(f"{name} is {headers.get(name)!r}, where {value!r} was expected")
