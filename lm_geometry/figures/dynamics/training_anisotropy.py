"""The figure of a model's anisotropy profiles over training."""

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from lm_geometry.figures import style
from lm_geometry.figures.copies import copies_sentence
from lm_geometry.figures.dynamics import panels, sentences
from lm_geometry.figures.dynamics.checkpoints import Training, nothing_to_draw, training_rows
from lm_geometry.figures.dynamics.rows import KINDS, both_kinds, to_table
from lm_geometry.figures.style import Drawing
from lm_geometry.tables.geometry_statistics import ANISOTROPY, FREQUENCY_NULL, MATCHED, WITHOUT_FIRST

_COLUMNS = {
    ANISOTROPY: (KINDS[""], FREQUENCY_NULL),
    WITHOUT_FIRST: ("sinks off", None),
    ANISOTROPY + MATCHED: (KINDS[MATCHED], FREQUENCY_NULL + MATCHED),
}
"""Title and null of each column, by its statistic."""

_NULL = {"linestyle": ":", "linewidth": 1}


@style.styled
def training_anisotropy(
    table: pa.Table | pd.DataFrame,
    *,
    model: str,
    revisions: Sequence[str] | None = None,
    duplicates: pa.Table | None = None,
) -> Drawing:
    """Draw the anisotropy profile of each checkpoint, coloured by its step; step 0 is the untrained null.

    A checkpoint that has another's weights is not drawn.

    Parameters
    ----------
    table : table
        Rows of ``geometry``.
    model : str
        The model whose checkpoints are drawn.
    revisions : sequence of str, optional
        The checkpoints; by default every revision that has a step.
    duplicates : pa.Table, optional
        Rows of ``duplicate_checkpoints``: which checkpoints the table may lack because they were dropped.

    Raises
    ------
    ValueError
        If the table lacks a checkpoint, or holds two of the same step or one without a step.
    """
    training = training_rows(
        table,
        list(_COLUMNS),
        references=both_kinds(FREQUENCY_NULL),
        model=model,
        revisions=revisions,
        duplicates=duplicates,
    )
    if training.rows.empty:
        return nothing_to_draw(training, f"Anisotropy over training, {model}.")
    rows, stacks = training.rows, training.stacks
    figure = Figure(figsize=(style.PAGE_WIDTH, 0.8 + 2.6 * len(stacks)))
    grid = figure.subplots(len(stacks), len(_COLUMNS), squeeze=False, sharey="row")
    norm = _step_norm(rows["step"])
    for line, stack in zip(grid, stacks, strict=True):
        of_stack = rows[rows["stack"] == stack]
        for axes, (statistic, (title, null)) in zip(line, _COLUMNS.items(), strict=True):
            shown = of_stack[of_stack["statistic"] == statistic]
            _draw_profiles(axes, shown, norm)
            _draw_null(axes, of_stack[(of_stack["statistic"] == null) & (of_stack["mark"] == "null")])
            axes.set_title(panels.stack_title(stacks, stack, f"{title}, N = {panels.sizes(shown)}"))
            panels.finish_layer_axis(axes, shown["n_layers"].max())
        line[0].set_ylabel("anisotropy")
        line[0].set_ylim(bottom=0)
    _step_colorbar(figure, list(grid.flat), rows["step"], norm)
    style.legend_outside(figure, _handles(rows), columns=5)
    return Drawing(figure, to_table(rows, training.hidden), _caption(training, model))


def _draw_profiles(axes: Axes, shown: pd.DataFrame, norm: LogNorm) -> None:
    for step, of_step in shown.groupby("step"):
        color = "black" if step == 0 else panels.VIRIDIS(norm(step))
        panels.draw_layers(axes, of_step, x="layer", color=color, linestyle="--" if step == 0 else "-")


def _draw_null(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the frequency null, which all checkpoints share but for its draws."""
    null = rows.groupby("layer")["value"].mean()
    axes.plot(null.index, null, color=style.GREY, **_NULL)


def _step_norm(steps: pd.Series) -> LogNorm:
    positive = [int(step) for step in steps if step > 0] or [1]
    return LogNorm(min(positive), max(max(positive), min(positive) * 2))


def _step_colorbar(figure: Figure, axes: Sequence[Axes], steps: pd.Series, norm: LogNorm) -> None:
    positive = sorted({int(step) for step in steps if step > 0})
    if not positive:
        return
    bar = figure.colorbar(ScalarMappable(norm, panels.VIRIDIS), ax=axes, label="training step (log scale)", aspect=30)
    labelled = style.spaced_ticks([float(norm(step)) for step in positive], least=0.06)
    bar.set_ticks([positive[n] for n in labelled], labels=[style.step_name(positive[n]) for n in labelled])
    bar.ax.yaxis.set_minor_locator(NullLocator())


def _handles(rows: pd.DataFrame) -> list[Line2D]:
    untrained = Line2D([], [], color="black", linestyle="--", marker="o", markersize=2.8, label="step 0, untrained")
    null = {**_NULL, "label": "frequency null"} if (rows["mark"] == "null").any() else None
    return [*([untrained] if (rows["step"] == 0).any() else []), *panels.profile_handles(rows, null)]


def _caption(training: Training, model: str) -> str:
    rows, copies = training.rows, training.copies
    parts = [
        f"Anisotropy of the hidden states of {model}, {sentences.DEFINITION}, layer by layer, at "
        f"{sentences.named_steps(rows['step'])}.",
        copies_sentence(copies, rows["revision"].nunique()),
        "They are not drawn." if len(copies) else "",
        sentences.about_batches(rows),
        sentences.about_sinks(),
        sentences.about_matching(),
        "Bands: 95 % t intervals over batches.",
        "Dashed black: step 0, the untrained model, is the null." if (rows["step"] == 0).any() else "",
        sentences.about_references(rows, {FREQUENCY_NULL: "Dotted"}),
        sentences.about_final_norm(rows),
        sentences.about_lookup(rows),
        sentences.about_precision(rows),
        sentences.about_gaps(rows),
    ]
    return sentences.caption_of(f"Anisotropy over training, {model}.", parts)
