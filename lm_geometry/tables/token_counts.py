"""How often each token occurs in each text of a collection: a sparse matrix in coordinate form."""

import pyarrow as pa

from lm_geometry.tables.schema import column

SCHEMA = pa.schema(
    [
        column("side", pa.string(), "'corpus' or 'queries'"),
        column("row", pa.int32(), "row of the text in its table, from 0; a text without tokens has no entry"),
        column("token_id", pa.int32(), "token id, special tokens included"),
        column("count", pa.int32(), "occurrences of the token in the text, after truncation"),
    ]
)
