"""The token-embedding table of one model revision, a row per vocabulary row."""

import pyarrow as pa

from lm_geometry.tables.schema import column, vector


def schema(width: int) -> pa.Schema:
    """Return the schema of a table ``width`` columns wide."""
    return pa.schema(
        [
            column("token_id", pa.int32(), "row of the embedding matrix"),
            column("token", pa.string(), "the tokenizer's token; null beyond the tokenizer", nullable=True),
            column(
                "in_tokenizer", pa.bool_(), "false for padding rows that no text can reach; they were never trained"
            ),
            vector(width, "the stored embedding, as float32"),
        ]
    )
