"""The figure of a model's geometry over training as heat maps: a layer a row, a checkpoint a column."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from lm_geometry.figures import style
from lm_geometry.figures.copies import copies_sentence
from lm_geometry.figures.dynamics import panels, sentences
from lm_geometry.figures.dynamics.checkpoints import Training, nothing_to_draw, training_rows
from lm_geometry.figures.dynamics.rows import KINDS, both_kinds, to_table, without_normed
from lm_geometry.figures.style import Drawing
from lm_geometry.tables.geometry_statistics import ANISOTROPY, TWONN_090, WITHOUT_FIRST

_COPY = {"facecolor": "white", "edgecolor": style.COLORS[1], "hatch": "//////", "linewidth": 0}
_GAP = {"facecolor": "#c4c4c4", "edgecolor": "#c4c4c4", "linewidth": 0}
_LOOKUP = {"facecolor": "white", "edgecolor": style.GREY, "hatch": "......", "linewidth": 0}
_LEAST_WIDTH = 0.5
"""Least width of a column, of what is the mean on the log scale: late steps lie close to each other there."""

_ZERO_WIDTH = 0.025
"""Least width of the column of step 0, which stands alone, of all others together."""

_ZERO_APART = 0.4
"""Distance of that column from the next one, of its width."""


class _Map(NamedTuple):
    """A row of heat maps that share a colour scale: a statistic, of all tokens and type-matched."""

    statistic: str
    label: str
    colors: str

    @property
    def is_dimension(self) -> bool:
        """Whether it shows a dimension, whose N counts distinct vectors."""
        return self.statistic == TWONN_090


_MAPS = (
    _Map(ANISOTROPY, "anisotropy\n(share of variance)", "viridis"),
    _Map(WITHOUT_FIRST, "sinks off: anisotropy\n(share of variance)", "viridis"),
    _Map(TWONN_090, "TwoNN dimension at N,\nfit 0.9 (log scale)", "magma"),
)


@style.styled
def training_heatmap(
    table: pa.Table | pd.DataFrame,
    *,
    model: str,
    revisions: Sequence[str] | None = None,
    duplicates: pa.Table | None = None,
) -> Drawing:
    """Draw anisotropy, anisotropy without first positions and dimension of every layer at every checkpoint.

    A checkpoint that has another's weights is a hatched column, a value that could not be had a grey cell.

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
    statistics = both_kinds(*(row.statistic for row in _MAPS))
    training = training_rows(table, statistics, model=model, revisions=revisions, duplicates=duplicates)
    if training.rows.empty:
        return nothing_to_draw(training, f"Geometry over training, {model}.")
    training = training._replace(rows=without_normed(training.rows))
    rows, stacks = training.rows, training.stacks
    columns = step_columns(training.steps)
    maps = [(stack, row) for stack in stacks for row in _MAPS]
    figure = Figure(figsize=(style.PAGE_WIDTH, 0.9 + 1.9 * len(maps)))
    grid = figure.subplots(len(maps), len(KINDS), squeeze=False, sharex=True, sharey="row")
    for line, (stack, row) in zip(grid, maps, strict=True):
        of_stack = rows[rows["stack"] == stack]
        shown = of_stack[of_stack["statistic"].isin(both_kinds(row.statistic))]
        scale = ScalarMappable(_norm(shown, log=row.is_dimension), mpl.colormaps[row.colors])
        for axes, (suffix, kind) in zip(line, KINDS.items(), strict=True):
            of_panel = shown[shown["statistic"] == row.statistic + suffix]
            _draw_map(axes, of_panel, columns, training, scale)
            size = (panels.distinct_sizes if row.is_dimension else panels.sizes)(of_panel)
            axes.set_title(panels.stack_title(stacks, stack, f"{kind}, N = {size}"))
        line[0].set_ylabel("layer")
        _colorbar(figure, line, scale, row)
    _finish_step_columns(grid[0, 0], columns)
    figure.supxlabel("training step (log scale but for the narrowest columns, 0 apart)", fontsize="medium")
    if handles := _handles(training):
        style.legend_outside(figure, handles, columns=3)
    return Drawing(figure, to_table(rows, training.hidden), _caption(training, model))


def step_columns(steps: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Return the left and right end of each step's column: between neighbours on a log scale, that of step 0 apart.

    No column is narrower than ``_LEAST_WIDTH`` says: there the axis is stretched.

    Parameters
    ----------
    steps : sequence of int
        Steps from 0 up, ascending and distinct.

    Returns
    -------
    dict
        Ends by step, in doublings of the step where the axis is not stretched; the first step over 0 begins at 0.
    """
    positive = [step for step in steps if step > 0]
    places = np.log2(positive or [1])
    between = (places[1:] + places[:-1]) / 2
    # The outer columns reach as far outwards as inwards.
    outer = (2 * places[[0, -1]] - between[[0, -1]]) if len(between) else places[0] + np.array([-0.5, 0.5])
    widths = np.diff([outer[0], *between, outer[1]])
    edges = np.cumsum([0.0, *np.maximum(widths, _LEAST_WIDTH * widths.mean())])
    columns = dict(zip(positive, pairwise(map(float, edges)), strict=False))
    if 0 in steps:
        width = max(float(widths.mean()), _ZERO_WIDTH * float(edges[-1]))
        columns = {0: (-(1 + _ZERO_APART) * width, -_ZERO_APART * width), **columns}
    return columns


def _norm(shown: pd.DataFrame, *, log: bool) -> Normalize:
    """Return the colour scale of a statistic: from 0 for shares, over the values found, on a log scale, for others."""
    values = shown.loc[shown["mark"] == "line", "value"].dropna()
    if values.empty:
        return Normalize(0, 1)
    if log:
        return LogNorm(values.min(), max(values.max(), values.min() * 1.01))
    return Normalize(0, values.max())


def _draw_map(
    axes: Axes,
    of_panel: pd.DataFrame,
    columns: Mapping[int, tuple[float, float]],
    training: Training,
    scale: ScalarMappable,
) -> None:
    """Draw the cells of one statistic, the columns of copies, and the cells that have no value."""
    axes.grid(visible=False)
    n_layers = of_panel["n_layers"].max()
    drawn = of_panel[of_panel["mark"] == "line"]
    cells = drawn.pivot(index="layer", columns="step", values="value")
    cells = cells.reindex(index=range(n_layers + 1), columns=list(columns)).to_numpy(dtype=float)
    for together in _adjacent(columns):
        ends = [columns[step] for step in together]
        edges = [*(left for left, _ in ends), ends[-1][1]]
        rows = np.arange(n_layers + 2) - 0.5
        shown = np.ma.masked_invalid(cells[:, [list(columns).index(step) for step in together]])
        axes.pcolormesh(edges, rows, shown, cmap=scale.cmap, norm=scale.norm, rasterized=True)
    for row in drawn[drawn["value"].isna()].itertuples():
        axes.add_patch(_cell(columns[int(row.step)], row.layer, **_GAP))
    for row in of_panel[of_panel["context_free"] & (of_panel["mark"] == "not drawn")].itertuples():
        axes.add_patch(_cell(columns[int(row.step)], row.layer, **_LOOKUP))
    for step in training.copies["step"]:
        axes.add_patch(_cell(columns[step], 0, n_rows=n_layers + 1, **_COPY))
    axes.set_ylim(-0.5, n_layers + 0.5)
    axes.set_yticks(panels.layer_ticks(n_layers))


def _adjacent(columns: Mapping[int, tuple[float, float]]) -> list[list[int]]:
    """Return the steps whose columns touch: those over 0, and step 0 by itself."""
    return [steps for steps in ([0] if 0 in columns else [], [step for step in columns if step > 0]) if steps]


def _cell(ends: tuple[float, float], layer: int, *, n_rows: int = 1, **look: object) -> Rectangle:
    return Rectangle((ends[0], layer - 0.5), ends[1] - ends[0], n_rows, **look)


def _colorbar(figure: Figure, line: Sequence[Axes], scale: ScalarMappable, row: _Map) -> None:
    bar = figure.colorbar(scale, ax=list(line), label=row.label, aspect=14, pad=0.015)
    if isinstance(scale.norm, LogNorm):
        panels.label_log_values(bar.ax.yaxis, ends=(scale.norm.vmin, scale.norm.vmax))
        return
    bar.ax.yaxis.set_major_locator(MaxNLocator(5))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.ax.yaxis.set_minor_locator(NullLocator())


def _finish_step_columns(axes: Axes, columns: Mapping[int, tuple[float, float]]) -> None:
    """Name the steps in the middle of their columns, as many as fit."""
    steps = list(columns)
    middles = [(left + right) / 2 for left, right in columns.values()]
    left, right = columns[steps[0]][0], columns[steps[-1]][1]
    labelled = style.spaced_ticks([(place - left) / (right - left) for place in middles], least=0.1)
    axes.set_xlim(left, right)
    axes.set_xticks([middles[n] for n in labelled], [style.step_name(steps[n]) for n in labelled])


def _handles(training: Training) -> list[Patch]:
    """Return the legend's entries for cells that bear no colour, those that there are."""
    rows = training.rows
    found = {
        style.LEFT_OUT: (_COPY, len(training.copies) > 0),
        style.GAP: (_GAP, rows.loc[rows["mark"] == "line", "value"].isna().any()),
        "not drawn: table look-up": (_LOOKUP, (rows["context_free"] & (rows["mark"] == "not drawn")).any()),
    }
    return [Patch(**look, label=label) for label, (look, present) in found.items() if present]


def _caption(training: Training, model: str) -> str:
    rows, copies = training.rows, training.copies
    parts = [
        f"Hidden states of {model}, a layer a row, at {sentences.named_steps(rows['step'])}; each column reaches half "
        "of the way to the neighbouring steps on a log scale, but none is less than half as wide as they are on "
        "average.",
        "Step 0, the untrained model, stands apart." if (rows["step"] == 0).any() else "",
        copies_sentence(copies, rows["revision"].nunique()),
        "Their columns are hatched." if len(copies) else "",
        f"Above: anisotropy, {sentences.DEFINITION}; middle: the same with sinks off; below: the TwoNN dimension, "
        "fitted to the lowest 0.9 of the distance ratios. Each row of maps has one colour scale.",
        sentences.about_batches(rows),
        sentences.about_sinks(),
        sentences.about_matching(),
        sentences.about_equal_n(rows),
        sentences.about_single_dimension(rows, "cells"),
        "Intervals and nulls are not drawn here; the figures of curves over training and the table geometry have them.",
        sentences.about_lookup(rows),
        sentences.about_final_norm(rows),
        sentences.about_precision(rows),
        "Grey: no value." if rows.loc[rows["mark"] == "line", "value"].isna().any() else "",
        sentences.about_gaps(rows),
    ]
    return sentences.caption_of(f"Geometry over training, {model}.", parts)
