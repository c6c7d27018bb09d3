"""How a table is described: columns with type, unit and meaning, kept in the Parquet file itself."""

import numpy as np
import pyarrow as pa


def column(name: str, kind: pa.DataType, meaning: str, *, unit: str = "", nullable: bool = False) -> pa.Field:
    """Describe one column; ``unit`` and ``meaning`` are stored with the field in every file."""
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit, "meaning": meaning})


def vector(width: int, meaning: str) -> pa.Field:
    """Describe a column of float32 vectors with ``width`` components each."""
    return column("vector", pa.list_(pa.field("component", pa.float32(), nullable=False), width), meaning)


def vector_array(matrix: np.ndarray) -> pa.FixedSizeListArray:
    """Return the rows of a float32 matrix, shape (rows, width), as a column that fits ``vector(width, ...)``."""
    values = pa.array(np.ascontiguousarray(matrix, dtype=np.float32).reshape(-1))
    component = pa.field("component", pa.float32(), nullable=False)
    return pa.FixedSizeListArray.from_arrays(values, type=pa.list_(component, matrix.shape[1]))


def vector_matrix(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Return a column of vectors as a float32 matrix, shape (rows, width); the inverse of ``vector_array``."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    matrices = [chunk.flatten().to_numpy(zero_copy_only=True).reshape(len(chunk), -1) for chunk in chunks if len(chunk)]
    return np.concatenate(matrices) if matrices else np.empty((0, column.type.list_size), dtype=np.float32)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return ``table`` with exactly the columns, order and types of ``schema``.

    Raises
    ------
    ValueError
        If a column is missing or unknown, or a column that may not hold nulls holds some; the message names them.
    """
    missing = [name for name in schema.names if name not in table.column_names]
    unknown = [name for name in table.column_names if name not in schema.names]
    if missing or unknown:
        raise ValueError(f"the table does not fit its schema: missing columns {missing}, unknown columns {unknown}")
    table = table.select(schema.names).replace_schema_metadata(None)
    for field in schema:
        nulls = table.column(field.name).null_count
        if nulls and not field.nullable:
            raise ValueError(f"column '{field.name}' holds {nulls} nulls in {table.num_rows} rows and may hold none")
    return table.cast(schema)
