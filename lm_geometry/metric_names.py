"""The retrieval metrics, by the names that MTEB has for them."""

CUTOFFS = (1, 3, 5, 10, 20, 100, 1000)
"""Ranks at which every metric is taken."""

METRICS = tuple(f"{name}_at_{k}" for name in ("map", "ndcg", "recall", "precision", "hit_rate", "mrr") for k in CUTOFFS)
"""Names of the metrics that are kept: MTEB's."""
