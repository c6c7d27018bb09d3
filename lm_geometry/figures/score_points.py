"""Retrieval scores as points of a figure: their units, names, places in order, means over seeds and intervals."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from lm_geometry.embeddings.variants import parse_variant
from lm_geometry.figures import style
from lm_geometry.natural_order import natural_key
from lm_geometry.statistics.intervals import t_interval
from lm_geometry.tables import retrieval_scores
from lm_geometry.tables.retrieval_scores import OK

METRICS = ("ndcg_at_10", "map_at_100")
"""Every figure shows both: the study's text is about the second, its last figures about the first."""

INTERVAL_SEEDS = 3
"""Seeds from which on their interval is drawn: that of two is nine times their distance wide."""

OVER_QUERIES, OVER_SEEDS = "queries", "seeds"

_INTERVAL = ["ci_low", "ci_high"]
_KINDS = ("as_is", "random", "crop", "pad", "pad_matched", "centered", "all_but_the_top")


def panels(metric: str) -> list[str]:
    """Return the metrics of a figure's panels: ``metric`` first."""
    return list(dict.fromkeys([metric, *METRICS]))


def select(scores: pa.Table | pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Return the rows of ``metrics`` with ``y``, the score, and its interval in percent, NaN where there is none.

    Raises
    ------
    ValueError
        If the table lacks a column.
    """
    frame = style.to_frame(scores, retrieval_scores.SCHEMA.names)
    frame = frame[frame["metric"].isin(metrics)].copy()
    frame["y"] = 100 * frame["value"].astype(float)
    frame[_INTERVAL] = 100 * frame[_INTERVAL].astype(float)
    frame["interval"] = np.where(frame[_INTERVAL].notna().all(axis=1), OVER_QUERIES, None)
    frame["seed"] = frame["seed"].astype("Int64")
    return frame


def check_one_setting(rows: pd.DataFrame, columns: Sequence[str] = ("collection", "table_precision")) -> None:
    """Refuse to draw values as one line that differ in more than the figure says.

    Raises
    ------
    ValueError
        If one of ``columns`` holds several values.
    """
    for name in columns:
        found = sorted(rows[name].unique())
        if len(found) > 1:
            raise ValueError(f"column '{name}' holds {found}; a figure shows one of them: select its rows first")


def model_labels(rows: pd.DataFrame) -> pd.Series:
    """Return the model's name, with its revision where the table holds several of them."""
    revisions = rows.groupby("model")["revision"].nunique()
    several = rows["model"].map(revisions).fillna(0) > 1
    return rows["model"].where(~several, rows["model"] + " " + rows["revision"])


def table_labels(rows: pd.DataFrame) -> pd.Series:
    """Return the tokenizer's short name, with the rows of the table where the tokenizer comes with several."""
    several = rows["tokenizer"].map(rows.groupby("tokenizer")["vocab_rows"].nunique()) > 1
    names = rows["tokenizer"].map(style.short_names(rows["tokenizer"]))
    return names.where(~several, names + ", " + rows["vocab_rows"].astype(str) + " rows")


def in_order_of_width(rows: pd.DataFrame) -> pd.Series:
    """Return the width of each model, by label, in order of width, then name."""
    widths = rows.drop_duplicates("label").set_index("label")["embedding_dim"]
    return widths[sorted(widths.index, key=lambda label: (widths[label], natural_key(label)))]


def variant_key(variant: str) -> tuple[int, int, str]:
    """Return a sort key: the table, the random one, crops and pads by their columns, projections."""
    parsed = parse_variant(variant)
    return _KINDS.index(parsed.kind), parsed.size or 0, variant


def with_means(rows: pd.DataFrame, *, by: list[str]) -> pd.DataFrame:
    """Return the points to draw: rows without a seed as values, rows with one as seeds and, per group, their mean.

    The interval of a mean is Student's over ``INTERVAL_SEEDS`` seeds or more; one seed has its own, over queries; two
    have none. A mean over seeds of which one has no value is a gap: it would be a mean over other tables than its
    neighbours'.
    """
    rows = rows.assign(mark=np.where(rows["seed"].isna(), "value", "seed"), n_seeds=1)
    seeded = rows[rows["mark"] == "seed"]
    means = [_mean_of_seeds(group) for _, group in seeded.groupby(by, dropna=False, sort=False)]
    points = pd.concat([rows, pd.DataFrame(means).astype(rows.dtypes)]) if means else rows
    # Stable, so that within a series seeds keep the table's order.
    return points.sort_values(["metric", "variant", "x"], kind="stable").reset_index(drop=True)


def equal_lines(points: pd.DataFrame) -> dict[str, list[str]]:
    """Return the lines to draw, each with all lines that have its points, itself first.

    Random tables of as many rows score alike wherever two tokenizers give the same ids to the same texts; drawn one on
    the other, the last would hide the rest.

    Parameters
    ----------
    points : DataFrame
        Points with the column ``line``, the name of a line.
    """
    found: dict[frozenset, list[str]] = {}
    for name in sorted(points["line"].dropna().unique(), key=natural_key):
        of_line = points[points["line"] == name]
        key = of_line[["metric", "x", "mark", "seed", "y"]].astype({"seed": float}).fillna(-1)
        found.setdefault(frozenset(key.itertuples(index=False, name=None)), []).append(name)
    return {names[0]: names for names in found.values()}


def limits(points: pd.DataFrame, beside: Sequence[float] = ()) -> tuple[float, float] | None:
    """Return axis limits that hold the points and their intervals over queries, None where there are no points.

    Intervals over a few seeds may run beyond: with three or four, t is wide enough to dwarf the points.
    """
    over_queries = points[(points["interval"] == OVER_QUERIES) & (points["mark"] != "seed")]
    return style.limits_of([*points["y"], *over_queries["ci_low"], *over_queries["ci_high"], *beside], margin=0.05)


def _mean_of_seeds(group: pd.DataFrame) -> pd.Series:
    values = group["y"].to_numpy()
    bad = group.loc[group["status"] != OK, "status"]
    facts = {"mark": "mean", "seed": pd.NA, "y": values.mean(), "n_seeds": len(values)}
    facts["status"] = OK if bad.empty else bad.iloc[0]
    if len(values) > 1:
        enough = len(values) >= INTERVAL_SEEDS and np.isfinite(values).all()
        low, high = t_interval(values) if enough else (np.nan, np.nan)
        facts |= {"ci_low": low, "ci_high": high, "interval": OVER_SEEDS if enough else None}
    return pd.Series({**group.iloc[0].to_dict(), **facts})
