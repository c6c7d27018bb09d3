"""Paired comparisons of retrieval scores over the same queries. A contract with users."""

import pyarrow as pa

from lm_geometry.tables.schema import column

SCHEMA = pa.schema(
    [
        column("kind", pa.string(), "'variants' of one model, or 'models' of one suite in the same variant"),
        column("suite", pa.string(), "suite of both models"),
        column("collection", pa.string(), "MTEB task name, or the folder's last component"),
        column("metric", pa.string(), "ndcg_at_10 or map_at_100"),
        column("model_a", pa.string(), "first model"),
        column("variant_a", pa.string(), "its variant"),
        column("model_b", pa.string(), "second model"),
        column("variant_b", pa.string(), "its variant"),
        column("difference", pa.float64(), "mean over queries of a less b; seeds are averaged first", unit="fraction"),
        column("ci_low", pa.float64(), "lower end of its 95 % t interval over queries", unit="fraction"),
        column("ci_high", pa.float64(), "upper end of its 95 % t interval over queries", unit="fraction"),
        column("p_t", pa.float64(), "two-sided p of the paired t test"),
        column("p_sign_flip", pa.float64(), "two-sided p of the sign-flip permutation test of the mean"),
        column(
            "p_holm",
            pa.float64(),
            "the larger of both p after Holm's correction over all rows of the same kind, suite, collection and metric",
        ),
        column("n_queries", pa.int32(), "judged queries", unit="queries"),
        column("n_seeds_a", pa.int32(), "seeds averaged in a; 1 where it has none", unit="seeds"),
        column("n_seeds_b", pa.int32(), "seeds averaged in b; 1 where it has none", unit="seeds"),
    ]
)
