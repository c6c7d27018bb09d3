"""Folders for weights that no memory holds: a job's own, and those that killed jobs left."""

import fcntl
import shutil
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

_PREFIX = "lm-geometry-offload-"
# Locked as long as the job lives, by the kernel.
_LOCK = ".in_use"


def offload_folder(parent: Path, stack: ExitStack) -> Path:
    """Return a new folder that goes with ``stack``; those of jobs that were killed, as large as a model, go first.

    Raises
    ------
    OSError
        If ``parent`` cannot be written.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(parent)
    # It gets its name when it is locked: another job would take it for abandoned.
    made = Path(tempfile.mkdtemp(prefix=".offload-", dir=parent))
    lock = stack.enter_context((made / _LOCK).open("w"))
    with suppress(OSError):  # a file system without locks: nobody can tell this folder from an abandoned one
        fcntl.flock(lock, fcntl.LOCK_EX)
    folder = made.rename(parent / f"{_PREFIX}{made.name.removeprefix('.offload-')}")
    stack.callback(shutil.rmtree, folder)
    return folder


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        # In use, being removed by another job, or on a file system without locks: it stays.
        with suppress(OSError), (folder / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
