"""Read the English prose of the standard library."""

from pathlib import Path

import pyarrow as pa

from lm_geometry.demo.prose import digest, read_prose
from lm_geometry.job import run_job
from lm_geometry.tables.files import write_table
from lm_geometry.tables.prose import SCHEMA


def extract_prose(*, prose: Path) -> None:
    """Write the distinct docstrings and topics of the running Python's standard library, and their digest.

    Raises
    ------
    ValueError
        If this Python comes without its source files.
    """
    passages = read_prose()
    rows = pa.Table.from_pylist([passage._asdict() for passage in passages], schema=SCHEMA)
    write_table(prose, rows, SCHEMA, origin={"prose_sha256": digest(passages)})


if __name__ == "__main__":
    run_job(snakemake, extract_prose)
