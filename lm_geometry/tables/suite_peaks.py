"""How surely each model is the best of its suite: the share of resamples of the queries in which it is."""

import pyarrow as pa

from lm_geometry.tables.schema import column

SCHEMA = pa.schema(
    [
        column("suite", pa.string(), "the suite"),
        column("collection", pa.string(), "MTEB task name, or the folder's last component"),
        column("metric", pa.string(), "ndcg_at_10 or map_at_100"),
        column("variant", pa.string(), "the variant in which the models are compared"),
        column("model", pa.string(), "the user's name of the model"),
        column("embedding_dim", pa.int32(), "columns of its table", unit="columns"),
        column("value", pa.float64(), "its score; seeds are averaged", unit="fraction"),
        column("share_best", pa.float64(), "share of bootstrap resamples of the queries in which it is the best"),
        column("n_resamples", pa.int32(), "resamples", unit="resamples"),
        column("n_queries", pa.int32(), "judged queries", unit="queries"),
    ]
)
