"""What a config asks of the dynamics study: its runs, its corpus, its training steps."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lm_geometry.configuration.models import EMBEDDED, Models, Run, results_path
from lm_geometry.configuration.scaling import name_of


@dataclass(frozen=True)
class Dynamics:
    """The dynamics study of a config; without its section there are no runs, and settings are None."""

    models: Models

    @property
    def section(self) -> Mapping[str, Any] | None:
        """The config's section, None where the study is left out."""
        return self.models.config.get("representation_dynamics")

    def _path(self, relative: str) -> str:
        return results_path(self.models.config, relative)

    def setting(self, key: str) -> Any:
        """Return a setting of the study, None where the study is left out or a key without a default is."""
        return self.section.get(key) if self.section else None

    @property
    def streams(self) -> bool:
        """Whether hidden states are measured while the model runs, and none are stored."""
        return self.setting("hidden_states") == "stream"

    @property
    def profiles(self) -> list[Run]:
        """The runs whose layer profiles are drawn."""
        named = self.section["profiles"] if self.section else []
        return [self.models.main_run(model) for model in named if model in self.models.entries]

    @property
    def training(self) -> Mapping[str, list[str]]:
        """The revisions whose dynamics over training are drawn, by model."""
        named = self.section["training"] if self.section else {}
        return {model: list(entry["revisions"]) for model, entry in named.items() if model in self.models.entries}

    @property
    def runs(self) -> list[Run]:
        """All runs whose hidden states are measured, each once."""
        return list(dict.fromkeys([*self.profiles, *self.training_runs]))

    @property
    def training_runs(self) -> list[Run]:
        """The runs whose dynamics over training are drawn."""
        return [Run(model, revision) for model, revisions in self.training.items() for revision in revisions]

    def step(self, revision: str) -> int | None:
        """Return the training step that a revision's name states (config key ``step_pattern``), None for none."""
        found = re.fullmatch(self.section["step_pattern"], revision) if self.section else None
        return int(found.group(1)) if found else None

    # -- the corpus ----------------------------------------------------------------------------------------------------

    @property
    def corpus(self) -> str:
        """The corpus' name: 'enwik8', 'embedded', or the file's name; without the study 'none', as a path needs one."""
        return name_of(self.section["corpus"]) if self.section else "none"

    @property
    def corpus_path(self) -> str | None:
        """The corpus' file; None for enwik8 from its public home, and without the study."""
        corpus = self.setting("corpus")
        if corpus == EMBEDDED:
            return self._path("embedded/dump.xml")
        return corpus["path"] if isinstance(corpus, Mapping) else None

    @property
    def n_characters(self) -> int:
        """Characters of all chunks together, 0 without the study; a guess where chunks are counted in tokens."""
        if not self.section:
            return 0
        counted = self.section.get("chunk_tokens")
        length = _CHARACTERS_PER_TOKEN * counted["length"] if counted else self.section["chunk_characters"]
        return self.section["n_chunks"] * length

    @property
    def chunk_tokens(self) -> int | None:
        """Tokens per chunk, None where chunks are counted in characters."""
        counted = self.setting("chunk_tokens")
        return counted["length"] if counted else None

    @property
    def counting_tokenizers(self) -> list[str]:
        """The folder name of the tokenizer that chunks are counted by; none where they are counted in characters."""
        counted = self.setting("chunk_tokens")
        return [self.models.tokenizer(counted["tokenizer"])] if counted and self.runs else []

    def counting_files(self) -> list[str]:
        """Return the tokenizer.json of ``counting_tokenizers``."""
        return [self._path(f"tokenizers/{name}/tokenizer.json") for name in self.counting_tokenizers]

    def corpus_files(self) -> list[str]:
        """Return the corpus' file; none for enwik8 from its public home."""
        return [self.corpus_path] if self.corpus_path else []

    def corpus_origins(self) -> list[str]:
        """Return the table that says what made the embedded corpus; none for all others."""
        return [self._path("embedded/dump.parquet")] if self.setting("corpus") == EMBEDDED else []

    # -- outputs -------------------------------------------------------------------------------------------------------

    def measure_files(self, name: str) -> list[str]:
        """Return the measures of all runs, in the order of ``runs``; ``name`` is batches or all_tokens."""
        return [self._path(f"geometry/{run.model}/{run.revision}/{name}.parquet") for run in self.runs]

    def tables(self) -> list[str]:
        """Return the names of the study's tables."""
        return ["geometry", "geometry_layer_means", "geometry_comparisons"] if self.section else []

    def corpus_statistics(self) -> list[str]:
        """Return what the cleaning of the corpus found; nothing where nothing is run."""
        return [self._path(f"corpora/{self.corpus}/statistics.parquet")] if self.runs else []

    def figures(self) -> list[str]:
        """Return the names of the study's figures."""
        training = [f"{figure}/{model}" for model in self.training for figure in _OVER_TRAINING]
        return [*(["profiles", "dimension_scale"] if self.profiles else []), *training]


_OVER_TRAINING = ("training_dimension", "training_anisotropy", "training_heatmap")
_CHARACTERS_PER_TOKEN = 4
