"""Retrieval scores, in long form: one row per model, variant, seed and metric. A contract with users."""

import pyarrow as pa

from lm_geometry.tables.schema import column

OK = "ok"

SCHEMA = pa.schema(
    [
        column(
            "model", pa.string(), "the user's name of the model; null for random tokenizer baselines", nullable=True
        ),
        column("suite", pa.string(), "suite of the model; null for random tokenizer baselines", nullable=True),
        column("revision", pa.string(), "revision of the model; null for random tokenizer baselines", nullable=True),
        column("tokenizer", pa.string(), "source of the tokenizer"),
        column("vocab_rows", pa.int32(), "rows of the embedding table", unit="rows"),
        column("embedding_dim", pa.int32(), "columns of the embedding table", unit="columns"),
        column("variant", pa.string(), "as_is, random, crop_<k>, pad_<n> or random_tokenizer"),
        column(
            "width", pa.int32(), "columns scored: d for as_is and random, k for crop_k, n for pad_n", unit="columns"
        ),
        column("seed", pa.int64(), "seed of the random table; null where none is used", nullable=True),
        column("table_precision", pa.string(), "bfloat16 or float32: what the table was rounded to before pooling"),
        column("collection", pa.string(), "MTEB task name, or the folder's last component"),
        column("metric", pa.string(), "map, ndcg, recall, precision, mrr or hit_rate, each at a rank: ndcg_at_10"),
        column("value", pa.float64(), "the score; null where status says why", unit="fraction", nullable=True),
        column("n_queries", pa.int32(), "judged queries that the mean is over", unit="queries"),
        column("status", pa.string(), "'ok', or why there is no value"),
    ]
)
