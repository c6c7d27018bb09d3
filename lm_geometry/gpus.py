"""The GPUs of this machine, and a job's claim on some of them: locks that the kernel lets go when the job ends.

Snakemake only counts GPUs. Without a claim, jobs that run side by side would all compute on the first one.
"""

import fcntl
import logging
import os
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import takewhile
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"

# A job that was killed may still be dying: its locks go when the kernel is done with it.
_PATIENCE_SECONDS, _POLL_SECONDS = 30.0, 0.2

log = logging.getLogger(__name__)

# Open for as long as this process lives: a lock goes when its file is closed.
_held: list[int] = []


def visible_gpus() -> list[str]:
    """Return the GPUs that a process started here may use, by the names that ``CUDA_VISIBLE_DEVICES`` takes.

    Those that the variable lists, as a user or a scheduler sets it; without it all of the machine. Asks no library,
    whose import takes seconds.
    """
    n_present = len(list(Path("/dev").glob("nvidia[0-9]*")))
    given = os.environ.get(VISIBLE)
    if given is None or not n_present:
        return [str(gpu) for gpu in range(n_present)]
    # CUDA reads the list up to the first name that is no GPU's.
    return list(takewhile(lambda name: _may_be(name, n_present), (name.strip() for name in given.split(","))))


def claim_gpus(count: int) -> list[str]:
    """Keep some GPUs to this process until it ends, and show it no others.

    To be called before CUDA starts, which reads ``CUDA_VISIBLE_DEVICES`` once. Of what a scheduler gave, only the jobs
    of the same allocation compete.

    Parameters
    ----------
    count : int
        GPUs to claim; for 0, and on a machine without any, nothing is done.

    Returns
    -------
    list of str
        Their names, as ``CUDA_VISIBLE_DEVICES`` now has them.

    Raises
    ------
    ValueError
        If there are fewer GPUs, or other jobs hold too many of them.
    OSError
        If the system's folder for temporary files cannot be written.
    """
    visible = visible_gpus()
    if not count or not visible:
        return []
    if count > len(visible):
        raise ValueError(f"gpu: this job needs {count} GPUs and sees {len(visible)} ({', '.join(visible)}); {_LOWER}")
    folder = _lock_folder()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not (claimed := _claimed(visible, count, folder)):
        if time.monotonic() > deadline:
            raise ValueError(
                f"gpu: this job needs {count} of the {len(visible)} GPUs that it sees ({', '.join(visible)}), and "
                f"other jobs hold too many; {_LOWER}"
            )
        time.sleep(_POLL_SECONDS)
    os.environ[VISIBLE] = ",".join(claimed)
    log.info("computing on GPU %s of %s", ", ".join(claimed), ", ".join(visible))
    return claimed


@cache
def gpu_memory() -> int | None:
    """Return the bytes of this machine's smallest GPU, None where the driver's nvidia-smi does not say."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    sizes = [int(size) for size in said.split() if size.isdigit()]
    return min(sizes) * 2**20 if sizes else None


_LOWER = "give snakemake --resources gpu=N, N the number of GPUs that are free"


def _may_be(name: str, n_present: int) -> bool:
    """Say whether a name may be a GPU's: a number that there is, or the id of a GPU or of a part of one."""
    return int(name) < n_present if name.isdigit() else bool(name) and not name.startswith("-")


def _lock_folder() -> Path:
    """Return the folder of this user's locks; an allocation of Slurm, which numbers its GPUs from 0 on, has its own."""
    allocation = [os.environ[name] for name in ("SLURM_JOB_ID", "SLURM_STEP_GPUS") if name in os.environ]
    folder = Path(tempfile.gettempdir()) / "-".join(["lm-geometry-gpus", str(os.getuid()), *map(_plain, allocation)])
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        raise PermissionError(f"{folder}: belongs to another user; remove it, or set TMPDIR to a folder of your own")
    return folder


def _claimed(visible: Sequence[str], count: int, folder: Path) -> list[str]:
    """Return ``count`` GPUs that were free, now locked; none if there are too few."""
    with _alone(folder / "choosing"):
        found: dict[str, int] = {}
        for name in visible:
            if len(found) < count and (lock := _locked(folder / f"gpu-{_plain(name)}")) is not None:
                found[name] = lock
        if len(found) == count:
            _held.extend(found.values())
            return list(found)
        for lock in found.values():
            os.close(lock)
        return []


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process at a time choose, or two that need several GPUs each could take them from one another."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _locked(path: Path) -> int | None:
    """Return the open file of a lock that was free; None where another process holds it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _plain(name: str) -> str:
    """Return a name as part of a file's: ids of parts of GPUs hold slashes."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)
