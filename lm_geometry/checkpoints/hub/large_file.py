"""One large file of a hub, downloaded so that a break costs only what was under way.

huggingface_hub's own download keeps nothing of a file that broke, ends at the first connection that is reset, and
compares no digest. This one is made of its parts: its session, headers and redirects.
"""

import errno
import logging
import time
from pathlib import Path
from threading import Event
from typing import Any

from lm_geometry.checkpoints.hub.access import token, why_unreachable
from lm_geometry.checkpoints.hub.patience import Patience, retry_after
from lm_geometry.checkpoints.hub.progress import Progress
from lm_geometry.checkpoints.revision import first_line
from lm_geometry.tables.files import file_sha256

log = logging.getLogger(__name__)


class StoppedError(Exception):
    """The download was told to stop."""


def partial_path(target: Path) -> Path:
    """Return where a download lies until it is whole; by this ending the hub client knows one that did not end."""
    return target.with_name(f"{target.name}.incomplete")


def download(url: str, target: Path, *, name: str, size: int, sha256: str, patience: Patience, stop: Event) -> None:
    """Download a file beside ``target``, where it goes on next time, and put it there once it is the listed one.

    The token goes to the hub only, not to where the hub redirects.

    Parameters
    ----------
    url : str
        Where the hub serves it.
    target : Path
        Where it is to lie.
    name : str
        Its name on the progress bar and in errors.
    size, sha256 : int, str
        What is listed; the size in bytes.
    patience : Patience
        When to give up.
    stop : Event
        Another thread sets it to end the download.

    Raises
    ------
    ValueError
        If what came is not what is listed; it is removed.
    HTTPError
        If the hub refuses, or the connection breaks again and again.
    OSError
        If the disk is full; what came is removed.
    StoppedError
        If ``stop`` was set.
    """
    partial = partial_path(target)
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.touch()
    went_on = partial.stat().st_size > 0
    found = _filled(url, partial, name, size, patience, stop)
    if found != sha256 and went_on:
        log.warning("%s: what an earlier run left of it does not fit; beginning anew", name)
        partial.write_bytes(b"")
        found = _filled(url, partial, name, size, patience, stop)
    if found != sha256:
        partial.unlink()
        raise ValueError(
            f"{name}: what came has the sha256 {found[:16]}…, but {sha256[:16]}… is listed; it was removed, run again "
            "to fetch it anew"
        )
    partial.replace(target)


def _filled(url: str, partial: Path, name: str, size: int, patience: Patience, stop: Event) -> str:
    """Return the sha256 of the partial file after having had the rest of it."""
    with Progress(name, size - partial.stat().st_size) as progress:
        _fill(url, partial, name, size, patience, _pieces_seen_by(progress, stop))
    return file_sha256(partial)


def _fill(url: str, partial: Path, name: str, size: int, patience: Patience, bar: type[Any]) -> None:
    """Append to the partial file until it is no shorter than listed, beginning again while patience lasts."""
    from huggingface_hub.errors import HTTPError

    failures = 0
    while (there := partial.stat().st_size) < size:
        try:
            _append(url, partial, name, size, bar)
        except (HTTPError, OSError) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                partial.unlink()
                raise
            failures = 1 if partial.stat().st_size > there else failures + 1
            _wait(error, name, failures, patience)


def _append(url: str, partial: Path, name: str, size: int, bar: type[Any]) -> None:
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    headers = {**build_hf_headers(token=token()), "Accept-Encoding": "identity"}
    with partial.open("ab") as stream:
        http_get(
            url,
            stream,
            resume_size=stream.tell(),
            headers=headers,
            expected_size=size,
            displayed_filename=name,
            tqdm_class=bar,
        )


def _wait(error: Exception, name: str, failures: int, patience: Patience) -> None:
    """Wait before the next attempt; raise the error where none is of use, or there were enough."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    # Not of the hub client's kinds, and not about the disk: an answer that was shorter than it should be.
    cut_short = not isinstance(error, HTTPError) and error.errno is None
    reason = first_line(error) if cut_short else why_unreachable(error)
    if reason is None or (failures >= patience.attempts and not cut_short):
        raise error
    if failures >= patience.attempts:
        raise ValueError(f"{name}: {reason}") from error
    asked = retry_after(error.response.headers) if isinstance(error, HfHubHTTPError) else None
    wait = patience.wait(failures, asked)
    log.info("%s: the download broke (%s); going on in %.0f s", name, reason, wait)
    time.sleep(wait)


def _pieces_seen_by(progress: Progress, stop: Event) -> type[Any]:
    """Return what http_get takes for a progress bar: it passes on the size of each piece, and can end the download."""

    class Pieces:
        def __init__(self, **_: Any) -> None:
            """Take what a bar is told, and show none."""

        def __enter__(self) -> "Pieces":
            return self

        def __exit__(self, *_: object) -> None:
            """Leave the bar to whoever shows it."""

        def update(self, count: int) -> None:
            if stop.is_set():
                raise StoppedError
            progress.add(count)

    return Pieces
