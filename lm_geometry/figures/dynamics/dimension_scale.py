"""The figure of a layer's dimension against the number of vectors that it is estimated from."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lm_geometry.figures import style
from lm_geometry.figures.dynamics import panels, sentences
from lm_geometry.figures.dynamics.rows import KINDS, STACKS, both_kinds, rows_of_revisions, select, to_table
from lm_geometry.figures.style import Drawing
from lm_geometry.tables.geometry_statistics import DECIMATED, LINEAR_090, MATCHED, TWONN_090
from lm_geometry.wording import listing, span

PLACES = ("first block", "middle layer", "last layer, before the norm")

_SHARES = {TWONN_090: 1, LINEAR_090: 1, **{name: share for share, name in DECIMATED.items()}}
_REFERENCE = {"marker": "_", "markersize": 7, "linestyle": "", "markeredgewidth": 1.2}
_COUNTS = ["model", "revision", "stack", "layer", "after_final_norm"]


@style.styled
def dimension_scale(table: pa.Table | pd.DataFrame, *, revisions: Mapping[str, str] | None = None) -> Drawing:
    """Draw the TwoNN dimension against N, of clouds thinned again and again, for three layers of each model.

    A dimension that does not depend on scale would be a flat line.

    Parameters
    ----------
    table : table
        Rows of ``geometry``.
    revisions : mapping, optional
        The models to draw and the revision of each; by default every model, at 'main' or else at its last step.

    Raises
    ------
    ValueError
        If the table lacks a model or revision, or a statistic that the figure shows.
    """
    statistics = both_kinds(TWONN_090, *DECIMATED.values())
    rows = rows_of_revisions(select(table, statistics, references=both_kinds(LINEAR_090)), revisions)
    rows = _parts(_layers_shown(rows))
    looks = panels.model_looks(rows)
    stacks = [name for name in STACKS if name in set(rows["stack"])]
    most = max(rows.groupby("stack")["model"].nunique())
    figure = Figure(figsize=(style.PAGE_WIDTH, 4.2 + 0.1 * most))
    places = [place for place in PLACES if place in set(rows["place"])]
    grid = figure.subplots(len(KINDS), len(places), squeeze=False, sharex=True, sharey=True)
    for line, (suffix, kind) in zip(grid, KINDS.items(), strict=True):
        for axes, place in zip(line, places, strict=True):
            shown = rows[(rows["place"] == place) & (rows["statistic"].str.endswith(MATCHED) == bool(suffix))]
            for (model, stack), of_model in shown.groupby(["model", "stack"], sort=False):
                _draw_scales(axes, of_model, linestyle=panels.line_style(suffix), **looks[model, stack])
            axes.set_title(_title(shown, place, kind))
        line[0].set_ylabel("TwoNN dimension\nat N (log scale)")
    _finish_axes(grid[0, 0], rows[rows["mark"] != "not drawn"])
    # Of the middle panel, not of the figure, whose own label would lie on the legends below.
    grid[-1, len(places) // 2].set_xlabel("N, distinct vectors that the dimension is estimated from (log scale)")
    panels.models_legend(figure, rows, looks, stacks)
    style.legend_outside(figure, _handles(rows), columns=5)
    return Drawing(figure, to_table(rows), _caption(rows))


def _layers_shown(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first block, the middle layer and the last one before the norm, each where it is first.

    Of a model of one or two blocks a layer may be several of these; it is shown once.
    """
    n_layers = rows["n_layers"]
    middle = (n_layers + 1) // 2
    marks = [rows["layer"] == 1, rows["layer"] == middle, rows["layer"] == n_layers]
    place = np.select(marks, PLACES, default="")
    return rows.assign(place=place)[(place != "") & ~rows["after_final_norm"]].copy()


def _parts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the N of each part of the thinned cloud: the whole cloud's, over what it was thinned by."""
    matched = rows["statistic"].str.endswith(MATCHED)
    whole = rows[rows["statistic"].str.removesuffix(MATCHED) == TWONN_090].assign(matched=matched)
    whole = whole.set_index([*_COUNTS, "matched"])["n_distinct"]
    keys = pd.MultiIndex.from_frame(rows[_COUNTS].assign(matched=matched))
    shares = rows["statistic"].str.removesuffix(MATCHED).map(_SHARES)
    rows = rows.assign(n_distinct=whole.reindex(keys).to_numpy() // shares)
    return rows.sort_values(["order", "stack", "layer", "n_distinct"]).reset_index(drop=True)


def _draw_scales(axes: Axes, of_model: pd.DataFrame, *, color: str, marker: str, linestyle: str) -> None:
    line, reference = of_model[of_model["mark"] == "line"], of_model[of_model["mark"] == "null"]
    style.draw_whiskers(axes, *(line[name].astype(float) for name in ("n_distinct", "ci_low", "ci_high")), color=color)
    axes.plot(line["n_distinct"], line["value"], color=color, marker=marker, linestyle=linestyle, zorder=3)
    axes.plot(reference["n_distinct"], reference["value"], color=color, **_REFERENCE, zorder=2)
    style.draw_gaps(axes, line.loc[line["value"].isna(), "n_distinct"], color=color)


def _title(shown: pd.DataFrame, place: str, kind: str) -> str:
    drawn = shown[shown["mark"] == "line"]
    return f"{place}\n{kind}, N = {span(drawn['n_distinct'])}" if len(drawn) else f"{place}\n{kind}: none"


def _finish_axes(axes: Axes, drawn: pd.DataFrame) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    values = drawn["value"].dropna()
    if len(values):
        panels.log_value_axis(axes, ends=(values.min(), values.max()))


def _handles(rows: pd.DataFrame) -> list[Line2D]:
    grey = {"color": style.GREY}
    handles = [
        Line2D([], [], **grey, label="all tokens"),
        Line2D([], [], **grey, linestyle="--", label="type-matched"),
        style.whisker_handle("95 % interval"),
    ]
    if (rows["mark"] == "null").any():
        handles.append(Line2D([], [], **grey, **_REFERENCE, label="linear reference"))
    if rows.loc[rows["mark"] != "not drawn", "value"].isna().any():
        handles.append(style.gap_handle())
    return handles


def _caption(rows: pd.DataFrame) -> str:
    models = rows.drop_duplicates("model")
    parts = [
        f"TwoNN dimension of layers of {listing(models['model'] + ' at ' + models['revision'])}, fitted to the lowest "
        "0.9 of the distance ratios, against N, the number of distinct vectors that it is estimated from.",
        sentences.about_batches(rows),
        f"The right end of each line is of a whole batch; to its left the batch is split into {listing(DECIMATED)} "
        "parts, and the mean over the parts is shown at their N.",
        "A flat line would be a dimension that does not depend on scale. The estimate of a cloud that has one also "
        "rises with N where the dimension is high, so that a rise alone shows little.",
        sentences.about_matching(),
        "Whiskers: 95 % t intervals over batches.",
        sentences.about_references(rows, {LINEAR_090: "Dashes at the whole batch's N"}),
        f"Layers: {_named_layers(rows)}.",
        sentences.about_lookup(rows),
        sentences.about_precision(rows),
        sentences.about_gaps(rows),
    ]
    return sentences.caption_of("Dimension against the number of vectors.", parts)


def _named_layers(rows: pd.DataFrame) -> str:
    """Return which layers are shown, models with the same ones together."""
    by_model = rows.groupby(["model", "stack"], sort=False)["layer"].agg(lambda layers: tuple(sorted(set(layers))))
    found = by_model.reset_index().groupby("layer", sort=False)["model"]
    return "; ".join(f"{listing(layers)} of {listing(dict.fromkeys(models))}" for layers, models in found)
