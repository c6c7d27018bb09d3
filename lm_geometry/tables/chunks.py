"""Chunks of the cleaned corpus: the same text for every tokenizer."""

import pyarrow as pa

from lm_geometry.tables.schema import column

SCHEMA = pa.schema(
    [
        column("chunk", pa.int32(), "number of the chunk, from 0, in random order"),
        column("page", pa.int32(), "page of the cleaned corpus that the chunk lies in"),
        column("text", pa.string(), "the chunk's text"),
    ]
)
