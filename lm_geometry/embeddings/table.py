"""The token-embedding table of a model as Parquet: written and read in row groups, so that none need be held whole."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lm_geometry.embeddings.blocks import block_rows, checked_blocks
from lm_geometry.tables.embedding_table import schema
from lm_geometry.tables.files import open_table_writer
from lm_geometry.tables.schema import vector_array, vector_matrix


def write_embedding_table(
    path: Path,
    blocks: Iterable[np.ndarray],
    shape: tuple[int, int],
    tokens: Sequence[str | None],
    *,
    inputs: Sequence[Path] = (),
    settings: Mapping[str, Any] | None = None,
    origin: Mapping[str, str] | None = None,
) -> None:
    """Write a table with the token of each row; a row group holds at most 16 MB of vectors.

    Parameters
    ----------
    path : Path
        The Parquet file; it appears by an atomic rename.
    blocks : iterable of np.ndarray
        float32, consecutive rows from row 0, each of shape (n, width); ``[table]`` for one that is held whole.
    shape : tuple of int
        Rows and width of the table.
    tokens : sequence of str or None
        The tokenizer's token of each row; None where it has none.
    inputs, settings, origin
        As in ``write_table``.

    Raises
    ------
    ValueError
        If a value is NaN or infinite (its row and column are named), the blocks do not add up to ``shape``, or there
        is not one token for each row.
    """
    rows, width = shape
    if len(tokens) != rows:
        raise ValueError(f"{len(tokens)} tokens were given for an embedding table of {rows} rows")
    layout = schema(width)
    with open_table_writer(path, layout, inputs=inputs, settings=settings, origin=origin) as writer:
        for start, block in checked_blocks(_parted(blocks, block_rows(width)), rows, width):
            texts = pa.array(tokens[start : start + len(block)], pa.string())
            ids = pa.array(np.arange(start, start + len(block), dtype=np.int32))
            writer.write_table(pa.table([ids, texts, texts.is_valid(), vector_array(block)], schema=layout))


def embedding_shape(path: Path) -> tuple[int, int]:
    """Return rows and width of an extracted embedding table; ValueError if the file is none."""
    with _opened(path) as file:
        return _shape(file)


def embedding_blocks(path: Path) -> Iterator[np.ndarray]:
    """Yield an extracted embedding table from row 0 on, a row group at a time: float32, shape (n, width).

    Raises
    ------
    ValueError
        If the file is no embedding table of this project.
    """
    with _opened(path) as file:
        for group in range(file.num_row_groups):
            yield vector_matrix(file.read_row_group(group, columns=["vector"]).column("vector"))


def read_embedding_table(path: Path) -> np.ndarray:
    """Return an extracted embedding table as float32, shape (rows, width), row i being token i's embedding.

    Memory is that of the result and one row group.

    Raises
    ------
    ValueError
        If the file is no embedding table of this project.
    """
    table = np.empty(embedding_shape(path), dtype=np.float32)
    start = 0
    for block in embedding_blocks(path):
        table[start : start + len(block)] = block
        start += len(block)
    return table


def _opened(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a readable Parquet file ({error}); remove it and run again") from error
    if "vector" not in file.schema_arrow.names:
        file.close()
        raise ValueError(f"{path}: has no column 'vector'; it is no embedding table")
    return file


def _shape(file: pq.ParquetFile) -> tuple[int, int]:
    return file.metadata.num_rows, file.schema_arrow.field("vector").type.list_size


def _parted(blocks: Iterable[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    for block in blocks:
        for start in range(0, len(block), rows):
            yield block[start : start + rows]
