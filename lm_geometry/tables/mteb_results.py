"""Which MTEB result file holds which scores: one row per file. A contract with users."""

import pyarrow as pa

from lm_geometry.tables.schema import column

SCHEMA = pa.schema(
    [
        column("path", pa.string(), "path of the result file in the folder that mteb.ResultCache is given"),
        column("sha256", pa.string(), "sha256 of the file"),
        column("task", pa.string(), "name of the MTEB task, or of the user's collection"),
        column("mteb_model", pa.string(), "name of the scored table as MTEB's model"),
        column(
            "model", pa.string(), "the user's name of the model; null for random tokenizer baselines", nullable=True
        ),
        column("revision", pa.string(), "revision of the model; null for random tokenizer baselines", nullable=True),
        column("tokenizer", pa.string(), "source of the tokenizer"),
        column("vocab_rows", pa.int32(), "rows of the embedding table", unit="rows"),
        column("variant", pa.string(), "as in the table retrieval_scores"),
        column("width", pa.int32(), "columns scored", unit="columns"),
        column("seed", pa.int64(), "seed of the random table; null where none is used", nullable=True),
    ]
)
