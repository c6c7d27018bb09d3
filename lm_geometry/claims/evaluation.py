"""All that is known of one collection's scores, and which of a config's models are the study's."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from lm_geometry.claims.scored_queries import Scored, ScoredQueries
from lm_geometry.tables.retrieval_scores import OK

MIN_QUERIES = 12
"""Half of fewer queries has too few patterns of signs for a sign-flip p below 0.05."""


class NotTestableError(Exception):
    """Something that a test needs is not there; the message says what."""


@dataclass(frozen=True)
class Evaluation:
    """All scores of one collection, and which models are the study's.

    Parameters
    ----------
    collection : str
        Its name.
    queries : ScoredQueries
        Scores query by query.
    scores, training : DataFrame
        Rows of the tables ``retrieval_scores`` and ``embedding_training`` of this collection.
    models : sequence of mappings
        model and suite as the config names them, run or not.
    names : mapping
        The study's name of each of them that the study has.
    """

    collection: str
    queries: ScoredQueries
    scores: pd.DataFrame
    training: pd.DataFrame
    models: Sequence[Mapping[str, str | None]]
    names: Mapping[str, str]

    @cached_property
    def _of_name(self) -> Mapping[str, list[str]]:
        """The config's models by the study's name."""
        found = defaultdict(list)
        for model, name in self.names.items():
            found[name].append(model)
        return found

    def model(self, name: str) -> str:
        """Return the config's name of a model of the study.

        Raises
        ------
        NotTestableError
            If the config does not have it, or more than once.
        """
        found = self._of_name.get(name, [])
        if not found:
            raise NotTestableError(f"{name} is not in this config")
        if len(found) > 1:
            raise NotTestableError(f"{name} is in this config more than once, as {' and '.join(found)}")
        return found[0]

    def scored(self, model: str, variant: str) -> Scored:
        """Return the scores of one of the config's models.

        Raises
        ------
        NotTestableError
            If it has none in this variant; the message says why.
        """
        if self.queries.n_queries < MIN_QUERIES:
            raise NotTestableError(
                f"{self.collection} has {self.queries.n_queries} judged queries; a test needs {MIN_QUERIES} or more"
            )
        found = self.queries.of_model(model, variant)
        if found is not None:
            return found
        why = self.scores.loc[(self.scores["model"] == model) & (self.scores["variant"] == variant), "status"]
        why = why[why != OK]
        raise NotTestableError(f"{model} has no scores of {variant}" + (f": {why.iloc[0]}" if len(why) else ""))

    def scored_of(self, names: Sequence[str], variant: str) -> tuple[dict[str, Scored], list[str]]:
        """Return the scores of those of the study's models that have some, and for each other one why it has not."""
        found, missing = {}, []
        for name in names:
            try:
                found[name] = self.scored(self.model(name), variant)
            except NotTestableError as reason:
                missing.append(str(reason))
        return found, missing
