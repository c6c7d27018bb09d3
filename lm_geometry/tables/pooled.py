"""Mean-pooled vectors of all texts of a collection, documents first, then queries."""

import pyarrow as pa

from lm_geometry.tables.schema import column, vector


def schema(width: int) -> pa.Schema:
    """Return the schema for vectors ``width`` components wide."""
    return pa.schema(
        [
            column("side", pa.string(), "'corpus' or 'queries'"),
            column("id", pa.string(), "id of the document or query"),
            vector(width, "mean of the embeddings of the text's tokens; zero for a text without tokens"),
        ]
    )
