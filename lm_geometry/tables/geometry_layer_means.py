"""Geometry of hidden states averaged over the layers, each batch by itself. A contract with users."""

import pyarrow as pa

from lm_geometry.tables.geometry_batches import RUN
from lm_geometry.tables.schema import column

SCHEMA = pa.schema(
    [
        *RUN,
        column("stack", pa.string(), "'encoder' or 'decoder'"),
        column("statistic", pa.string(), "name of the statistic"),
        column("value", pa.float64(), "mean over layers and batches; null where status says why", nullable=True),
        column("std", pa.float64(), "standard deviation over batches of the mean over layers, n - 1", nullable=True),
        column("ci_low", pa.float64(), "lower end of the 95 % t interval over batches", nullable=True),
        column("ci_high", pa.float64(), "upper end of the 95 % t interval over batches", nullable=True),
        column(
            "n_layers",
            pa.int32(),
            "layers of the mean: all before the final norm, but for a bare look-up layer 0",
            unit="layers",
        ),
        column("n_batches", pa.int32(), "batches that the mean is over", unit="batches"),
        column("batch_size", pa.int32(), "vectors asked for per batch", unit="vectors"),
        column("n_distinct", pa.int32(), "distinct vectors, least of layers and batches", unit="vectors"),
        column("status", pa.string(), "'ok', or why there is no value"),
        column(
            "duplicate_of",
            pa.string(),
            "revisions whose weights, or a file of them, this one carries; null for a revision that is no copy",
            nullable=True,
        ),
    ]
)
