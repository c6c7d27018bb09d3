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
        column(
            "variant",
            pa.string(),
            "as_is, random, crop_<k>, pad_<n>, pad_<n>_matched, centered, all_but_the_top or random_tokenizer",
        ),
        column(
            "width",
            pa.int32(),
            "columns scored: k for crop_k, n for pads of n, else the table's",
            unit="columns",
        ),
        column("seed", pa.int64(), "seed of the random table; null where none is used", nullable=True),
        column("table_precision", pa.string(), "bfloat16 or float32: what the table was rounded to before pooling"),
        column("collection", pa.string(), "MTEB task name, or the folder's last component"),
        column("metric", pa.string(), "map, ndcg, recall, precision, mrr or hit_rate, each at a rank: ndcg_at_10"),
        column("value", pa.float64(), "the score; null where status says why", unit="fraction", nullable=True),
        column(
            "ci_low",
            pa.float64(),
            "lower end of the 95 % bootstrap-t interval over queries",
            unit="fraction",
            nullable=True,
        ),
        column(
            "ci_high",
            pa.float64(),
            "upper end of the 95 % bootstrap-t interval over queries",
            unit="fraction",
            nullable=True,
        ),
        column(
            "tie_span",
            pa.float64(),
            "the score if documents of equal similarity stood in the best order less that in the worst: how much of it "
            "is an accident of their ids",
            unit="fraction",
            nullable=True,
        ),
        column(
            "pad_energy_share",
            pa.float64(),
            "share of the padded table's sum of squares that the padding holds; null for variants without one",
            unit="fraction",
            nullable=True,
        ),
        column("n_queries", pa.int32(), "judged queries that the mean is over", unit="queries"),
        column("status", pa.string(), "'ok', or why there is no value"),
    ]
)
