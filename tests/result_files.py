"""The files of a run that are its results, and the end of a run by a signal."""

import hashlib
import os
import signal
import subprocess
from pathlib import Path

import psutil

# How a run went differs from run to run.
NOT_RESULTS = ("logs", "timings")


def digests(results: Path) -> dict[str, str]:
    """Return the sha256 of every file under its final name, by its path below the results folder."""
    found = {}
    for path in sorted(results.rglob("*")):
        relative = path.relative_to(results)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.is_file() and not hidden and relative.parts[0] not in NOT_RESULTS:
            found[str(relative)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def kill_group(process: subprocess.Popen, number: int = signal.SIGKILL) -> None:
    """Send a signal to a run and all its jobs, and wait until none is left."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    os.killpg(process.pid, number)
    process.wait(120)
    _, alive = psutil.wait_procs(family, timeout=120)
    assert not alive, f"outlived the signal to their group: {alive}"
