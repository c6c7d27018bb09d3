"""Average the embeddings of each text's tokens, one sparse product for the whole collection."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from lm_geometry.embeddings.precision import RootMeanSquare, round_table
from lm_geometry.embeddings.table import embedding_blocks, embedding_shape
from lm_geometry.error_words import naming
from lm_geometry.job import run_job
from lm_geometry.retrieval.counted_collection import read_counted_collection
from lm_geometry.retrieval.pooling import pooled_blocks
from lm_geometry.tables import pooled as pooled_table
from lm_geometry.tables.files import open_table_writer
from lm_geometry.tables.schema import vector_array


def pool_collection(
    *, counts: Path, corpus: Path, queries: Path, table: Path, pooled: Path, table_precision: str, threads: int = 1
) -> None:
    """Write the mean-pooled vectors of all texts under the embedding ``table``, rounded to ``table_precision``.

    The file's settings hold the root-mean-square entry of the rounded table, over all its rows.

    Raises
    ------
    ValueError
        If the table cannot be read, has no row for a token of the texts, or an entry is beyond its precision's range.
    """
    collection = read_counted_collection(corpus, queries, counts, None)
    rows, width = embedding_shape(table)
    size = RootMeanSquare()

    def blocks() -> Iterator[np.ndarray]:
        return size.watched(round_table(block, table_precision) for block in embedding_blocks(table))

    vectors = pooled_blocks(collection.counts, blocks, rows=rows, columns=width, threads=threads)
    with naming(f"{table}:"):
        first = next(vectors)  # pooled once the whole table has passed by
    settings = {
        "vocab_rows": rows,
        "embedding_dim": width,
        "table_precision": table_precision,
        "root_mean_square": size.value,
    }
    ids = collection.document_ids + collection.query_ids
    sides = ["corpus"] * len(collection.document_ids) + ["queries"] * len(collection.query_ids)
    with open_table_writer(
        pooled,
        pooled_table.schema(width),
        inputs=[counts, corpus, queries, table],
        settings=settings,
        compress_vectors=False,
    ) as writer:
        start = 0
        for block in chain([first], vectors):
            part = slice(start, start + len(block))
            columns = [pa.array(sides[part]), pa.array(ids[part]), vector_array(block)]
            writer.write_table(pa.table(columns, schema=writer.schema))
            start += len(block)


if __name__ == "__main__":
    run_job(snakemake, pool_collection)
