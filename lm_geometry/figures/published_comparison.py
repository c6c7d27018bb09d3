"""The published values against ours: on the identity line, and their difference in units of the tolerance."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

from lm_geometry import published
from lm_geometry.embeddings.variants import RANDOM_TOKENIZER, parse_variant
from lm_geometry.figures import style
from lm_geometry.figures.score_points import METRICS
from lm_geometry.figures.style import Drawing
from lm_geometry.published_comparison import comparison_words
from lm_geometry.tables import figure_data
from lm_geometry.tables.published_comparison import AGREES, DIFFERS, NOT_RUN, SCHEMA
from lm_geometry.wording import metric_name

SOLID, HOLLOW, NOT_DRAWN = "solid", "hollow", "not drawn"
NOTHING = "None of the published values\nwas compared with this run."

_KINDS = ("as_is", "crop", "pad", "random")
_NAMES = {"as_is": "as_is", "crop": "crop_<k>", "pad": "pad_<n>", "random": "random"}
_BAND = "#ececec"


@style.styled
def published_comparison(comparison: pa.Table | pd.DataFrame) -> Drawing:
    """Draw every published value that was compared against ours, and how many tolerances apart they are.

    Upper panels: published against ours with its interval over queries, and the identity line. Lower panels: the
    difference over the tolerance, with agreement shaded. A value that another row states too is drawn once; one whose
    published value is no target is hollow, and in the upper panels only. With nothing to compare, the panels say so.

    Parameters
    ----------
    comparison : table
        The table ``published_comparison``.
    """
    rows = style.to_frame(comparison, SCHEMA.names)
    points = _points(rows)
    drawn = points[points["mark"] != NOT_DRAWN]
    figure = Figure(figsize=(style.PAGE_WIDTH, 5.4))
    panels = figure.subplots(2, len(METRICS), sharex="col", height_ratios=[2.2, 1])
    tokenizers = list(dict.fromkeys(points["tokenizer"]))
    for column, metric in enumerate(METRICS):
        of_metric = drawn[drawn["metric"] == metric]
        _draw_values(panels[0, column], of_metric, metric, tokenizers)
        _draw_differences(panels[1, column], of_metric, tokenizers)
        panels[1, column].set_xlabel(f"published {metric_name(metric)} (percent)")
    if len(drawn):
        style.legend_outside(figure, _handles(drawn, tokenizers), columns=6)
    return Drawing(figure, style.to_table(points, figure_data.PUBLISHED_COMPARISON), _caption(rows, drawn))


def _points(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with what is drawn of them."""
    judged = rows["verdict"].isin([AGREES, DIFFERS])
    absent = rows["value_percent"].isna() | (rows["verdict"] == NOT_RUN) | rows["repeats"].astype(bool)
    return rows.assign(
        mark=np.where(absent, NOT_DRAWN, np.where(judged, SOLID, HOLLOW)),
        x=rows["published_percent"].astype(float),
        y=rows["value_percent"].astype(float),
        in_tolerances=rows["difference"].astype(float) / rows["tolerance"].astype(float),
    )


def _kind(variant: str) -> str:
    return "random" if variant == RANDOM_TOKENIZER else parse_variant(variant).kind


def _series(points: pd.DataFrame, tokenizers: Sequence[str]) -> Iterator[tuple[pd.DataFrame, dict[str, object]]]:
    """Yield the points that look alike and their look, the many random ones first so that they hide no other."""
    kinds = points["variant"].map(_kind)
    for kind in reversed(_KINDS):
        for tokenizer in tokenizers:
            for mark in (SOLID, HOLLOW):
                chosen = points[(kinds == kind) & (points["tokenizer"] == tokenizer) & (points["mark"] == mark)]
                look = {"color": _color(kind), "marker": _marker(tokenizer, tokenizers)}
                if len(chosen):
                    yield chosen, look | ({"markerfacecolor": "none"} if mark == HOLLOW else {})


def _draw_values(axes: Axes, points: pd.DataFrame, metric: str, tokenizers: Sequence[str]) -> None:
    axes.set_ylabel(f"{metric_name(metric)} here (percent)")
    if points.empty:
        _say_nothing(axes)
        # The axis is the lower panel's too.
        axes.set_xticks([])
        return
    low, high = style.limits_of([*points["x"], *points["y"]], margin=0.05)
    axes.plot([low, high], [low, high], color="black", linewidth=0.6, zorder=1)
    for chosen, look in _series(points, tokenizers):
        ends = chosen[["ci_low", "ci_high"]].astype(float)
        axes.vlines(chosen["x"], ends["ci_low"], ends["ci_high"], color=look["color"], linewidth=0.4, alpha=0.3)
        axes.plot(chosen["x"], chosen["y"], **look, linestyle="", markersize=3.2, markeredgewidth=0.8, zorder=3)
    axes.set_xlim(low, high)
    axes.set_ylim(style.limits_of([*points["y"], *points["ci_low"], *points["ci_high"]], margin=0.03))


def _draw_differences(axes: Axes, points: pd.DataFrame, tokenizers: Sequence[str]) -> None:
    """Draw difference over tolerance: linear where values agree, in powers of ten where they do not."""
    axes.set_ylabel("difference\n(tolerances)")
    judged = points[points["mark"] == SOLID]
    if judged.empty:
        _say_nothing(axes)
        return
    axes.axhspan(-1, 1, color=_BAND, linewidth=0, zorder=0)
    axes.axhline(0, color="black", linewidth=0.6, zorder=1)
    for chosen, look in _series(judged, tokenizers):
        axes.plot(chosen["x"], chosen["in_tolerances"], **look, linestyle="", markersize=2.6, zorder=3)
    axes.set_yscale("symlog", linthresh=1, linscale=1)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    reach = max(2.0, 1.3 * judged["in_tolerances"].abs().max())
    axes.set_ylim(-reach, reach)


def _say_nothing(axes: Axes) -> None:
    axes.set_yticks([])
    axes.text(0.5, 0.5, NOTHING, transform=axes.transAxes, ha="center", va="center", color=style.GREY)


def _color(kind: str) -> str:
    return style.GREY if kind == "random" else style.COLORS[_KINDS.index(kind)]


def _marker(tokenizer: str, tokenizers: Sequence[str]) -> str:
    return style.MARKERS[list(tokenizers).index(tokenizer) % len(style.MARKERS)]


def _handles(drawn: pd.DataFrame, tokenizers: Sequence[str]) -> list[Line2D | Patch]:
    """Return the legend's entries for what is drawn."""
    there = set(drawn["variant"].map(_kind))
    dots = {"linestyle": "", "markersize": 4}
    handles = [
        Line2D([], [], **dots, color=_color(kind), marker="o", label=_NAMES[kind]) for kind in _KINDS if kind in there
    ]
    handles += [
        Line2D([], [], **dots, color="black", marker=_marker(name, tokenizers), markerfacecolor="none", label=name)
        for name in tokenizers
        if name in set(drawn["tokenizer"])
    ]
    if (drawn["mark"] == HOLLOW).any():
        handles.append(Line2D([], [], **dots, color=style.GREY, marker="o", markerfacecolor="none", label="no target"))
    lines = [
        Line2D([], [], color="black", linewidth=0.6, label="equal"),
        Patch(color=_BAND, label="within the tolerance"),
    ]
    return [*handles, *lines]


def _caption(rows: pd.DataFrame, drawn: pd.DataFrame) -> str:
    what = (
        f"Scores that {published.SOURCE} published, against those of this run, in percent; bars are our 95 % intervals "
        "over queries. Below: their difference in units of the tolerance, shaded where they agree, in powers of ten "
        "beyond. Values that are stated twice are drawn once. Marks tell the tokenizer, of which each suite has one."
    )
    hollow = "Hollow: published values with a known bug or that cannot be reproduced; these are no targets."
    parts = [
        what if len(drawn) else "",
        hollow if (drawn["mark"] == HOLLOW).any() else "",
        comparison_words(rows),
    ]
    return f"Published values and ours.\n\n{' '.join(filter(None, parts))}"
