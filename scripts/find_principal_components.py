"""Find the mean row and the leading directions of an embedding table, over the rows that have a token."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from lm_geometry.embeddings.blocks import checked_blocks
from lm_geometry.embeddings.precision import round_table
from lm_geometry.embeddings.principal_components import principal_components
from lm_geometry.embeddings.table import embedding_blocks, embedding_shape
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.principal_components import schema


def find_principal_components(*, table: Path, components: Path, table_precision: str) -> None:
    """Write the mean row and the leading directions of ``table``, rounded to ``table_precision`` before.

    Rows that no token of the tokenizer has are left out: no text reaches them, and they were never trained.
    """
    rows, width = embedding_shape(table)
    in_tokenizer = read_table(table, ["in_tokenizer"])["in_tokenizer"].to_numpy()

    def blocks() -> Iterator[np.ndarray]:
        rounded = (round_table(block, table_precision) for block in embedding_blocks(table))
        return (
            block[in_tokenizer[start : start + len(block)]] for start, block in checked_blocks(rounded, rows, width)
        )

    found = principal_components(blocks, width)
    layout = schema(width)
    vectors = pa.array(np.concatenate([found.mean, *found.directions]))
    columns = [
        pa.array(np.arange(1 + len(found.directions), dtype=np.int32)),
        pa.array([None, *found.variance_shares], pa.float64()),
        pa.FixedSizeListArray.from_arrays(vectors, type=layout.field("vector").type),
    ]
    settings = {"table_precision": table_precision, "n_rows": int(in_tokenizer.sum())}
    write_table(components, pa.table(columns, schema=layout), layout, inputs=[table], settings=settings)


if __name__ == "__main__":
    run_job(snakemake, find_principal_components)
