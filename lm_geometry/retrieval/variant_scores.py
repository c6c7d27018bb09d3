"""Scores of variants of embedding tables, and the two tables that they are written to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lm_geometry.embeddings.variants import Variant
from lm_geometry.retrieval.inner_products import Pair
from lm_geometry.retrieval.scoring import METRICS, QueryScores, RetrievalScorer
from lm_geometry.statistics.intervals import bootstrap_t_interval
from lm_geometry.tables import query_scores as query_scores_columns
from lm_geometry.tables import retrieval_scores
from lm_geometry.tables.files import write_table


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
    scores : QueryScores or None
        The scores; None where the table cannot have the variant.
    status : str
        'ok', or why there are no scores.
    pad_energy_share : float or None
        Share of the padded table's sum of squares that the padding holds; None for variants without padding.
    """

    variant: str
    width: int
    seed: int | None
    scores: QueryScores | None
    status: str = retrieval_scores.OK
    pad_energy_share: float | None = None


def score_first_columns(
    variants: Sequence[Variant], embedding_dim: int, pooled: Pair, scorer: RetrievalScorer
) -> Iterator[VariantScore]:
    """Score variants that are the first columns of a table, 'as_is' and crops, in one pass over its columns.

    Parameters
    ----------
    variants : sequence of Variant
        Variants of one slice of the table each.
    embedding_dim : int
        Columns of the table.
    pooled : pair of np.ndarray
        The queries' and the documents' vectors, pooled from the table.
    scorer : RetrievalScorer
        Holds the judgements.

    Yields
    ------
    VariantScore
        One per variant; without scores where the table is too narrow for it.
    """
    widths, gaps = {}, {}
    for variant in variants:
        try:
            widths[variant] = variant.slices(embedding_dim)[0].stop
        except ValueError as error:
            gaps[variant] = str(error)
    ascending = sorted(set(widths.values()))
    found = dict(zip(ascending, scorer.score_prefixes(*pooled, ascending) if ascending else [], strict=True))
    for variant in variants:
        width = variant.width(embedding_dim)
        if variant in gaps:
            yield VariantScore(variant.name, width, None, None, gaps[variant])
        else:
            yield VariantScore(variant.name, width, None, found[width])


def write_scores(
    scores: Path,
    query_scores: Path,
    found: Iterable[tuple[Mapping[str, Any], Sequence[VariantScore]]],
    scorer: RetrievalScorer,
    *,
    shared: Mapping[str, Any],
    inputs: Sequence[Path],
    settings: Mapping[str, Any],
) -> None:
    """Write the mean scores of embedding tables, and those of single queries.

    Parameters
    ----------
    scores, query_scores : Path
        The files; see the tables ``retrieval_scores`` and ``query_scores``.
    found : iterable of pairs
        For each embedding table the values of the columns that describe it, and its scores.
    scorer : RetrievalScorer
        What scored them.
    shared : mapping
        Values of the columns that all rows share.
    inputs, settings
        As in ``write_table``.
    """
    means, single = [retrieval_scores.SCHEMA.empty_table()], [query_scores_columns.schema(METRICS).empty_table()]
    for facts, table_scores in found:
        means.append(scores_table(table_scores, **shared, **facts, n_queries=scorer.n_queries))
        single.append(query_scores_table(table_scores, scorer.query_ids, **shared, **facts))
    for path, tables in ((scores, means), (query_scores, single)):
        write_table(path, pa.concat_tables(tables), tables[0].schema, inputs=inputs, settings=settings)


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
            "pad_energy_share": one.pad_energy_share,
            "status": one.status,
            **values,
        }
        for one in found
        for values in _metric_values(one.scores)
    ]
    return pa.Table.from_pylist(rows, schema=retrieval_scores.SCHEMA)


def query_scores_table(found: Sequence[VariantScore], query_ids: Sequence[str], **facts: Any) -> pa.Table:
    """Return scores of single queries as the ``query_scores`` table; variants without scores have no rows.

    Parameters
    ----------
    found : sequence of VariantScore
        The scores.
    query_ids : sequence of str
        The judged queries, in the order of the scores.
    facts
        Values of the columns that all rows share; those that the table does not have are left out.
    """
    schema = query_scores_columns.schema(METRICS)
    tables = [schema.empty_table()]
    for one in found:
        if one.scores is not None:
            constant = {**facts, "variant": one.variant, "width": one.width, "seed": one.seed}
            columns = {"query_id": query_ids, **one.scores.values}
            columns |= {name: [constant[name]] * len(query_ids) for name in schema.names if name in constant}
            tables.append(pa.table(columns, schema=schema))
    return pa.concat_tables(tables)


def _metric_values(scores: QueryScores | None) -> list[Mapping[str, Any]]:
    if scores is None:
        return [{"metric": metric} for metric in METRICS]
    means, spans = scores.means(), scores.mean_tie_spans()
    # One query has no spread to build an interval on.
    lows, highs = [None] * len(METRICS), [None] * len(METRICS)
    per_query = np.column_stack([scores.values[metric] for metric in METRICS])
    if len(per_query) > 1:
        lows, highs = bootstrap_t_interval(per_query, limits=(0.0, 1.0))
    return [
        {"metric": metric, "value": means[metric], "tie_span": spans[metric], "ci_low": low, "ci_high": high}
        for metric, low, high in zip(METRICS, lows, highs, strict=True)
    ]
