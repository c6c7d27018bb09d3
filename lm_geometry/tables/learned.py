"""What the embedded models learned: their last held-out losses, judged against the unigram model."""

import pyarrow as pa

from lm_geometry.tables.schema import column

SCHEMA = pa.schema(
    [
        column("model", pa.string(), "name of the embedded model"),
        column("heldout_loss", pa.float64(), "mean cross-entropy on held-out text after training", unit="nats"),
        column("unigram_entropy", pa.float64(), "cross-entropy of the unigram model on the same text", unit="nats"),
        column("gain", pa.float64(), "unigram_entropy - heldout_loss", unit="nats"),
        column(
            "expected_gain", pa.float64(), "least gain that was asked for; null if none", unit="nats", nullable=True
        ),
    ]
)
