"""Retrieval scores of single queries: what means, intervals and paired tests are made from. A contract with users."""

import pyarrow as pa

from lm_geometry.tables.schema import column

KEYS = ("model", "revision", "tokenizer", "vocab_rows", "variant", "width", "seed")
"""The columns that tell one scored table from another, within a collection."""


def schema(metrics: tuple[str, ...]) -> pa.Schema:
    """Return the schema with one column for each of ``metrics``."""
    return pa.schema(
        [
            column(
                "model", pa.string(), "the user's name of the model; null for random tokenizer baselines", nullable=True
            ),
            column("suite", pa.string(), "suite of the model; null for random tokenizer baselines", nullable=True),
            column(
                "revision", pa.string(), "revision of the model; null for random tokenizer baselines", nullable=True
            ),
            column("tokenizer", pa.string(), "source of the tokenizer"),
            column("vocab_rows", pa.int32(), "rows of the embedding table", unit="rows"),
            column("embedding_dim", pa.int32(), "columns of the embedding table", unit="columns"),
            column("variant", pa.string(), "as in the table retrieval_scores"),
            column("width", pa.int32(), "columns scored", unit="columns"),
            column("seed", pa.int64(), "seed of the random table; null where none is used", nullable=True),
            column("collection", pa.string(), "MTEB task name, or the folder's last component"),
            column("query_id", pa.string(), "id of the judged query"),
            *(column(metric, pa.float64(), f"{metric} of the query", unit="fraction") for metric in metrics),
        ]
    )
