"""The figure of a model's layer-averaged dimension over training."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lm_geometry.figures import style
from lm_geometry.figures.copies import copies_sentence
from lm_geometry.figures.dynamics import panels, sentences
from lm_geometry.figures.dynamics.checkpoints import Training, nothing_to_draw, training_rows
from lm_geometry.figures.dynamics.rows import FITS, KINDS, both_kinds, to_table, without_normed
from lm_geometry.figures.style import Drawing
from lm_geometry.figures.training_axis import draw_intervals_over_steps, draw_over_steps, finish_step_axis
from lm_geometry.tables import geometry_layer_means
from lm_geometry.wording import counted, span

_KEYS = ["revision", "stack", "statistic"]
_MEAN = {"color": "black", "linewidth": 1.4}


@style.styled
def training_dimension(
    table: pa.Table | pd.DataFrame,
    layer_means: pa.Table | pd.DataFrame,
    *,
    model: str,
    revisions: Sequence[str] | None = None,
    duplicates: pa.Table | None = None,
) -> Drawing:
    """Draw the dimension averaged over the layers against the training step, both fits, over each layer's own line.

    A checkpoint that has another's weights breaks every line and is a stroke at the foot of the panel.

    Parameters
    ----------
    table : table
        Rows of ``geometry``: the single layers.
    layer_means : table
        Rows of ``geometry_layer_means``: the means over layers, with their intervals over batches.
    model : str
        The model whose checkpoints are drawn.
    revisions : sequence of str, optional
        The checkpoints; by default every revision that has a step.
    duplicates : pa.Table, optional
        Rows of ``duplicate_checkpoints``: which checkpoints the table may lack because they were dropped.

    Raises
    ------
    ValueError
        If a table lacks a checkpoint, or holds two of the same step or one without a step.
    """
    training = training_rows(table, both_kinds(*FITS), model=model, revisions=revisions, duplicates=duplicates)
    if training.rows.empty:
        return nothing_to_draw(training, f"Dimension over training, {model}.")
    rows = without_normed(training.rows)
    copies, steps, stacks = training.copies, training.steps, training.stacks
    means = _means(layer_means, rows)
    lines = [(stack, fit) for stack in stacks for fit in FITS]
    figure = Figure(figsize=(style.PAGE_WIDTH, 0.8 + 1.9 * len(lines)))
    grid = figure.subplots(len(lines), len(KINDS), squeeze=False, sharex=True, sharey="col")
    norm = Normalize(0, max(1, rows["n_layers"].max()))
    for (stack, fit), line in zip(lines, grid, strict=True):
        for axes, kind in zip(line, KINDS, strict=True):
            in_panel = rows[(rows["statistic"] == fit + kind) & (rows["stack"] == stack)]
            mean = means[(means["statistic"] == fit + kind) & (means["stack"] == stack)]
            _draw_layer_lines(axes, in_panel[in_panel["mark"] == "line"], norm, steps)
            _draw_mean(axes, mean, steps)
            style.draw_left_out(axes, copies["step"])
            title = f"{KINDS[kind]}, N = {panels.distinct_sizes(in_panel)}"
            axes.set_title(panels.stack_title(stacks, stack, title))
            finish_step_axis(axes, steps)
        line[0].set_ylabel(f"TwoNN dimension at N,\nfit {FITS[fit]}")
    figure.supxlabel("training step (log scale, 0 apart)", fontsize="medium")
    ticks = panels.layer_ticks(norm.vmax)
    figure.colorbar(ScalarMappable(norm, panels.VIRIDIS), ax=grid, label="layer", aspect=35, ticks=ticks)
    style.legend_outside(figure, _handles(means, training), columns=4)
    data = to_table(rows, training.hidden, means, _gaps_at_copies(means, copies))
    return Drawing(figure, data, _caption(rows, copies, means, model))


def _means(layer_means: pa.Table | pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the means over layers of the checkpoints, stacks and statistics in ``rows``, with the facts of those.

    Raises
    ------
    ValueError
        If there is no mean of some of them.
    """
    means = style.to_frame(layer_means, geometry_layer_means.SCHEMA.names)
    averaged = rows[(rows["mark"] == "line") & ~rows["context_free"]]
    # A layer without a value has no part in the batches' sizes.
    facts = averaged.groupby(_KEYS, sort=False, as_index=False).agg(
        model=("model", "first"), suite=("suite", "first"), kind=("kind", "first"), step=("step", "first"),
        width=("width", "max"), n_layers=("n_layers", "max"), n_vectors=("n_vectors", "min"), dtype=("dtype", "first"),
    )  # fmt: skip
    wanted = ["model", *_KEYS, "value", "ci_low", "ci_high", "n_batches", "n_distinct", "status"]
    averaged_layers = means.rename(columns={"n_layers": "n_averaged"})[[*wanted, "n_averaged"]]
    found = facts.merge(averaged_layers, on=["model", *_KEYS], how="left", validate="one_to_one")
    missing = found[found["status"].isna()]
    if len(missing):
        raise ValueError(
            f"the table geometry_layer_means has no mean of {len(missing)} of {len(found)} checkpoints and statistics, "
            f"the first {' '.join(missing.iloc[0][['model', *_KEYS]])}"
        )
    numbers = found[["value", "ci_low", "ci_high"]].astype(float)
    return found.assign(**numbers, layer=pd.NA, mark="mean", context_free=False, after_final_norm=False, label=None)


def _gaps_at_copies(means: pd.DataFrame, copies: pd.DataFrame) -> pd.DataFrame:
    """Return the means that copies would have been, without a value: where the lines break."""
    lines = means.drop_duplicates(["statistic", "stack"]).drop(columns=["revision", "step", "status"])
    gaps = lines.merge(copies[["revision", "step", "status"]], how="cross")
    return gaps.assign(value=np.nan, ci_low=np.nan, ci_high=np.nan, n_batches=0, n_vectors=0, n_distinct=0)


def _draw_layer_lines(axes: Axes, rows: pd.DataFrame, norm: Normalize, steps: Sequence[int]) -> None:
    look = {"marker": ".", "markersize": style.marker_size(len(steps)) / 2, "linewidth": 0.7, "alpha": 0.8}
    for layer, line in rows.groupby("layer"):
        draw_over_steps(axes, line, steps, color=panels.VIRIDIS(norm(layer)), **look)


def _draw_mean(axes: Axes, mean: pd.DataFrame, steps: Sequence[int]) -> None:
    draw_intervals_over_steps(axes, mean, steps, color=_MEAN["color"])
    draw_over_steps(axes, mean, steps, **_MEAN, marker="o", markersize=0.75 * style.marker_size(len(steps)), zorder=4)
    style.draw_gaps(axes, mean.loc[mean["value"].isna(), "step"], color=_MEAN["color"])


def _handles(means: pd.DataFrame, training: Training) -> list[Line2D | Patch]:
    handles = [
        Line2D([], [], **_MEAN, marker="o", label="mean over layers"),
        Line2D([], [], color=style.GREY, linewidth=0.7, label="one layer"),
    ]
    if means["ci_low"].notna().any():
        interval = style.band_handle if len(training.steps) > style.POINTS_APART else style.whisker_handle
        handles.append(interval("95 % interval of the mean"))
    if means["value"].isna().any():
        handles.append(style.gap_handle())
    if len(training.copies):
        handles.append(style.left_out_handle())
    return handles


def _caption(rows: pd.DataFrame, copies: pd.DataFrame, means: pd.DataFrame, model: str) -> str:
    drawn = means[means["value"].notna()]
    layers = counted((drawn if len(drawn) else means)["n_averaged"], "layer")
    parts = [
        f"TwoNN dimension of the hidden states of {model} at "
        f"{counted([rows['revision'].nunique()], 'checkpoint')}, fitted to the lowest 0.9 of the distance ratios "
        "(above) and to the lowest 0.2 (below), of all tokens and of one random occurrence per token type "
        "(type-matched).",
        copies_sentence(copies, rows["revision"].nunique()),
        "Every line breaks there; strokes at the foot mark these steps." if len(copies) else "",
        sentences.about_batches(rows),
        f"Thick: the mean over {layers}, those before the final norm, "
        "with its 95 % t interval over batches, each batch averaged over the layers first; thin: each layer.",
        "A rise or fall counts only where both fits and both columns show it; dimensions compare only at equal N, the "
        f"number of distinct vectors, of the means {span(means['n_distinct'])}.",
        "The mean leaves out layer 0, a table look-up, in every panel." if rows["context_free"].any() else "",
        sentences.about_single_dimension(rows, "layers and checkpoints"),
        sentences.about_final_norm(rows),
        sentences.about_precision(rows),
        sentences.about_gaps(rows),
    ]
    return sentences.caption_of(f"Dimension over training, {model}.", parts)
