"""Checkpoints that have another checkpoint's weights: figures over training leave them out, and say so."""

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa

from lm_geometry.checkpoints.duplicates import origins_of_copies
from lm_geometry.figures import style
from lm_geometry.wording import counted, listing

NAMED_ONE_BY_ONE = 6
"""Up to so many copies are named in a caption."""


def find_copies(
    measured: pd.DataFrame, duplicates: pa.Table | None, *, model: str, revisions: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return the checkpoints of a model that are copies: revision, step, copy_of and status, in order of step.

    They are found whether the table that is drawn marks them (``duplicate_of``) or lacks them, as under the policy
    ``drop``. A revision without a step stands on no axis over training and is none of them.

    Parameters
    ----------
    measured : DataFrame
        Rows of checkpoints: model, revision, step and duplicate_of.
    duplicates : pa.Table, optional
        Rows of ``duplicate_checkpoints``.
    model : str
        The model.
    revisions : sequence of str, optional
        The checkpoints asked for; by default all.
    """
    marked = measured[(measured["model"] == model) & measured["duplicate_of"].notna()].drop_duplicates("revision")
    found = {row.revision: (row.step, row.duplicate_of) for row in marked.itertuples()}
    rows = [] if duplicates is None else [row for row in duplicates.to_pylist() if row["model"] == model]
    steps = {row["revision"]: row["step"] for row in rows}
    found.update({name: (steps[name], copy_of) for (_, name), copy_of in origins_of_copies(rows).items()})
    copies = [
        (name, int(step), copy_of, f"not drawn: has weights of {copy_of}")
        for name, (step, copy_of) in found.items()
        if pd.notna(step) and (revisions is None or name in revisions)
    ]
    frame = pd.DataFrame(copies, columns=["revision", "step", "copy_of", "status"])
    return frame.sort_values("step").reset_index(drop=True)


def copies_sentence(copies: pd.DataFrame, n_drawn: int) -> str:
    """Say how many checkpoints are left out, which and why; nothing where there are none.

    Parameters
    ----------
    copies : DataFrame
        What ``find_copies`` returned.
    n_drawn : int
        Checkpoints that are drawn.
    """
    if copies.empty:
        return ""
    count = f"{len(copies)} of {counted([n_drawn + len(copies)], 'checkpoint')}"
    why = "whose weights are, at least in part, those of other checkpoints"
    if len(copies) <= NAMED_ONE_BY_ONE:
        which = listing(f"{row.revision} (as in {_shortened(row.copy_of)})" for row in copies.itertuples())
        return f"Left out: {count}, {why}: {which}."
    first, last = (style.step_name(step) for step in (copies["step"].min(), copies["step"].max()))
    return f"Left out: {count}, between steps {first} and {last}, {why}; the table of duplicate checkpoints names them."


def _shortened(names: str) -> str:
    first, *others = names.split(", ")
    return f"{first} and {len(others)} more" if len(others) > 1 else listing([first, *others])
