"""Compare layers, training steps and models over the same batches of text."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from lm_geometry.geometry_comparisons import NEEDED, compare_stacks
from lm_geometry.job import run_job
from lm_geometry.measured_stacks import read_measured_stacks
from lm_geometry.provenance import read as read_provenance
from lm_geometry.tables.files import write_csv, write_table
from lm_geometry.tables.geometry_comparisons import SCHEMA


def compare_geometry(
    *,
    batches: Path,
    duplicates: Path,
    table: Path,
    csv: Path,
    profiles: Sequence[tuple[str, str]],
    training: Mapping[str, Sequence[str]],
) -> None:
    """Write the paired differences between layers, steps and models, as Parquet and CSV.

    Parameters
    ----------
    batches : Path
        The table ``geometry_batches``.
    duplicates : Path
        The revisions that carry the same weights; copies are not compared.
    table, csv : Path
        Outputs.
    profiles : sequence of (str, str)
        Model and revision of each profiled run.
    training : mapping
        The revisions over which each model is followed.

    Raises
    ------
    ValueError
        If a run is neither in the table nor a copy.
    """
    stacks = read_measured_stacks(batches, duplicates, NEEDED)
    compared = pa.Table.from_pylist(compare_stacks(stacks, profiles, training), schema=SCHEMA)
    write_table(table, compared, SCHEMA, inputs=[batches], settings=read_provenance(batches)["settings"])
    write_csv(csv, compared)


if __name__ == "__main__":
    run_job(snakemake, compare_geometry)
