"""What the page says of the second study: the hidden states' geometry in numbers, and what of it is missing."""

from typing import Any

import pandas as pd

from lm_geometry.figures.dynamics import ANISOTROPY, MATCHED, TWONN_020, TWONN_090, profile_revisions
from lm_geometry.natural_order import natural_key
from lm_geometry.summary.markup import counted, paragraph, table
from lm_geometry.tables.retrieval_scores import OK
from lm_geometry.wording import listing, span


def about_dynamics(geometry: pd.DataFrame | None) -> list[str]:
    """Return what was run of the study, and one row per model and stack."""
    if geometry is None:
        return [paragraph("The representation-dynamics study was not run.")]
    stepped = geometry[geometry["step"].notna() & geometry["duplicate_of"].isna()]
    steps = stepped.groupby("model")["step"].nunique()
    followed = [f"{model} at {count} checkpoints" for model, count in steps.items()]
    said = (
        f"Representation dynamics: the hidden states of {counted(geometry['model'].nunique())}, in "
        f"{span(geometry['n_batches'])} disjoint batches of N = {span(geometry['batch_size'])} tokens"
        + (f"; followed over training: {listing(followed)}." if followed else ".")
    )
    note = (
        "Over the layers before the final norm; for all tokens without a look-up layer 0. Dimensions compare only at "
        "equal N."
    )
    return [paragraph(said), table(geometry_heads(geometry), note, kind="heads")]


def geometry_heads(geometry: pd.DataFrame) -> pd.DataFrame:
    """Return one row per model and stack: where anisotropy peaks, and the range of both dimensions over layers.

    Over layers 0..L before the final norm, without the bare look-up layer except for type-matched statistics.
    """
    chosen = profile_revisions(geometry)
    rows = geometry[(geometry["revision"] == geometry["model"].map(chosen)) & ~geometry["after_final_norm"]]
    rows = rows[~rows["context_free"] | rows["statistic"].str.endswith(MATCHED)]
    heads = [_geometry_head(group) for _, group in rows.groupby(["suite", "model", "stack"])]
    return pd.DataFrame(sorted(heads, key=lambda head: (head["suite"], head["width"], natural_key(head["model"]))))


def geometry_gaps(geometry: pd.DataFrame) -> pd.DataFrame:
    """Return what has no geometry: columns who, what, why; statistics and layers that fail alike are one row."""
    gaps = geometry[geometry["status"] != OK]
    rows = []
    for (model, revision, stack, why), group in gaps.groupby(["model", "revision", "stack", "status"], sort=False):
        statistics = listing(dict.fromkeys(group["statistic"]))
        layers = listing(sorted(set(group["layer"])))
        rows.append((f"{model} {revision}", f"{statistics}; {stack} layer {layers}", why))
    return pd.DataFrame(rows, columns=["who", "what", "why"])


def _geometry_head(rows: pd.DataFrame) -> dict[str, Any]:
    first = rows.iloc[0]
    by_statistic = {name: group.dropna(subset=["value"]) for name, group in rows.groupby("statistic")}
    return {
        **{name: first[name] for name in ("suite", "model", "revision", "kind", "stack")},
        "width": int(rows["width"].max()),
        "L": int(rows["layer"].max()),
        "batches": int(first["n_batches"]),
        "N": int(first["batch_size"]),
        "largest anisotropy": _peak(by_statistic.get(ANISOTROPY)),
        "largest, type-matched": _peak(by_statistic.get(ANISOTROPY + MATCHED)),
        "TwoNN, fit 0.9": _range(by_statistic.get(TWONN_090)),
        "TwoNN, fit 0.2": _range(by_statistic.get(TWONN_020)),
    }


def _peak(rows: pd.DataFrame | None) -> str:
    if rows is None or rows.empty:
        return "none"
    top = rows.loc[rows["value"].idxmax()]
    return f"{top['value']:.3f} in layer {top['layer']}"


def _range(rows: pd.DataFrame | None) -> str:
    return "none" if rows is None or rows.empty else f"{rows['value'].min():.1f} to {rows['value'].max():.1f}"
