"""What the panels of several figures share: profiles over layers, axes, titles, legends."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from lm_geometry.figures import style
from lm_geometry.figures.dynamics.rows import STACKS
from lm_geometry.tables.geometry_statistics import MATCHED, NO_SINGLE_DIMENSION
from lm_geometry.wording import span

# Without its palest end, in which a line on white cannot be seen.
VIRIDIS = ListedColormap(mpl.colormaps["viridis"](np.linspace(0, 0.93, 256)))
# A family of colours for each stack: name, and the part of it that is seen on white.
_FAMILIES = {"encoder": ("YlOrBr", 0.4, 0.95), "decoder": ("viridis", 0.0, 0.85)}
_HOLLOW = {"marker": "D", "markersize": 4, "linestyle": "", "markerfacecolor": "white"}
_OPEN = {"markersize": 2.8, "linestyle": "", "markerfacecolor": "white", "markeredgewidth": 0.8}
_ROUND = ((20.0, (1, 2, 5)), (2.5, (1, 1.5, 2, 3, 4, 5, 7)))
"""Which multiples of a power of ten are named on a log axis whose ends are at least a factor apart."""

Looks = dict[tuple[str, str], dict[str, str]]


def model_looks(rows: pd.DataFrame) -> Looks:
    """Return colour and marker of each (model, stack): one family of colours for encoders, another for decoders."""
    looks = {}
    for stack, (family, low, high) in _FAMILIES.items():
        names = list(dict.fromkeys(rows.loc[rows["stack"] == stack, "model"]))
        for number, name in enumerate(names):
            place = style.place_in_map(number, len(names), low=low, high=high)
            color = to_hex(mpl.colormaps[family](place))
            looks[name, stack] = {"color": color, "marker": style.MARKERS[number % len(style.MARKERS)]}
    return looks


def line_style(statistic: str) -> str:
    """Return how the line of a statistic is drawn: solid of all tokens, dashed where it is type-matched."""
    return "--" if statistic.endswith(MATCHED) else "-"


def draw_layers(
    axes: Axes, rows: pd.DataFrame, *, x: str, color: object, linestyle: str, marker: str = "o", band: float = 0.2
) -> None:
    """Draw one profile: its interval, open points of no single dimension, a hollow one behind the final norm, gaps.

    Parameters
    ----------
    axes : Axes
        The panel.
    rows : DataFrame
        Rows of one statistic, model, stack and revision, in order of layer.
    x : str
        The column of the place on the axis.
    color, linestyle, marker : object
        Of the line.
    band : float
        How opaque the interval is.
    """
    line, hollow = rows[rows["mark"] == "line"], rows[rows["mark"] == "hollow"]
    axes.plot(line[x], line["value"], color=color, linestyle=linestyle, marker=marker, markersize=2.8, zorder=3)
    low, high = line["ci_low"].astype(float), line["ci_high"].astype(float)
    axes.fill_between(line[x], low, high, color=color, alpha=band, linewidth=0)
    mixed = line[line["label"] == NO_SINGLE_DIMENSION]
    if len(mixed):
        axes.plot(mixed[x], mixed["value"], color=color, marker=marker, **_OPEN, zorder=3.5)
    axes.plot(hollow[x], hollow["value"], color=color, **_HOLLOW, zorder=4)
    gaps = rows[(rows["mark"] != "not drawn") & rows["value"].isna()]
    style.draw_gaps(axes, gaps[x], color=color)


def log_value_axis(axes: Axes, *, ends: Sequence[float]) -> None:
    """Put values on a log scale with plain numbers; ``ends`` are the least and the largest of them."""
    axes.set_yscale("log")
    label_log_values(axes.yaxis, ends=ends)


def label_log_values(axis: Axis, *, ends: Sequence[float]) -> None:
    """Name round numbers on an axis whose scale is logarithmic already; see ``log_value_axis``."""
    fitting = (LogLocator(subs=subs) for factor, subs in _ROUND if max(ends) >= factor * min(ends))
    # Ends that are close to each other may have no such number between them.
    axis.set_major_locator(next(fitting, MaxNLocator(4, steps=[1, 2, 5, 10])))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def layer_ticks(n_layers: float) -> list[int]:
    """Return the layers to name on an axis of 0 to ``n_layers``: at most nine of them."""
    spacing = next(step for step in (1, 2, 4, 5, 8, 10, 20, 50, 100) if n_layers / step <= 8)
    return list(range(0, int(n_layers) + 1, spacing))


def finish_depth_axis(axes: Axes, n_layers: Sequence[int]) -> None:
    """Mark the layers by number where all models have as many, by relative depth else."""
    counts = sorted(set(n_layers))
    if len(counts) == 1:
        ticks = layer_ticks(counts[0])
        axes.set_xticks([layer / max(1, counts[0]) for layer in ticks], ticks)
        axes.set_xlabel(f"layer (L = {counts[0]})")
    else:
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "L/4", "L/2", "3L/4", "L"])
        axes.set_xlabel("layer, as a share of the model's L (a point per layer)")


def finish_layer_axis(axes: Axes, n_layers: int) -> None:
    """Mark the layers of one model by number."""
    axes.set_xticks(layer_ticks(n_layers))
    axes.set_xlim(-0.04 * n_layers, 1.04 * n_layers)
    axes.set_xlabel(f"layer (L = {n_layers})")


def drawn_counts(rows: pd.DataFrame, column: str) -> pd.Series:
    """Return the counts behind the drawn values of ``rows``; a row without a value has no say."""
    rows = rows[rows["mark"] != "not drawn"]
    return rows.loc[rows["value"].notna() | rows["value"].isna().all(), column]


def sizes(rows: pd.DataFrame) -> str:
    """Return the N of a spectral statistic: the rows of a batch."""
    return span(drawn_counts(rows, "n_vectors"))


def distinct_sizes(rows: pd.DataFrame) -> str:
    """Return the N of a dimension: the distinct rows, of which each gives one ratio."""
    return span(drawn_counts(rows, "n_distinct"))


def single_dimension_counts(rows: pd.DataFrame) -> tuple[int, int]:
    """Return how many of the drawn layers have no single dimension, and how many were judged.

    Parameters
    ----------
    rows : DataFrame
        Rows of one dimension.
    """
    labels = rows.loc[rows["mark"] == "line", "label"].dropna()
    return int((labels == NO_SINGLE_DIMENSION).sum()), len(labels)


def stack_title(stacks: Sequence[str], stack: str, title: str) -> str:
    """Return the title of a panel, under the stack's name where there are two."""
    return f"{stack}\n{title}" if len(stacks) > 1 else title


def model_handles(rows: pd.DataFrame, looks: Looks, stack: str) -> list[Line2D]:
    """Return the legend's entries for the models of a stack."""
    facts = rows.groupby(["model", "stack"])[["n_layers", "kind"]].first()
    return [
        Line2D([], [], **look, label=_model_label(*key, *facts.loc[key]))
        for key, look in looks.items()
        if key[1] == stack
    ]


def _model_label(model: str, stack: str, n_layers: int, kind: str) -> str:
    half = f", {stack} half" if kind == "encoder-decoder" else ""
    return f"{model} (L = {n_layers}{half})"


def models_legend(figure: Figure, rows: pd.DataFrame, looks: Looks, stacks: Sequence[str]) -> None:
    """Put the models' names below the panels, a legend for each stack."""
    for stack, loc in zip(stacks, ("outside lower left", "outside lower right"), strict=False):
        handles = model_handles(rows, looks, stack)
        figure.legend(handles=handles, loc=loc, ncols=1 if len(handles) < 4 else 2, title=STACKS[stack])


def open_point_handle() -> Line2D:
    """Return the legend's entry for layers without a single dimension."""
    return Line2D([], [], color=style.GREY, marker="o", **_OPEN, label=NO_SINGLE_DIMENSION)


def profile_handles(rows: pd.DataFrame, null: Mapping[str, object] | None = None) -> list[Line2D | Patch]:
    """Return the legend's entries that all profiles share, those that the rows call for; ``null`` is how one looks."""
    handles: list[Line2D | Patch] = [style.band_handle("95 % interval")]
    if null:
        handles.append(Line2D([], [], **{"color": style.GREY, **null}))
    if (rows["mark"] == "hollow").any():
        handles.append(Line2D([], [], color=style.GREY, **_HOLLOW, label="after final norm"))
    if rows.loc[rows["mark"] != "not drawn", "value"].isna().any():
        handles.append(style.gap_handle())
    return handles
