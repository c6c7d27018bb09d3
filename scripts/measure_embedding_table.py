"""Measure an embedding table without a collection: batches of its rows, and all rows as they are read."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lm_geometry.embeddings.blocks import checked_blocks
from lm_geometry.embeddings.precision import round_table
from lm_geometry.embeddings.sampling import RowSample, draw_rows
from lm_geometry.embeddings.table import embedding_blocks, embedding_shape
from lm_geometry.error_words import naming
from lm_geometry.geometry.statistic import Statistic
from lm_geometry.geometry.table_measures import BATCH_STATISTICS, TableTotals, batch_statistics
from lm_geometry.job import run_job
from lm_geometry.statistics.intervals import t_interval
from lm_geometry.tables.embedding_geometry import MEASURES, OK
from lm_geometry.tables.files import read_table, write_table


def measure_embedding_table(
    *, table: Path, measures: Path, table_precision: str, n_batches: int, batch_size: int, seed: int
) -> None:
    """Write the geometry of a table that was rounded to ``table_precision``.

    Parameters
    ----------
    table : Path
        An extracted embedding table.
    measures : Path
        Output: a row per statistic, of batches with a t interval, and of the whole table.
    table_precision : str
        'bfloat16' or 'float32'.
    n_batches, batch_size : int
        Disjoint batches of rows that have a token and are not zero, as many as there are rows for, and rows in each.
    seed : int
        Seed of the choice of rows.

    Raises
    ------
    ValueError
        If the table cannot be read, or an entry is beyond the range of its precision.
    """
    rows, width = embedding_shape(table)
    with_token = read_table(table, columns=["in_tokenizer"]).column("in_tokenizer").to_numpy()
    # Among rows of weak common mean a zero row is the nearest neighbour of all: one halved the dimension of its batch.
    fit = np.flatnonzero(with_token & np.concatenate([block.any(axis=1) for block in embedding_blocks(table)]))
    fitting = min(n_batches, len(fit) // batch_size)
    sample = RowSample(draw_rows(fit, fitting * batch_size, seed=seed), (rows, width))
    totals = TableTotals(width)
    rounded = (round_table(block, table_precision) for block in embedding_blocks(table))
    with naming(f"{table}:"):
        for start, block in checked_blocks(rounded, rows, width):
            totals.add(block)
            sample.add(start, block)
    if fitting:
        records = list(_of_batches(sample.vectors.reshape(fitting, batch_size, width)))
    else:
        records = _too_few_rows(len(fit), batch_size)
    records += _of_the_whole(totals.statistics(rows - int(with_token.sum())))
    settings = {
        "vocab_rows": rows,
        "embedding_dim": width,
        "table_precision": table_precision,
        "n_batches": n_batches,
        "batch_size": batch_size,
        "seed": seed,
    }
    write_table(measures, pa.Table.from_pylist(records, schema=MEASURES), MEASURES, inputs=[table], settings=settings)


def _of_batches(batches: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield the record of each statistic of ``batches``, shape (batches, rows, columns)."""
    found = [batch_statistics(batch) for batch in batches]
    for name in BATCH_STATISTICS:
        yield {
            "statistic": name,
            "n_batches": len(batches),
            "n_vectors": batches.shape[1],
            **_summary([statistics[name] for statistics in found]),
        }


def _summary(batches: Sequence[Statistic]) -> dict[str, Any]:
    """Return mean, interval and status; a batch without a value leaves none, as the others are no fair choice."""
    missing = [f"batch {number}: {found.problem}" for number, found in enumerate(batches) if found.value is None]
    if missing:
        return {"status": f"{len(missing)} of {len(batches)} batches have no value: {'; '.join(missing)}"}
    values = np.array([found.value for found in batches])
    low, high = t_interval(values) if len(values) > 1 else (None, None)
    return {"value": values.mean(), "ci_low": low, "ci_high": high, "status": OK}


def _too_few_rows(n_rows: int, batch_size: int) -> list[dict[str, Any]]:
    status = (
        f"a batch has {batch_size} rows, but only {n_rows} rows of the table have a token and are not zero: lower "
        "table_geometry.batch_size"
    )
    record = {"n_batches": 0, "n_vectors": batch_size, "status": status}
    return [{"statistic": name, **record} for name in BATCH_STATISTICS]


def _of_the_whole(statistics: Mapping[str, Statistic]) -> list[dict[str, Any]]:
    return [
        {
            "statistic": name,
            "value": found.value,
            "n_batches": 1,
            "n_vectors": found.n_vectors,
            "status": found.problem or OK,
        }
        for name, found in statistics.items()
    ]


if __name__ == "__main__":
    run_job(snakemake, measure_embedding_table)
