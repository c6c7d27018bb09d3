"""The figure of the tables' own geometry over their width, which needs no collection."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lm_geometry.figures import score_points, style
from lm_geometry.figures.style import Drawing
from lm_geometry.figures.width_axis import finish_width_axis
from lm_geometry.geometry.nulls import marchenko_pastur_edge
from lm_geometry.natural_order import natural_key
from lm_geometry.tables import embedding_geometry, figure_data
from lm_geometry.tables.geometry_statistics import ANISOTROPY, SINGLE_DIMENSION, TWONN_020, TWONN_090
from lm_geometry.wording import counted, listing, span

COSINE, RANK = "mean_cosine", "effective_rank"
WITHOUT_TOKEN = "share_without_token"

_VALUES = ["value", "ci_low", "ci_high"]
_LIMIT_POINTS = 60
_HOLLOW = {"linestyle": "", "markerfacecolor": "white", "markeredgewidth": 0.9, "zorder": 2}
_LIMIT = {"color": style.GREY, "linestyle": ":", "linewidth": 1.0}


class _Panel(NamedTuple):
    """One panel: its statistic and name, whether its axis is logarithmic, a second statistic that is drawn hollow."""

    statistic: str
    label: str
    log: bool = False
    second: str | None = None
    depends_on_n: bool = True


_PANELS = (
    _Panel(ANISOTROPY, "anisotropy", log=True),
    _Panel(RANK, "effective rank", log=True),
    _Panel(TWONN_090, "TwoNN dimension", second=TWONN_020),
    _Panel(COSINE, "mean cosine of two rows"),
    _Panel(WITHOUT_TOKEN, "rows without a token (percent)", depends_on_n=False),
)


@style.styled
def tables_over_width(table: pa.Table | pd.DataFrame) -> Drawing:
    """Draw anisotropy, effective rank, dimension, mean cosine and untrained rows of all tables over their width.

    All but the last depend on how many rows, N, a batch has: a line joins tables that were measured at the same N only.

    Parameters
    ----------
    table : table
        Rows of ``embedding_geometry``.

    Raises
    ------
    ValueError
        If the table is empty, lacks one of these statistics of some model, or mixes table precisions.
    """
    rows = _select(table)
    suites = sorted(rows["suite"].unique(), key=natural_key)
    looks = {
        suite: {
            "color": style.COLORS[number % len(style.COLORS)],
            "marker": style.MARKERS[number % len(style.MARKERS)],
        }
        for number, suite in enumerate(suites)
    }
    limits = _limits(rows)
    figure = Figure(figsize=(style.PAGE_WIDTH, 4.8))
    *panels, corner = figure.subplots(2, 3).flat
    for axes, panel in zip(panels, _PANELS, strict=True):
        shown = rows[rows["statistic"] == panel.statistic]
        second = rows[rows["statistic"] == panel.second]
        for suite, look in looks.items():
            _draw_suite(axes, shown[shown["suite"] == suite], panel, **look)
            of_suite = second[second["suite"] == suite]
            axes.plot(of_suite["embedding_dim"], of_suite["value"], **look, **_HOLLOW)
        limit = limits[limits["statistic"] == panel.statistic]
        axes.plot(limit["embedding_dim"], limit["value"], **_LIMIT, zorder=1)
        _finish_panel(axes, panel, pd.concat([shown, second]))
    corner.set_axis_off()
    corner.legend(handles=_handles(rows, looks, limits), loc="center")
    return Drawing(figure, _to_table(rows), _caption(rows, limits))


def _select(table: pa.Table | pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are drawn, in order of statistic, suite, width and name."""
    rows = style.to_frame(table, embedding_geometry.SCHEMA.names)
    wanted = [*(panel.statistic for panel in _PANELS), TWONN_020]
    if rows.empty:
        raise ValueError("the table embedding_geometry has no rows: there is nothing to draw")
    for (model, revision), of_table in rows.groupby(["model", "revision"]):
        missing = [name for name in wanted if name not in set(of_table["statistic"])]
        if missing:
            raise ValueError(f"model '{model}', revision '{revision}': the table has no rows of {missing}")
    score_points.check_one_setting(rows, ("table_precision",))
    rows = rows[rows["statistic"].isin(wanted)].copy()
    in_percent = rows["statistic"] == WITHOUT_TOKEN
    rows[_VALUES] = rows[_VALUES].astype(float).mul(np.where(in_percent, 100.0, 1.0), axis=0)
    rows["label"] = score_points.model_labels(rows)
    rows["mark"] = np.where(rows["statistic"] == TWONN_020, "hollow", "line")
    places = sorted(
        rows.index,
        key=lambda row: (
            wanted.index(rows["statistic"][row]),
            natural_key(rows["suite"][row]),
            rows["embedding_dim"][row],
            natural_key(rows["label"][row]),
        ),
    )
    return rows.loc[places].reset_index(drop=True)


def _batched(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are of batches and have a value: those that N is said of."""
    return rows[(rows["statistic"] != WITHOUT_TOKEN) & rows["value"].notna()]


def _usual_size(rows: pd.DataFrame) -> int | None:
    """Return the N that most values are of, the lesser of two; None where no batch has a value."""
    sizes = _batched(rows)["n_vectors"].mode()
    return int(sizes.min()) if len(sizes) else None


def _limits(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the anisotropy of isotropic rows and the greatest rank of any, over the width, at the usual N."""
    n = _usual_size(rows)
    low, high = rows["embedding_dim"].min(), rows["embedding_dim"].max()
    widths = map(int, np.unique(np.geomspace(low, high, _LIMIT_POINTS).round()) if n else [])
    found = [
        {"statistic": name, "embedding_dim": width, "value": value}
        for width in widths
        for name, value in ((ANISOTROPY, marchenko_pastur_edge(n, width)), (RANK, min(n - 1, width)))
    ]
    return pd.DataFrame(found, columns=["statistic", "embedding_dim", "value"])


def _draw_suite(axes: Axes, points: pd.DataFrame, panel: _Panel, *, color: str, marker: str) -> None:
    """Draw one suite, with intervals; a line for each N, and the N beside points that have another than most."""
    found = points[points["ci_low"].notna() & points["ci_high"].notna()]
    style.draw_whiskers(axes, found["embedding_dim"], found["ci_low"], found["ci_high"], color=color)
    for _, line in points.groupby("n_vectors") if panel.depends_on_n else [(None, points)]:
        axes.plot(line["embedding_dim"], line["value"], color=color, marker=marker, zorder=3)
    style.draw_gaps(axes, points.loc[points["value"].isna(), "embedding_dim"], color=color)


def _finish_panel(axes: Axes, panel: _Panel, shown: pd.DataFrame) -> None:
    """Label a panel with its N, fit its axis to values and intervals, and name points of another N than most."""
    batched = _batched(shown)
    axes.set_title(f"{panel.label}\nN = {span(batched['n_vectors'])}" if len(batched) else panel.label)
    finish_width_axis(axes, shown["embedding_dim"], every=4)
    ends = shown[_VALUES].to_numpy().ravel()
    if panel.log and len(batched):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    elif limits := style.limits_of(ends):
        axes.set_ylim(min(0, limits[0]), limits[1])
    others = batched[(batched["n_vectors"] != _usual_size(shown)) & (batched["mark"] == "line")]
    for point in others.itertuples():
        style.label_point(axes, point.embedding_dim, point.value, f"N = {point.n_vectors}", side="above")


def _handles(rows: pd.DataFrame, looks: Mapping[str, Mapping[str, str]], limits: pd.DataFrame) -> list[Line2D]:
    handles = [Line2D([], [], label=suite, **look) for suite, look in looks.items()]
    grey = {"color": style.GREY, "marker": "o"}
    handles.append(Line2D([], [], **grey, linestyle="", label="TwoNN, fit 0.9"))
    handles.append(Line2D([], [], **grey, **_HOLLOW, label="TwoNN, fit 0.2"))
    if len(limits):
        handles.append(Line2D([], [], **_LIMIT, label="limit, see caption"))
    if rows["ci_low"].notna().any():
        handles.append(style.whisker_handle("95 % interval, batches"))
    if rows["value"].isna().any():
        handles.append(style.gap_handle())
    return handles


def _to_table(rows: pd.DataFrame) -> pa.Table:
    return style.to_table(rows, figure_data.TABLES)


def _caption(rows: pd.DataFrame, limits: pd.DataFrame) -> str:
    at_usual = f" at N = {_usual_size(rows)}" if _batched(rows)["n_vectors"].nunique() > 1 else ""
    parts = [
        f"Embedding tables of {listing(rows['suite'].unique())}, rounded to {rows['table_precision'].iloc[0]}, "
        "over the columns of the table.",
        _about_batches(rows),
        "Anisotropy: the share of the variance on the first axis, of centred rows"
        + (f"; dotted, the limit for isotropic rows, (1 + sqrt(d / N))^2 / d{at_usual}." if len(limits) else "."),
        "Effective rank: exp of the entropy of the singular values"
        + (f"; dotted, the most there can be, the lesser of N - 1 and d{at_usual}." if len(limits) else "."),
        "TwoNN dimension: fitted to the lowest 0.9 of the distance ratios (filled, joined) and to the lowest 0.2 "
        "(hollow).",
        _about_fits(rows),
        "Mean cosine: of two different rows, not centred. Rows without a token: the share of the whole table's rows "
        "that no token stands for, so that nothing trained them.",
        _about_equal_widths(rows),
        _about_gaps(rows),
    ]
    return f"Geometry of the embedding tables.\n\n{' '.join(filter(None, parts))}"


def _about_batches(rows: pd.DataFrame) -> str:
    batched = _batched(rows)
    if batched.empty:
        return ""
    batches = counted(batched["n_batches"], "disjoint batch", "disjoint batches")
    said = f"Values are means over {batches} of N = {span(batched['n_vectors'])} rows that have a token"
    said += "; whiskers: their 95 % t intervals." if batched["ci_low"].notna().any() else "."
    usual = _usual_size(rows)
    others = batched[batched["n_vectors"] != usual].drop_duplicates("label")
    if others.empty:
        return f"{said} Estimates depend on N."
    named = listing(f"{row.label} (N = {row.n_vectors})" for row in others.itertuples())
    return (
        f"{said} Estimates depend on N and compare at equal N only. N is {usual} but for {named}; no line joins them."
    )


def _about_fits(rows: pd.DataFrame) -> str:
    fits = rows.pivot_table(index="label", columns="statistic", values="value")
    if not {TWONN_090, TWONN_020} <= set(fits.columns):
        return ""
    gap = (fits[TWONN_020] / fits[TWONN_090]).dropna()
    low, high = SINGLE_DIMENSION
    mixed = int(((gap < low) | (gap > high)).sum())
    return (
        f"Where their ratio lies outside {low} to {high} no single dimension describes the table: in "
        f"{mixed} of {counted([len(gap)], 'table')}."
    )


def _about_equal_widths(rows: pd.DataFrame) -> str:
    tables = rows.drop_duplicates(["suite", "label"])
    said = [
        f"{listing(sorted(group['label'], key=natural_key))} ({width})"
        for (_, width), group in tables.groupby(["suite", "embedding_dim"], sort=False)
        if len(group) > 1
    ]
    return f"Models of one suite and width are points of their own: {'; '.join(said)}." if said else ""


def _about_gaps(rows: pd.DataFrame) -> str:
    gaps = rows[rows["value"].isna()]
    said = [
        f"{label}, {listing(group['statistic'])} ({status})"
        for (label, status), group in gaps.groupby(["label", "status"], sort=False)
    ]
    return f"Gaps: {'; '.join(said)}." if said else ""
