"""The two ways a user meets a bad input: the check of a config, and a job of the workflow. Both run here in process."""

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_geometry.configuration.__main__ import main as check_config
from lm_geometry.job import run_job


@dataclass(frozen=True)
class Ran:
    """What was seen of a run: its exit code, the screen, the log (None where there is none), its outputs' folder."""

    exit_code: int
    screen: str
    log: str | None
    outputs: Path


@dataclass(frozen=True)
class BadInput:
    """One bad input.

    Parameters
    ----------
    name : str
        What is wrong, as the test is called.
    run : callable
        Makes the input in the empty folder that it is given, runs an entry point on it and returns what was seen.
    says : tuple of str
        Regular expressions that the error line holds: the file or key, the value, and what to do.
    """

    name: str
    run: Callable[[Path], Ran]
    says: tuple[str, ...]


def checked(folder: Path, text: str | bytes) -> Ran:
    """Check a config file of that text, as ``make demo CONFIG=`` does before anything runs."""
    path = folder / "my.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return checked_file(path)


def checked_file(path: Path) -> Ran:
    """Check the config at that path, whose folder is the working directory; its results belong into ``out``."""
    screen = io.StringIO()
    with (
        contextlib.chdir(path.parent),
        contextlib.redirect_stdout(screen),
        contextlib.redirect_stderr(screen),
    ):
        try:
            code = check_config([path.name]) or 0
        except SystemExit as error:
            code = _exit_code(error)
    outputs = path.parent / "out"
    outputs.mkdir(exist_ok=True)
    return Ran(code, screen.getvalue(), None, outputs)


@dataclass
class _Job:
    """What Snakemake hands to a script."""

    rule: str
    input: Mapping[str, Any]
    output: Mapping[str, Any]
    params: Mapping[str, Any]
    log: list[str]
    resources: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1


def ran(
    folder: Path,
    function: Callable[..., None],
    *,
    input: Mapping[str, Path | list[Path]],
    output: Mapping[str, str | list[str]],
    params: Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
) -> Ran:
    """Run a script's function as its job does; outputs are named relative to a folder of their own."""
    outputs = folder / "out"
    outputs.mkdir(exist_ok=True)
    log = folder / "job.log"
    job = _Job(
        rule=function.__name__,
        input={name: _paths(value) for name, value in input.items()},
        output={name: _paths(value, outputs) for name, value in output.items()},
        params=params or {},
        log=[str(log)],
        resources=resources or {},
    )
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
        try:
            run_job(job, function)
            code = 0
        except SystemExit as error:
            code = _exit_code(error)
    return Ran(code, screen.getvalue(), log.read_text(encoding="utf-8"), outputs)


def _paths(value: Any, root: Path | None = None) -> Any:
    if isinstance(value, list):
        return [_paths(item, root) for item in value]
    return str(value if root is None else root / value)


def _exit_code(error: SystemExit) -> int:
    return error.code if isinstance(error.code, int) else int(error.code is not None)
