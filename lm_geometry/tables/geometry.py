"""Geometry of hidden states per layer, in long form: means over batches. A contract with users."""

import pyarrow as pa

from lm_geometry.tables.geometry_batches import COUNTS, OK
from lm_geometry.tables.schema import column

__all__ = ["OK", "SUMMARY"]

SUMMARY = pa.schema(
    [
        column("model", pa.string(), "the user's name of the model"),
        column("suite", pa.string(), "suite of the model"),
        column("kind", pa.string(), "encoder, decoder or encoder-decoder, from config.json"),
        column("stack", pa.string(), "'encoder' or 'decoder'"),
        column("revision", pa.string(), "revision of the model"),
        column("step", pa.int64(), "training step read from the revision's name", unit="steps", nullable=True),
        column("layer", pa.int32(), "0 = embeddings, L = output of the last block"),
        column("after_final_norm", pa.bool_(), "true for the copy of layer L behind the model's final norm"),
        column(
            "context_free",
            pa.bool_(),
            "true where vectors depend on their token only: no position in them",
        ),
        column("width", pa.int32(), "components per vector", unit="components"),
        column("statistic", pa.string(), "name of the statistic"),
        column("value", pa.float64(), "mean over batches; null where status says why", nullable=True),
        column("std", pa.float64(), "standard deviation over batches, n - 1", nullable=True),
        column("ci_low", pa.float64(), "lower end of the 95 % t interval over batches", nullable=True),
        column("ci_high", pa.float64(), "upper end of the 95 % t interval over batches", nullable=True),
        column("n_batches", pa.int32(), "batches that the mean is over", unit="batches"),
        column("batch_size", pa.int32(), "vectors asked for per batch", unit="vectors"),
        *COUNTS,
        column(
            "duplicate_of",
            pa.string(),
            "revisions whose weights, or a file of them, this one carries, separated by ', '; null for a revision that "
            "is no copy",
            nullable=True,
        ),
    ]
)
