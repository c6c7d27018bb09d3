"""Published scores of models that were not run, as hollow points beside the lines of those that were."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lm_geometry import published
from lm_geometry.figures import style
from lm_geometry.tables.published_comparison import COLLECTION
from lm_geometry.tables.retrieval_scores import OK
from lm_geometry.wording import listing

PUBLISHED, NOT_DRAWN = "published", "not drawn"

_HOLLOW = {"markeredgewidth": 1.2, "markersize": 5, "linestyle": ""}


def published_rows(points: pd.DataFrame | None, scores: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Return published scores in the shape of a figure's points, without their place on the axis.

    Only metrics and variants that the run's own scores have, and nothing unless they are of the study's collection:
    scores of another one do not stand on the same axis. A value that the study's recipe does not give is marked
    'not drawn', and its status says why.

    Parameters
    ----------
    points : DataFrame, optional
        What ``Published.points`` returns.
    scores : DataFrame
        Rows of ``retrieval_scores`` that the figure draws.
    metrics : sequence of str
        The figure's panels.
    """
    if points is None or set(scores["collection"]) != {COLLECTION}:
        return pd.DataFrame(columns=["label", "embedding_dim", "suite", "variant", "metric", "mark", "x", "y"])
    rows = points[points["metric"].isin(metrics) & points["variant"].isin(scores["variant"])]
    reasons = "published, not drawn: " + rows["status"] + ", " + rows["note"]
    usable = rows["usable"].astype(bool)
    return rows.assign(
        label=rows["model"],
        revision=None,
        mark=np.where(usable, PUBLISHED, NOT_DRAWN),
        x=np.nan,
        y=rows["published_percent"].astype(float),
        ci_low=np.nan,
        ci_high=np.nan,
        interval=None,
        pad_energy_share=np.nan,
        n_seeds=1,
        collection=COLLECTION,
        table_precision=published.TABLE_PRECISION,
        n_queries=published.N_QUERIES,
        published_status=rows["status"].str.replace("_", " "),
        status=np.where(usable, OK, reasons),
    ).reset_index(drop=True)


def draw_published(axes: Axes, points: pd.DataFrame, *, color: str, marker: str, named: bool = False) -> None:
    """Draw hollow points, joined to nothing; with the models' names where no axis gives them."""
    shown = points[points["mark"] == PUBLISHED]
    # Variants of one model often lie on one another: filled, the last would hide the others.
    fill = "white" if named else "none"
    axes.plot(shown["x"], shown["y"], color=color, marker=marker, markerfacecolor=fill, zorder=4, **_HOLLOW)
    for point in shown.itertuples() if named else ():
        style.label_point(axes, point.x, point.y, point.label, side="above")


def published_handle() -> Line2D:
    """Return the legend's entry for published points."""
    return Line2D(
        [], [], color=style.GREY, marker="o", markerfacecolor="none", label="published, not run here", **_HOLLOW
    )


def published_sentences(left_out: Sequence[str], rows: pd.DataFrame, scores: pd.DataFrame) -> str:
    """Say which models were left out of the run, which of them are shown as published, by whom, and what is not.

    Parameters
    ----------
    left_out : sequence of str
        Names of the models that were not run.
    rows, scores : DataFrame
        What ``published_rows`` returned, and what it was given.
    """
    shown = list(dict.fromkeys(rows.loc[rows["mark"] == PUBLISHED, "label"]))
    others = [name for name in left_out if name not in shown]
    said = []
    if shown:
        said.append(
            f"Hollow: {listing(shown)}, not run here; the scores are those that {published.SOURCE} published, of "
            f"tables rounded to {published.TABLE_PRECISION}."
        )
    if others and set(scores["collection"]) == {COLLECTION}:
        said.append(f"Not run here, and nothing published to show: {listing(others)}.")
    elif others:
        said.append(
            f"Not run here: {listing(others)}; published scores are of the collection {COLLECTION} "
            "and would not compare."
        )
    hidden = rows[rows["mark"] == NOT_DRAWN]
    if len(hidden):
        named = hidden["label"] + ", " + hidden["variant"] + " (" + hidden["published_status"] + ")"
        said.append(f"Published, but not drawn: {'; '.join(dict.fromkeys(named))}.")
    return " ".join(said)
