"""Geometry of embedding tables: measures that need no collection. A contract with users."""

import pyarrow as pa

from lm_geometry.tables.schema import column

OK = "ok"

_MEASURES = [
    column("statistic", pa.string(), "name of the statistic; docs/methods.md defines each"),
    column(
        "value", pa.float64(), "mean over batches, or of the whole table; null where status says why", nullable=True
    ),
    column(
        "ci_low", pa.float64(), "lower end of the 95 % t interval over batches; null without batches", nullable=True
    ),
    column("ci_high", pa.float64(), "upper end of that interval", nullable=True),
    column("n_batches", pa.int32(), "disjoint batches of rows; 1 = the whole table", unit="batches"),
    column("n_vectors", pa.int32(), "rows per batch", unit="vectors"),
    column("status", pa.string(), "'ok', or why there is no value"),
]

MEASURES = pa.schema(_MEASURES)
"""What ``measure_embedding_table`` writes for one table."""

SCHEMA = pa.schema(
    [
        column("model", pa.string(), "the user's name of the model"),
        column("suite", pa.string(), "suite of the model"),
        column("revision", pa.string(), "revision of the model"),
        column("vocab_rows", pa.int32(), "rows of the embedding table", unit="rows"),
        column("embedding_dim", pa.int32(), "columns of the embedding table", unit="columns"),
        column("table_precision", pa.string(), "bfloat16 or float32: what the table was rounded to"),
        *_MEASURES,
    ]
)
