"""Per-query scores of one collection, found by model and variant, for paired tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

_NO_SEED = -1


@dataclass(frozen=True)
class Scored:
    """Scores of one table, query by query.

    Parameters
    ----------
    values : DataFrame
        One row per query, in the order of all other tables' rows; one column per metric; seeds are averaged.
    n_seeds : int
        How many seeds; 1 where the variant has none.
    """

    values: pd.DataFrame
    n_seeds: int

    def of(self, metric: str) -> np.ndarray:
        """Return the scores in one metric, shape (queries,)."""
        return self.values[metric].to_numpy()

    def points(self, metric: str) -> str:
        """Return the mean score in points of a hundred, in words."""
        seeds = f", mean of {self.n_seeds} seeds" if self.n_seeds > 1 else ""
        return f"{100 * self.values[metric].mean():.2f}{seeds}"


class ScoredQueries:
    """Looks up the scores of models' variants and of random tokenizer baselines.

    Parameters
    ----------
    frame : DataFrame
        Rows of the tables ``query_scores`` of one collection.
    metrics : sequence of str
        The metrics that are wanted.

    Raises
    ------
    ValueError
        If a model is there in two revisions, or a tokenizer's baselines with two numbers of rows: a claim would be
        about neither.
    """

    def __init__(self, frame: pd.DataFrame, metrics: Sequence[str]) -> None:
        self._metrics = list(metrics)
        frame = frame.assign(seed=frame["seed"].astype("Float64").fillna(_NO_SEED).astype(int))
        baseline = frame["model"].isna()
        self._models, self._baselines = frame[~baseline], frame[baseline]
        _check_one_each(self._models, "model", "revision")
        _check_one_each(self._baselines, "tokenizer", "vocab_rows")
        self._of_model = self._models.groupby(["model", "variant"], sort=False).indices
        self._of_baseline = self._baselines.groupby(["tokenizer", "width"], sort=False).indices
        self._query_ids = np.unique(frame["query_id"].to_numpy(dtype=object))
        facts = self._models.drop_duplicates("model").set_index("model")
        self.models = facts[["suite", "tokenizer", "embedding_dim"]]
        """One row per model: suite, tokenizer, embedding_dim."""

    @property
    def n_queries(self) -> int:
        """How many queries were judged."""
        return len(self._query_ids)

    def variants(self, model: str) -> list[str]:
        """Return the variants in which a model has scores."""
        return [variant for name, variant in self._of_model if name == model]

    def of_model(self, model: str, variant: str) -> Scored | None:
        """Return a model's scores in a variant, None where it has none."""
        rows = self._of_model.get((model, variant))
        return None if rows is None else self._scored(self._models.iloc[rows], f"{model}, {variant}")

    def of_baseline(self, tokenizer: str, width: int) -> Scored | None:
        """Return the scores of a tokenizer's random tables of one width, None where there are none."""
        rows = self._of_baseline.get((tokenizer, width))
        return None if rows is None else self._scored(self._baselines.iloc[rows], f"{tokenizer}, width {width}")

    def _scored(self, rows: pd.DataFrame, name: str) -> Scored:
        """Average the seeds.

        Raises
        ------
        ValueError
            If a query lacks a score: tests are paired, so all tables need the same queries.
        """
        seeds = rows["seed"].nunique()
        values = rows.groupby("query_id")[self._metrics].agg(["mean", "count"]).reindex(self._query_ids)
        counts = values.xs("count", axis=1, level=1)
        lacking = counts.ne(seeds).any(axis=1)
        if lacking.any():
            raise ValueError(
                f"{name}: {int(lacking.sum())} of {self.n_queries} queries do not have one score per seed and metric, "
                f"query {lacking.idxmax()!r} first; paired tests need all: remove its query_scores and run again"
            )
        return Scored(values.xs("mean", axis=1, level=1), seeds)


def _check_one_each(rows: pd.DataFrame, owner: str, fact: str) -> None:
    """Raise where an owner has more than one value of a fact."""
    kinds = rows[[owner, fact]].drop_duplicates()
    twice = kinds[kinds[owner].duplicated()]
    if len(twice):
        name = twice[owner].iloc[0]
        values = sorted(map(str, kinds.loc[kinds[owner] == name, fact]))
        raise ValueError(f"{owner} {name} has scores of more than one {fact}: {', '.join(values)}; give those of one")
