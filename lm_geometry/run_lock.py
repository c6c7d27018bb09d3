"""One run at a time in a results folder: a lock that the kernel lets go when the run ends, however it ends.

Snakemake's own lock is a file that a killed run leaves behind, so that the next one stops and asks for ``--unlock``.
"""

import errno
import fcntl
import logging
import os
import socket
from pathlib import Path
from typing import TextIO

LOCK_NAME = ".running"

# What a file system answers that has no locks (some cluster file systems, as mounted).
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}

# Open for as long as this process lives: a lock goes when its file is closed.
_held: dict[Path, TextIO] = {}

logger = logging.getLogger(__name__)


class RunningError(RuntimeError):
    """Another run works in the same results folder."""


def claim(folder: Path) -> None:
    """Lock a results folder for this process, until it ends.

    Raises
    ------
    RunningError
        If another run holds it; the message names its process and machine.
    OSError
        If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_NAME
    lock = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "of unknown number"
        lock.close()
        raise RunningError(
            f"another run works in {folder} (process {holder}); wait for it, end it, or set another results_dir"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            lock.close()
            raise
        logger.warning("%s: this file system has no locks; start no second run in this folder", folder)
    lock.truncate(0)
    lock.write(f"{os.getpid()} on {socket.gethostname()}\n")
    lock.flush()
    _held[folder.resolve()] = lock
