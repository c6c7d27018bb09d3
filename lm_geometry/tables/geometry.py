"""Geometry of hidden states per layer, in long form: means over batches. A contract with users."""

import pyarrow as pa

from lm_geometry.tables.geometry_batches import COUNTS, LAYER, OK, RUN
from lm_geometry.tables.schema import column

__all__ = ["OK", "SUMMARY"]

SUMMARY = pa.schema(
    [
        *RUN,
        *LAYER,
        column("statistic", pa.string(), "name of the statistic"),
        column("value", pa.float64(), "mean over batches; null where status says why", nullable=True),
        column("std", pa.float64(), "standard deviation over batches, n - 1", nullable=True),
        column("ci_low", pa.float64(), "lower end of the 95 % t interval over batches", nullable=True),
        column("ci_high", pa.float64(), "upper end of the 95 % t interval over batches", nullable=True),
        column("n_batches", pa.int32(), "batches that the mean is over", unit="batches"),
        column("batch_size", pa.int32(), "vectors asked for per batch", unit="vectors"),
        *COUNTS,
        column(
            "value_all_tokens",
            pa.float64(),
            "the statistic of all tokens at once; another N than value's; null where there is none",
            nullable=True,
        ),
        column("n_all_tokens", pa.int64(), "tokens that value_all_tokens is of", unit="vectors", nullable=True),
        column(
            "label",
            pa.string(),
            "of dimensions: 'one dimension', or 'no single dimension' where fit_gap or log_mu_variation is outside 0.9 "
            "to 1.1",
            nullable=True,
        ),
        column("dtype", pa.string(), "number format of the forward pass; half precision is not the study's"),
        column(
            "duplicate_of",
            pa.string(),
            "revisions whose weights, or a file of them, this one carries, separated by ', '; null for a revision that "
            "is no copy",
            nullable=True,
        ),
    ]
)
