"""The models of a config and their tokenizers: sources, runs, and the files whose change means another model.

Lists the folders that the config names; opens no file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lm_geometry.checkpoints.source import open_revision, open_tokenizer_revision, parse_source
from lm_geometry.configuration.schema import expanded
from lm_geometry.demo.recipes import RECIPES

EMBEDDED = "embedded"


def results_path(config: Mapping[str, Any], relative: str) -> str:
    """Return a path below the results folder; wildcards in ``relative`` stay as they are."""
    return f"{config['results_dir']}/{relative}"


@dataclass(frozen=True)
class Run:
    """One revision of one model."""

    model: str
    revision: str


@dataclass(frozen=True)
class Models:
    """The models of a config with its defaults."""

    config: Mapping[str, Any]

    @cached_property
    def left_out(self) -> list[str]:
        """Optional models whose path does not exist; no study runs them."""
        entries = self.config["models"].items()
        return [name for name, entry in entries if entry["optional"] and not expanded(entry["source"]).exists()]

    def left_out_words(self) -> list[str]:
        """Return a line for each model that is left out."""
        return [f"left out: {name}: {self.setting(name, 'source')} does not exist" for name in self.left_out]

    @cached_property
    def entries(self) -> Mapping[str, Mapping[str, Any]]:
        """The config's entries of all models that can be run."""
        return {name: entry for name, entry in self.config["models"].items() if name not in self.left_out}

    def setting(self, model: str, key: str) -> Any:
        """Return what the config says of a model, None where it says nothing."""
        return self.config["models"][model].get(key)

    def source(self, model: str) -> str:
        """Return where a model's files come from, as scripts take it: a path or a hub id."""
        return self._readable(self.setting(model, "source"), "models")

    def suite(self, model: str) -> str:
        """Return the suite of a model."""
        return self.setting(model, "suite")

    def files(self, model: str, revision: str) -> list[str]:
        """Return the files whose change means another model: a folder's files, or the one file; none for a hub id."""
        source = parse_source(self.setting(model, "source"))
        return [str(path) for path in open_revision(source, revision).files()] if source.kind == "folder" else []

    def origins(self, model: str) -> list[str]:
        """Return the table that says what an embedded model was made from; none for all others."""
        name = self.embedded_name(model)
        return [results_path(self.config, f"embedded/manifests/{name}.parquet")] if name else []

    def embedded_name(self, model: str) -> str | None:
        """Return the recipe's name of a model that the pipeline trains itself, None for all others."""
        source = parse_source(self.setting(model, "source"))
        return source.location if source.kind == EMBEDDED else None

    def main_run(self, model: str) -> Run:
        """Return the revision of a model that profiles and scores are made from."""
        return Run(model, self.setting(model, "revision"))

    def reference(self, model: str) -> dict[str, str | None]:
        """Return what a model's published values are found by: its hub id, or the name in the reference tables."""
        source = parse_source(self.setting(model, "source"))
        return {
            "hub_id": source.location if source.kind == "hub" else None,
            "reference": self.setting(model, "reference"),
        }

    def _readable(self, source: str, folder: str) -> str:
        """Translate a source: what the pipeline makes itself is a folder below the results."""
        parsed = parse_source(source)
        if parsed.kind == EMBEDDED:
            return results_path(self.config, f"embedded/{folder}/{parsed.location}")
        return source

    # -- tokenizers ----------------------------------------------------------------------------------------------------

    def tokenizer_label(self, model: str) -> str:
        """Return the source of a model's tokenizer as tables name it; its own source where the config names none."""
        if named := self.setting(model, "tokenizer"):
            return named
        name = self.embedded_name(model)
        return f"{EMBEDDED}:{RECIPES[name].tokenizer}" if name else self.setting(model, "source")

    def _tokenizer_key(self, model: str) -> tuple[str, str]:
        """Return source and revision of a model's tokenizer: the model's own revision where it comes with the model."""
        own = not self.setting(model, "tokenizer") and not self.embedded_name(model)
        return self.tokenizer_label(model), self.setting(model, "revision") if own else "main"

    def tokenizer(self, model: str) -> str:
        """Return the folder name of a model's tokenizer; models with the same source and revision share it."""
        return self._tokenizer_folders[self._tokenizer_key(model)]

    @cached_property
    def _tokenizer_folders(self) -> dict[tuple[str, str], str]:
        folders: dict[tuple[str, str], str] = {}
        for model in self.entries:
            label, revision = self._tokenizer_key(model)
            source = parse_source(label)
            # A folder's path is not fit for a folder name; the first model that uses it is.
            name = f"folder/{model}" if source.kind == "folder" else f"{source.kind}/{source.location}"
            folders.setdefault((label, revision), name if revision == "main" else f"{name}/{revision}")
        for label in self.other_tokenizers:
            source = parse_source(label)
            place = "/".join(part for part in Path(source.location).parts if part not in ("/", "..", "~"))
            # Below a folder of their own, for a model may bear any name.
            name = f"folder/of_no_model/{place}" if source.kind == "folder" else f"{source.kind}/{place}"
            folders.setdefault((label, "main"), name)
        return folders

    @property
    def other_tokenizers(self) -> list[str]:
        """The sources of tokenizers that random baselines are made for although no model has them."""
        baselines = (self.config.get("embedding_scaling") or {}).get("random_tokenizer") or {}
        return baselines.get("tokenizers", [])

    def other_tokenizer(self, label: str) -> str:
        """Return the folder name of one of ``other_tokenizers``."""
        return self._tokenizer_folders[label, "main"]

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
        """Return where a tokenizer's files come from, as scripts take it: a path or a hub id."""
        return self._readable(self.tokenizer_label_of(tokenizer), "tokenizers")

    def tokenizer_revision(self, tokenizer: str) -> str:
        """Return the revision of the tokenizer with this folder name."""
        return self._tokenizer(tokenizer)[1]

    def tokenizer_files(self, tokenizer: str) -> list[str]:
        """Return the files whose change means another tokenizer; none for a hub id."""
        label, revision = self._tokenizer(tokenizer)
        source = parse_source(label)
        if source.kind == EMBEDDED:
            folder = Path(self.tokenizer_source(tokenizer))
            return [str(folder / name) for name in ("tokenizer.json", "tokenizer_config.json")]
        if source.kind == "folder":
            return [str(path) for path in open_tokenizer_revision(source, revision).files()]
        return []

    def tokenizer_origins(self, tokenizer: str) -> list[str]:
        """Return the table that says what made an embedded tokenizer; none for all others."""
        embedded = parse_source(self._tokenizer(tokenizer)[0]).kind == EMBEDDED
        return [f"{self.tokenizer_source(tokenizer)}/listing.parquet"] if embedded else []
