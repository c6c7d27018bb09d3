"""Scores of all variants of one table from vectors that were pooled once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pyarrow as pa

from lm_geometry.embeddings.variants import ColumnSlice, Variant, needed_columns, parse_variant
from lm_geometry.retrieval.scoring import METRICS, Pair, RetrievalScorer
from lm_geometry.tables import retrieval_scores

PoolDraw = Callable[[int, int, int], Pair]
"""Takes the columns of a random draw, how many of the first are needed, and the seed; returns the pooled vectors."""


@dataclass(frozen=True)
class VariantScore:
    """Scores of one variant and seed.

    Parameters
    ----------
    variant : str
        Its name.
    width : int
        Columns scored.
    seed : int or None
        Seed of the random columns; None where the variant has none.
    scores : mapping of str to float, or None
        Value by metric; None where the table cannot have the variant.
    status : str
        'ok', or why there are no scores.
    """

    variant: str
    width: int
    seed: int | None
    scores: Mapping[str, float] | None
    status: str


def score_each_variant(
    names: Sequence[str], seeds: Sequence[int], *, pooled: Pair, pool_draw: PoolDraw, scorer: RetrievalScorer
) -> Iterator[VariantScore]:
    """Score the variants ``names`` of a table, those with random columns once per seed.

    Parameters
    ----------
    names : sequence of str
        Variants; see ``parse_variant``.
    seeds : sequence of int
        Seeds of the random columns.
    pooled : pair of np.ndarray
        The queries' and the documents' vectors, pooled from the table.
    pool_draw : callable
        Pools a random table; called once per draw and seed, and its result is dropped before the next call.
    scorer : RetrievalScorer
        Holds the judgements.

    Yields
    ------
    VariantScore
        One per variant and seed; without scores where the table is too narrow or too wide for the variant.
    """
    embedding_dim = pooled[0].shape[1]
    slices: dict[Variant, tuple[ColumnSlice, ...]] = {}
    for variant in map(parse_variant, names):
        try:
            slices[variant] = variant.slices(embedding_dim)
        except ValueError as error:
            yield from _per_seed(variant, embedding_dim, seeds, None, str(error))
    for variant, parts in slices.items():
        if not needed_columns(parts):
            scores = scorer.score(_take(parts, pooled, pooled))
            yield from _per_seed(variant, embedding_dim, seeds, scores, retrieval_scores.OK)
    draws = needed_columns([part for parts in slices.values() for part in parts])
    for seed, (draw, n_columns) in product(seeds, draws.items()):
        drawn = pool_draw(draw, n_columns, seed)
        for variant, parts in slices.items():
            if draw in needed_columns(parts):
                scores = scorer.score(_take(parts, pooled, drawn))
                yield VariantScore(variant.name, variant.width(embedding_dim), seed, scores, retrieval_scores.OK)
        del drawn


def _per_seed(
    variant: Variant, embedding_dim: int, seeds: Sequence[int], scores: Mapping[str, float] | None, status: str
) -> Iterator[VariantScore]:
    """Yield the same for every seed of a variant that has one, so that its rows are as those of other models."""
    for seed in seeds if variant.uses_seed else [None]:
        yield VariantScore(variant.name, variant.width(embedding_dim), seed, scores, status)


def _take(parts: Sequence[ColumnSlice], pooled: Pair, drawn: Pair) -> list[Pair]:
    pairs = []
    for part in parts:
        queries, documents = pooled if part.draw is None else drawn
        pairs.append((queries[:, part.start : part.stop], documents[:, part.start : part.stop]))
    return pairs


def scores_table(found: Sequence[VariantScore], **facts: Any) -> pa.Table:
    """Return scores in the long form of the ``retrieval_scores`` table, one row per metric.

    Parameters
    ----------
    found : sequence of VariantScore
        The scores.
    facts
        Values of the columns that all rows share.
    """
    rows = [
        {
            **facts,
            "variant": one.variant,
            "width": one.width,
            "seed": one.seed,
            "metric": metric,
            "value": None if one.scores is None else one.scores[metric],
            "status": one.status,
        }
        for one in found
        for metric in METRICS
    ]
    return pa.Table.from_pylist(rows, schema=retrieval_scores.SCHEMA)
