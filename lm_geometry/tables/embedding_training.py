"""How a model's embedding table approaches its final one over training. A contract with users."""

import pyarrow as pa

from lm_geometry.tables.schema import column

OK = "ok"

STATISTICS = pa.schema(
    [
        column("statistic", pa.string(), "cosine or neighbor_overlap"),
        column("value", pa.float64(), "mean over tokens; null where status says why", nullable=True),
        column("std", pa.float64(), "standard deviation over tokens", nullable=True),
        column("n", pa.int32(), "tokens that the mean is over", unit="tokens"),
        column("status", pa.string(), "'ok', or why there is no value"),
    ]
)
"""What ``compare_embedding_tables`` writes for one revision."""

SCHEMA = pa.schema(
    [
        column("model", pa.string(), "the user's name of the model"),
        column("suite", pa.string(), "suite of the model"),
        column("revision", pa.string(), "revision of the model"),
        column("step", pa.int64(), "training step read from the revision's name", unit="steps", nullable=True),
        column("final_revision", pa.string(), "revision that it is compared with"),
        column("collection", pa.string(), "MTEB task name, or the folder's last component"),
        column(
            "statistic",
            pa.string(),
            "cosine (mean of each token's row with its final one), neighbor_overlap (share of its 10 nearest tokens by "
            "cosine that are the final ones), ndcg_at_10, map_at_100, and ndcg_at_10_difference, map_at_100_difference "
            "(less the final table's)",
        ),
        column("value", pa.float64(), "the statistic; null where status says why", nullable=True),
        column(
            "ci_low",
            pa.float64(),
            "lower end of the 95 % interval over queries: bootstrap-t of a score, t of a difference; null for others",
            nullable=True,
        ),
        column("ci_high", pa.float64(), "upper end of that interval", nullable=True),
        column("n", pa.int32(), "tokens or queries that the mean is over"),
        column(
            "duplicate_of",
            pa.string(),
            "revisions whose weights, or a file of them, this one carries, separated by ', '; null for none",
            nullable=True,
        ),
        column("status", pa.string(), "'ok', or why there is no value"),
    ]
)
