"""One large file of a hub, downloaded so that a break costs only what was under way.

huggingface_hub's own download keeps nothing of a file that broke, ends at the first connection that is reset, waits as
long as a server trickles or asks, and compares no digest.
"""

import errno
import logging
from pathlib import Path
from threading import Event

from lm_geometry.checkpoints.hub.progress import Progress
from lm_geometry.checkpoints.hub.stream import BrokenError, StoppedError, Stream
from lm_geometry.tables.files import file_sha256

log = logging.getLogger(__name__)


def partial_path(target: Path) -> Path:
    """Return where a download lies until it is whole; by this ending the hub client knows one that did not end."""
    return target.with_name(f"{target.name}.incomplete")


def download(stream: Stream, target: Path, *, size: int, sha256: str, stop: Event) -> None:
    """Download a file beside ``target``, where it goes on next time, and put it there once it is the listed one.

    Parameters
    ----------
    stream : Stream
        The file on the hub.
    target : Path
        Where it is to lie.
    size, sha256 : int, str
        What is listed; the size in bytes.
    stop : Event
        Another thread sets it to end the download.

    Raises
    ------
    ValueError
        If the hub refuses, its answers break again and again, or what came is not what is listed; that is removed.
    OSError
        If the disk is full; what came is removed.
    StoppedError
        If ``stop`` was set.
    """
    partial = partial_path(target)
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.touch()
    went_on = partial.stat().st_size > 0
    found = _filled(stream, partial, size, stop)
    if found != sha256 and went_on:
        log.warning("%s: what an earlier run left of it does not fit; beginning anew", stream.name)
        partial.write_bytes(b"")
        found = _filled(stream, partial, size, stop)
    if found != sha256:
        partial.unlink()
        raise ValueError(
            f"{stream.name}: what came has the sha256 {found[:16]}…, but {sha256[:16]}… is listed; it was removed, run "
            "again to fetch it anew"
        )
    partial.replace(target)


def _filled(stream: Stream, partial: Path, size: int, stop: Event) -> str:
    """Return the sha256 of the partial file after having had the rest of it."""
    with Progress(stream.name, size - partial.stat().st_size) as progress:
        try:
            stream.fill(
                lambda: size - partial.stat().st_size,
                lambda: _append(stream, partial, progress, stop),
                stream.name,
                stop,
            )
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                partial.unlink()
            raise
    return file_sha256(partial)


def _append(stream: Stream, partial: Path, progress: Progress, stop: Event) -> None:
    """Ask for what is missing and append it; a server that knows no ranges sends the whole file, which begins anew.

    The whole file's digest is compared in the end, so that no other check of the answer is needed.
    """
    here = partial.stat().st_size
    with stream.answer(f"{here}-") as answer, partial.open("ab") as file:
        if answer.status_code != 206:
            file.truncate(0)
            progress.add(-here)
        elif not (span := answer.headers.get("Content-Range", "")).startswith(f"bytes {here}-"):
            raise BrokenError(f"Content-Range is {span!r}, where byte {here} was asked for")
        for chunk in stream.moving(answer.iter_bytes()):
            if stop.is_set():
                raise StoppedError
            file.write(chunk)
            progress.add(len(chunk))
