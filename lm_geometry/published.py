"""What the embedding study published, and which of it belongs to a config's model. Look-ups only: it judges nothing.

``published_comparison`` sets it beside a run's own scores.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lm_geometry.embeddings.variants import RANDOM_TOKENIZER

FOLDER = Path(__file__).resolve().parents[1] / "reference"

FILES = (FOLDER / "models.csv", FOLDER / "published_embedding_scaling.csv")
"""The facts about every model, and the published scores."""

FILES_WITH_BASELINES = (*FILES, FOLDER / "published_random_baseline.csv")
"""These, and the published scores of random tables, of no model."""

SOURCE = 'Corey, "How do the Embedding Layers of LLMs change with scale?"'
TABLE_PRECISION = "bfloat16"
N_QUERIES = 1000

USABLE = frozenset({"valid", "pad_without_effect"})
"""Statuses of values that the study's recipe gives. The padding has no effect on T5's large entries; it is honest."""

VALID, BUG, NOT_REPRODUCIBLE = "valid", "bug", "not_reproducible"

_UNUSABLE = frozenset({BUG, NOT_REPRODUCIBLE})
_MODEL_COLUMNS = ("model", "hub_id", "vocab_rows", "tokenizer_hub_id")
_SCORE_COLUMNS = ("model", "embedding_dim", "variant", "seed", "metric", "published_percent", "status", "note")
_BASELINE_COLUMNS = ("tokenizer", "vocab_rows", "embedding_dim", "seed", "metric", "published_percent")


@dataclass(frozen=True)
class Stated:
    """One value that the study states.

    Parameters
    ----------
    model : str or None
        The study's name of the model, which is the reference's but for case; None for a random table of no model.
    tokenizer : str
        The study's name of the tokenizer.
    vocab_rows, embedding_dim : int
        Shape of the table.
    variant : str
        A variant of the model's table, or ``random_tokenizer``.
    seed : int or None
        Seed of the random columns; None where there are none.
    metric : str
        ndcg_at_10 or map_at_100.
    percent : float
        The value.
    status, note : str
        Whether the study's recipe gives such a value, and why.
    """

    model: str | None
    tokenizer: str
    vocab_rows: int
    embedding_dim: int
    variant: str
    seed: int | None
    metric: str
    percent: float
    status: str
    note: str


@dataclass(frozen=True)
class Published:
    """The reference tables as they were read; all look-ups ignore case, in which the study's own names differ."""

    models: pd.DataFrame
    scores: pd.DataFrame

    def name_of(self, *, hub_id: str | None = None, reference: str | None = None) -> str | None:
        """Return the reference's name of a model: the one that ``reference`` names, else the one with that hub id.

        Parameters
        ----------
        hub_id : str, optional
            Source of the model, without a revision.
        reference : str, optional
            The config's key ``reference``.

        Raises
        ------
        ValueError
            If ``reference`` names no model. A hub id that nobody published about is no error: None.
        """
        if reference:
            found = _rows_where(self.models, "model", reference)
            if found.empty:
                names = list(self.models["model"])
                near = difflib.get_close_matches(reference, names, n=3) or sorted(names)
                raise ValueError(
                    f"reference: {reference!r} is no model of {FILES[0].name}; did you mean one of {near}?"
                )
        elif hub_id:
            found = _rows_where(self.models, "hub_id", hub_id)
        else:
            return None
        return None if found.empty else str(found["model"].iloc[0])

    def scores_of(self, name: str) -> pd.DataFrame:
        """Return the published scores of a model by the reference's name of it; no rows where there are none.

        Columns: embedding_dim, variant, seed (of the random columns; null where the variant has none), metric,
        published_percent, status and note as published, usable (whether the recipe gives such a value).
        """
        rows = _rows_where(self.scores, "model", name).drop(columns=["model", "tokenizer"]).reset_index(drop=True)
        return rows.assign(usable=rows["status"].isin(USABLE))

    def points(self, models: Iterable[Mapping[str, str | None]]) -> pd.DataFrame:
        """Return the published scores of several models, with what a figure needs to place them.

        Parameters
        ----------
        models : iterable of mappings
            model and suite as the config names them, hub_id and reference (None for none).

        Returns
        -------
        DataFrame
            The columns of ``scores_of``, and model, suite, tokenizer (a hub id) and vocab_rows.
        """
        tables = [table for table in map(self._points_of, models) if len(table)]
        return pd.concat(tables, ignore_index=True)[_POINT_COLUMNS] if tables else pd.DataFrame(columns=_POINT_COLUMNS)

    def stated(self) -> list[Stated]:
        """Return every published score of a model, in the order in which they are published."""
        rows_of = self.models.set_index(self.models["model"].str.casefold())["vocab_rows"]
        return _stated(self.scores.assign(vocab_rows=self.scores["model"].str.casefold().map(rows_of)))

    def study_tokenizers(self) -> dict[str, str]:
        """Return the study's name of the tokenizer by hub id, in lower case.

        The study took one tokenizer for each suite; the ids of its models stand for it too, which come with the same.
        """
        names = {stated.model.casefold(): stated.tokenizer for stated in self.stated()}
        found = {}
        for facts in self.models.to_dict("records"):
            if name := names.get(facts["model"].casefold()):
                found |= {facts[column].casefold(): name for column in ("tokenizer_hub_id", "hub_id") if facts[column]}
        return found

    def _points_of(self, entry: Mapping[str, str | None]) -> pd.DataFrame:
        name = self.name_of(hub_id=entry.get("hub_id"), reference=entry.get("reference"))
        if name is None:
            return pd.DataFrame(columns=_POINT_COLUMNS)
        facts = _rows_where(self.models, "model", name).iloc[0]
        return self.scores_of(name).assign(
            model=entry["model"],
            suite=entry["suite"],
            tokenizer=facts["tokenizer_hub_id"],
            vocab_rows=int(facts["vocab_rows"]),
        )


_POINT_COLUMNS = ["model", "suite", "tokenizer", "vocab_rows", *_SCORE_COLUMNS[1:], "usable"]


def read_published(files: Sequence[Path] = FILES) -> Published:
    """Read the reference tables.

    Parameters
    ----------
    files : sequence of Path
        models.csv and published_embedding_scaling.csv, in this order.

    Raises
    ------
    ValueError
        If a file lacks a column, or a status is not known; the message names the file.
    """
    models_file, scores_file = files
    models, scores = _read(models_file, _MODEL_COLUMNS), _read(scores_file, ("tokenizer", *_SCORE_COLUMNS))
    absent = sorted(set(scores["model"].str.casefold()) - set(models["model"].str.casefold()))
    if absent:
        raise ValueError(f"{scores_file}: scores of the models {absent}, which {models_file.name} does not have")
    unknown = sorted(set(scores["status"]) - USABLE - _UNUSABLE)
    if unknown:
        raise ValueError(f"{scores_file}: unknown status {unknown}; write one of {sorted(USABLE | _UNUSABLE)}")
    scores["embedding_dim"] = scores["embedding_dim"].astype(int)
    scores["published_percent"] = scores["published_percent"].astype(float)
    # The study wrote its seed beside every row; only variants with random columns have used it.
    seeded = scores["variant"].str.match("random|pad_")
    scores["seed"] = pd.to_numeric(scores["seed"]).astype("Int64").where(seeded)
    return Published(models, scores)


def read_published_baselines(path: Path = FILES_WITH_BASELINES[-1]) -> list[Stated]:
    """Read the published scores of random tables, of no model: published_random_baseline.csv.

    Raises
    ------
    ValueError
        If the file lacks a column; the message names it.
    """
    rows = _read(path, _BASELINE_COLUMNS)
    return _stated(rows.assign(model=None, variant=RANDOM_TOKENIZER, status=VALID, note=""))


def _stated(rows: pd.DataFrame) -> list[Stated]:
    return [
        Stated(
            **{name: row[name] for name in ("model", "tokenizer", "variant", "metric", "status", "note")},
            **{name: int(row[name]) for name in ("vocab_rows", "embedding_dim")},
            seed=None if pd.isna(row["seed"]) else int(row["seed"]),
            percent=float(row["published_percent"]),
        )
        for row in rows.to_dict("records")
    ]


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return the named columns of a CSV file as texts."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(f"{path}: lacks the columns {missing}; it has {list(table.columns)}")
    return table[list(columns)]


def _rows_where(table: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
    return table[table[column].str.casefold() == value.casefold()]
