"""Rows of the table ``geometry`` as figures take them: which are drawn, how, and why others are not."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from lm_geometry.figures import style
from lm_geometry.natural_order import natural_key
from lm_geometry.tables import figure_data, geometry
from lm_geometry.tables.geometry import OK
from lm_geometry.tables.geometry_statistics import (
    FREQUENCY_NULL,
    LINEAR_090,
    MARCHENKO_PASTUR,
    MATCHED,
    TWONN_020,
    TWONN_090,
)

STACKS = {"encoder": "encoders", "decoder": "decoders"}
KINDS = {"": "all tokens", MATCHED: "type-matched"}
FITS = {TWONN_090: "0.9", TWONN_020: "0.2"}
REFERENCES = (FREQUENCY_NULL, MARCHENKO_PASTUR, LINEAR_090)
"""What values are held against; a table may lack them, as the type-matched limits, and then they are not drawn."""

LOOKUP_NOT_DRAWN = "not drawn: rows of a table look-up repeat per token type; see the type-matched statistic"
NORMED_NOT_DRAWN = "not drawn: a copy of layer L behind the final norm"


def both_kinds(*statistics: str) -> list[str]:
    """Return the names of the statistics, each of all tokens and type-matched."""
    return [name + kind for name in statistics for kind in KINDS]


def select(
    table: pa.Table | pd.DataFrame, statistics: Sequence[str], *, references: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the rows of some statistics with the number of layers and how each is drawn.

    Parameters
    ----------
    table : table
        Rows of ``geometry``.
    statistics, references : sequence of str
        The statistics that the table must have, and those that it may.

    Raises
    ------
    ValueError
        If the table has no row of one of ``statistics``.
    """
    rows = style.to_frame(table, geometry.SUMMARY.names)
    rows = rows[rows["statistic"].isin([*statistics, *references])].copy()
    missing = [name for name in statistics if name not in set(rows["statistic"])]
    if missing:
        raise ValueError(f"the table has no rows of the statistics {missing}, which the figure shows")
    rows["step"] = rows["step"].astype("Int64")
    rows["value"] = rows["value"].astype(float)
    rows["n_layers"] = rows.groupby(["model", "revision", "stack"])["layer"].transform("max")
    rows["depth"] = rows["layer"] / rows["n_layers"].clip(lower=1)
    hidden = rows["context_free"] & ~rows["statistic"].str.endswith(MATCHED)
    null = rows["statistic"].str.removesuffix(MATCHED).isin(REFERENCES)
    normed_null = null & rows["after_final_norm"]
    marks = [(normed_null | hidden, "not drawn"), (null, "null"), (rows["after_final_norm"], "hollow")]
    rows["mark"] = np.select([found for found, _ in marks], [mark for _, mark in marks], "line")
    rows["status"] = rows["status"].mask(hidden & (rows["status"] == OK), LOOKUP_NOT_DRAWN)
    rows["status"] = rows["status"].mask(normed_null & (rows["status"] == OK), NORMED_NOT_DRAWN)
    return rows


def without_normed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, the copies of layer L behind the final norm marked as not drawn."""
    hidden = rows["after_final_norm"] & (rows["mark"] != "not drawn")
    status = rows["status"].mask(hidden, NORMED_NOT_DRAWN)
    return rows.assign(mark=rows["mark"].mask(hidden, "not drawn"), status=status)


def profile_revisions(rows: pd.DataFrame) -> dict[str, str]:
    """Return for every model the revision that stands for the model itself: 'main', or else the one of the last step.

    Raises
    ------
    ValueError
        If a model has several revisions, none of them 'main' and none with a step.
    """
    chosen = {}
    for model, of_model in rows.groupby("model", sort=False):
        found = of_model.drop_duplicates("revision")
        if len(found) == 1 or "main" in set(found["revision"]):
            chosen[model] = found["revision"].iloc[0] if len(found) == 1 else "main"
        elif found["step"].notna().any():
            chosen[model] = found.loc[found["step"].astype(float).idxmax(), "revision"]
        else:
            raise ValueError(f"model '{model}': several revisions {sorted(found['revision'])} and no step: name one")
    return chosen


def rows_of_revisions(rows: pd.DataFrame, revisions: Mapping[str, str] | None) -> pd.DataFrame:
    """Return the rows of one revision per model, models in order of suite, width and name.

    Parameters
    ----------
    rows : DataFrame
        What ``select`` returned.
    revisions : mapping, optional
        The models and the revision of each; by default those of ``profile_revisions``.

    Raises
    ------
    ValueError
        If the table lacks a model or revision.
    """
    revisions = profile_revisions(rows) if revisions is None else revisions
    have = set(zip(rows["model"], rows["revision"], strict=True))
    missing = [f"{model} {revision}" for model, revision in revisions.items() if (model, revision) not in have]
    if missing or not revisions:
        raise ValueError(f"the geometry table lacks the profiles of {missing or 'any model'}; it has {sorted(have)}")
    rows = rows[rows["revision"] == rows["model"].map(revisions)]
    widths = rows.groupby("model")["width"].max()
    suites = rows.groupby("model")["suite"].first()
    order = sorted(suites.index, key=lambda model: (suites[model], widths[model], natural_key(model)))
    rows = rows.assign(order=rows["model"].map({model: place for place, model in enumerate(order)}))
    return rows.sort_values(["order", "stack", "statistic", "layer", "after_final_norm"]).reset_index(drop=True)


def to_table(*frames: pd.DataFrame) -> pa.Table:
    """Return rows as the table that a figure was drawn from."""
    found = [frame for frame in frames if len(frame)]
    if not found:
        return figure_data.LAYERS.empty_table()
    rows = pd.concat(found)
    rows = rows.assign(layer=rows["layer"].astype("Int64"), step=rows["step"].astype("Int64"))
    return style.to_table(rows, figure_data.LAYERS)
