"""The bytes of one file of a hub repository as they come: the request, stalls, breaks and further attempts."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from time import monotonic
from typing import Any

from lm_geometry.checkpoints.hub.access import in_one_line, token
from lm_geometry.checkpoints.hub.patience import TRANSIENT, Patience, retry_after
from lm_geometry.error_words import first_line

log = logging.getLogger(__name__)


class BrokenError(Exception):
    """An answer that is not the right one, or breaks off; the next may be better."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class StoppedError(Exception):
    """Another thread failed, so that this one need not go on."""


@dataclass(frozen=True)
class Stream:
    """One file of a hub repository at a commit, to be asked for.

    Parameters
    ----------
    repository, commit, path : str
        Where it lies.
    endpoint : str, optional
        Address of the hub; the client's own by default.
    patience : Patience
        When to give up.
    """

    repository: str
    commit: str
    path: str
    endpoint: str | None
    patience: Patience

    @property
    def name(self) -> str:
        """The file's name in errors."""
        return f"{self.repository}/{self.path}"

    @contextmanager
    def answer(self, span: str) -> Iterator[Any]:
        """Yield the answer to a request for bytes of the file, such as ``5-9`` or ``5-``; it has not failed.

        The token goes to the hub only, not to where the hub redirects.

        Raises
        ------
        BrokenError
            If there is no answer, it is a failure that may pass, or it breaks off while it is read.
        ValueError
            If the hub refuses.
        """
        from huggingface_hub import errors, get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers

        url = hf_hub_url(self.repository, self.path, revision=self.commit, endpoint=self.endpoint)
        asked = {"Range": f"bytes={span}", "Accept-Encoding": "identity"}
        headers = build_hf_headers(token=token(), headers=asked)
        try:
            with (
                in_one_line(self.repository, self.commit, self.endpoint, file=self.path, only_answers=True),
                get_session().stream("GET", url, headers=headers, timeout=self.patience.silence) as answer,
            ):
                _refuse_status(answer)
                yield answer
        except errors.HTTPError as error:
            raise BrokenError(first_line(error)) from error

    def moving(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the chunks of an answer; BrokenError if they trickle."""
        begun, come = monotonic(), 0
        for chunk in chunks:
            yield chunk
            come += len(chunk)
            if (seconds := monotonic() - begun) >= self.patience.silence:
                if come < self.patience.slowest * seconds:
                    raise BrokenError(f"it trickles at {come / seconds:.0f} bytes per second")
                begun, come = monotonic(), 0

    def fill(self, missing: Callable[[], int], attempt: Callable[[], None], what: str, stop: Event) -> None:
        """Make attempts until no byte is missing.

        Parameters
        ----------
        missing : callable
            Returns how many bytes are still missing.
        attempt : callable
            Has some of them; BrokenError if it could not have all.
        what : str
            What is fetched, in errors.
        stop : Event
            Another thread sets it to end this.

        Raises
        ------
        ValueError
            If there were enough failures in a row.
        StoppedError
            If ``stop`` was set.
        """
        failures = 0
        while (left := missing()) > 0:
            try:
                attempt()
                if missing() > 0:
                    raise BrokenError("the answer was too short")
            except BrokenError as error:
                failures = 1 if left - missing() >= self.patience.worthwhile else failures + 1
                self._wait(what, error, failures, stop)

    def _wait(self, what: str, error: BrokenError, failures: int, stop: Event) -> None:
        if failures >= self.patience.attempts:
            raise ValueError(
                f"{what}: {error}; given up after {failures} attempts: run again to go on from here"
            ) from error
        seconds = self.patience.wait(failures, error.retry_after)
        log.info("%s: %s; attempt %d of %d in %.1f s", what, error, failures + 1, self.patience.attempts, seconds)
        if stop.wait(seconds):
            raise StoppedError


def _refuse_status(answer: Any) -> None:
    from huggingface_hub.utils import hf_raise_for_status

    status = answer.status_code
    # A signed address that the hub sent us to may have expired; the hub itself means what it refuses.
    elsewhere = bool(answer.history) and "X-Error-Code" not in answer.headers
    if status in TRANSIENT or status >= 500 or (status >= 400 and elsewhere):
        raise BrokenError(f"the server answered {status}", retry_after(answer.headers))
    hf_raise_for_status(answer)
