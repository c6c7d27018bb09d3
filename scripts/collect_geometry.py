"""Collect the geometry of all models and revisions: means over batches, with intervals, and over layers."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from lm_geometry import provenance
from lm_geometry.checkpoints.duplicates import origins_of_copies
from lm_geometry.geometry_summaries import average_layers, summarize_layers
from lm_geometry.job import run_job
from lm_geometry.measured_stacks import differing_settings
from lm_geometry.tables import geometry_layer_means
from lm_geometry.tables.files import read_table, write_csv, write_table
from lm_geometry.tables.geometry import SUMMARY
from lm_geometry.tables.geometry_batches import ALL_BATCHES

# What must be alike for the rows of one model to stand side by side.
SHARED_SETTINGS = ("kind", "dtype", "n_batches", "batch_size", "duplicate_tolerance", "seed", "chunks")
DROP = "drop"


class Measured(NamedTuple):
    """One model and revision with its two files."""

    entry: Mapping[str, Any]
    batches: Path
    all_tokens: Path


class Collected(NamedTuple):
    """The rows of one run in the three tables."""

    summary: pa.Table
    layer_means: pa.Table
    batches: pa.Table


def collect_geometry(
    *,
    batches: list[Path],
    all_tokens: list[Path],
    duplicates: Path,
    table: Path,
    csv: Path,
    all_batches: Path,
    layer_means: Path,
    layer_means_csv: Path,
    models: list[Mapping[str, Any]],
    on_duplicate_checkpoint: str,
) -> None:
    """Write the summary of each layer, the means over layers, and the batches of all runs together.

    Parameters
    ----------
    batches, all_tokens : list of Path
        One file each per entry of ``models``, in its order.
    duplicates : Path
        The revisions that carry the same weights.
    table, csv : Path
        Outputs: one row per model, revision, layer and statistic, as Parquet and CSV.
    all_batches : Path
        Output: the rows of ``batches`` with the model and revision of each.
    layer_means, layer_means_csv : Path
        Outputs: one row per model, revision, stack and statistic, as Parquet and CSV.
    models : list of mappings
        One entry per model and revision: model, suite, revision, step (None where the revision names none).
    on_duplicate_checkpoint : str
        'drop' leaves the rows of copies out of all outputs; else they are marked.

    Raises
    ------
    ValueError
        If the files are not one each per entry, the files of a model were measured with different settings, or a file
        does not hold what a run must have (``summarize_layers``, ``average_layers``).
    """
    if not len(batches) == len(all_tokens) == len(models):
        raise ValueError(
            f"{len(models)} models and revisions need a file of batches and one of all tokens each, got {len(batches)} "
            f"and {len(all_tokens)}"
        )
    measured = [Measured(*found) for found in zip(models, batches, all_tokens, strict=True)]
    by_model = _settings_by_model(measured)
    copies = origins_of_copies(read_table(duplicates).to_pylist())
    collected = []
    for run in measured:
        model, revision = run.entry["model"], run.entry["revision"]
        duplicate_of = copies.get((model, revision))
        if duplicate_of and on_duplicate_checkpoint == DROP:
            logging.getLogger(__name__).warning(
                "%s: %s is left out: it carries the weights of %s", model, revision, duplicate_of
            )
            continue
        collected.append(_collect(run, {**run.entry, **by_model[model], "duplicate_of": duplicate_of}))
    inputs = [*batches, *all_tokens]  # not the duplicates' origin, which is every revision that was listed
    settings = {**provenance.shared_settings(inputs), "on_duplicate_checkpoint": on_duplicate_checkpoint}
    for path, csv_path, schema, parts in (
        (table, csv, SUMMARY, [found.summary for found in collected]),
        (layer_means, layer_means_csv, geometry_layer_means.SCHEMA, [found.layer_means for found in collected]),
    ):
        written = pa.concat_tables([schema.empty_table(), *parts])
        write_table(path, written, schema, inputs=inputs, settings=settings)
        write_csv(csv_path, written)
    together = pa.concat_tables([ALL_BATCHES.empty_table(), *(found.batches for found in collected)])
    settings["differing"] = differing_settings(by_model)
    write_table(all_batches, together, ALL_BATCHES, inputs=inputs, settings=settings)


def _settings_by_model(measured: Sequence[Measured]) -> dict[str, dict[str, Any]]:
    """Return the ``SHARED_SETTINGS`` of each model, which all its files must have."""
    first: dict[str, tuple[Path, dict[str, Any]]] = {}
    for run in measured:
        for path in (run.batches, run.all_tokens):
            found = provenance.read(path)["settings"]
            missing = [key for key in SHARED_SETTINGS if key not in found]
            if missing:
                raise ValueError(f"{path}: its provenance does not state {', '.join(missing)}; remove it and run again")
            settings = {key: found[key] for key in SHARED_SETTINGS}
            before, known = first.setdefault(run.entry["model"], (path, settings))
            if settings != known:
                raise ValueError(f"{before} and {path} were measured with different settings, {known} and {settings}")
    return {model: settings for model, (_, settings) in first.items()}


def _collect(run: Measured, known: Mapping[str, Any]) -> Collected:
    """Return a run's rows of all three tables, which take the columns that they have from the run's ``known`` facts."""
    batches, all_tokens = read_table(run.batches), read_table(run.all_tokens)
    try:
        summaries = summarize_layers(batches.to_pylist(), all_tokens.to_pylist())
        means = list(average_layers(batches.to_pandas()))
    except ValueError as error:
        raise ValueError(f"{run.batches}: {error}") from error
    return Collected(
        pa.Table.from_pylist([{**known, **row} for row in summaries], schema=SUMMARY),
        pa.Table.from_pylist([{**known, **row} for row in means], schema=geometry_layer_means.SCHEMA),
        _with_run(batches, known),
    )


def _with_run(batches: pa.Table, known: Mapping[str, Any]) -> pa.Table:
    """Return a run's batches with the columns that name the run."""
    columns = [
        batches.column(field.name)
        if field.name in batches.column_names
        else pa.array([known[field.name]] * batches.num_rows, field.type)
        for field in ALL_BATCHES
    ]
    return pa.Table.from_arrays(columns, schema=ALL_BATCHES)


if __name__ == "__main__":
    run_job(snakemake, collect_geometry)
