"""Print every benchmark's figures, one a line, and write them to results/bench.json."""

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from benchmarks import corpus, demo, dry_run, embedding_fetch, embedding_study, geometry, gpu, hidden_states, plan
from lm_geometry.tables.files import write_text
from lm_geometry.version import __version__

BENCHMARKS = {
    "demo": demo,
    "plan": plan,
    "dry_run": dry_run,
    "embedding_fetch": embedding_fetch,
    "embedding_study": embedding_study,
    "corpus": corpus,
    "hidden_states": hidden_states,
    "geometry": geometry,
}
BY_NAME = {"gpu": gpu}
"""Those that run only if they are named: they write into the docs."""


def main() -> int:
    """Run the benchmarks named on the command line, or all; exit 1 if a goal does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [[], *BENCHMARKS, *BY_NAME]
    parser.add_argument("name", nargs="*", choices=names, help="which to run; without a name, all but gpu")
    parser.add_argument("--output", type=Path, default=Path("results/bench.json"), help="default: %(default)s")
    arguments = parser.parse_args()
    figures = []
    for name in arguments.name or BENCHMARKS:
        for figure in (BENCHMARKS | BY_NAME)[name].figures():
            print(figure.line(), flush=True)
            figures.append(figure)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    record = {"lm_geometry": __version__, **machine, "figures": [figure.record() for figure in figures]}
    write_text(arguments.output, json.dumps(record, indent=2) + "\n")
    return int(any(figure.holds is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
