"""What the page says of the checkpoints: what they weigh, what was read of them, which are copies."""

import pandas as pd

from lm_geometry.checkpoints.duplicates import CONFIRMED, NOT_IN_THIS_RUN
from lm_geometry.summary.markup import counted, paragraph, shortened, table
from lm_geometry.wording import listing

UNVERIFIED = "none"
_UNSEEN = {NOT_IN_THIS_RUN: "what it equals is not in this run"}


def about_checkpoints(ledger: pd.DataFrame | None) -> list[str]:
    """Return the section on the checkpoints; nothing without any."""
    if ledger is None or ledger.empty:
        return []
    found = copies(ledger)
    note = "Checkpoints that hold other checkpoints' weights, and whether it was published that they do."
    return [
        "<h2>Checkpoints</h2>",
        paragraph(_bytes_sentence(ledger)),
        paragraph(_copies_warning(ledger), strong=True),
        table(found, note) if len(found) else "",
        paragraph(_published_remark(ledger)),
        paragraph(_unverified_remark(ledger)),
    ]


def copies(ledger: pd.DataFrame) -> pd.DataFrame:
    """Return the checkpoints that hold other checkpoints' weights; those of one model that are alike are one row.

    Columns: model, checkpoints (how many), revisions, weights of, published.
    """
    found = ledger[ledger["duplicate_of"].notna()]
    found = found.assign(published=found["published_defect"].fillna("not published"))
    groups = found.groupby(["model", "duplicate_of", "published"], sort=False)
    rows = [
        (model, len(group), shortened(group["revision"]), shortened(origin.split(", ")), published)
        for (model, origin, published), group in groups
    ]
    return pd.DataFrame(rows, columns=["model", "checkpoints", "revisions", "weights of", "published"])


def _bytes_sentence(ledger: pd.DataFrame) -> str:
    read = ledger[ledger["embedding_bytes_read"].notna()]
    said = (
        f"The weights of {counted(ledger['model'].nunique())} at {counted(len(ledger), 'revision')} are "
        f"{_size(ledger['checkpoint_bytes'].sum())}."
    )
    if read.empty:
        return said
    return (
        f"{said} The embedding tables of {counted(read['model'].nunique())} took "
        f"{_size(read['embedding_bytes_read'].sum())} of checkpoints of {_size(read['checkpoint_bytes'].sum())}."
    )


def _copies_warning(ledger: pd.DataFrame) -> str:
    stepped = ledger[ledger["step"].notna()].groupby("model")["duplicate_of"].agg(["count", "size"])
    said = [f"{row['count']} of {row['size']} of {model}" for model, row in stepped.iterrows() if row["count"]]
    if not said:
        return ""
    return (
        f"Checkpoints whose weights are, at least in part, those of other checkpoints: {listing(said)}. Figures over "
        "training leave them out."
    )


def _published_remark(ledger: pd.DataFrame) -> str:
    """Name the published defects that the digests say nothing about, or something else; the table has the others."""
    unseen = ledger[ledger["published_defect"].notna() & (ledger["published_defect"] != CONFIRMED)]
    said = [
        f"{model} {shortened(group['revision'])} ({_UNSEEN.get(status, status)})"
        for (model, status), group in unseen.groupby(["model", "published_defect"], sort=False)
    ]
    if not said:
        return ""
    return f"Published to hold other checkpoints' weights, which the digests do not show here: {'; '.join(said)}."


def _unverified_remark(ledger: pd.DataFrame) -> str:
    unverified = ledger[ledger["verified"] == UNVERIFIED]
    if unverified.empty:
        return ""
    names = unverified["model"] + " " + unverified["revision"]
    return (
        f"Read, but checked against no digest: the embedding tables of {shortened(names)}. With verify: full the "
        "files that hold them are read whole and checked."
    )


def _size(n_bytes: float) -> str:
    """Return a number of bytes in three digits: 27.4 MB."""
    units = ["TB", "GB", "MB", "kB", "bytes"]
    while n_bytes >= 999.5 and len(units) > 1:
        n_bytes /= 1000
        units.pop()
    return f"{n_bytes:.0f} {units[-1]}" if n_bytes >= 100 else f"{n_bytes:.3g} {units[-1]}"
