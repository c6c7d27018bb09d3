"""Asking the hub: the token, further attempts, and its refusals in one line each."""

import errno
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from lm_geometry.checkpoints.hub.patience import TRANSIENT, Patience, retry_after
from lm_geometry.checkpoints.revision import unknown_revision
from lm_geometry.error_words import first_line

log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


def token() -> str | bool:
    """Return the token in HF_TOKEN, or False for none: the one that a login stored is never used.

    Raises
    ------
    ValueError
        If it holds what no header can carry; a client that complained would print it.
    """
    text = os.environ.get("HF_TOKEN", "").strip()
    if not all("!" <= character <= "~" for character in text):
        raise ValueError("HF_TOKEN holds a blank, a control character or a letter beyond ASCII; copy the token again")
    return text or False


def address(endpoint: str | None) -> str:
    """Return where the hub is asked: ``endpoint``, or the client's own (HF_ENDPOINT)."""
    from huggingface_hub import constants

    return (endpoint or constants.ENDPOINT).rstrip("/")


def why_unreachable(error: BaseException) -> str | None:
    """Return in a few words why the hub gave no answer, or None where it did answer."""
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        return f"it answered {status}" if status in TRANSIENT or status >= 500 else None
    if isinstance(error, errors.HTTPError):
        return first_line(error)
    return None


def patiently(call: Callable[[], _Answer], patience: Patience) -> _Answer:
    """Return the answer of ``call``, made again while the hub cannot be reached and patience lasts."""
    from huggingface_hub import errors

    failures = 0
    while True:
        try:
            return call()
        except errors.HTTPError as error:
            failures += 1
            reason = why_unreachable(error)
            if reason is None or failures >= patience.attempts:
                raise
            asked = retry_after(error.response.headers) if isinstance(error, errors.HfHubHTTPError) else None
            wait = patience.wait(failures, asked)
            log.info("the hub did not answer (%s); trying again in %.0f s", reason, wait)
            time.sleep(wait)


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise ValueError if the disk of ``folder``, which need not exist yet, has no room for what needs the bytes."""
    free = _free_bytes(folder)
    if needed > free:
        raise ValueError(
            f"{folder}: the disk is too full for {what}: {needed:,} bytes are needed, {free:,} are free; make room, or "
            "set `cache_dir` to a folder on a larger disk"
        )


@contextmanager
def disk_errors(folder: Path, needed: int) -> Iterator[None]:
    """Turn a disk that ran full while ``needed`` bytes were written into a ValueError that says so."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ValueError(
            f"{folder}: the disk ran full: {needed:,} bytes were needed, {_free_bytes(folder):,} are free; make room "
            "and run again"
        ) from error


def _free_bytes(folder: Path) -> int:
    existing = next(place for place in [folder, *folder.absolute().parents] if place.exists())
    return shutil.disk_usage(existing).free


@contextmanager
def in_one_line(
    repository: str,
    revision: str,
    endpoint: str | None = None,
    *,
    file: str = "a file",
    only_answers: bool = False,
) -> Iterator[None]:
    """Turn the hub client's errors into a ValueError of one line that names the model, the file and the fix.

    With ``only_answers`` a connection that fails is left to the caller, who may try again.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise ValueError(unknown_revision(repository, revision, _branches(repository, endpoint))) from error
    except errors.LocalEntryNotFoundError as error:
        cause = error.__cause__
        reason = (why_unreachable(cause) or first_line(cause)) if cause else "no network"
        raise ValueError(_unreachable(repository, revision, reason)) from error
    except errors.EntryNotFoundError as error:
        raise ValueError(
            f"{repository} ({revision}): the hub lists {file} but does not have it; try again later, or take another "
            "revision"
        ) from error
    except (errors.OfflineModeIsEnabled, errors.HTTPError) as error:
        if only_answers and not isinstance(error, (errors.OfflineModeIsEnabled, errors.HfHubHTTPError)):
            raise
        raise ValueError(_refusal(repository, revision, endpoint, error)) from error
    except OSError as error:
        # Not about the disk: a file that is longer or shorter than the hub said.
        if error.errno is not None:
            raise
        raise ValueError(f"{repository} ({revision}): {file}: {first_line(error)} Run again") from error


def _refusal(repository: str, revision: str, endpoint: str | None, error: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        page = f"{address(endpoint)}/{repository}"
        if token():
            return f"{repository}: the model is gated and the account of HF_TOKEN has no access: ask for it at {page}"
        return (
            f"{repository}: the model is gated: ask for access at {page}, then set HF_TOKEN to a token of that account"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        fix = "HF_TOKEN has no access to it" if token() else "set HF_TOKEN"
        return f"{repository}: the hub has no such model, or it is private ({fix}); a folder begins with ./ ../ / or ~"
    if isinstance(error, errors.DisabledRepoError):
        return f"{repository}: the hub has disabled this model"
    if reason := why_unreachable(error):
        return _unreachable(repository, revision, reason)
    status = error.response.status_code
    if status == 401 and token():
        return f"{repository}: {address(endpoint)} does not know the token in HF_TOKEN: make a new one, or unset it"
    return (
        f"{repository} ({revision}): the hub refused the request with {status}; try again later, and check HF_ENDPOINT "
        "or a proxy if you set one"
    )


def _unreachable(repository: str, revision: str, reason: str) -> str:
    return (
        f"{repository} ({revision}): the hub cannot be reached ({reason}), and what is needed was not fetched before: "
        "check the network, and HF_ENDPOINT or a proxy if you set one; `snakemake -n` needs no hub"
    )


def _branches(repository: str, endpoint: str | None) -> list[str]:
    from huggingface_hub import HfApi, errors

    try:
        refs = HfApi(endpoint=endpoint, token=token()).list_repo_refs(repository)
    except errors.HTTPError:
        return []
    return [ref.name for ref in [*refs.branches, *refs.tags]]
