"""What a figure was drawn from: one row per point, so that the picture can be drawn again, or checked, without us."""

import pyarrow as pa

from lm_geometry.tables.schema import column

SCORES = pa.schema(
    [
        column(
            "model", pa.string(), "the user's name of the model; null for random tokenizer baselines", nullable=True
        ),
        column("suite", pa.string(), "suite of the model; null for random tokenizer baselines", nullable=True),
        column(
            "revision",
            pa.string(),
            "revision of the model; null for random tokenizer baselines and published scores",
            nullable=True,
        ),
        column("tokenizer", pa.string(), "source of the tokenizer"),
        column("vocab_rows", pa.int32(), "rows of the embedding table", unit="rows"),
        column("embedding_dim", pa.int32(), "columns of the embedding table", unit="columns"),
        column("variant", pa.string(), "as_is, random, crop_<k>, pad_<n> or random_tokenizer"),
        column("seed", pa.int64(), "seed of the random table; null for a mean, or where none is used", nullable=True),
        column("metric", pa.string(), "the panel: ndcg_at_10, map_at_100"),
        column(
            "mark",
            pa.string(),
            "'value' and 'mean' are joined by lines, 'seed' is a point of its own; 'published' is a hollow point of a "
            "model that was not run, 'not drawn' a published score that its study's recipe does not give",
        ),
        column("x", pa.float64(), "place on the axis: number of the model from 0, or columns of its table"),
        column("y", pa.float64(), "the score; null = a gap, status says why", unit="percent", nullable=True),
        column("ci_low", pa.float64(), "lower end of the 95 % t interval over seeds", unit="percent", nullable=True),
        column("ci_high", pa.float64(), "upper end of the 95 % t interval over seeds", unit="percent", nullable=True),
        column("n_seeds", pa.int32(), "seeds that the mean is over; 1 for a value or a seed", unit="seeds"),
        column("table_precision", pa.string(), "bfloat16 or float32: what the table was rounded to before pooling"),
        column("collection", pa.string(), "MTEB task name, or the folder's last component"),
        column("n_queries", pa.int32(), "judged queries that the score is a mean over", unit="queries"),
        column("status", pa.string(), "'ok', or why there is no value or why it is not drawn"),
    ]
)

LAYERS = pa.schema(
    [
        column("model", pa.string(), "the user's name of the model"),
        column("suite", pa.string(), "suite of the model"),
        column("kind", pa.string(), "encoder, decoder or encoder-decoder"),
        column("stack", pa.string(), "'encoder' or 'decoder'"),
        column("revision", pa.string(), "revision of the model"),
        column("step", pa.int64(), "training step", unit="steps", nullable=True),
        column("layer", pa.int32(), "0 = embeddings, L = last block; null for a mean over layers", nullable=True),
        column("n_layers", pa.int32(), "L, the number of blocks of the stack", unit="layers"),
        column("after_final_norm", pa.bool_(), "true for the copy of layer L behind the model's final norm"),
        column("context_free", pa.bool_(), "true where vectors depend on their token only: no position in them"),
        column("width", pa.int32(), "components per vector", unit="components"),
        column("statistic", pa.string(), "the statistic; ..._type_matched = one occurrence per token type"),
        column("mark", pa.string(), "'line', 'hollow' (after the norm), 'mean' (over layers), 'null' or 'not drawn'"),
        column("value", pa.float64(), "mean over batches; null = a gap, status says why", nullable=True),
        column("ci_low", pa.float64(), "lower end of the 95 % t interval over batches", nullable=True),
        column("ci_high", pa.float64(), "upper end of the 95 % t interval over batches", nullable=True),
        column("n_batches", pa.int32(), "batches that the value is a mean over; 0 for none", unit="batches"),
        column("n_vectors", pa.int32(), "rows per batch", unit="vectors"),
        column("n_distinct", pa.int32(), "rows left after equal ones are merged; least of the batches", unit="vectors"),
        column("status", pa.string(), "'ok', or why there is no value or why it is not drawn"),
    ]
)
