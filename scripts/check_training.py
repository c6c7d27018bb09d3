"""Check that the embedded models learned: their held-out losses against the unigram model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm_geometry import provenance
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.learned import SCHEMA


def check_training(*, curves: Sequence[Path], learned: Path) -> None:
    """Write each model's gain over the unigram model.

    Raises
    ------
    ValueError
        If a model's last held-out loss is not under the unigram cross-entropy by as much as its recipe expects; all
        such models are named, with the numbers.
    """
    rows = [_last_losses(curve) for curve in curves]
    failures = [_complaint(row) for row in rows if not has_learned(row["gain"], row["expected_gain"])]
    if failures:
        raise ValueError("; ".join(failures) + "; mend the recipe in lm_geometry/demo/recipes.py")
    write_table(learned, pa.Table.from_pylist(rows, schema=SCHEMA), SCHEMA, inputs=list(curves))


def has_learned(gain: float, expected_gain: float | None) -> bool:
    """Whether a gain over the unigram model, in nats, is positive and as large as expected; None expects nothing."""
    return expected_gain is None or (gain > 0 and gain >= expected_gain)


def _last_losses(curve: Path) -> dict[str, Any]:
    settings = provenance.read(curve)["settings"]
    last = max(read_table(curve).to_pylist(), key=lambda row: row["step"])
    return {
        "model": settings["model"],
        "heldout_loss": last["heldout_loss"],
        "unigram_entropy": last["unigram_entropy"],
        "gain": last["unigram_entropy"] - last["heldout_loss"],
        "expected_gain": settings["expected_gain"],
    }


def _complaint(row: Mapping[str, Any]) -> str:
    return (
        f"{row['model']} has not learned: held-out loss {row['heldout_loss']:.3f} nats, unigram "
        f"{row['unigram_entropy']:.3f}, a gain of {row['gain']:.3f} where at least {row['expected_gain']} is expected"
    )


if __name__ == "__main__":
    run_job(snakemake, check_training)
