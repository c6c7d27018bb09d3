"""Variants and models compared over the same queries: paired tests, and how surely each model is its suite's best."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from lm_geometry.natural_order import natural_key
from lm_geometry.statistics.paired import holm, paired_t, pairwise_sign_flip_p
from lm_geometry.statistics.resampling import share_best
from lm_geometry.tables import comparisons, suite_peaks

METRICS = ("ndcg_at_10", "map_at_100")
"""What is compared: the study's text is about the second, its last figures about the first."""

N_FLIPS = 100_000
"""Random sign patterns of each sign-flip test: Holm's correction of a family of m pairs gives at least m / 100,001."""

N_RESAMPLES = 10_000
"""Resamples of the queries that say how often each model is the best."""

_FACTS = ("collection", "suite", "model", "revision", "embedding_dim", "variant")
_MODEL, _VARIANT = _FACTS.index("model"), _FACTS.index("variant")

COLUMNS = (*_FACTS, "seed", "query_id", *METRICS)
"""The columns of ``query_scores`` that are read."""


@dataclass(frozen=True)
class ScoredTable:
    """One variant of one model's table: its score of each query, averaged over seeds.

    Parameters
    ----------
    suite, model : str
        The model and its suite.
    embedding_dim : int
        Columns of the model's table.
    variant : str
        The variant.
    n_seeds : int
        Seeds averaged; 1 where the variant has none.
    values : mapping of str to np.ndarray
        Scores by metric, shape (queries,); of one collection, the same queries in the same order for all.
    """

    suite: str
    model: str
    embedding_dim: int
    variant: str
    n_seeds: int
    values: Mapping[str, np.ndarray]


Pair = tuple[int, int]
"""Places of two scored tables in a list of them."""


def average_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Average the scores of each query over the seeds of the random columns.

    Parameters
    ----------
    rows : DataFrame
        ``COLUMNS`` of a ``query_scores`` table.

    Returns
    -------
    DataFrame
        Indexed by collection, suite, model, revision, embedding_dim, variant and query_id; columns are the metrics and
        ``n_seeds``.

    Raises
    ------
    ValueError
        If a row is of no model, a score is missing, not finite or given twice, or some queries of a variant have more
        seeds than others.
    """
    no_model = rows["model"].isna()
    if no_model.any():
        raise ValueError(f"{no_model.sum()} of {len(rows)} rows are of no model, and only models are compared")
    bad = ~np.isfinite(rows[list(METRICS)].astype(float)).all(axis=1)
    if bad.any():
        raise ValueError(f"a score is missing or not finite: {_described(rows[bad].iloc[0])}")
    twice = rows.duplicated([*_FACTS, "seed", "query_id"])
    if twice.any():
        raise ValueError(f"a score is given twice: {_described(rows[twice].iloc[0])}")
    groups = rows.groupby([*_FACTS, "query_id"], sort=False, observed=True)
    means = groups[list(METRICS)].mean().assign(n_seeds=groups.size())
    for facts, n_seeds in means.groupby(list(_FACTS), sort=False, observed=True)["n_seeds"]:
        if n_seeds.nunique() > 1:
            raise ValueError(
                f"{facts[_MODEL]}, {facts[_VARIANT]}: some queries have scores of {n_seeds.min()} seeds, others of "
                f"{n_seeds.max()}"
            )
    return means


def _described(row: pd.Series) -> str:
    named = [name for name in ("model", "revision", "variant", "seed", "query_id", *METRICS) if pd.notna(row[name])]
    return ", ".join(f"{name} {row[name]:g}" if name == "seed" else f"{name} {row[name]}" for name in named)


def join_files(files: Mapping[str, pd.DataFrame]) -> tuple[str, list[ScoredTable]]:
    """Join what several files hold of one collection.

    Parameters
    ----------
    files : mapping of str to DataFrame
        Result of ``average_seeds`` by name of the file.

    Returns
    -------
    collection : str
        Its name.
    tables : list of ScoredTable
        In order of suite, the model's width and name, and variant, ``as_is`` first.

    Raises
    ------
    ValueError
        If the files hold several collections, several revisions, suites or widths of a model, a variant of a model in
        two files, or scores of different queries; the message names the files and the difference. If there are fewer
        than two queries: one has no spread to test against.
    """
    means = pd.concat(files, names=["file"])
    heads = means.index.droplevel("query_id").unique().to_frame(index=False)
    _check_one(heads, "collection")
    for model, of_model in heads.groupby("model", sort=False):
        for fact in ("suite", "revision", "embedding_dim"):
            _check_one(of_model, fact, f"{model}: ")
        for variant, of_variant in of_model.groupby("variant", sort=False):
            if len(of_variant) > 1:
                raise ValueError(f"{model}, {variant}: scores are in {' and in '.join(of_variant['file'])}")
    queries = _queries(means)
    tables = [
        _scored_table(facts, scores.droplevel(["file", *_FACTS]).loc[queries])
        for facts, scores in means.groupby(list(_FACTS), sort=False)
    ]
    return heads["collection"].iloc[0], sorted(tables, key=_place)


def _scored_table(facts: tuple[Any, ...], scores: pd.DataFrame) -> ScoredTable:
    _, suite, model, _, embedding_dim, variant = facts
    values = {metric: scores[metric].to_numpy() for metric in METRICS}
    return ScoredTable(suite, model, embedding_dim, variant, int(scores["n_seeds"].iloc[0]), values)


def _check_one(heads: pd.DataFrame, fact: str, whose: str = "") -> None:
    distinct = heads.drop_duplicates(fact)
    if len(distinct) > 1:
        found = " and ".join(f"'{row[fact]}' in {row['file']}" for _, row in distinct.iloc[:2].iterrows())
        raise ValueError(f"{whose}{fact} is {found}; give files of one {fact}")


def _queries(means: pd.DataFrame) -> list[str]:
    """Return the queries of the first scored table, if all others were scored on the same."""
    known: dict[str, None] = {}
    for (file, *facts), scores in means.groupby(["file", *_FACTS], sort=False):
        found = dict.fromkeys(scores.index.get_level_values("query_id"))
        if not known:
            first, known = file, found
        if found.keys() != known.keys():
            raise ValueError(
                f"{file}: {facts[_MODEL]}, {facts[_VARIANT]} was scored on other queries than the first table in "
                f"{first}: {_some(found.keys() - known.keys())} only here, {_some(known.keys() - found.keys())} only "
                "there"
            )
    if len(known) < 2:
        raise ValueError(f"{first}: {len(known)} judged query; a comparison needs at least 2")
    return list(known)


def _some(ids: set[str], shown: int = 3) -> str:
    named = ", ".join(f"'{query}'" for query in sorted(ids)[:shown])
    return f"{len(ids)} ({named}{', ...' if len(ids) > shown else ''})" if ids else "none"


def _place(table: ScoredTable) -> tuple[Any, ...]:
    model = table.embedding_dim, natural_key(table.model)
    return natural_key(table.suite), *model, table.variant != "as_is", natural_key(table.variant)


def compare_tables(collection: str, tables: Sequence[ScoredTable]) -> pd.DataFrame:
    """Compare the variants of each model, and the models of each suite in the same variant, pair by pair.

    Parameters
    ----------
    collection : str
        What the scores are of.
    tables : sequence of ScoredTable
        As ``join_files`` returns them; a pair is the first less the second in this order.

    Returns
    -------
    DataFrame
        Rows of the table ``comparisons``. Holm's correction is over the pairs of the same kind, suite and metric.
    """
    rows: list[dict[str, Any]] = []
    for suite, members in _grouped(tables, "suite").items():
        kinds = {"variants": _pairs(members, alike="model"), "models": _pairs(members, alike="variant")}
        for (kind, pairs), metric in product(kinds.items(), METRICS):
            facts = {"kind": kind, "suite": suite, "collection": collection, "metric": metric}
            rows += [{**facts, **row} for row in _compare_pairs(members, pairs, metric)]
    return pd.DataFrame(rows, columns=comparisons.SCHEMA.names)


def _compare_pairs(tables: Sequence[ScoredTable], pairs: Sequence[Pair], metric: str) -> Iterator[dict[str, Any]]:
    """Test all pairs of one family."""
    if not pairs:
        return
    values = np.stack([table.values[metric] for table in tables], axis=1)
    first, second = np.array(pairs).T
    t = paired_t(values[:, first] - values[:, second])
    p_sign_flip = pairwise_sign_flip_p(values, first, second, n_flips=N_FLIPS)
    found = zip(pairs, t.mean, t.low, t.high, t.p, p_sign_flip, holm(np.maximum(t.p, p_sign_flip)), strict=True)
    for (place_a, place_b), mean, low, high, p_t, p_flip, p_holm in found:
        a, b = tables[place_a], tables[place_b]
        yield {
            "model_a": a.model,
            "variant_a": a.variant,
            "model_b": b.model,
            "variant_b": b.variant,
            "difference": mean,
            "ci_low": low,
            "ci_high": high,
            "p_t": p_t,
            "p_sign_flip": p_flip,
            "p_holm": p_holm,
            "n_queries": len(values),
            "n_seeds_a": a.n_seeds,
            "n_seeds_b": b.n_seeds,
        }


def find_peaks(collection: str, tables: Sequence[ScoredTable]) -> pd.DataFrame:
    """Say how surely each model is the best of its suite, in each variant, over the models that have the variant.

    Returns
    -------
    DataFrame
        Rows of the table ``suite_peaks``; see ``compare_tables`` for the arguments.
    """
    rows = []
    for suite, members in _grouped(tables, "suite").items():
        for metric, (variant, models) in product(METRICS, _grouped(members, "variant").items()):
            values = np.stack([table.values[metric] for table in models], axis=1)
            shares = share_best(values, n_resamples=N_RESAMPLES)
            facts = {"suite": suite, "collection": collection, "metric": metric, "variant": variant}
            rows += [
                {
                    **facts,
                    "model": table.model,
                    "embedding_dim": table.embedding_dim,
                    "value": value,
                    "share_best": share,
                    "n_resamples": N_RESAMPLES,
                    "n_queries": len(values),
                }
                for table, value, share in zip(models, values.mean(axis=0), shares, strict=True)
            ]
    return pd.DataFrame(rows, columns=suite_peaks.SCHEMA.names)


def _grouped(tables: Sequence[ScoredTable], fact: str) -> dict[str, list[ScoredTable]]:
    """Return the tables by one of their facts, in order of its first appearance."""
    groups: dict[str, list[ScoredTable]] = {}
    for table in tables:
        groups.setdefault(getattr(table, fact), []).append(table)
    return groups


def _pairs(tables: Sequence[ScoredTable], *, alike: str) -> list[Pair]:
    """Return all pairs of tables that share a fact."""
    places = {id(table): place for place, table in enumerate(tables)}
    groups = _grouped(tables, alike).values()
    return [(places[id(a)], places[id(b)]) for group in groups for a, b in combinations(group, 2)]
