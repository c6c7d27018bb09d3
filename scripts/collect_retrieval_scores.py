"""Collect the retrieval scores of all models and random tokenizers in one table."""

from pathlib import Path

import pyarrow as pa

from lm_geometry import provenance
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table, write_csv, write_table
from lm_geometry.tables.retrieval_scores import SCHEMA

_ORDER = ("suite", "model", "revision", "tokenizer", "collection", "variant", "width", "seed", "metric")


def collect_retrieval_scores(*, scores: list[Path], table: Path, csv: Path) -> None:
    """Write the rows of all ``scores`` as Parquet and CSV, sorted; random tokenizers, of no suite, come last."""
    rows = pa.concat_tables([read_table(path).replace_schema_metadata(None) for path in scores])
    rows = rows.sort_by([(name, "ascending") for name in _ORDER])
    write_table(table, rows, SCHEMA, inputs=scores, settings=provenance.shared_settings(scores))
    write_csv(csv, rows)


if __name__ == "__main__":
    run_job(snakemake, collect_retrieval_scores)
