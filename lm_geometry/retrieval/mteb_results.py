"""Scores as MTEB's own results: each scored table is one of its models, so that it loads them beside any others."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lm_geometry.embeddings.variants import RANDOM_TOKENIZER
from lm_geometry.metric_names import METRICS
from lm_geometry.retrieval.collection import SPLIT
from lm_geometry.tables.query_scores import KEYS
from lm_geometry.tables.retrieval_scores import OK

if TYPE_CHECKING:
    from mteb.models import ModelMeta
    from mteb.results import TaskResult

ORGANIZATION = "lm-geometry"
"""What stands before the slash in the names of MTEB's models; no scored table is a model that its authors published."""

NO_REVISION = "no_revision_available"
"""MTEB's word for it; random tokenizer baselines have none."""

_MAIN_SCORE = "ndcg_at_10"
_SUBSET = "default"
# ISO 639-3 and 15924 for "undetermined": a result without any language has no score to MTEB.
_LANGUAGES = ["und-Zyyy"]


@dataclass(frozen=True)
class ScoredTable:
    """One scored table: what tells it from the others, and its scores.

    Parameters
    ----------
    keys : mapping
        Value by column of ``query_scores.KEYS``.
    scores : mapping of str to float
        Value by metric.
    """

    keys: Mapping[str, Any]
    scores: Mapping[str, float]

    @property
    def name(self) -> str:
        """The table's name as one of MTEB's models: lm-geometry/MODEL-VARIANT[-seed-SEED].

        A random tokenizer baseline is lm-geometry/TOKENIZER-random_tokenizer-ROWSxWIDTH-seed-SEED.
        """
        variant, seed = self.keys["variant"], self.keys["seed"]
        if variant == RANDOM_TOKENIZER:
            tokenizer = re.sub(r"[^A-Za-z0-9._-]+", "-", self.keys["tokenizer"]).strip("-")
            parts = [tokenizer, variant, f"{self.keys['vocab_rows']}x{self.keys['width']}"]
        else:
            parts = [self.keys["model"], variant]
        return f"{ORGANIZATION}/{'-'.join([*parts, *([] if seed is None else [f'seed-{seed}'])])}"

    @property
    def revision(self) -> str:
        """The model's revision."""
        return self.keys["revision"] or NO_REVISION


def scored_tables(rows: Iterable[Mapping[str, Any]]) -> tuple[list[ScoredTable], int]:
    """Return the scored tables of rows of the ``retrieval_scores`` table, and how many others have no scores.

    Raises
    ------
    ValueError
        If a table lacks a metric, or two would be the same model to MTEB.
    """
    values: dict[tuple[Any, ...], dict[str, float]] = {}
    without: set[tuple[Any, ...]] = set()
    for row in rows:
        key = tuple(row[name] for name in KEYS)
        if row["status"] == OK:
            values.setdefault(key, {})[row["metric"]] = row["value"]
        else:
            without.add(key)
    tables = [ScoredTable(dict(zip(KEYS, key, strict=True)), scores) for key, scores in values.items()]
    named: dict[tuple[str, str], ScoredTable] = {}
    for table in tables:
        if missing := [metric for metric in METRICS if metric not in table.scores]:
            raise ValueError(f"'{table.name}' has no score {missing[0]} and {len(missing) - 1} others")
        other = named.setdefault((table.name, table.revision), table)
        if other is not table:
            raise ValueError(f"'{table.name}' names two scored tables: {dict(other.keys)} and {dict(table.keys)}")
    return tables, len(without)


@dataclass(frozen=True)
class ScoredTask:
    """What MTEB's result files say of the collection.

    Parameters
    ----------
    name, revision, split, subset : str
        Of the MTEB task; a folder has its own name, and the digest of its texts and judgements for a revision.
    languages : list of str
        Languages of the subset, such as 'eng-Latn'; 'und-Zyyy', undetermined, for a folder.
    main_score : str
        The metric that MTEB judges the task by.
    """

    name: str
    revision: str
    split: str
    subset: str
    languages: list[str]
    main_score: str


def scored_task(collection: str, origin: Mapping[str, str | list[str]]) -> ScoredTask:
    """Return what result files say of the collection whose origin a table of scores carries.

    Raises
    ------
    ValueError
        If the scores are of several collections.
    """
    several = {key: found for key, found in origin.items() if _of_collection(key) and not isinstance(found, str)}
    if several:
        raise ValueError(f"scores of several collections cannot be one MTEB task: {several}")
    if "mteb_task" not in origin:
        return ScoredTask(collection, f"sha256:{origin['collection_sha256']}", SPLIT, _SUBSET, _LANGUAGES, _MAIN_SCORE)
    import mteb

    name, subset = origin["mteb_task"], origin["mteb_subset"]
    metadata = mteb.get_task(name).metadata
    languages = list(metadata.hf_subsets_to_langscripts[subset])
    return ScoredTask(name, origin["mteb_revision"], origin["mteb_split"], subset, languages, metadata.main_score)


def _of_collection(key: str) -> bool:
    return key == "collection_sha256" or key.startswith("mteb_")


def task_result(table: ScoredTable, task: ScoredTask, mteb_version: str) -> "TaskResult":
    """Return the scores of a table as MTEB holds them; nothing in it depends on the clock."""
    from mteb.results import TaskResult

    scores = {
        **{metric: table.scores[metric] for metric in METRICS},
        "main_score": table.scores[task.main_score],
        "hf_subset": task.subset,
        "languages": task.languages,
        "mteb_version": mteb_version,
    }
    return TaskResult(
        dataset_revision=task.revision,
        task_name=task.name,
        mteb_version=mteb_version,
        scores={task.split: [scores]},
        evaluation_time=None,
    )


def model_meta(table: ScoredTable, *, max_length: int) -> "ModelMeta":
    """Return what MTEB keeps of a model; nothing can be loaded by it, ``loader_kwargs`` says what was scored."""
    from mteb.models import ModelMeta
    from mteb.models.model_meta import ScoringFunction

    rows, width = table.keys["vocab_rows"], table.keys["width"]
    return ModelMeta.create_empty(
        {
            "name": table.name,
            "revision": table.revision,
            "loader_kwargs": dict(table.keys),
            "n_parameters": rows * width,
            "n_embedding_parameters": rows * width,
            "embed_dim": width,
            "max_tokens": max_length,
            "similarity_fn_name": ScoringFunction.COSINE,
            "use_instructions": False,
        }
    )
