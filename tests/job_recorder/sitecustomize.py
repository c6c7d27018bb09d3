"""Python imports this at its start if its folder is on the path: a job writes down what it used of the project.

What a script depends on is known for sure only to the process that ran it, at its end.
"""

import atexit
import json
import os
import sys
from pathlib import Path


def record(script: Path, project: str, records: Path) -> None:
    """Note every file below ``project`` that this process opens; at its end write these and the library's modules."""
    opened: set[str] = set()

    def note(event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path = str(Path(os.fsdecode(arguments[0])).absolute())
            if path.startswith(project):
                opened.add(path.removeprefix(project))

    def write() -> None:
        modules = sorted(name for name in sys.modules if name.split(".")[0] == "lm_geometry")
        facts = {"script": script.name.partition(".")[2], "modules": modules, "files": sorted(opened)}
        (records / f"{script.name}.json").write_text(json.dumps(facts))

    sys.addaudithook(note)
    atexit.register(write)


# Snakemake runs a copy of the script: FOLDER/.snakemake/scripts/RANDOM.SCRIPT.
if Path(sys.orig_argv[-1]).parent.name == "scripts" and "JOB_RECORDS" in os.environ:
    _script = Path(sys.orig_argv[-1]).resolve()
    record(_script, f"{_script.parents[2]}/", Path(os.environ["JOB_RECORDS"]))
