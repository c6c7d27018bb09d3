"""Collect the verdicts on the claims of all studies into one table."""

from pathlib import Path

import pyarrow as pa

from lm_geometry.job import run_job
from lm_geometry.provenance import read as read_provenance
from lm_geometry.tables.claims import SCHEMA
from lm_geometry.tables.files import read_table, write_csv, write_table


def collect_claims(*, claims: list[Path], table: Path, csv: Path) -> None:
    """Write the claims of all studies, in the order of the files, as Parquet and CSV.

    Parameters
    ----------
    claims : list of Path
        One file per study.
    table, csv : Path
        Outputs.

    Raises
    ------
    ValueError
        If two files are of one study.
    """
    parts = [read_table(path, SCHEMA.names).cast(SCHEMA) for path in claims]
    files: dict[str, Path] = {}
    for path, part in zip(claims, parts, strict=True):
        for study in part["study"].unique().to_pylist():
            if study in files:
                raise ValueError(f"{files[study]} and {path} both hold claims of {study}")
            files[study] = path
    found = pa.concat_tables([SCHEMA.empty_table(), *parts])
    settings = {study: read_provenance(path)["settings"] for study, path in files.items()}
    write_table(table, found, SCHEMA, inputs=claims, settings=settings)
    write_csv(csv, found)


if __name__ == "__main__":
    run_job(snakemake, collect_claims)
