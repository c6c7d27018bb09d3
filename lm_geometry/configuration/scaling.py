"""What a config asks of the embedding study: its runs, its collection, its random baselines."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lm_geometry.configuration.models import EMBEDDED, Models, Run, results_path
from lm_geometry.embeddings.variants import parse_variant
from lm_geometry.tables.published_comparison import COLLECTION


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
        """Return a setting of the study, None where the study is left out or the config says nothing of it."""
        return self.section.get(key) if self.section else None

    # -- models and tokenizers -----------------------------------------------------------------------------------------

    @property
    def suites(self) -> list[str]:
        """The suites to score that have a model to run."""
        there = {self.models.suite(model) for model in self.models.entries}
        return [suite for suite in self.section["suites"] if suite in there] if self.section else []

    @property
    def runs(self) -> list[Run]:
        """The runs that stand for their models: whose tables are scored in every variant and drawn over the width."""
        return [self.models.main_run(model) for model in self.models.entries if self.models.suite(model) in self.suites]

    @property
    def training(self) -> Mapping[str, list[str]]:
        """The revisions whose tables are followed over training, by model."""
        named = self.section["training"] if self.section else {}
        return {model: list(entry["revisions"]) for model, entry in named.items() if model in self.models.entries}

    @property
    def training_runs(self) -> list[Run]:
        """The runs whose tables are compared with those of their models' main runs."""
        return [Run(model, revision) for model, revisions in self.training.items() for revision in revisions]

    @property
    def table_runs(self) -> list[Run]:
        """All runs whose tables are extracted, each once."""
        return list(dict.fromkeys([*self.runs, *self.training_runs]))

    def step(self, revision: str) -> int | None:
        """Return the training step that a revision's name states (config key ``step_pattern``), None for none."""
        found = re.fullmatch(self.section["step_pattern"], revision) if self.section else None
        return int(found.group(1)) if found else None

    def references(self) -> list[dict[str, Any]]:
        """Return the models of the scored suites, run or not, with what their published values are found by."""
        suites = self.setting("suites") or []
        named = [model for model in self.models.config["models"] if self.models.suite(model) in suites]
        return [{"model": model, "suite": self.models.suite(model), **self.models.reference(model)} for model in named]

    def left_out(self, suites: list[str]) -> list[dict[str, Any]]:
        """Return the models of some suites that are not run, with what their published values are found by."""
        absent = [model for model in self.models.left_out if self.models.suite(model) in suites]
        return [{"model": model, "suite": self.models.suite(model), **self.models.reference(model)} for model in absent]

    @property
    def tokenizers(self) -> list[str]:
        """The folder names of the tokenizers of all scored models, each once."""
        return list(dict.fromkeys(self.models.tokenizer(run.model) for run in self.runs))

    @property
    def baseline_tokenizers(self) -> list[str]:
        """The folder names of the tokenizers that random baselines are made for, each once; none without baselines."""
        if not self.random_tokenizer:
            return []
        others = [self.models.other_tokenizer(label) for label in self.models.other_tokenizers]
        return list(dict.fromkeys([*self.tokenizers, *others]))

    def runs_of_tokenizer(self, tokenizer: str) -> list[Run]:
        """Return the runs whose models have this tokenizer, of those in ``runs``."""
        return [run for run in self.runs if self.models.tokenizer(run.model) == tokenizer]

    def geometry_setting(self, key: str) -> Any:
        """Return a setting of the tables' own measures, None where the study is left out."""
        return self.section["table_geometry"][key] if self.section else None

    # -- variants ------------------------------------------------------------------------------------------------------

    @property
    def plain_variants(self) -> list[str]:
        """The variants that a model's own table is enough for."""
        return [name for name in self.setting("variants") or [] if not parse_variant(name).uses_seed]

    @property
    def random_variants(self) -> list[str]:
        """The variants with random columns."""
        return [name for name in self.setting("variants") or [] if parse_variant(name).uses_seed]

    def variants_of(self, run: Run) -> list[str]:
        """Return what is scored of a run's own table: a checkpoint that is followed over training as it is only."""
        return self.plain_variants if run in self.runs else ["as_is"]

    def uses_components(self, run: Run) -> bool:
        """Say whether any variant of a run takes away the table's mean or leading directions."""
        return any(parse_variant(name).uses_components for name in self.variants_of(run))

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
        named = [size for size in (parse_variant(name).size for name in variants) if size]
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
        """Return the table that says what made the embedded collection; none for all others."""
        return [self._path("embedded/collection/listing.parquet")] if self.setting("collection") == EMBEDDED else []

    # -- outputs -------------------------------------------------------------------------------------------------------

    def run_files(self, runs: list[Run], name: str) -> list[str]:
        """Return a file of the scores of each run's own variants: 'scores' or 'query_scores'."""
        return [self._retrieval(f"variants/{run.model}/{run.revision}/{name}") for run in runs]

    def random_columns_files(self, name: str) -> list[str]:
        """Return a file of the scores of each tokenizer's models with random columns, as in ``run_files``."""
        tokenizers = self.tokenizers if self.random_variants else []
        return [self._retrieval(f"random_columns/{tokenizer}/{name}") for tokenizer in tokenizers]

    def baseline_files(self, name: str) -> list[str]:
        """Return a file of the scores of each tokenizer's random baselines, as in ``run_files``."""
        return [self._retrieval(f"random_tokenizer/{tokenizer}/{name}") for tokenizer in self.baseline_tokenizers]

    def model_files(self, name: str) -> list[str]:
        """Return a file of the scores of all models and variants, as in ``run_files``."""
        return [*self.run_files(self.runs if self.plain_variants else [], name), *self.random_columns_files(name)]

    def _retrieval(self, relative: str) -> str:
        return self._path(f"retrieval/{self.collection}/{relative}.parquet")

    @property
    def is_published(self) -> bool:
        """Whether the collection is the one that the study published scores of."""
        return self.collection == COLLECTION

    def figures(self) -> list[str]:
        """Return the names of the study's figures."""
        if not self.section:
            return []
        baselines = ["random_baselines"] if self.random_tokenizer else []
        published = ["published_comparison"] if self.is_published else []
        training = [f"embedding_training/{model}" for model in self.training]
        suites = [f"suite_scaling/{suite}" for suite in self.suites]
        return [*suites, "all_suites", *baselines, "embedding_geometry", *training, *published]

    def tables(self) -> list[str]:
        """Return the names of the study's result tables."""
        if not self.section:
            return []
        training = ["embedding_training"] if self.training else []
        found = ["comparisons", "suite_peaks", "published_comparison", "embedding_geometry", *training]
        return ["retrieval_scores", *found]
