"""The embedded default from an empty folder: wall time, peak memory, and the time of a run with nothing to do."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from tqdm import tqdm

from benchmarks import plan
from benchmarks.figure import Figure

ROOT = Path(__file__).resolve().parents[1]


def figures() -> Iterator[Figure]:
    """Run the demo in a new folder and yield its figures; goals are for two quiet cores."""
    with tempfile.TemporaryDirectory(prefix="lm-geometry-bench-") as folder:
        seconds, peak_mb = _run_workflow(Path(folder))
        yield Figure("demo", seconds, "s", 360)
        yield Figure("demo, peak memory", peak_mb, "MB", 4000)
        yield from plan.figures(Path(folder) / "results")
        seconds, _ = _run_workflow(Path(folder))
        yield Figure("demo again, nothing to do", seconds, "s", 10)


def _run_workflow(folder: Path) -> tuple[float, float]:
    """Return the seconds a run takes and the most memory its processes hold together, in MB."""
    command = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "-d", folder, "--cores", "all"]
    command += ["--workflow-profile", ROOT / "profiles" / "default"]
    log = folder / "bench.log"
    started = time.perf_counter()
    with log.open("a") as output, tqdm(desc="snakemake", unit=" looks", disable=None) as progress:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _held_bytes(process.pid))
            progress.set_postfix(peak_mb=peak // 1_000_000)
            progress.update()
            time.sleep(0.25)
    if process.returncode:
        raise RuntimeError(f"the demo ended with exit code {process.returncode}:\n{log.read_text()[-4000:]}")
    return time.perf_counter() - started, peak / 1e6


def _held_bytes(pid: int) -> int:
    """Return the proportional set size of a process and all below it: pages that processes share count once."""
    held = 0
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in family:
        try:
            held += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return held
