"""What papers call the metrics that MTEB names in code."""

_NAMES = {"ndcg": "nDCG", "map": "MAP", "mrr": "MRR", "recall": "recall", "precision": "precision"}


def metric_name(metric: str) -> str:
    """Return a metric's name as papers write it: ``ndcg_at_10`` is nDCG@10."""
    name, _, rank = metric.partition("_at_")
    return f"{_NAMES.get(name, name.replace('_', ' '))}@{rank}" if rank else name
