"""What a figure was drawn from: one row per point, so that the picture can be drawn again, or checked, without us."""

import pyarrow as pa

from lm_geometry.tables import published_comparison
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
        column("variant", pa.string(), "as in the table retrieval_scores"),
        column("seed", pa.int64(), "seed of the random table; null for a mean, or where none is used", nullable=True),
        column("metric", pa.string(), "the panel: ndcg_at_10, map_at_100"),
        column(
            "mark",
            pa.string(),
            "'value' and 'mean' are joined by lines, 'seed' is a point of its own; 'published' is a hollow point of a "
            "model that was not run, 'not drawn' a published score that its study's recipe does not give",
        ),
        column(
            "x",
            pa.float64(),
            "place on the axis: number of the model from 0, beside which its variants stand, or columns of its table",
        ),
        column("y", pa.float64(), "the score; null = a gap, status says why", unit="percent", nullable=True),
        column("ci_low", pa.float64(), "lower end of the 95 % interval of y", unit="percent", nullable=True),
        column("ci_high", pa.float64(), "upper end of that interval", unit="percent", nullable=True),
        column(
            "interval",
            pa.string(),
            "what the interval is over: 'queries' (bootstrap-t; drawn but for a seed among several), or 'seeds' (t, of "
            "three or more); null for none",
            nullable=True,
        ),
        column(
            "pad_energy_share",
            pa.float64(),
            "share of the padded table's sum of squares that the padding holds; null for variants without one",
            unit="fraction",
            nullable=True,
        ),
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
        column(
            "mark",
            pa.string(),
            "'line', 'hollow' (after the norm), 'mean' (over layers), 'null' (limits, references) or 'not drawn'",
        ),
        column("value", pa.float64(), "mean over batches; null = a gap, status says why", nullable=True),
        column("ci_low", pa.float64(), "lower end of the 95 % t interval over batches", nullable=True),
        column("ci_high", pa.float64(), "upper end of the 95 % t interval over batches", nullable=True),
        column("n_batches", pa.int32(), "batches that the value is a mean over; 0 for none", unit="batches"),
        column("n_vectors", pa.int32(), "rows per batch", unit="vectors"),
        column(
            "n_distinct",
            pa.int32(),
            "rows left after equal ones are merged, of one part where the batch was split; least of the batches",
            unit="vectors",
        ),
        column("status", pa.string(), "'ok', or why there is no value or why it is not drawn"),
    ]
)

TRAINING = pa.schema(
    [
        column("model", pa.string(), "the user's name of the model"),
        column("suite", pa.string(), "suite of the model"),
        column("revision", pa.string(), "revision whose table is shown"),
        column("step", pa.int64(), "training step; null for the final table", unit="steps", nullable=True),
        column("final_revision", pa.string(), "revision that it is compared with"),
        column("collection", pa.string(), "MTEB task name, or the folder's last component"),
        column("statistic", pa.string(), "the panel, as in the table embedding_training"),
        column(
            "mark",
            pa.string(),
            "'line', 'final' (the final table's score, a level) or 'not drawn' (a copy's, which has another's weights)",
        ),
        column(
            "value",
            pa.float64(),
            "the statistic; scores in percent, differences in points; null = a gap, status says why",
            nullable=True,
        ),
        column("ci_low", pa.float64(), "lower end of its 95 % interval over queries", nullable=True),
        column("ci_high", pa.float64(), "upper end of that interval", nullable=True),
        column("n", pa.int32(), "tokens or queries that the value is a mean over; 0 for none"),
        column("status", pa.string(), "'ok', or why there is no value or why it is not drawn"),
    ]
)

TABLES = pa.schema(
    [
        column("model", pa.string(), "the user's name of the model"),
        column("suite", pa.string(), "suite of the model"),
        column("revision", pa.string(), "revision of the model"),
        column("vocab_rows", pa.int32(), "rows of the embedding table", unit="rows"),
        column("embedding_dim", pa.int32(), "columns of the embedding table: the place on the axis", unit="columns"),
        column("table_precision", pa.string(), "bfloat16 or float32: what the table was rounded to"),
        column("statistic", pa.string(), "what is shown, as in the table embedding_geometry"),
        column("mark", pa.string(), "'line', or 'hollow' for the second fit of the dimension"),
        column("value", pa.float64(), "mean over batches, or of the whole table; null = a gap", nullable=True),
        column("ci_low", pa.float64(), "lower end of the 95 % t interval over batches", nullable=True),
        column("ci_high", pa.float64(), "upper end of that interval", nullable=True),
        column("n_batches", pa.int32(), "disjoint batches of rows; 1 = the whole table", unit="batches"),
        column("n_vectors", pa.int32(), "rows per batch", unit="vectors"),
        column("status", pa.string(), "'ok', or why there is no value"),
    ]
)

PUBLISHED_COMPARISON = pa.schema(
    [
        *map(published_comparison.SCHEMA.field, published_comparison.SCHEMA.names),
        column(
            "mark",
            pa.string(),
            "'solid' a value that is judged, 'hollow' one whose published value is no target, 'not drawn' one that was "
            "not run or that another row states",
        ),
        column("x", pa.float64(), "the published value", unit="percent"),
        column("y", pa.float64(), "our value; null where there is none", unit="percent", nullable=True),
        column(
            "in_tolerances",
            pa.float64(),
            "difference over tolerance, y of the lower panels; null where none is stated",
            nullable=True,
        ),
    ]
)
