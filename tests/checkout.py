"""Copies of the project that tests run and change, so that the checkout they stand in stays as it is."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PARTS = (
    "Snakefile", "rules", "scripts", "lm_geometry", "schemas", "profiles", "envs", "reference",
    "config.yaml", "configs",
)  # fmt: skip
TINY = PROJECT / "tests" / "config" / "tiny.yaml"


@dataclass(frozen=True)
class Checkout:
    """A copy of the project, with or without results."""

    folder: Path

    def snakemake(
        self,
        *arguments: str,
        cwd: Path | None = None,
        config: str | None = "tiny.yaml",
        timeout: float = 600,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run Snakemake and return the finished process; a config of None means the embedded default."""
        return subprocess.run(
            _command(arguments, config), cwd=cwd or self.folder, env={**_clean_environment(), **environment},
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def start(self, log: Path, *arguments: str, config: str | None = "tiny.yaml") -> subprocess.Popen:
        """Start Snakemake in a process group of its own, what it says in ``log``."""
        with log.open("w") as said:
            return subprocess.Popen(
                _command(arguments, config), cwd=self.folder, env=_clean_environment(),
                stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def run(self, *arguments: str, **options) -> str:
        """Run Snakemake, expect success and return what it printed."""
        done = self.snakemake(*arguments, **options)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done.stdout + done.stderr

    def rules_to_run(self, *arguments: str, **options) -> dict[str, int]:
        """Return the jobs that a dry run announces: how many of each rule."""
        said = self.run("--dry-run", *arguments, **options)
        if "Nothing to be done" in said:
            return {}
        table = said[said.index("Job stats:") :]
        jobs = {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)\s*$", table, flags=re.MULTILINE)}
        jobs.pop("total")
        return jobs

    def edit(self, relative: str, old: str, new: str) -> None:
        """Replace text in a file of the copy; the old text must be there."""
        path = self.folder / relative
        text = path.read_text()
        assert old in text, f"{old!r} is not in {relative}"
        path.write_text(text.replace(old, new))

    def append(self, relative: str, line: str = "EDITED = True") -> None:
        """Add a line, of code by default, to a file of the copy."""
        with (self.folder / relative).open("a") as file:
            file.write(f"\n{line}\n")

    def copy(self, target: Path) -> "Checkout":
        """Return a copy with everything in it, modification times kept."""
        shutil.copytree(self.folder, target, symlinks=True)
        return Checkout(target)


def _command(arguments: tuple[str, ...], config: str | None) -> list[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    return [*command, "--configfile", config] if config else command


def _clean_environment() -> dict[str, str]:
    """Return next to nothing: no PYTHONPATH and no settings of the caller leak into the jobs."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp"), "HF_HUB_OFFLINE": "1"}


def new_checkout(folder: Path) -> Checkout:
    """Copy the parts of the project that a run needs, without results."""
    folder.mkdir(parents=True)
    for part in PARTS:
        source = PROJECT / part
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / part, ignore=ignore) if source.is_dir() else shutil.copy2(source, folder)
    shutil.copy2(TINY, folder / "tiny.yaml")
    return Checkout(folder)
