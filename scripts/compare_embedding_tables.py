"""Compare a checkpoint's embedding table with its model's final one: rows, and neighbours of tokens."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from lm_geometry.embeddings.blocks import checked_blocks
from lm_geometry.embeddings.precision import round_table
from lm_geometry.embeddings.sampling import RowSample, draw_rows
from lm_geometry.embeddings.similarity import (
    cosines,
    nearest_by_cosine,
    neighbor_overlap,
    paired_blocks,
    row_products,
)
from lm_geometry.embeddings.table import embedding_blocks, embedding_shape
from lm_geometry.geometry.rows import DegenerateError
from lm_geometry.job import run_job
from lm_geometry.tables.embedding_training import OK, STATISTICS
from lm_geometry.tables.files import read_table, write_table

N_NEIGHBORS = 10
SAMPLE_SIZE = 2000
"""Tokens whose neighbours are compared."""
SEED = 0
"""Of the choice of those tokens, which is one for all checkpoints of a model."""


class _Table(NamedTuple):
    """A table on disk, and how it is read: float32 blocks, rounded, of the rows that have a token."""

    path: Path
    shape: tuple[int, int]
    with_token: np.ndarray
    precision: str

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        rounded = (round_table(block, self.precision) for block in embedding_blocks(self.path))
        return checked_blocks(rounded, *self.shape)

    def token_blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start, block in self.blocks():
            chosen = self.with_token[start : start + len(block)]
            yield start + np.flatnonzero(chosen), block[chosen]


def compare_embedding_tables(*, table: Path, final_table: Path, statistics: Path, table_precision: str) -> None:
    """Write how near the rows of a table, and their neighbours, are to those of the final table.

    Neither table is held whole: one pass over both gives the cosines and the sampled tokens' rows, and another over
    each the neighbours of these.

    Parameters
    ----------
    table, final_table : Path
        Extracted embedding tables of two revisions of one model, which may be the same.
    statistics : Path
        Output.
    table_precision : str
        'bfloat16' or 'float32': what both are rounded to.

    Raises
    ------
    ValueError
        If the tables differ in shape or in the rows that have a token.
    """
    tables = _opened(table, final_table, table_precision)
    shape, with_token = tables[0].shape, tables[0].with_token
    drawn = draw_rows(np.flatnonzero(with_token), SAMPLE_SIZE, seed=SEED)
    products, samples = _compare_rows(tables, drawn)
    records = [
        {"statistic": "cosine", **_mean(lambda: _row_cosines(products[:, with_token]))},
        {"statistic": "neighbor_overlap", **_mean(lambda: _overlaps(tables, samples, drawn, products))},
    ]
    settings = {
        "vocab_rows": shape[0],
        "embedding_dim": shape[1],
        "table_precision": table_precision,
        "n_neighbors": N_NEIGHBORS,
        "sample_size": SAMPLE_SIZE,
        "seed": SEED,
    }
    rows = pa.Table.from_pylist(records, schema=STATISTICS)
    write_table(statistics, rows, STATISTICS, inputs=[table, final_table], settings=settings)


def _opened(table: Path, final_table: Path, precision: str) -> tuple[_Table, _Table]:
    paths = (table, final_table)
    shape, final_shape = map(embedding_shape, paths)
    if shape != final_shape:
        raise ValueError(
            f"{table} is {shape[0]} rows x {shape[1]} columns, but the final table {final_table} is {final_shape[0]} x "
            f"{final_shape[1]}: they are not of one model"
        )
    masks = [read_table(path, columns=["in_tokenizer"]).column("in_tokenizer").to_numpy() for path in paths]
    differing = np.flatnonzero(masks[0] != masks[1])
    if differing.size:
        raise ValueError(
            f"{table} and {final_table} have tokens in different rows ({masks[0].sum()} and {masks[1].sum()} rows with "
            f"a token, the first difference in row {differing[0]}): they were extracted with different tokenizers"
        )
    first, second = (_Table(path, shape, masks[0], precision) for path in paths)
    return first, second


def _compare_rows(tables: tuple[_Table, _Table], drawn: np.ndarray) -> tuple[np.ndarray, tuple[RowSample, RowSample]]:
    """Return the products of all rows, shape (3, rows), and each table's rows ``drawn``."""
    shape = tables[0].shape
    samples = RowSample(drawn, shape), RowSample(drawn, shape)
    products = np.empty((3, shape[0]))
    for start, *pair in paired_blocks(*(table.blocks() for table in tables)):
        products[:, start : start + len(pair[0])] = row_products(*pair)
        for sample, block in zip(samples, pair, strict=True):
            sample.add(start, block)
    return products, samples


def _row_cosines(products: np.ndarray) -> np.ndarray:
    return _of_directions(cosines(products), products)


def _overlaps(
    tables: tuple[_Table, _Table], samples: tuple[RowSample, RowSample], drawn: np.ndarray, products: np.ndarray
) -> np.ndarray:
    with_token = tables[0].with_token
    if with_token.sum() <= N_NEIGHBORS + 1:
        raise DegenerateError(f"the {N_NEIGHBORS} nearest tokens are no choice among {with_token.sum()} tokens")
    _require_directions(products[:, with_token])
    neighbors = [
        nearest_by_cosine(sample.vectors, drawn, table.token_blocks(), n_neighbors=N_NEIGHBORS)
        for table, sample in zip(tables, samples, strict=True)
    ]
    return _of_directions(neighbor_overlap(*neighbors), products[:, drawn])


def _require_directions(products: np.ndarray) -> None:
    for squares, whose in zip(products[1:], ("the checkpoint's", "the final"), strict=True):
        if not squares.any():
            raise DegenerateError(
                f"all {squares.size} rows compared of {whose} table are zero: no direction to compare"
            )


def _of_directions(values: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Return ``values`` of rows that are not zero in both tables; 0 where a row is zero in one of them."""
    _require_directions(products)
    present = products[1:] > 0
    return np.where(present.all(axis=0), values, 0.0)[present.any(axis=0)]


def _mean(measure: Callable[[], np.ndarray]) -> dict[str, Any]:
    try:
        values = measure()
    except DegenerateError as error:
        return {"n": 0, "status": str(error)}
    std = float(values.std(ddof=1)) if values.size > 1 else None
    return {"value": float(values.mean()), "std": std, "n": values.size, "status": OK}


if __name__ == "__main__":
    run_job(snakemake, compare_embedding_tables)
