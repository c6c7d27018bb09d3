"""Lists, ranges, counts and metrics as sentences have them."""

from collections.abc import Iterable
from typing import Any

_METRICS = {"ndcg": "nDCG", "map": "MAP", "mrr": "MRR", "recall": "recall", "precision": "precision"}


def listing(names: Iterable[Any]) -> str:
    """Return 'a', 'a and b' or 'a, b and c'."""
    *first, last = map(str, names)
    return f"{', '.join(first)} and {last}" if first else last


def span(values: Iterable[int]) -> str:
    """Return the one value there is, or the least and the largest: '2048', '1890 to 2048'."""
    values = list(values)
    low, high = int(min(values)), int(max(values))
    return str(low) if low == high else f"{low} to {high}"


def counted(counts: Iterable[int], noun: str, plural: str | None = None) -> str:
    """Return how many of something there are: '1 seed', '4 seeds', '3 to 4 seeds', '1 query', '93 queries'."""
    said = span(counts)
    return f"{said} {noun if said == '1' else plural or noun + 's'}"


def metric_name(metric: str) -> str:
    """Return a metric's name as papers write it: ``ndcg_at_10`` is nDCG@10."""
    name, _, rank = metric.partition("_at_")
    return f"{_METRICS.get(name, name.replace('_', ' '))}@{rank}" if rank else name
