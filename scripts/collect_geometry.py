"""Collect the geometry of all models and revisions into one table: means over batches, with intervals."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lm_geometry import provenance
from lm_geometry.checkpoints.duplicates import origins_of_copies
from lm_geometry.job import run_job
from lm_geometry.statistics.intervals import t_interval
from lm_geometry.tables.files import read_table, write_csv, write_table
from lm_geometry.tables.geometry import OK, SUMMARY

PLACE = ("stack", "layer", "after_final_norm", "context_free", "width")
# What must be alike for the statistics of two files to stand side by side in one model's rows.
SHARED_SETTINGS = ("kind", "n_batches", "batch_size", "duplicate_tolerance", "seed", "chunks")
DROP = "drop"


def collect_geometry(
    *,
    measures: list[Path],
    duplicates: Path,
    table: Path,
    csv: Path,
    models: list[Mapping[str, Any]],
    on_duplicate_checkpoint: str,
) -> None:
    """Write one row per model, revision, layer and statistic, as Parquet and CSV.

    Parameters
    ----------
    measures : list of Path
        Two files per entry of ``models``, in its order: anisotropy, intrinsic dimension.
    duplicates : Path
        The revisions that carry the same weights.
    table, csv : Path
        Outputs.
    models : list of mappings
        One entry per model and revision: model, suite, revision, step (None where the revision names none).
    on_duplicate_checkpoint : str
        'drop' leaves the rows of copies out; else they are marked.

    Raises
    ------
    ValueError
        If the files are not two per entry, or the two files of an entry were measured with different settings.
    """
    if len(measures) != 2 * len(models):
        raise ValueError(f"{len(models)} models and revisions need {2 * len(models)} measures, got {len(measures)}")
    copies = origins_of_copies(read_table(duplicates).to_pylist())
    rows: list[dict[str, Any]] = []
    for *pair, entry in zip(measures[::2], measures[1::2], models, strict=True):
        duplicate_of = copies.get((entry["model"], entry["revision"]))
        if duplicate_of and on_duplicate_checkpoint == DROP:
            _say_left_out(entry, duplicate_of)
            continue
        rows += [{**row, "duplicate_of": duplicate_of} for row in _summaries(pair, entry)]
    summary = pa.Table.from_pylist(rows, schema=SUMMARY)
    settings = {**provenance.shared_settings(measures), "on_duplicate_checkpoint": on_duplicate_checkpoint}
    # Without the duplicates' origin, which is every revision that was listed, measured or not.
    write_table(table, summary, SUMMARY, inputs=measures, settings=settings)
    write_csv(csv, summary)


def _say_left_out(entry: Mapping[str, Any], duplicate_of: str) -> None:
    logging.getLogger(__name__).warning(
        "%s: %s is left out: it carries the weights of %s", entry["model"], entry["revision"], duplicate_of
    )


def _summaries(pair: Sequence[Path], entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of one model and revision, layer by layer."""
    settings = _shared_settings(pair)
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in chain.from_iterable(read_table(path).to_pylist() for path in pair):
        groups.setdefault((*(row[key] for key in PLACE), row["statistic"]), []).append(row)
    # A stable sort: the statistics of a layer keep the order in which they were measured.
    for *place, statistic in sorted(groups, key=lambda group: group[: len(PLACE)]):
        yield {
            **{key: entry[key] for key in ("model", "suite", "revision", "step")},
            **dict(zip(PLACE, place, strict=True)),
            "kind": settings["kind"],
            "statistic": statistic,
            "batch_size": settings["batch_size"],
            **summarize(groups[*place, statistic]),
        }


def _shared_settings(pair: Sequence[Path]) -> dict[str, Any]:
    first, second = (
        {key: settings.get(key) for key in SHARED_SETTINGS}
        for settings in (provenance.read(path)["settings"] for path in pair)
    )
    if first != second:
        raise ValueError(f"{pair[0]} and {pair[1]} were measured with different settings, {first} and {second}")
    return first


def summarize(batches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean, deviation and 95 % interval over the batches of one statistic.

    Parameters
    ----------
    batches : sequence of mappings
        Rows of ``BATCHES`` that differ in batch only. If any has no value there is no mean: leaving it out would
        compare different text.
    """
    missing = [f"batch {row['batch']}: {row['status']}" for row in batches if row["value"] is None]
    summary = {
        "n_batches": len(batches),
        "n_vectors": min(row["n_vectors"] for row in batches),
        "n_distinct": min(row["n_distinct"] for row in batches),
        "status": f"{len(missing)} of {len(batches)} batches have no value: {'; '.join(missing)}" if missing else OK,
    }
    if missing:
        return summary
    values = np.array([row["value"] for row in batches])
    summary["value"] = values.mean()
    if len(values) > 1:
        summary["std"] = values.std(ddof=1)
        summary["ci_low"], summary["ci_high"] = t_interval(values)
    return summary


if __name__ == "__main__":
    run_job(snakemake, collect_geometry)
