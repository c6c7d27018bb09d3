"""The mean row of an embedding table and the leading directions about it."""

import pyarrow as pa

from lm_geometry.tables.schema import column


def schema(width: int) -> pa.Schema:
    """Return the schema for a table ``width`` columns wide."""
    return pa.schema(
        [
            column("rank", pa.int32(), "0 = the mean row; from 1 on the directions, that of most variance first"),
            column(
                "variance_share",
                pa.float64(),
                "share of the rows' variance about their mean that lies along the direction; null for the mean",
                unit="fraction",
                nullable=True,
            ),
            column(
                "vector",
                pa.list_(pa.field("component", pa.float64(), nullable=False), width),
                "the mean row, or a direction of length 1; over the rows that have a token",
            ),
        ]
    )
