"""The checkpoints of one model as figures over training take them, without those that have another's weights."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from lm_geometry.figures import style
from lm_geometry.figures.copies import copies_sentence, find_copies
from lm_geometry.figures.dynamics.rows import STACKS, select, to_table
from lm_geometry.figures.style import Drawing
from lm_geometry.figures.training_axis import empty_panel
from lm_geometry.tables import geometry


class Training(NamedTuple):
    """The checkpoints of a model: rows to draw, rows of copies as the table has them, and the copies themselves."""

    rows: pd.DataFrame
    hidden: pd.DataFrame
    copies: pd.DataFrame

    @property
    def steps(self) -> list[int]:
        """The steps of the axis, ascending, those of copies among them."""
        return sorted({*map(int, self.rows["step"]), *self.copies["step"]})

    @property
    def stacks(self) -> list[str]:
        """The stacks that have rows, encoder first."""
        return [name for name in STACKS if name in set(self.rows["stack"])]


def training_rows(
    table: pa.Table | pd.DataFrame,
    statistics: Sequence[str],
    *,
    references: Sequence[str] = (),
    model: str,
    revisions: Sequence[str] | None,
    duplicates: pa.Table | None,
) -> Training:
    """Return the rows of a model's checkpoints, copies apart.

    Parameters
    ----------
    table : table
        Rows of ``geometry``.
    statistics, references : sequence of str
        The statistics that the table must have, and those that it may.
    model : str
        The model.
    revisions : sequence of str, optional
        The checkpoints; by default every revision that has a step.
    duplicates : pa.Table, optional
        Rows of ``duplicate_checkpoints``: which checkpoints the table may lack because they were dropped.

    Raises
    ------
    ValueError
        If the table lacks a checkpoint, or holds two of the same step or one without a step.
    """
    frame = style.to_frame(table, geometry.SUMMARY.names)
    copies = find_copies(frame, duplicates, model=model, revisions=revisions)
    frame = frame[frame["model"] == model]
    if frame.empty and len(copies) and set(revisions or ()) <= set(copies["revision"]):
        return Training(frame, frame, copies)
    rows = _checkpoints(select(table, statistics, references=references), model, revisions, set(copies["revision"]))
    copied = rows["revision"].isin(copies["revision"])
    reasons = rows["revision"].map(copies.set_index("revision")["status"])
    return Training(rows[~copied], rows[copied].assign(mark="not drawn", status=reasons[copied]), copies)


def nothing_to_draw(training: Training, title: str) -> Drawing:
    """Return a panel that says why it is empty: every checkpoint has another one's weights."""
    figure = empty_panel(len(training.copies))
    caption = f"{title}\n\nNothing to draw. {copies_sentence(training.copies, 0)}"
    return Drawing(figure, to_table(training.hidden), caption)


def _checkpoints(rows: pd.DataFrame, model: str, revisions: Sequence[str] | None, copies: set[str]) -> pd.DataFrame:
    """Return the rows of a model's checkpoints, in order of step and layer; the table may lack ``copies``."""
    rows = rows[rows["model"] == model]
    have = list(dict.fromkeys(rows["revision"]))
    stepped = set(rows.loc[rows["step"].notna(), "revision"])
    chosen = [name for name in have if name in stepped] if revisions is None else list(revisions)
    missing = [name for name in chosen if name not in stepped | copies]
    if missing or not (chosen or copies):
        raise ValueError(
            f"model '{model}': no geometry with a training step for the revisions {missing or 'of this model'}; the "
            f"table has {have}, of which {sorted(stepped)} have a step (key step_pattern)"
        )
    rows = rows[rows["revision"].isin(chosen)]
    for step, of_step in rows.groupby("step"):
        found = sorted(of_step["revision"].unique())
        if len(found) > 1:
            raise ValueError(f"model '{model}': the revisions {found} all have step {step}; draw one of them")
    return rows.sort_values(["statistic", "stack", "step", "layer", "after_final_norm"]).reset_index(drop=True)
