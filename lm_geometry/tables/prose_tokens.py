"""The prose as token ids, one row per text: what the embedded models are trained and judged on."""

import pyarrow as pa

from lm_geometry.tables.schema import column

SCHEMA = pa.schema(
    [
        column("text", pa.int32(), "row of the text in the prose table, from 0"),
        column("heldout", pa.bool_(), "true for texts that no model is trained on"),
        column("token_ids", pa.list_(pa.int32()), "the text's tokens, without special tokens"),
    ]
)
