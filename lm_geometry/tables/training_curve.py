"""The losses of an embedded model while it was trained."""

import pyarrow as pa

from lm_geometry.tables.schema import column

SCHEMA = pa.schema(
    [
        column("step", pa.int32(), "optimizer steps done", unit="steps"),
        column("heldout_loss", pa.float64(), "mean cross-entropy on held-out text", unit="nats"),
        column("unigram_entropy", pa.float64(), "cross-entropy of the unigram model on the same text", unit="nats"),
    ]
)
