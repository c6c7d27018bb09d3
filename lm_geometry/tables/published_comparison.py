"""Every published value beside ours. A contract with users."""

import pyarrow as pa

from lm_geometry.tables.schema import column

COLLECTION = "SCIDOCS"
"""The collection that the study published scores of."""

AGREES, DIFFERS, KNOWN_BUG, NOT_REPRODUCIBLE, NOT_RUN = (
    "agrees",
    "differs",
    "published value has a known bug",
    "published value is not reproducible",
    "not run",
)

SCHEMA = pa.schema(
    [
        column("published_model", pa.string(), "the study's name; null for random tokenizer baselines", nullable=True),
        column("model", pa.string(), "the user's name of the model; null where none is run", nullable=True),
        column("tokenizer", pa.string(), "the study's name of the tokenizer"),
        column("vocab_rows", pa.int32(), "rows of the table; null where the study does not say", nullable=True),
        column("variant", pa.string(), "as_is, random, crop_<k>, pad_<n> or random_tokenizer"),
        column("embedding_dim", pa.int32(), "columns of the table", unit="columns"),
        column("seed", pa.int64(), "seed of the random columns; null where none are used", nullable=True),
        column("metric", pa.string(), "ndcg_at_10 or map_at_100"),
        column("published_percent", pa.float64(), "the published value", unit="percent"),
        column("published_status", pa.string(), "valid, pad_without_effect, bug or not_reproducible"),
        column("value_percent", pa.float64(), "our value; null where there is none", unit="percent", nullable=True),
        column("ci_low", pa.float64(), "lower end of our interval over queries", unit="percent", nullable=True),
        column("ci_high", pa.float64(), "upper end of our interval over queries", unit="percent", nullable=True),
        column("difference", pa.float64(), "ours less the published one", unit="percent", nullable=True),
        column("tolerance", pa.float64(), "how far apart they may be", unit="percent", nullable=True),
        column(
            "verdict",
            pa.string(),
            "agrees, differs, published value has a known bug, published value is not reproducible, or not run",
        ),
        column("reason", pa.string(), "why the verdict is what it is"),
        column("repeats", pa.bool_(), "true where the study states the same value in another row already"),
    ]
)
