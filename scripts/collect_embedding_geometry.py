"""Collect the geometry of all models' embedding tables in one table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm_geometry import provenance
from lm_geometry.job import run_job
from lm_geometry.tables.embedding_geometry import SCHEMA
from lm_geometry.tables.files import read_table, write_csv, write_table

_OF_THE_TABLE = ("vocab_rows", "embedding_dim", "table_precision")


def collect_embedding_geometry(
    *, measures: list[Path], table: Path, csv: Path, models: list[Mapping[str, Any]]
) -> None:
    """Write one row per model, revision and statistic, as Parquet and CSV.

    Parameters
    ----------
    measures : list of Path
        One file per entry of ``models``, in its order.
    table, csv : Path
        Outputs.
    models : list of mappings
        One entry per model and revision: model, suite, revision.

    Raises
    ------
    ValueError
        If the files are not one per entry.
    """
    if len(measures) != len(models):
        raise ValueError(f"{len(models)} models and revisions need as many measures, got {len(measures)}")
    rows = []
    for path, entry in zip(measures, models, strict=True):
        settings = provenance.read(path)["settings"]
        facts = {key: entry[key] for key in ("model", "suite", "revision")}
        facts |= {key: settings[key] for key in _OF_THE_TABLE}
        rows += [{**facts, **row} for row in read_table(path).to_pylist()]
    collected = pa.Table.from_pylist(rows, schema=SCHEMA)
    write_table(table, collected, SCHEMA, inputs=measures, settings=provenance.shared_settings(measures))
    write_csv(csv, collected)


if __name__ == "__main__":
    run_job(snakemake, collect_embedding_geometry)
