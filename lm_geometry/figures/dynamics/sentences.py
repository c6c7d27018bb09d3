"""Sentences that the captions of several figures share."""

import re
from collections.abc import Iterable

import pandas as pd

from lm_geometry.figures import style
from lm_geometry.figures.dynamics.panels import distinct_sizes, drawn_counts, single_dimension_counts, sizes
from lm_geometry.figures.dynamics.rows import KINDS, NORMED_NOT_DRAWN, REFERENCES
from lm_geometry.tables.geometry_statistics import (
    FREQUENCY_NULL,
    LINEAR_090,
    MARCHENKO_PASTUR,
    MATCHED,
    SINGLE_DIMENSION,
    TWONN_090,
    WITHOUT_FIRST,
)
from lm_geometry.wording import counted, listing

STEPS_NAMED = 20
"""Up to so many steps are named in a caption."""

NAMED_OF_GAP = 3
"""Up to so many statistics and revisions of a gap are named in a caption, or one more."""

FULL_PRECISION = "float32"

DEFINITION = "the share of the variance on its first axis, of centred states"
NULLS = {
    FREQUENCY_NULL: (
        "the frequency null, the anisotropy of one random isotropic vector per token type, repeated as often as the "
        "type occurs in the batch"
    ),
    MARCHENKO_PASTUR: "the Marchenko-Pastur limit for distinct isotropic rows, (1 + sqrt(D / N))^2 / D",
    LINEAR_090: (
        "the linear reference, the same fit of a Gaussian that has the covariance of the distinct rows without first "
        "positions"
    ),
}


def caption_of(title: str, sentences: Iterable[str]) -> str:
    """Return a caption: its title line, and the sentences that have something to say."""
    return f"{title}\n\n{' '.join(filter(None, sentences))}"


def about_batches(rows: pd.DataFrame) -> str:
    """Return how many batches of how many vectors the values are means over."""
    base = rows["statistic"].str.removesuffix(MATCHED)
    rows, base = rows[~base.isin(REFERENCES)], base[~base.isin(REFERENCES)]
    matched = rows["statistic"].str.endswith(MATCHED)
    batches = counted(drawn_counts(rows, "n_batches"), "disjoint batch", "disjoint batches")
    without = rows[(base == WITHOUT_FIRST) & ~matched]
    others = [f"type-matched N = {sizes(rows[matched & (base != WITHOUT_FIRST)])}"]
    if len(without):
        others.append(f"without first positions N = {sizes(without)}")
    return (
        f"Values are means over {batches} of N = {sizes(rows[~matched & (base != WITHOUT_FIRST)])} vectors "
        f"({', '.join(others)})."
    )


def about_sinks() -> str:
    """Return what 'sinks off' means."""
    return "Sinks off: without the first position of each chunk, where attention sinks lie."


def about_matching() -> str:
    """Return what 'type-matched' means."""
    return "Type-matched: one random occurrence per token type, so that repeated words count once."


def about_references(rows: pd.DataFrame, looks: dict[str, str]) -> str:
    """Return what the references are that the rows have; ``looks`` says of each how it is drawn."""
    found = set(rows.loc[rows["mark"] == "null", "statistic"].str.removesuffix(MATCHED))
    return " ".join(f"{look}: {NULLS[name]}." for name, look in looks.items() if name in found)


def about_single_dimension(rows: pd.DataFrame, unit: str, *, shown_as: str = "") -> str:
    """Return in how many of the drawn ``unit`` the fits or the ratios' variation speak against a single dimension."""
    counts = [
        (kind, *single_dimension_counts(rows[rows["statistic"] == TWONN_090 + end])) for end, kind in KINDS.items()
    ]
    said = listing(f"{mixed} of {judged} {unit} ({kind})" for kind, mixed, judged in counts)
    low, high = SINGLE_DIMENSION
    return (
        f"No single dimension describes a layer{shown_as and f' ({shown_as})'} where the fit to the lowest 0.2 over "
        f"that to the lowest 0.9, or the variation of the log ratios, lies outside {low} to {high}: {said}."
    )


def about_equal_n(rows: pd.DataFrame) -> str:
    """Return when dimensions compare."""
    return (
        "Dimensions compare only at equal N, which for them counts distinct vectors: here "
        f"{distinct_sizes(rows[rows['statistic'] == TWONN_090])}, type-matched "
        f"{distinct_sizes(rows[rows['statistic'] == TWONN_090 + MATCHED])}."
    )


def about_final_norm(rows: pd.DataFrame) -> str:
    """Return what hollow points are, or that the copy of layer L is left out."""
    if (rows["mark"] == "hollow").any():
        return "Hollow: the last layer behind the model's final norm."
    if (rows["status"] == NORMED_NOT_DRAWN).any():
        return "The copy of layer L behind the model's final norm is not drawn."
    return ""


def about_lookup(rows: pd.DataFrame) -> str:
    """Return why layer 0 is missing from some panels."""
    if not rows["context_free"].any():
        return ""
    return "A layer 0 without positions holds equal rows for equal tokens and is drawn type-matched only."


def about_precision(rows: pd.DataFrame) -> str:
    """Return which models ran in another number format than the study's."""
    other = rows[rows["dtype"].notna() & (rows["dtype"] != FULL_PRECISION)].drop_duplicates(["model", "dtype"])
    if other.empty:
        return ""
    named = listing(f"{row.model} in {row.dtype}" for row in other.itertuples())
    return f"Not {FULL_PRECISION}, which the measures ask for: {named}."


def about_gaps(rows: pd.DataFrame) -> str:
    """Return which values are missing and why; what is missing of a model for the same kind of reason is said once."""
    gaps = rows[rows["value"].isna() & rows["mark"].isin(["line", "hollow"])]
    over_training = rows["revision"].nunique() > rows["model"].nunique()
    said = []
    for (model, _), found in gaps.groupby(["model", gaps["status"].map(reason_kind)], sort=False):
        where = f"layer {listing(sorted(set(found['layer'])))}" + over_training * f" of {_named(found['revision'])}"
        said.append(f"{model}, {_named(found['statistic'])} ({where}), {found['status'].iloc[0]}")
    return f"Gaps: {'; '.join(said)}." if said else ""


def reason_kind(status: str) -> str:
    """Return a reason without its numbers, which layers that fail alike differ in."""
    return re.sub(r"\d+(\.\d+)?", "#", status)


def _named(found: Iterable[str]) -> str:
    names = list(dict.fromkeys(found))
    others = len(names) - NAMED_OF_GAP
    return listing([*names[:NAMED_OF_GAP], f"{others} more"]) if others > 1 else listing(names)


def named_steps(steps: pd.Series) -> str:
    """Return the steps one by one, or how many there are from which to which."""
    found = sorted(set(map(int, steps)))
    if len(found) <= STEPS_NAMED:
        return f"{'the steps' if len(found) > 1 else 'step'} {listing(found)}"
    return f"{len(found)} steps from {style.step_name(found[0])} to {style.step_name(found[-1])}"
