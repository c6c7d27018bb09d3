"""Reckon what a run will fetch, store and compute, before anything is fetched."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm_geometry.job import run_job
from lm_geometry.plan.estimate import plan_rows
from lm_geometry.plan.model_facts import read_facts
from lm_geometry.plan.passing import passing_of
from lm_geometry.plan.report import PLACES
from lm_geometry.tables.files import write_csv, write_table
from lm_geometry.tables.plan import SCHEMA


def write_plan(
    *,
    listings: Sequence[Path],
    configs: Sequence[Path],
    plan: Path,
    csv: Path,
    models: Sequence[Mapping[str, Any]],
    study: Mapping[str, Any],
) -> None:
    """Write one row per model and revision and a total, as Parquet and CSV.

    Parameters
    ----------
    listings, configs : sequence of Path
        What ``resolve_model`` wrote of each entry of ``models``, in its order.
    plan, csv : Path
        Outputs.
    models : sequence of mappings
        One entry per model and revision: model, source, revision.
    study : mapping
        The settings that the plan follows from; see ``lm_geometry.plan.jobs.plan_settings``.

    Raises
    ------
    ValueError
        If the listings or configs are not one per entry.
    """
    if not len(listings) == len(configs) == len(models):
        raise ValueError(
            f"{len(models)} models and revisions need as many listings and configs, got {len(listings)} and "
            f"{len(configs)}"
        )
    facts = [read_facts(str(listing), str(config)) for listing, config in zip(listings, configs, strict=True)]
    rows = plan_rows(models, facts, study, passing_of(study))
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    settings = {key: value for key, value in study.items() if key not in PLACES}
    write_table(plan, table, SCHEMA, inputs=listings, settings=settings)
    write_csv(csv, table)


if __name__ == "__main__":
    run_job(snakemake, write_plan)
