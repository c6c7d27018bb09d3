"""Run a script's function as a Snakemake job: paths in, paths out, everything it says in the log and on the screen."""

import inspect
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TextIO

from lm_geometry import provenance
from lm_geometry.code_digest import DATA_BEHIND, DIGESTS, code_digest, recall_digests
from lm_geometry.run_lock import RunningError, working_in

# Parameters that are there for Snakemake to compare.
_NO_ARGUMENTS = {"code", "file_states"}
_ROOT = Path(__file__).resolve().parents[1]
# The results folder of the workflow that a job belongs to, for its lock.
_RESULTS = "LM_GEOMETRY_RESULTS"


class Stopped(BaseException):
    """The job was told to end, by a scheduler, a user or a machine that shuts down."""


class _Log:
    """A job's log, which may end before the job: on a full disk the screen must still say what happened."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self.problem: OSError | None = None

    def write(self, text: str) -> int:
        if self.problem is None:
            try:
                self._file.write(text.encode("utf-8", errors="backslashreplace"))
            except OSError as error:
                self.problem = error
        return len(text)

    def flush(self) -> None:
        """Do nothing: every line is written at once."""

    def close(self) -> None:
        self._file.close()


class _Tee:
    """What a job says, on the screen and in its log."""

    def __init__(self, screen: TextIO, log: _Log) -> None:
        self._screen = screen
        self._log = log

    def write(self, text: str) -> int:
        self._screen.write(text)
        self._screen.flush()
        return self._log.write(text)

    def flush(self) -> None:
        self._screen.flush()

    def isatty(self) -> bool:
        return False


def run_job(job: Any, function: Callable[..., None]) -> None:
    """Call ``function`` with the named inputs, outputs and params of a Snakemake job.

    Errors about data or config (``ValueError``, ``OSError``) appear on the screen as one line; the traceback goes to
    the log. Anything else is a defect of ours and shows its traceback in both. A job that is told to end (SIGTERM,
    Ctrl-C) removes what it has half-written and ends with the exit code that says so, 128 and the signal's number.

    Parameters
    ----------
    job : snakemake.script.Snakemake
        The object that Snakemake gives to a script.
    function : callable
        Takes keyword arguments named like the job's inputs, outputs and params; ``threads`` and resources if it names
        them.
    """
    screen = sys.stderr
    with _opened_log(job, screen) as log:
        sys.stderr = _Tee(screen, log)
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s")
        for ours in (__package__, "__main__"):  # libraries tell much that nobody asked for
            logging.getLogger(ours).setLevel(logging.INFO)
        try:
            provenance.set_job(rule=job.rule, code=job.params.get("code", ""))
            recall_digests(DIGESTS)
            with _stopped_in_order(), _in_results():
                _refuse_edited_code(job, function)
                function(**_arguments(job, function))
                _refuse_edited_code(job, function)
        except (ValueError, OSError, RunningError) as error:
            traceback.print_exc(file=log)
            print(f"{job.rule}: {_subject(job, str(error))}{' '.join(str(error).splitlines())}", file=screen)
            raise SystemExit(1) from None
        except (Stopped, KeyboardInterrupt) as error:
            number = error.args[0] if isinstance(error, Stopped) else signal.SIGINT
            traceback.print_exc(file=log)
            print(f"{job.rule}: stopped by {signal.Signals(number).name}", file=screen)
            raise SystemExit(128 + number) from None
        except BaseException:
            traceback.print_exc(file=log)
            raise
        finally:
            sys.stderr = screen


@contextmanager
def _opened_log(job: Any, screen: TextIO) -> Iterator[_Log]:
    path = Path(str(job.log[0]))
    try:
        log = _Log(path)
    except OSError as error:
        print(f"{job.rule}: its log cannot be written ({error})", file=screen)
        raise SystemExit(1) from None
    try:
        yield log
    finally:
        log.close()
        if log.problem is not None:
            print(f"{job.rule}: its log {path} is not whole ({log.problem})", file=screen)


def _refuse_edited_code(job: Any, function: Callable[..., None]) -> None:
    """Refuse to make a file by other code than the run started with, whose digest it would bear."""
    started_with = job.params.get("code", "").partition(DATA_BEHIND)[0]
    if started_with and code_digest(_ROOT / "scripts" / f"{function.__name__}.py", _ROOT) != started_with:
        raise ValueError("its code was edited after the run had started; start again, and what it changes is made")


def prepare_environment(root: Path, results: Path | None) -> None:
    """Set what all jobs of a workflow inherit from the process that starts them.

    Scripts import the library from ``root``, wherever the workflow is run from and whichever environment runs them. A
    job of one thread computes on one: jobs run side by side, and sums come out alike on any number of cores. While a
    job works, the lock of the folder ``results`` says so; as modules of one workflow several have none.
    """
    if results is not None:
        os.environ[_RESULTS] = str(results.absolute())
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _in_results() -> AbstractContextManager[None]:
    results = os.environ.get(_RESULTS)
    return working_in(Path(results)) if results else nullcontext()


@contextmanager
def _stopped_in_order() -> Iterator[None]:
    """Turn SIGTERM, which by default ends a process on the spot, into an exception, so that temporary files go."""

    def stop(number: int, frame: Any) -> None:  # noqa: ARG001
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # schedulers send it to the process and to its group
        raise Stopped(number)

    former = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _subject(job: Any, said: str) -> str:
    """Return whose error it is, where the job reads one source and the message does not name it."""
    source, revision = job.params.get("source"), job.params.get("revision")
    return f"{source} ({revision}): " if source and source not in said else ""


def _arguments(job: Any, function: Callable[..., None]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for files in (job.input, job.output):
        for name, value in files.items():
            arguments[name] = Path(value) if isinstance(value, str) else [Path(item) for item in value]
    arguments.update({name: value for name, value in job.params.items() if name not in _NO_ARGUMENTS})
    # What changes no value of a result goes by resources, whose change re-runs nothing.
    wanted = inspect.signature(function).parameters.keys() - arguments.keys()
    offered = {**dict(job.resources.items()), "threads": job.threads}
    arguments.update({name: offered[name] for name in wanted & offered.keys()})
    return arguments
