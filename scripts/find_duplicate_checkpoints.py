"""Find the revisions of each model that carry the same weights, from the ledger alone."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm_geometry.checkpoints import duplicates as sharing
from lm_geometry.checkpoints.duplicates import Checkpoint, Group
from lm_geometry.checkpoints.known_defects import FILE, KnownDefect, of_source, read_known_defects
from lm_geometry.checkpoints.ledger import read_ledger, weights_read
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.job import run_job
from lm_geometry.tables.duplicate_checkpoints import OK, SCHEMA
from lm_geometry.tables.files import write_table

STOP = "error"
_LONE = {"is_genuine": False, "is_copy": False, "status": OK}


def find_duplicate_checkpoints(
    *,
    listings: list[Path],
    duplicates: Path,
    models: list[Mapping[str, Any]],
    on_duplicate_checkpoint: str,
    known_defects: Path = FILE,
) -> None:
    """Write which revisions share weight files, and which published defects the ledger confirms.

    Parameters
    ----------
    listings : list of Path
        One listing per entry of ``models``, in its order.
    duplicates : Path
        Output.
    models : list of mappings
        One entry per model and revision: model, source, revision, step (None where the revision names none).
    on_duplicate_checkpoint : str
        'error' stops here; what else is done about copies is the business of tables and figures.
    known_defects : Path
        The published list of defects; by default the project's own.

    Raises
    ------
    ValueError
        If copies are found and the policy is 'error', the listings do not fit the entries, or the published list is
        damaged.
    """
    published = read_known_defects(known_defects)
    rows, said = [], []
    for (model, source), checkpoints in _by_model(read_ledger(listings, models), models).items():
        known = of_source(published, source)
        groups = sharing.find_groups(checkpoints, known)
        said += [_words(model, number, group) for number, group in enumerate(groups, start=1)]
        rows += [{"model": model, "source": source, **row} for row in _rows(checkpoints, groups, known)]
    if said and on_duplicate_checkpoint == STOP:
        raise ValueError(f"{'; '.join(said)}; leave the copies out, or set on_duplicate_checkpoint to mark or drop")
    for line in said:
        logging.getLogger(__name__).warning("%s", line)
    write_table(duplicates, pa.Table.from_pylist(rows, schema=SCHEMA), SCHEMA, inputs=listings)


def _by_model(
    ledger: Sequence[Sequence[ListedFile]], models: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, str], list[Checkpoint]]:
    """Return the checkpoints of each (model, source)."""
    found: dict[tuple[str, str], list[Checkpoint]] = {}
    for files, entry in zip(ledger, models, strict=True):
        checkpoint = Checkpoint(entry["revision"], entry["step"], tuple(weights_read(files)))
        found.setdefault((entry["model"], entry["source"]), []).append(checkpoint)
    return found


def _rows(
    checkpoints: Sequence[Checkpoint], groups: Sequence[Group], known: Sequence[KnownDefect]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one model: its groups, what was published and is in none, what cannot be compared."""
    published = {
        defect.revision: {
            "published": sharing.published_status(defect.revision, checkpoints, groups, known),
            "published_url": defect.source_url,
        }
        for defect in known
        if defect.is_copy
    }
    for number, group in enumerate(groups, start=1):
        for member in group.members:
            yield {**_member_row(group, member), "group": number, **published.get(member.revision, {})}
    steps = {found.revision: found.step for found in checkpoints}
    grouped = {name for group in groups for name in group.names}
    for revision, status in published.items():
        if revision not in grouped:
            yield {**_LONE, "revision": revision, "step": steps.get(revision), **status}
    for found in checkpoints if len(checkpoints) > 1 else ():
        if found.unknown:
            status = f"{sharing.NOT_COMPARED}: no sha256 is listed of {', '.join(found.unknown)}"
            yield {**_LONE, "revision": found.revision, "step": found.step, "status": status}


def _member_row(group: Group, member: Checkpoint) -> dict[str, Any]:
    copy = group.is_copy(member)
    return {
        "revision": member.revision,
        "step": member.step,
        "scope": group.scope,
        "shared_files": ", ".join(group.shared_files(member)),
        "is_genuine": group.is_genuine(member),
        "is_copy": copy,
        "copy_of": ", ".join(group.origins(member)) if copy else None,
        "duplicates": ", ".join(group.others(member)),
        "published": sharing.NOT_PUBLISHED if copy else None,
        "status": OK,
    }


def _words(model: str, number: int, group: Group) -> str:
    """Return one line that names a group."""
    genuine = [member.revision for member in group.members if group.is_genuine(member)]
    whose = f"they are {', '.join(genuine)}'s" if genuine else "none of the steps is known to be genuine"
    return f"{model}, group {number}: {group.scope} shared by {len(group.members)} revisions ({whose}): " + ", ".join(
        group.names
    )


if __name__ == "__main__":
    run_job(snakemake, find_duplicate_checkpoints)
