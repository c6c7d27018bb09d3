"""What the embedding study published, and which of it belongs to a config's model. Look-ups only: it judges nothing."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).resolve().parents[1] / "reference"

FILES = (FOLDER / "models.csv", FOLDER / "published_embedding_scaling.csv")
"""The facts about every model, and the published scores."""

SOURCE = 'Corey, "How do the Embedding Layers of LLMs change with scale?"'
COLLECTION = "SCIDOCS"
TABLE_PRECISION = "bfloat16"
N_QUERIES = 1000

USABLE = frozenset({"valid", "pad_without_effect"})
"""Statuses of values that the study's recipe gives. The padding has no effect on T5's large entries; it is honest."""

_UNUSABLE = frozenset({"bug", "not_reproducible"})
_MODEL_COLUMNS = ("model", "hub_id", "vocab_rows", "tokenizer_hub_id")
_SCORE_COLUMNS = ("model", "embedding_dim", "variant", "seed", "metric", "published_percent", "status", "note")


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
        rows = _rows_where(self.scores, "model", name).drop(columns="model").reset_index(drop=True)
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
    models, scores = _read(models_file, _MODEL_COLUMNS), _read(scores_file, _SCORE_COLUMNS)
    unknown = sorted(set(scores["status"]) - USABLE - _UNUSABLE)
    if unknown:
        raise ValueError(f"{scores_file}: unknown status {unknown}; write one of {sorted(USABLE | _UNUSABLE)}")
    scores["embedding_dim"] = scores["embedding_dim"].astype(int)
    scores["published_percent"] = scores["published_percent"].astype(float)
    # The study wrote its seed beside every row; only variants with random columns have used it.
    seeded = scores["variant"].str.match("random|pad_")
    scores["seed"] = pd.to_numeric(scores["seed"]).astype("Int64").where(seeded)
    return Published(models, scores)


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return the named columns of a CSV file as texts."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(f"{path}: lacks the columns {missing}; it has {list(table.columns)}")
    return table[list(columns)]


def _rows_where(table: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
    return table[table[column].str.casefold() == value.casefold()]
