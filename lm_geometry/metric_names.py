"""The names of the retrieval metrics: MTEB's, and what papers call them."""

CUTOFFS = (1, 3, 5, 10, 20, 100, 1000)
"""Ranks at which every metric is taken."""

METRICS = tuple(f"{name}_at_{k}" for name in ("map", "ndcg", "recall", "precision", "hit_rate", "mrr") for k in CUTOFFS)
"""Names of the metrics that are kept: MTEB's."""

_NAMES = {"ndcg": "nDCG", "map": "MAP", "mrr": "MRR", "recall": "recall", "precision": "precision"}


def metric_name(metric: str) -> str:
    """Return a metric's name as papers write it: ``ndcg_at_10`` is nDCG@10."""
    name, _, rank = metric.partition("_at_")
    return f"{_NAMES.get(name, name.replace('_', ' '))}@{rank}" if rank else name
