"""One run at a time in a results folder: locks that the kernel lets go when a process ends, however it ends.

Snakemake's own lock is a file that a killed run leaves behind, so that the next one stops and asks for ``--unlock``.
Nor does it tell of the jobs of a run whose own process alone was killed, which go on writing.
"""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

LOCK_NAME = ".running"
JOBS_LOCK_NAME = ".working"
# Which run a job belongs to; jobs inherit it.
_RUN = "LM_GEOMETRY_RUN"

# What a file system answers that has no locks (some cluster file systems, as mounted).
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}

# Open for as long as this process lives: a lock goes when its file is closed.
_held: dict[Path, TextIO] = {}

logger = logging.getLogger(__name__)


class RunningError(RuntimeError):
    """Another run works in the same results folder."""


def claim(folder: Path) -> None:
    """Lock a results folder for this process, until it ends, and for the jobs that it starts.

    Raises
    ------
    RunningError
        If another run holds it (the message names its process and machine), or jobs that a killed run left work in it.
    OSError
        If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = _opened(folder / LOCK_NAME)
    if not _locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
        lock.seek(0)
        holder = lock.read().strip() or "of unknown number"
        lock.close()
        raise RunningError(
            f"another run works in {folder} (process {holder}); wait for it, end it, or set another results_dir"
        )
    jobs = folder / JOBS_LOCK_NAME
    with _opened(jobs) as jobs_lock:
        if not _locked(jobs_lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
            lock.close()
            raise RunningError(
                f"jobs of a run that is gone still work in {folder}; wait for them, or end them: `fuser {jobs}` names "
                "their processes, and on a cluster squeue does"
            )
        run = f"{os.getpid()} on {socket.gethostname()}"
        lock.truncate(0)
        lock.write(f"{run}\n")
        lock.flush()
    os.environ[_RUN] = run
    _held[folder.resolve()] = lock


def current_run() -> str | None:
    """Return the name of the run that this process started or is a job of, None outside of one."""
    return os.environ.get(_RUN)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Show for as long as a job works in a results folder that one does, also when its run is gone.

    Raises
    ------
    RunningError
        If another run has taken the folder since the job's own was killed.
    """
    with _opened(folder / JOBS_LOCK_NAME) as lock:
        _locked(lock, fcntl.LOCK_SH)
        own = current_run()
        if own is not None and (holder := _read(folder / LOCK_NAME)) != own:
            raise RunningError(f"the run that started this job ({own}) is gone, and {holder} works in {folder} now")
        yield


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _opened(path: Path) -> TextIO:
    return path.open("a+", encoding="utf-8")


def _locked(lock: TextIO, kind: int) -> bool:
    """Lock an open file; return whether it is ours now, which it also is where there are no locks."""
    try:
        fcntl.flock(lock, kind)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            lock.close()
            raise
        logger.warning("%s: this file system has no locks; start no second run in its folder", lock.name)
    return True
