"""Run a script's function as a Snakemake job: paths in, paths out, everything it says in the log and on the screen."""

import inspect
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from lm_geometry import provenance


class _Tee:
    """A stream that writes to several streams."""

    def __init__(self, *streams: TextIO) -> None:
        self._streams = streams

    def write(self, text: str) -> int:
        for stream in self._streams:
            stream.write(text)
            stream.flush()
        return len(text)

    def flush(self) -> None:
        for stream in self._streams:
            stream.flush()

    def isatty(self) -> bool:
        return False


def run_job(job: Any, function: Callable[..., None]) -> None:
    """Call ``function`` with the named inputs, outputs and params of a Snakemake job.

    Errors about data or config (``ValueError``, ``OSError``) appear on the screen as one line; the traceback goes to
    the log. Anything else is a defect of ours and shows its traceback in both.

    Parameters
    ----------
    job : snakemake.script.Snakemake
        The object that Snakemake gives to a script.
    function : callable
        Takes keyword arguments named like the job's inputs, outputs and params; ``threads`` and resources if it names
        them.
    """
    with Path(str(job.log[0])).open("w", encoding="utf-8") as log:
        screen = sys.stderr
        sys.stderr = _Tee(screen, log)
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s")
        for ours in (provenance.__package__, "__main__"):  # libraries tell much that nobody asked for
            logging.getLogger(ours).setLevel(logging.INFO)
        try:
            provenance.set_job(rule=job.rule, code=job.params.get("code", ""))
            function(**_arguments(job, function))
        except (ValueError, OSError) as error:
            traceback.print_exc(file=log)
            print(f"{job.rule}: {_subject(job, str(error))}{error}", file=screen)
            raise SystemExit(1) from None
        except BaseException:
            traceback.print_exc(file=log)
            raise
        finally:
            sys.stderr = screen


def prepare_environment(root: Path) -> None:
    """Set what all jobs of a workflow inherit from the process that starts them.

    Scripts import the library from ``root``, wherever the workflow is run from and whichever environment runs them. A
    job of one thread computes on one: jobs run side by side, and sums come out alike on any number of cores.
    """
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _subject(job: Any, said: str) -> str:
    """Return whose error it is, where the job reads one source and the message does not name it."""
    source, revision = job.params.get("source"), job.params.get("revision")
    return f"{source} ({revision}): " if source and source not in said else ""


def _arguments(job: Any, function: Callable[..., None]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for files in (job.input, job.output):
        for name, value in files.items():
            arguments[name] = Path(value) if isinstance(value, str) else [Path(item) for item in value]
    arguments.update({name: value for name, value in job.params.items() if name != "code"})
    # What changes no value of a result goes by resources, whose change re-runs nothing.
    wanted = inspect.signature(function).parameters.keys() - arguments.keys()
    offered = {**dict(job.resources.items()), "threads": job.threads}
    arguments.update({name: offered[name] for name in wanted & offered.keys()})
    return arguments
