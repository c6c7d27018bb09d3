"""The digests of code that a run started with, for all of its jobs, wherever and whenever they begin.

A job on a cluster reads the Snakefile anew where it runs, maybe hours after it was submitted. Were it to reckon with
the code that lies there by then, its digests would always fit, and an edit that is taken back later would leave results
of the edited code under the digest of the other. So a run leaves its digests in the results folder for its jobs.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from lm_geometry.code_digest import rule_digest
from lm_geometry.tables.files import write_text

HANDED_OVER = ".code_of_run"
"""Name of the file of digests in a results folder."""


class RunCode:
    """The digest behind each rule of a run.

    Parameters
    ----------
    root : Path
        The folder that holds the ``lm_geometry`` package.
    results : Path
        The results folder.
    run : str or None
        The run that this process is a job of, by its name in the lock; None for the process that starts the jobs.
    """

    def __init__(self, root: Path, results: Path, run: str | None) -> None:
        self._root = root
        self._path = results / HANDED_OVER
        self._digests = _read(self._path, run) if run else {}

    def __call__(self, rule: str, data: Sequence[str] = ()) -> str:
        """Return a rule's digest: the one that the run started with, else that of its code now (``rule_digest``)."""
        if rule not in self._digests:
            self._digests[rule] = rule_digest(rule, self._root, data)
        return self._digests[rule]

    def hand_over(self, run: str) -> None:
        """Leave the digests for the jobs of the run of that name."""
        write_text(self._path, json.dumps({"run": run, "digests": self._digests}))


def _read(path: Path, run: str) -> dict[str, str]:
    """Return the digests of a run; none where another one left its own, or none did, as in a module of a workflow."""
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return found["digests"] if found["run"] == run else {}
