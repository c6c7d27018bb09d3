"""What a validated config asks for: names, sources, runs and paths, as the rules need them.

Lists the folders that the config names; opens no file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from lm_geometry.checkpoints.source import FolderRevision, open_revision, open_tokenizer_revision, parse_source
from lm_geometry.demo.recipes import RECIPES

EMBEDDED = "embedded"
PROSE = "embedded/prose.parquet"


@dataclass(frozen=True)
class Run:
    """One revision of one model."""

    model: str
    revision: str


@dataclass(frozen=True)
class Study:
    """A validated config with its defaults filled in (``configuration.checking.with_defaults``)."""

    config: Mapping[str, Any]

    def path(self, relative: str) -> str:
        """Return a path below the results folder; wildcards in ``relative`` stay as they are."""
        return f"{self.config['results_dir']}/{relative}"

    # -- models ----------------------------------------------------------------------------------------------------

    def source(self, model: str) -> str:
        """Return where a model's files come from, as scripts take it: a folder or a hub id."""
        return self._readable(self.config["models"][model]["source"], "models")

    def suite(self, model: str) -> str:
        """Return the suite of a model."""
        return self.config["models"][model]["suite"]

    def model_files(self, model: str, revision: str) -> list[str]:
        """Return the files whose change means another model: a folder's files, none for a hub id."""
        source = parse_source(self.config["models"][model]["source"])
        return _names(open_revision(source, revision)) if source.kind == "folder" else []

    def model_origins(self, model: str) -> list[str]:
        """Return the table that says what an embedded model was made from; none for all others."""
        name = self.embedded_name(model)
        return [self.path(f"embedded/manifests/{name}.parquet")] if name else []

    def embedded_name(self, model: str) -> str | None:
        """Return the recipe's name of a model that the pipeline trains itself, None for all others."""
        source = parse_source(self.config["models"][model]["source"])
        return source.location if source.kind == "embedded" else None

    def main_run(self, model: str) -> Run:
        """Return the revision of a model that profiles and scores are made from."""
        return Run(model, self.config["models"][model]["revision"])

    def _readable(self, source: str, folder: str) -> str:
        """Translate a source: what the pipeline makes itself is a folder below the results."""
        parsed = parse_source(source)
        return self.path(f"embedded/{folder}/{parsed.location}") if parsed.kind == "embedded" else source

    # -- tokenizers ------------------------------------------------------------------------------------------------

    def tokenizer_label(self, model: str) -> str:
        """Return the source of a model's tokenizer as tables name it; its own source where the config names none."""
        entry = self.config["models"][model]
        if entry.get("tokenizer"):
            return entry["tokenizer"]
        name = self.embedded_name(model)
        return f"{EMBEDDED}:{RECIPES[name].tokenizer}" if name else entry["source"]

    def _tokenizer_key(self, model: str) -> tuple[str, str]:
        """Return source and revision of a model's tokenizer: the model's own revision where it comes with the model."""
        entry = self.config["models"][model]
        own = not entry.get("tokenizer") and not self.embedded_name(model)
        return self.tokenizer_label(model), entry["revision"] if own else "main"

    def tokenizer(self, model: str) -> str:
        """Return the folder name of a model's tokenizer; models with the same source and revision share it."""
        return self._tokenizer_folders[self._tokenizer_key(model)]

    @cached_property
    def _tokenizer_folders(self) -> dict[tuple[str, str], str]:
        folders: dict[tuple[str, str], str] = {}
        for model in self.config["models"]:
            label, revision = self._tokenizer_key(model)
            source = parse_source(label)
            # A folder's path is not fit for a folder name; the first model that uses it is.
            name = f"folder/{model}" if source.kind == "folder" else f"{source.kind}/{source.location}"
            folders.setdefault((label, revision), name if revision == "main" else f"{name}/{revision}")
        return folders

    def _tokenizer(self, name: str) -> tuple[str, str]:
        return next(key for key, folder in self._tokenizer_folders.items() if folder == name)

    @property
    def tokenizers(self) -> list[str]:
        """Return the folder names of all tokenizers."""
        return list(self._tokenizer_folders.values())

    def tokenizer_label_of(self, tokenizer: str) -> str:
        """Return the source of the tokenizer with this folder name, as tables name it."""
        return self._tokenizer(tokenizer)[0]

    def tokenizer_source(self, tokenizer: str) -> str:
        """Return where a tokenizer's files come from, as scripts take it: a folder or a hub id."""
        return self._readable(self.tokenizer_label_of(tokenizer), "tokenizers")

    def tokenizer_revision(self, tokenizer: str) -> str:
        """Return the revision of the tokenizer with this folder name."""
        return self._tokenizer(tokenizer)[1]

    def tokenizer_files(self, tokenizer: str) -> list[str]:
        """Return the files whose change means another tokenizer; none for a hub id."""
        label, revision = self._tokenizer(tokenizer)
        source = self.tokenizer_source(tokenizer)
        if parse_source(label).kind == EMBEDDED:
            return [f"{source}/tokenizer.json", f"{source}/tokenizer_config.json"]
        kind = parse_source(label)
        return _names(open_tokenizer_revision(kind, revision)) if kind.kind == "folder" else []

    # -- embedding scaling -----------------------------------------------------------------------------------------

    @property
    def scaling(self) -> Mapping[str, Any] | None:
        """Return the section of the embedding study, None where it is left out."""
        return self.config.get("embedding_scaling")

    @property
    def suites(self) -> list[str]:
        """Return the suites of the embedding study."""
        return list(self.scaling["suites"]) if self.scaling else []

    @property
    def scaling_runs(self) -> list[Run]:
        """Return the runs whose tables are scored."""
        return [self.main_run(model) for model in self.config["models"] if self.suite(model) in self.suites]

    @property
    def scaling_tokenizers(self) -> list[str]:
        """Return the folder names of the tokenizers of all scored models, each once."""
        return list(dict.fromkeys(self.tokenizer(run.model) for run in self.scaling_runs))

    @property
    def random_tokenizer(self) -> Mapping[str, Any] | None:
        """Return the settings of the random tokenizer baselines, None where none are asked for."""
        return self.scaling.get("random_tokenizer") if self.scaling else None

    @property
    def collection(self) -> str:
        """Return the collection's name: the MTEB task, 'embedded', or the folder's last component."""
        return _name_of(self.scaling["collection"]) if self.scaling else ""

    @property
    def collection_path(self) -> str | None:
        """Return the collection's folder in BEIR shape; None for an MTEB task, and without the study."""
        if self.scaling is None:
            return None
        if self.scaling["collection"] == EMBEDDED:
            return self.path("embedded/collection")
        return self.scaling["collection"]["path"] if isinstance(self.scaling["collection"], Mapping) else None

    @property
    def lowercase(self) -> bool:
        """Return whether the collection's texts are lower-cased before tokenizing."""
        collection = self.scaling["collection"] if self.scaling else None
        return isinstance(collection, Mapping) and bool(collection.get("lowercase", False))

    def collection_files(self) -> list[str]:
        """Return the files of a collection in BEIR shape; none for an MTEB task."""
        folder = self.collection_path
        if folder is None:
            return []
        names = ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"]
        return [f"{folder}/{name}" for name in names]

    def collection_origins(self) -> list[str]:
        """Return the table that the embedded collection was made from; none for all others."""
        return [self.path(PROSE)] if self.scaling and self.scaling["collection"] == EMBEDDED else []

    def scaling_setting(self, key: str) -> Any:
        """Return a setting of the embedding study, None where the study is left out."""
        return self.scaling[key] if self.scaling else None

    def random_setting(self, key: str) -> Any:
        """Return a setting of the random tokenizer baselines, None where there are none."""
        return self.random_tokenizer[key] if self.random_tokenizer else None

    def random_vocab_rows(self, tokenizer: str) -> int | None:
        """Return the rows of a tokenizer's random tables; None for the tokenizer's own length."""
        return self.random_tokenizer.get("vocab_rows", {}).get(self.tokenizer_label_of(tokenizer))

    @property
    def widest(self) -> int:
        """Return the widest table that the config names; a model's own width is not known from a config."""
        variants = self.scaling["variants"] if self.scaling else []
        named = [int(variant.rsplit("_", 1)[1]) for variant in variants if re.fullmatch(r".*_\d+", variant)]
        return max([*named, *(self.random_setting("widths") or [])], default=0)

    def score_files(self) -> list[str]:
        """Return the score files of all models and random tokenizer baselines."""
        base = f"retrieval/{self.collection}"
        models = [self.path(f"{base}/scores/{run.model}/{run.revision}.parquet") for run in self.scaling_runs]
        tokenizers = self.scaling_tokenizers if self.random_tokenizer else []
        return [*models, *(self.path(f"{base}/random_tokenizer/{name}.parquet") for name in tokenizers)]

    # -- representation dynamics -----------------------------------------------------------------------------------

    @property
    def dynamics(self) -> Mapping[str, Any] | None:
        """Return the section of the dynamics study, None where it is left out."""
        return self.config.get("representation_dynamics")

    @property
    def training(self) -> Mapping[str, list[str]]:
        """Return the revisions whose dynamics over training are drawn, by model."""
        section = (self.dynamics or {}).get("training", {})
        return {model: list(entry["revisions"]) for model, entry in section.items()}

    @property
    def dynamics_runs(self) -> list[Run]:
        """Return all runs whose hidden states are measured, each once."""
        profiles = [self.main_run(model) for model in (self.dynamics or {}).get("profiles", [])]
        training = [Run(model, revision) for model, revisions in self.training.items() for revision in revisions]
        return list(dict.fromkeys([*profiles, *training]))

    def corpus_files(self) -> list[str]:
        """Return the corpus' file; none for enwik8 from its public home."""
        return [self.corpus_path] if self.corpus_path else []

    def corpus_origins(self) -> list[str]:
        """Return the table that the embedded corpus was made from; none for all others."""
        return [self.path(PROSE)] if self.dynamics and self.dynamics["corpus"] == EMBEDDED else []

    def dynamics_setting(self, key: str) -> Any:
        """Return a setting of the dynamics study, None where the study is left out."""
        return self.dynamics[key] if self.dynamics else None

    @property
    def keeps_hidden_states(self) -> bool:
        """Return whether dumps of hidden states stay after they were measured."""
        return bool(self.dynamics_setting("keep_hidden_states"))

    def measure_files(self) -> list[str]:
        """Return the measures of all runs: two files for each, in the order of ``dynamics_models``."""
        return [
            self.path(f"geometry/{run.model}/{run.revision}/{measure}.parquet")
            for run in self.dynamics_runs
            for measure in ("anisotropy", "intrinsic_dimension")
        ]

    def dynamics_models(self) -> list[dict[str, Any]]:
        """Return name, suite, revision and training step of all runs of the dynamics study."""
        return [
            {
                "model": run.model,
                "suite": self.suite(run.model),
                "revision": run.revision,
                "step": self.step(run.revision),
            }
            for run in self.dynamics_runs
        ]

    def step(self, revision: str) -> int | None:
        """Return the training step that a revision's name states (config key ``step_pattern``), None for none."""
        found = re.fullmatch(self.dynamics["step_pattern"], revision)
        return int(found.group(1)) if found else None

    @property
    def corpus(self) -> str:
        """Return the corpus' name: 'enwik8', 'embedded', or the file's name."""
        return _name_of(self.dynamics["corpus"]) if self.dynamics else ""

    @property
    def corpus_path(self) -> str | None:
        """Return the corpus' file; None for enwik8 from its public home, and without the study."""
        if self.dynamics is None:
            return None
        if self.dynamics["corpus"] == EMBEDDED:
            return self.path("embedded/dump.xml")
        return self.dynamics["corpus"]["path"] if isinstance(self.dynamics["corpus"], Mapping) else None

    def profile_runs(self) -> list[list[str]]:
        """Return the (model, revision) pairs whose layer profiles are drawn."""
        runs = [self.main_run(model) for model in self.dynamics["profiles"]] if self.dynamics else []
        return [[run.model, run.revision] for run in runs]

    # -- all together ----------------------------------------------------------------------------------------------

    @property
    def runs(self) -> list[Run]:
        """Return every run that either study needs, each once."""
        return list(dict.fromkeys([*self.scaling_runs, *self.dynamics_runs]))

    def figure_files(self, ending: str) -> list[str]:
        """Return the files of all figures that the config asks for, with one ending."""
        names = [f"suite_scaling/{suite}" for suite in self.suites]
        names += ["all_suites"] if self.scaling else []
        names += ["random_baselines"] if self.random_tokenizer else []
        names += ["profiles"] if self.profile_runs() else []
        for model in self.training:
            names += [f"training_dimension/{model}", f"training_anisotropy/{model}"]
        return [self.path(f"figures/{name}.{ending}") for name in names]

    def table_files(self) -> list[str]:
        """Return the result tables of the studies that are run."""
        names = [*(["retrieval_scores"] if self.scaling else []), *(["geometry"] if self.dynamics else [])]
        return [self.path(f"tables/{name}.parquet") for name in names]

    def closing_words(self) -> str:
        """Return what a finished run made and which file to open; nothing if only a part of it was asked for."""
        page = Path(self.path("summary.html"))
        if not page.is_file():
            return ""
        return (
            f"{len(self.figure_files('png'))} figures are in {self.path('figures')} (PNG, SVG, PDF and their data), "
            f"{len(self.table_files())} tables in {self.path('tables')}.\nOpen {page} to see them all."
        )

    @property
    def title(self) -> str:
        """Return a headline for the summary page: the suites that the config runs."""
        suites = dict.fromkeys(self.suite(run.model) for run in self.runs)
        return "lm-geometry: " + ", ".join(suites)

    @property
    def embedded_models(self) -> list[str]:
        """Return the recipes of all models that the pipeline trains itself, each once."""
        names = [self.embedded_name(run.model) for run in self.runs]
        return list(dict.fromkeys(name for name in names if name))


def either(names: list[str]) -> str:
    """Return a regular expression that matches exactly these names, for wildcard constraints."""
    return "|".join(sorted(map(re.escape, set(names)), key=len, reverse=True)) or "(?!)"


def _names(revision: FolderRevision) -> list[str]:
    return [str(path) for path in revision.files()]


def _name_of(entry: str | Mapping[str, Any]) -> str:
    return entry if isinstance(entry, str) else PurePosixPath(entry["path"]).name
