"""What a config asks of the embedding study: its runs, its collection, its random baselines."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lm_geometry.configuration.models import EMBEDDED, Models, Run, results_path

PROSE = "embedded/prose.parquet"


def name_of(entry: str | Mapping[str, Any]) -> str:
    """Return what a collection or corpus is called: its name, or the last component of its path."""
    return entry if isinstance(entry, str) else PurePosixPath(entry["path"]).name


@dataclass(frozen=True)
class Scaling:
    """The embedding study of a config; without its section there are no runs, and settings are None."""

    models: Models

    @property
    def section(self) -> Mapping[str, Any] | None:
        """The config's section, None where the study is left out."""
        return self.models.config.get("embedding_scaling")

    def _path(self, relative: str) -> str:
        return results_path(self.models.config, relative)

    def setting(self, key: str) -> Any:
        """Return a setting of the study, None where the study is left out."""
        return self.section[key] if self.section else None

    # -- models and tokenizers -----------------------------------------------------------------------------------------

    @property
    def suites(self) -> list[str]:
        """The suites to score that have a model to run."""
        there = {self.models.suite(model) for model in self.models.entries}
        return [suite for suite in self.section["suites"] if suite in there] if self.section else []

    @property
    def runs(self) -> list[Run]:
        """The runs whose tables are scored."""
        return [self.models.main_run(model) for model in self.models.entries if self.models.suite(model) in self.suites]

    def left_out(self, suites: list[str]) -> list[dict[str, Any]]:
        """Return the models of some suites that are not run, with what their published values are found by."""
        absent = [model for model in self.models.left_out if self.models.suite(model) in suites]
        return [{"model": model, "suite": self.models.suite(model), **self.models.reference(model)} for model in absent]

    @property
    def tokenizers(self) -> list[str]:
        """The folder names of the tokenizers of all scored models, each once."""
        return list(dict.fromkeys(self.models.tokenizer(run.model) for run in self.runs))

    # -- random tokenizer baselines ------------------------------------------------------------------------------------

    @property
    def random_tokenizer(self) -> Mapping[str, Any] | None:
        """The settings of the random tokenizer baselines, None where none are asked for."""
        return self.section.get("random_tokenizer") if self.section else None

    def random_setting(self, key: str) -> Any:
        """Return a setting of the random tokenizer baselines, None where there are none."""
        return self.random_tokenizer[key] if self.random_tokenizer else None

    def random_vocab_rows(self, tokenizer: str) -> int | None:
        """Return the rows of a tokenizer's random tables; None for the tokenizer's own length."""
        return self.random_tokenizer.get("vocab_rows", {}).get(self.models.tokenizer_label_of(tokenizer))

    @property
    def widest(self) -> int:
        """The widest table that the config names; a model's own width is not known from a config."""
        variants = self.section["variants"] if self.section else []
        named = [int(variant.rsplit("_", 1)[1]) for variant in variants if re.fullmatch(r".*_\d+", variant)]
        return max([*named, *(self.random_setting("widths") or [])], default=0)

    # -- the collection ------------------------------------------------------------------------------------------------

    @property
    def collection(self) -> str:
        """The collection's name: the MTEB task, 'embedded', or the folder's last component."""
        return name_of(self.section["collection"]) if self.section else ""

    @property
    def collection_path(self) -> str | None:
        """The collection's folder in BEIR shape; None for an MTEB task, and without the study."""
        collection = self.setting("collection")
        if collection == EMBEDDED:
            return self._path("embedded/collection")
        return collection["path"] if isinstance(collection, Mapping) else None

    @property
    def lowercase(self) -> bool:
        """Whether the collection's texts are lower-cased before tokenizing."""
        collection = self.setting("collection")
        return isinstance(collection, Mapping) and bool(collection.get("lowercase", False))

    def collection_files(self) -> list[str]:
        """Return the files of a collection in BEIR shape; none for an MTEB task."""
        names = ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"]
        return [f"{self.collection_path}/{name}" for name in names] if self.collection_path else []

    def collection_origins(self) -> list[str]:
        """Return the table that the embedded collection was made from; none for all others."""
        return [self._path(PROSE)] if self.setting("collection") == EMBEDDED else []

    # -- outputs -------------------------------------------------------------------------------------------------------

    def score_files(self) -> list[str]:
        """Return the score files of all models and random tokenizer baselines."""
        base = f"retrieval/{self.collection}"
        models = [self._path(f"{base}/scores/{run.model}/{run.revision}.parquet") for run in self.runs]
        tokenizers = self.tokenizers if self.random_tokenizer else []
        return [*models, *(self._path(f"{base}/random_tokenizer/{name}.parquet") for name in tokenizers)]

    def figures(self) -> list[str]:
        """Return the names of the study's figures."""
        if not self.section:
            return []
        baselines = ["random_baselines"] if self.random_tokenizer else []
        return [*(f"suite_scaling/{suite}" for suite in self.suites), "all_suites", *baselines]
