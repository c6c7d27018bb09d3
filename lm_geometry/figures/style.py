"""How every figure looks, and how it is saved: fonts, colours, sizes, files, captions."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd
import pyarrow as pa
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from lm_geometry import provenance
from lm_geometry.provenance.carriers import picture_metadata
from lm_geometry.tables.files import atomic_path, write_csv, write_table, write_text

PAGE_WIDTH = 7.0
"""Width of both columns of a two-column page, in inches."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5230", "#000000")
"""Okabe and Ito's colours, which colour-blind readers tell apart; brown stands in for their yellow, too pale."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
GREY = "#707070"

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "lines.solid_capstyle": "round",
    "figure.constrained_layout.use": True,
    "figure.dpi": 220,
    "pdf.fonttype": 42,
    # Element ids in an SVG are random unless salted; a rerun must write the same bytes.
    "svg.hashsalt": "lm-geometry",
}
# Each format writes the time or the library's version by default.
_METADATA = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}

BAND_ALPHA = 0.15
_WHISKER = {"linewidth": 0.7, "alpha": 0.55, "zorder": 1.5}
GAP = "no value"
POINTS_APART = 40
LEFT_OUT = "left out: another checkpoint's weights"
_STROKE = {"color": COLORS[1], "marker": "|", "linestyle": "", "markersize": 5, "markeredgewidth": 0.9}


class Drawing(NamedTuple):
    """A figure, the table it was drawn from, and its caption: a title line, an empty line, paragraphs."""

    figure: Figure
    data: pa.Table
    caption: str


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Run ``draw`` with the house style, and leave matplotlib's settings as they were."""

    @wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Any:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_STYLE)
            return draw(*args, **kwargs)

    return drawn


@styled
def save(
    drawing: Drawing,
    *,
    png: Path,
    svg: Path,
    pdf: Path,
    data: Path,
    csv: Path,
    caption: Path,
    inputs: Sequence[Path],
    settings: Mapping[str, Any],
) -> None:
    """Write a drawing as PNG, SVG and PDF, its data as Parquet and CSV, and its caption as reStructuredText.

    The same drawing gives the same bytes. The caption also stands in the provenance, which all but CSV and text carry.
    """
    settings = {**settings, "caption": drawing.caption}
    facts = provenance.describe(inputs=inputs, settings=settings)
    # Laid out once, not once per format: it is the slow part, and the three are to look alike.
    drawing.figure.draw_without_rendering()
    drawing.figure.set_layout_engine("none")
    for kind, path in (("png", png), ("svg", svg), ("pdf", pdf)):
        with atomic_path(path) as temporary:
            metadata = {**_METADATA[kind], **picture_metadata(kind, facts)}
            drawing.figure.savefig(temporary, format=kind, metadata=metadata)
    write_table(data, drawing.data, drawing.data.schema, inputs=inputs, settings=settings)
    write_csv(csv, drawing.data)
    write_text(caption, caption_to_rst(drawing.caption))


def caption_to_rst(caption: str) -> str:
    """Return the caption as a text that Snakemake's report shows as it is: neither RST markup nor a Jinja template."""
    escaped = re.sub(r"([\\`*_|<>\[\]#:])", r"\\\1", caption)
    return re.sub(r"([{}])", r"{{ '\1' }}", escaped) + "\n"


def caption_from_rst(text: str) -> str:
    """Return the caption that ``caption_to_rst`` wrote."""
    return re.sub(r"\\(.)", r"\1", re.sub(r"\{\{ '([{}])' \}\}", r"\1", text)).removesuffix("\n")


def to_frame(table: pa.Table | pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Return a table as a data frame.

    Raises
    ------
    ValueError
        If a column is missing; the message names it.
    """
    frame = table.to_pandas() if isinstance(table, pa.Table) else table
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ValueError(f"the table lacks the columns {missing}; it has {list(frame.columns)}")
    return frame.reset_index(drop=True)


def to_table(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """Return the frame's columns that ``schema`` names as a table; NaN becomes null."""
    return pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Return each name's last part after '/' or ':', or the whole name where two would look alike."""
    names = list(dict.fromkeys(names))
    short = [re.split(r"[/:]", name)[-1] for name in names]
    return {name: part if short.count(part) == 1 else name for name, part in zip(names, short, strict=True)}


def place_in_map(index: int, count: int, *, low: float, high: float) -> float:
    """Return the place of item ``index`` of ``count`` in a colour map, spread evenly from ``low`` to ``high``."""
    return low + (high - low) * (index / (count - 1) if count > 1 else 0.3)


def label_point(axes: Axes, x: float, y: float, text: str, *, side: str) -> None:
    """Write a small name just 'above', 'below' or 'right' of a point, readable across lines."""
    offset, across, along = {
        "above": ((0, 4), "center", "bottom"),
        "below": ((0, -4), "center", "top"),
        "right": ((5, 0), "left", "center"),
    }[side]
    label = axes.annotate(
        text, (x, y), xytext=offset, textcoords="offset points", ha=across, va=along, fontsize=6, zorder=5
    )
    label.set_path_effects([withStroke(linewidth=2, foreground="white")])


def draw_whiskers(
    axes: Axes, places: Iterable[float], low: Iterable[float], high: Iterable[float], *, color: object
) -> None:
    """Draw intervals as thin strokes behind the lines."""
    axes.vlines(list(places), list(low), list(high), color=color, **_WHISKER)


def whisker_handle(label: str) -> Line2D:
    """Return the legend's entry for intervals that are whiskers."""
    return Line2D([], [], color=GREY, marker="|", linestyle="", markersize=8, markeredgewidth=0.8, label=label)


def band_handle(label: str) -> Patch:
    """Return the legend's entry for intervals that are bands."""
    return Patch(color=GREY, alpha=0.25, linewidth=0, label=label)


def draw_gaps(axes: Axes, places: Iterable[float], *, color: object) -> None:
    """Mark missing values with crosses at the foot of the panel."""
    places = list(places)
    foot = axes.get_xaxis_transform()
    axes.plot(
        places, [0.03] * len(places), "x", color=color, transform=foot, markersize=4, markeredgewidth=1, label=GAP
    )


def gap_handle() -> Line2D:
    """Return the legend's entry for missing values."""
    return Line2D([], [], color=GREY, marker="x", linestyle="", markersize=4, label=GAP)


def draw_left_out(axes: Axes, places: Iterable[float]) -> None:
    """Mark what was left out with strokes at the foot of the panel; many of them make a bar."""
    places = list(places)
    foot = axes.get_xaxis_transform()
    axes.plot(places, [0.03] * len(places), **_STROKE, transform=foot, label=LEFT_OUT)


def left_out_handle() -> Line2D:
    """Return the legend's entry for what was left out."""
    return Line2D([], [], **_STROKE, label=LEFT_OUT)


def marker_size(count: int) -> float:
    """Return the size of the markers of a line of ``count`` points: many large ones would hide it."""
    return 4.0 if count <= POINTS_APART else 2.0


def limits_of(values: Iterable[float], *, margin: float = 0.08) -> tuple[float, float] | None:
    """Return axis limits that hold all finite values, with a margin; None where there are none."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    pad = margin * ((high - low) or abs(high) or 1.0)
    return low - pad, high + pad


def legend_outside(
    figure: Figure,
    handles: Sequence[Artist],
    *,
    columns: int,
    loc: str = "outside upper center",
    title: str | None = None,
) -> None:
    """Put one legend for all panels beside the axes, where it can hide nothing.

    Its rows are about equally long, of at most so many columns as fit the page.
    """
    labels = [str(handle.get_label()) for handle in handles]
    fitting = next((count for count in range(columns, 1, -1) if _legend_width(labels, count) <= PAGE_WIDTH), 1)
    rows = math.ceil(len(handles) / fitting)
    figure.legend(
        handles=handles,
        loc=loc,
        ncols=math.ceil(len(handles) / rows),
        title=title,
        title_fontsize=_STYLE["legend.fontsize"],
    )


def _legend_width(labels: Sequence[str], columns: int) -> float:
    """Return about how wide a legend is, in inches: columns are filled one after the other."""
    rows = math.ceil(len(labels) / columns)
    widest = [max(map(len, labels[start : start + rows])) for start in range(0, len(labels), rows)]
    em = _STYLE["legend.fontsize"] / 72
    # A letter of the font is about 0.57 em wide; beside the text stand the handle and the gaps around it.
    return em * sum(0.57 * letters + _STYLE["legend.handlelength"] + 2.8 for letters in widest)


def step_name(step: int) -> str:
    """Return a training step as short as it can be said: 512, 3.5k, 143k."""
    return str(step) if step < 1000 else f"{step / 1000:g}k"


def spaced_ticks(places: Sequence[float], *, least: float) -> list[int]:
    """Return the positions in ``places`` (ascending) to label so that no two labels stand closer than ``least``.

    The last is always labelled; the others are taken from the left, as far as they fit.
    """
    chosen: list[int] = []
    for index, place in enumerate(places[:-1]):
        if (not chosen or place - places[chosen[-1]] >= least) and places[-1] - place >= least:
            chosen.append(index)
    return [*chosen, len(places) - 1]
