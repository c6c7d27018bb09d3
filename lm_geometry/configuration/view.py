"""What a validated config asks for, as the rules need it: models, the two studies, and what a run ends in."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lm_geometry.checkpoints.known_defects import of_source, read_known_defects
from lm_geometry.configuration.dynamics import Dynamics
from lm_geometry.configuration.models import Models, Run, results_path
from lm_geometry.configuration.scaling import Scaling


@dataclass(frozen=True)
class Study:
    """A validated config with its defaults filled in (``configuration.schema.with_defaults``)."""

    config: Mapping[str, Any]

    def path(self, relative: str) -> str:
        """Return a path below the results folder; wildcards in ``relative`` stay as they are."""
        return results_path(self.config, relative)

    @cached_property
    def models(self) -> Models:
        """The models and their tokenizers."""
        return Models(self.config)

    @cached_property
    def scaling(self) -> Scaling:
        """The embedding study."""
        return Scaling(self.models)

    @cached_property
    def dynamics(self) -> Dynamics:
        """The dynamics study."""
        return Dynamics(self.models)

    @property
    def runs(self) -> list[Run]:
        """Every run that either study needs, each once."""
        return list(dict.fromkeys([*self.scaling.table_runs, *self.dynamics.runs]))

    @cached_property
    def compared_runs(self) -> list[Run]:
        """The runs, and of checkpoints that were published to be copies the revisions they are copies of.

        Those are listed only, so that a copy is found as one although nothing else asks for what it was copied from.
        """
        known = read_known_defects()
        partners = [
            Run(run.model, defect.shares_with)
            for run in [*self.scaling.training_runs, *self.dynamics.training_runs]
            for defect in of_source(known, self.models.setting(run.model, "source"))
            if defect.revision == run.revision and defect.is_copy
        ]
        return list(dict.fromkeys([*self.runs, *partners]))

    @property
    def planned_runs(self) -> list[Run]:
        """The runs that a plan has a row for; models that the pipeline trains itself have no files before they are."""
        return [run for run in self.runs if self.models.embedded_name(run.model) is None]

    def run_facts(self, runs: list[Run], step: Callable[[str], int | None] | None = None) -> list[dict[str, Any]]:
        """Return name, suite, source, revision and training step of runs, as tables state them.

        ``step`` reads the step of a revision's name as one of the studies does; by default as either.
        """
        return [
            {
                "model": run.model,
                "suite": self.models.suite(run.model),
                "source": self.models.setting(run.model, "source"),
                "revision": run.revision,
                "step": (step or self.step)(run.revision),
            }
            for run in runs
        ]

    def step(self, revision: str) -> int | None:
        """Return the training step that a revision's name states to either study, None for none."""
        steps = (study.step(revision) for study in (self.dynamics, self.scaling))
        return next((step for step in steps if step is not None), None)

    def run_names(self, runs: list[Run]) -> list[dict[str, str]]:
        """Return name, suite and revision of runs."""
        return [{"model": run.model, "suite": self.models.suite(run.model), "revision": run.revision} for run in runs]

    def listings(self, runs: list[Run]) -> list[str]:
        """Return the listings of runs, in their order."""
        return [self.path(f"models/{run.model}/{run.revision}/listing.parquet") for run in runs]

    def model_configs(self, runs: list[Run]) -> list[str]:
        """Return the config.json of runs, in their order."""
        return [self.path(f"models/{run.model}/{run.revision}/config.json") for run in runs]

    def embedding_tables(self) -> list[str]:
        """Return the embedding tables of all runs whose tables are extracted."""
        return [self.embedding_table(run) for run in self.scaling.table_runs]

    def embedding_table(self, run: Run) -> str:
        """Return the embedding table of a run."""
        return self.path(f"models/{run.model}/{run.revision}/embedding_table.parquet")

    def run_of(self, wildcards: Any) -> Run:
        """Return the run that a job's wildcards name."""
        return Run(wildcards.model, wildcards.revision)

    @property
    def embedded_models(self) -> list[str]:
        """The recipes of all models that the pipeline trains itself, each once."""
        names = [self.models.embedded_name(run.model) for run in self.runs]
        return list(dict.fromkeys(name for name in names if name))

    # -- what a run ends in --------------------------------------------------------------------------------------------

    def figure_files(self, ending: str) -> list[str]:
        """Return the files of all figures that the config asks for, with one ending."""
        names = [*self.scaling.figures(), *self.dynamics.figures()]
        return [self.path(f"figures/{name}.{ending}") for name in names]

    def claims_files(self) -> list[str]:
        """Return the verdicts of the studies that are run."""
        studies = [("embedding_scaling", self.scaling.section), ("representation_dynamics", self.dynamics.section)]
        return [self.path(f"claims/{name}.parquet") for name, section in studies if section]

    def table_files(self) -> list[str]:
        """Return the result tables: of the studies that are run, and the ledger of all revisions."""
        names = [*self.scaling.tables(), *self.dynamics.tables(), "claims", "ledger"]
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
        """A headline for the summary page: the suites that the config runs."""
        suites = dict.fromkeys(self.models.suite(run.model) for run in self.runs)
        return "lm-geometry: " + ", ".join(suites)


def either(names: list[str]) -> str:
    """Return a regular expression that matches exactly these names, for wildcard constraints."""
    return "|".join(sorted(map(re.escape, set(names)), key=len, reverse=True)) or "(?!)"
