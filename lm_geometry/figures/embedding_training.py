"""The figure of one model's embedding table over training: how near it is to the final one, and how it scores."""

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lm_geometry.claims.thresholds import EQUIVALENT_DIFFERENCE, SETTLED_BY, SETTLED_COSINE
from lm_geometry.figures import score_points, style
from lm_geometry.figures.copies import copies_sentence, find_copies
from lm_geometry.figures.score_points import METRICS
from lm_geometry.figures.style import Drawing
from lm_geometry.figures.training_axis import (
    draw_intervals_over_steps,
    draw_over_steps,
    empty_panel,
    finish_step_axis,
)
from lm_geometry.tables import embedding_training, figure_data
from lm_geometry.tables.embedding_training import OK
from lm_geometry.wording import counted, metric_name

COSINE, OVERLAP = "cosine", "neighbor_overlap"

_DIFFERENCE = "_difference"
_PANELS = ((COSINE, OVERLAP), METRICS, tuple(metric + _DIFFERENCE for metric in METRICS))
_LABELS = {
    COSINE: "cosine to the final table",
    OVERLAP: "share of neighbours kept",
    **{metric: f"{metric_name(metric)} (percent)" for metric in METRICS},
    **{metric + _DIFFERENCE: f"{metric_name(metric)} less final (points)" for metric in METRICS},
}
_ROUNDED = 0.002
"""Scores are rounded to 0.001 points; so far apart a final score can be found from two checkpoints."""

_COLOR = style.COLORS[0]
_FINAL = {"color": "black", "linestyle": "--", "linewidth": 0.9}
_SETTLED = {"color": style.GREY, "linestyle": ":", "linewidth": 1.0}
_EQUIVALENT = {"color": style.COLORS[2], "alpha": 0.18, "linewidth": 0}


@style.styled
def table_over_training(
    table: pa.Table | pd.DataFrame,
    *,
    model: str,
    revisions: Sequence[str] | None = None,
    duplicates: pa.Table | None = None,
) -> Drawing:
    """Draw a table's nearness to the final one, its scores and their differences to the final ones, over the steps.

    A vertical line marks the share of training by which the study found tables settled, a shade the differences that
    count as none. A checkpoint that has another's weights breaks every line and is a stroke at the foot of the panel.

    Parameters
    ----------
    table : table
        Rows of ``embedding_training``.
    model : str
        The model whose checkpoints are drawn.
    revisions : sequence of str, optional
        The checkpoints; by default every revision that has a step.
    duplicates : pa.Table, optional
        Rows of ``duplicate_checkpoints``: which checkpoints the table may lack because they were dropped.

    Raises
    ------
    ValueError
        If the table lacks a checkpoint or a statistic, holds two checkpoints of the same step, or compares with several
        final tables.
    """
    frame = style.to_frame(table, embedding_training.SCHEMA.names)
    copies = find_copies(frame, duplicates, model=model, revisions=revisions)
    rows = _checkpoints(frame[frame["model"] == model], model, revisions, set(copies["revision"]))
    copied = rows["revision"].isin(copies["revision"])
    hidden = rows[copied].assign(mark="not drawn")
    hidden["status"] = hidden["revision"].map(copies.set_index("revision")["status"])
    rows = rows[~copied]
    title = f"Embedding table over training, {model}."
    if rows.empty:
        said = f"{title}\n\nNothing to draw. {copies_sentence(copies, 0)}"
        return Drawing(empty_panel(len(copies)), _to_table(hidden), said)
    score_points.check_one_setting(rows, ("collection", "final_revision"))
    finals = _final_scores(rows)
    steps = sorted({*map(int, rows["step"]), *copies["step"]})
    figure = Figure(figsize=(style.PAGE_WIDTH, 6.0))
    panels = figure.subplots(len(_PANELS), 2, sharex=True)
    for axes, statistic in zip(panels.flat, [name for row in _PANELS for name in row], strict=True):
        shown = rows[rows["statistic"] == statistic]
        _draw_values(axes, shown, steps)
        _draw_references(axes, statistic, finals, steps[-1])
        style.draw_left_out(axes, copies["step"])
        axes.set_ylabel(_LABELS[statistic])
        finish_step_axis(axes, steps)
    figure.align_ylabels(panels)
    figure.supxlabel("training step (log scale, 0 apart)", fontsize="medium")
    style.legend_outside(figure, _handles(rows, finals, copies, steps), columns=4)
    caption = f"{title}\n\n{' '.join(filter(None, _sentences(rows, copies, model, steps[-1])))}"
    return Drawing(figure, _to_table(rows, finals, hidden, _gaps_at_copies(rows, copies)), caption)


def _checkpoints(rows: pd.DataFrame, model: str, revisions: Sequence[str] | None, copies: set[str]) -> pd.DataFrame:
    """Return the rows of the checkpoints that were asked for, in order of step; the table may lack ``copies``."""
    have = list(dict.fromkeys(rows["revision"]))
    stepped = set(rows.loc[rows["step"].notna(), "revision"])
    chosen = [name for name in have if name in stepped] if revisions is None else list(revisions)
    missing = [name for name in chosen if name not in stepped | copies]
    if missing or not (chosen or copies):
        raise ValueError(
            f"model '{model}': no table with a training step for the revisions {missing or 'of this model'}; the table "
            f"embedding_training has {have}, of which {sorted(stepped)} have a step (key step_pattern)"
        )
    rows = rows[rows["revision"].isin(chosen)].copy()
    rows["step"] = rows["step"].astype("Int64")
    for step, of_step in rows.groupby("step"):
        found = sorted(of_step["revision"].unique())
        if len(found) > 1:
            raise ValueError(f"model '{model}': the revisions {found} all have step {step}; draw one of them")
    for revision, of_revision in rows.groupby("revision"):
        absent = [name for row in _PANELS for name in row if name not in set(of_revision["statistic"])]
        if absent:
            raise ValueError(f"model '{model}', revision '{revision}': the table has no rows of {absent}")
    in_percent = rows["statistic"].str.startswith(METRICS)
    rows[_VALUES] = rows[_VALUES].astype(float).mul(in_percent.map({True: 100.0, False: 1.0}), axis=0)
    return rows.assign(mark="line").sort_values(["statistic", "step"]).reset_index(drop=True)


_VALUES = ["value", "ci_low", "ci_high"]


def _final_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the final table's scores, of each metric one row: what each checkpoint's score differs from.

    Raises
    ------
    ValueError
        If the checkpoints' scores and differences lead to several final scores.
    """
    values = rows.pivot_table(index="revision", columns="statistic", values="value")
    finals = []
    for metric in METRICS:
        if not {metric, metric + _DIFFERENCE} <= set(values.columns):
            continue
        found = (values[metric] - values[metric + _DIFFERENCE]).dropna()
        if found.max() - found.min() > _ROUNDED:
            raise ValueError(
                f"{metric}: scores less their differences to the final table's give final scores from {found.min()} to "
                f"{found.max()} percent; they are of other queries"
            )
        if len(found):
            row = rows[(rows["statistic"] == metric) & (rows["revision"] == found.index[0])].iloc[0].to_dict()
            facts = {"mark": "final", "step": pd.NA, "value": found.mean(), "status": OK}
            finals.append({**row, **facts, "revision": row["final_revision"], "ci_low": None, "ci_high": None})
    return pd.DataFrame(finals, columns=rows.columns)


def _gaps_at_copies(rows: pd.DataFrame, copies: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that copies would have been, without a value: where the lines break."""
    lines = rows.drop_duplicates("statistic").drop(columns=["revision", "step", "status"])
    gaps = lines.merge(copies[["revision", "step", "status"]], how="cross")
    return gaps.assign(value=None, ci_low=None, ci_high=None, n=0)


def _draw_values(axes: Axes, line: pd.DataFrame, steps: Sequence[int]) -> None:
    """Draw the line, its intervals and its gaps; fit the axis."""
    draw_intervals_over_steps(axes, line, steps, color=_COLOR)
    size = style.marker_size(len(steps))
    draw_over_steps(axes, line, steps, color=_COLOR, marker="o", markersize=size, zorder=3)
    style.draw_gaps(axes, line.loc[line["value"].isna(), "step"].astype(int), color=_COLOR)
    found = line[line["ci_low"].notna() & line["ci_high"].notna()]
    limits = style.limits_of([*line["value"], *found["ci_low"], *found["ci_high"]])
    if limits:
        axes.set_ylim(limits)


def _draw_references(axes: Axes, statistic: str, finals: pd.DataFrame, last: int) -> None:
    """Draw what the values are held against: the final score, no difference, and where tables are called settled."""
    if last > 0:
        axes.axvline(SETTLED_BY * last, **_SETTLED, zorder=1)
    if statistic == COSINE:
        axes.axhline(SETTLED_COSINE, **_SETTLED, zorder=1)
    elif statistic.endswith(_DIFFERENCE):
        points = 100 * EQUIVALENT_DIFFERENCE
        axes.axhspan(-points, points, **_EQUIVALENT, zorder=0)
        axes.axhline(0, color=style.GREY, linewidth=0.6, zorder=1)
        _hold(axes, -2 * points, 2 * points)
    for level in finals.loc[finals["statistic"] == statistic, "value"]:
        axes.axhline(level, **_FINAL, zorder=2)
        _hold(axes, level)


def _hold(axes: Axes, *levels: float) -> None:
    """Widen the axis to hold some levels."""
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, *levels), max(high, *levels))


def _handles(
    rows: pd.DataFrame, finals: pd.DataFrame, copies: pd.DataFrame, steps: Sequence[int]
) -> list[Line2D | Patch]:
    handles = [Line2D([], [], color=_COLOR, marker="o", label="checkpoint")]
    if rows["ci_low"].notna().any():
        interval = style.band_handle if len(steps) > style.POINTS_APART else style.whisker_handle
        handles.append(interval("95 % interval, queries"))
    if len(finals):
        handles.append(Line2D([], [], **_FINAL, label="final table"))
    handles.append(Line2D([], [], **_SETTLED, label=f"settled: {_settled_by()}, cosine {SETTLED_COSINE}"))
    handles.append(Patch(**_EQUIVALENT, label=f"within {100 * EQUIVALENT_DIFFERENCE:g} points"))
    if rows["value"].isna().any():
        handles.append(style.gap_handle())
    if len(copies):
        handles.append(style.left_out_handle())
    return handles


def _settled_by() -> str:
    return f"{100 * SETTLED_BY:g} % of training"


def _sentences(rows: pd.DataFrame, copies: pd.DataFrame, model: str, last: int) -> list[str]:
    n_drawn = rows["revision"].nunique()
    first = rows.iloc[0]
    within = f"{100 * EQUIVALENT_DIFFERENCE:g} points"
    return [
        f"The embedding table of {model} at {counted([n_drawn], 'checkpoint')}, beside the final one, that of "
        f"{first['final_revision']}.",
        copies_sentence(copies, n_drawn),
        "Every line breaks there; strokes at the foot mark these steps." if len(copies) else "",
        f"Above: the mean cosine of a token's row with its final one, over {_counted(rows, COSINE, 'token')}, and the "
        f"share of its 10 nearest tokens by cosine that are the final ones, over {_counted(rows, OVERLAP, 'token')}.",
        "Middle: retrieval by mean-pooled token embeddings on the collection "
        f"{first['collection']}, {_counted(rows, METRICS[0], 'judged query', 'judged queries')}, in percent.",
        "Below: its difference to the final table's, paired by query, in points.",
        "Intervals: 95 % over queries, bootstrap-t of a score, t of a difference; judge by the differences."
        if rows["ci_low"].notna().any()
        else "",
        f"Dotted: a cosine of {SETTLED_COSINE}, and {_settled_by()}, taken to end at the last step here, "
        f"{style.step_name(last)}: by then, the study says, tables have settled. Shaded: differences within {within}, "
        "which count as none. The table of claims (tables/claims) has the verdict.",
        _about_gaps(rows),
    ]


def _counted(rows: pd.DataFrame, statistic: str, noun: str, plural: str | None = None) -> str:
    return counted(rows.loc[rows["statistic"] == statistic, "n"], noun, plural)


def _about_gaps(rows: pd.DataFrame) -> str:
    gaps = rows[rows["value"].isna()]
    said = [f"{row['statistic']} at step {row['step']} ({row['status']})" for _, row in gaps.iterrows()]
    return f"Gaps: {'; '.join(said)}." if said else ""


def _to_table(*frames: pd.DataFrame) -> pa.Table:
    rows = [frame for frame in frames if len(frame)]
    if not rows:
        return figure_data.TRAINING.empty_table()
    return style.to_table(pd.concat(rows).astype({"step": "Int64"}), figure_data.TRAINING)
