"""Average the embeddings of each text's tokens, one sparse product for the whole collection."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lm_geometry.embeddings.precision import round_table
from lm_geometry.job import run_job
from lm_geometry.retrieval.counted_collection import read_counted_collection
from lm_geometry.retrieval.pooling import mean_pool
from lm_geometry.tables import pooled as pooled_table
from lm_geometry.tables.files import open_table_writer
from lm_geometry.tables.schema import vector_array, vector_matrix

_TABLE_ROWS = 4096
_POOLED_ROWS = 8192


def pool_collection(
    *, counts: Path, corpus: Path, queries: Path, table: Path, pooled: Path, table_precision: str
) -> None:
    """Write the mean-pooled vectors of all texts under the embedding ``table``, rounded to ``table_precision``."""
    collection = read_counted_collection(corpus, queries, counts, None)
    with _open(table) as file:
        rows = file.metadata.num_rows
        width = file.schema_arrow.field("vector").type.list_size
        blocks = (round_table(block, table_precision) for block in _table_blocks(file))
        vectors = mean_pool(collection.counts, blocks, rows=rows, columns=width)
    ids = collection.document_ids + collection.query_ids
    sides = ["corpus"] * len(collection.document_ids) + ["queries"] * len(collection.query_ids)
    schema = pooled_table.schema(width)
    settings = {"vocab_rows": rows, "embedding_dim": width, "table_precision": table_precision}
    with open_table_writer(pooled, schema, inputs=[counts, corpus, queries, table], settings=settings) as writer:
        for start in range(0, len(ids), _POOLED_ROWS):
            part = slice(start, start + _POOLED_ROWS)
            columns = [pa.array(sides[part]), pa.array(ids[part]), vector_array(vectors[part])]
            writer.write_table(pa.table(columns, schema=writer.schema))


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a readable Parquet file ({error}); remove it and run again") from error


def _table_blocks(file: pq.ParquetFile) -> Iterator[np.ndarray]:
    for batch in file.iter_batches(batch_size=_TABLE_ROWS, columns=["vector"]):
        yield vector_matrix(batch.column(0))


if __name__ == "__main__":
    run_job(snakemake, pool_collection)
