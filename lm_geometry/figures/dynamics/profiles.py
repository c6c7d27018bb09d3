"""The figure of anisotropy and dimension over the layers, encoders beside decoders."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lm_geometry.figures import style
from lm_geometry.figures.dynamics import panels, sentences
from lm_geometry.figures.dynamics.rows import KINDS, REFERENCES, STACKS, both_kinds, rows_of_revisions, select, to_table
from lm_geometry.figures.style import Drawing
from lm_geometry.tables.geometry_statistics import (
    ANISOTROPY,
    FREQUENCY_NULL,
    LINEAR_090,
    MARCHENKO_PASTUR,
    MATCHED,
    TWONN_020,
    TWONN_090,
    WITHOUT_FIRST,
)
from lm_geometry.wording import listing

_NULL = {"linestyle": ":", "linewidth": 0.8}
_LIMIT = {"linestyle": "-", "linewidth": 0.4}
_SECOND_FIT = {"linestyle": (0, (6, 1.5, 1, 1.5)), "linewidth": 0.7}
_BETWEEN_FITS = 0.1
"""How opaque the band between the two fits is, half of an interval's."""


class _Panel(NamedTuple):
    """A row of panels: its statistic and title, and what is drawn behind it."""

    statistic: str
    title: str
    references: Mapping[str, Mapping[str, object]]
    second_fit: str | None = None

    @property
    def is_dimension(self) -> bool:
        """Whether it shows a dimension, whose N counts distinct vectors."""
        return self.second_fit is not None


def _anisotropy(kind: str) -> _Panel:
    nulls = {FREQUENCY_NULL + kind: _NULL, MARCHENKO_PASTUR + kind: _LIMIT}
    return _Panel(ANISOTROPY + kind, KINDS[kind], nulls)


def _dimension(kind: str) -> _Panel:
    return _Panel(TWONN_090 + kind, KINDS[kind], {LINEAR_090 + kind: _NULL}, second_fit=TWONN_020 + kind)


_ROWS = (_anisotropy(""), _Panel(WITHOUT_FIRST, "sinks off", {}), _anisotropy(MATCHED), *map(_dimension, KINDS))


@style.styled
def layer_profiles(table: pa.Table | pd.DataFrame, *, revisions: Mapping[str, str] | None = None) -> Drawing:
    """Draw anisotropy and dimension over the layers, encoders beside decoders, with their nulls and intervals.

    Anisotropy is of all tokens, without first positions and type-matched, the dimension of all tokens and type-matched.
    Layer 0 of look-up models is drawn type-matched only; the copy behind the final norm is a hollow point at L.

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
    statistics = [*both_kinds(ANISOTROPY, TWONN_090, TWONN_020), WITHOUT_FIRST]
    rows = rows_of_revisions(select(table, statistics, references=both_kinds(*REFERENCES)), revisions)
    stacks = [name for name in STACKS if name in set(rows["stack"])]
    looks = panels.model_looks(rows)
    most = max(rows.groupby("stack")["model"].nunique())
    figure = Figure(figsize=(style.PAGE_WIDTH, 9.0 + 0.1 * most))
    grid = figure.subplots(len(_ROWS), len(stacks), squeeze=False, sharey="row", sharex="col")
    for column, stack in enumerate(stacks):
        shown = rows[rows["stack"] == stack]
        for axes, panel in zip(grid[:, column], _ROWS, strict=True):
            _draw_panel(axes, shown, panel, {name: looks[name, stack] for name in shown["model"].unique()})
        grid[0, column].set_title(f"{STACKS[stack]}\n{grid[0, column].get_title()}")
        panels.finish_depth_axis(grid[-1, column], shown["n_layers"])
    for axes, panel in zip(grid[:, 0], _ROWS, strict=True):
        _finish_value_axis(axes, rows, panel)
    figure.align_ylabels(grid[:, 0])
    panels.models_legend(figure, rows, looks, stacks)
    style.legend_outside(figure, _handles(rows), columns=5)
    return Drawing(figure, to_table(rows), _caption(rows))


def _draw_panel(axes: Axes, shown: pd.DataFrame, panel: _Panel, looks: Mapping[str, Mapping[str, str]]) -> None:
    """Draw one statistic of every model of a stack, references and second fit behind it."""
    crowded = min(1.0, 4 / len(looks))
    for name, look in looks.items():
        of_model = shown[shown["model"] == name]
        profile = of_model[of_model["statistic"] == panel.statistic]
        linestyle = panels.line_style(panel.statistic)
        panels.draw_layers(axes, profile, x="depth", linestyle=linestyle, band=0.2 * crowded, **look)
        for reference, drawn in panel.references.items():
            null = of_model[(of_model["statistic"] == reference) & (of_model["mark"] == "null")]
            axes.plot(null["depth"], null["value"], color=look["color"], zorder=1, **drawn)
        if panel.second_fit:
            _draw_second_fit(axes, of_model, panel, color=look["color"], alpha=_BETWEEN_FITS * crowded)
    axes.set_title(_title(shown[shown["statistic"] == panel.statistic], panel))


def _draw_second_fit(axes: Axes, of_model: pd.DataFrame, panel: _Panel, *, color: str, alpha: float) -> None:
    """Draw the fit to the lowest fifth as a thin dashed line, the edge of a pale band from the headline fit."""
    line = of_model[of_model["mark"] == "line"].pivot_table(
        index="depth", columns="statistic", values="value", dropna=False
    )
    headline, second = line[panel.statistic], line[panel.second_fit]
    axes.plot(line.index, second, color=color, zorder=2, **_SECOND_FIT)
    axes.fill_between(line.index, headline, second, color=color, alpha=alpha, linewidth=0)


def _title(of_panel: pd.DataFrame, panel: _Panel) -> str:
    if not panel.is_dimension:
        return f"{panel.title}, N = {panels.sizes(of_panel)}"
    title = f"{panel.title}, N = {panels.distinct_sizes(of_panel)}"
    mixed, judged = panels.single_dimension_counts(of_panel)
    return f"{title}\nno single dimension in {mixed} of {judged} layers" if mixed else title


def _finish_value_axis(axes: Axes, rows: pd.DataFrame, panel: _Panel) -> None:
    """Name the axis of a row of panels; dimensions, which their reference may exceed many times, on a log scale."""
    if not panel.is_dimension:
        axes.set_ylim(bottom=0)
        axes.set_ylabel("anisotropy")
        return
    of_panel = rows[rows["statistic"] == panel.statistic]
    axes.set_ylabel(f"TwoNN dimension (log)\nat N = {panels.distinct_sizes(of_panel)}")
    shown = rows["statistic"].isin([panel.statistic, panel.second_fit, *panel.references])
    values = rows.loc[shown & (rows["mark"] != "not drawn"), "value"].dropna()
    if len(values):
        panels.log_value_axis(axes, ends=(values.min(), values.max()))


def _handles(rows: pd.DataFrame) -> list[Line2D | Patch]:
    found = set(rows.loc[rows["mark"] == "null", "statistic"].str.removesuffix(MATCHED))
    grey = {"color": style.GREY}
    null = {**_NULL, "label": "null (anisotropy), linear reference (dimension)"} if found else None
    handles = [
        Line2D([], [], **grey, label="all tokens"),
        Line2D([], [], **grey, linestyle="--", label="type-matched"),
        Line2D([], [], **grey, **_SECOND_FIT, label="TwoNN, fit 0.2"),
        Patch(color=style.GREY, alpha=_BETWEEN_FITS, linewidth=0, label="between fits 0.9 and 0.2"),
        *panels.profile_handles(rows, null),
    ]
    if MARCHENKO_PASTUR in found:
        handles.append(Line2D([], [], **grey, **_LIMIT, label="Marchenko-Pastur limit"))
    if panels.single_dimension_counts(rows[rows["statistic"].isin(both_kinds(TWONN_090))])[0]:
        handles.append(panels.open_point_handle())
    return handles


def _caption(rows: pd.DataFrame) -> str:
    models = rows.drop_duplicates("model")
    title = "Encoders against decoders, layer by layer." if rows["stack"].nunique() > 1 else "Layer by layer."
    parts = [
        f"Hidden states of {listing(models['model'] + ' at ' + models['revision'])}.",
        sentences.about_batches(rows),
        f"Above: anisotropy, {sentences.DEFINITION}.",
        sentences.about_sinks(),
        sentences.about_matching(),
        "Below: the TwoNN dimension on a log scale, fitted to the lowest 0.9 of the distance ratios (line) and to the "
        "lowest 0.2 (thin dash-dotted, edge of the pale band).",
        sentences.about_single_dimension(rows, "layers", shown_as="open points"),
        sentences.about_equal_n(rows),
        "Bands in the lines' colour: 95 % t intervals over batches.",
        sentences.about_references(
            rows,
            {
                FREQUENCY_NULL: "Dotted, of anisotropy",
                MARCHENKO_PASTUR: "Fine, of anisotropy",
                LINEAR_090: "Dotted, of dimensions",
            },
        ),
        "No null is drawn with sinks off.",
        sentences.about_final_norm(rows),
        sentences.about_lookup(rows),
        sentences.about_precision(rows),
        sentences.about_gaps(rows),
    ]
    return sentences.caption_of(title, parts)
