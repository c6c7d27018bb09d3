"""How long a dry run of each config takes that comes with the project, from a folder without results."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from benchmarks.figure import Figure

ROOT = Path(__file__).resolve().parents[1]


def figures() -> Iterator[Figure]:
    """Time ``snakemake --dry-run`` of each config; the goal is for two quiet cores."""
    for path in tqdm(sorted((ROOT / "configs").glob("*.yaml")), desc="configs", disable=None):
        with tempfile.TemporaryDirectory(prefix="lm-geometry-bench-") as folder:
            command = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "-d", folder, "--configfile", path]
            started = time.perf_counter()
            subprocess.run([*command, "--dry-run", "--quiet"], check=True, capture_output=True)
            yield Figure(f"dry run of {path.name}", time.perf_counter() - started, "s", 30)
