"""Print what a run will fetch, store and compute, beside what this machine has."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_geometry.gpus import visible_gpus
from lm_geometry.job import run_job
from lm_geometry.memory_limit import memory_limit
from lm_geometry.plan.report import PLACES, Machine, plan_text
from lm_geometry.tables.files import read_table


def plan(*, table: Path, duplicates: Sequence[Path], study: Mapping[str, Any]) -> None:
    """Print the plan, and how many checkpoints of each model are copies.

    Parameters
    ----------
    table : Path
        The rows of the plan.
    duplicates : sequence of Path
        The table of duplicate checkpoints, if there is one.
    study : mapping
        See ``lm_geometry.plan.jobs.plan_settings``.
    """
    text = plan_text(read_table(table).to_pylist(), study, _this_machine(study))
    print(text + "".join(f"WARNING: {line}\n" for path in duplicates for line in _copies(path)), flush=True)


def _copies(duplicates: Path) -> Iterator[str]:
    found: dict[str, set[str]] = {}
    for row in read_table(duplicates, ["model", "revision", "is_copy"]).to_pylist():
        if row["is_copy"]:
            found.setdefault(row["model"], set()).add(row["revision"])
    for model, copies in found.items():
        yield f"{model}: {len(copies)} checkpoints carry another one's weights; see {duplicates}"


def _this_machine(study: Mapping[str, Any]) -> Machine:
    folders = {name: _existing(Path(study[name]).expanduser()) for name in PLACES}
    return Machine(
        memory_bytes=memory_limit(),
        n_gpus=len(visible_gpus()),
        free_bytes={name: shutil.disk_usage(folder).free for name, folder in folders.items()},
        one_disk=len({folder.stat().st_dev for folder in folders.values()}) == 1,
    )


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there."""
    return next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())


if __name__ == "__main__":
    run_job(snakemake, plan)
