"""Set every value that the embedding study published beside ours."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_geometry import provenance
from lm_geometry.job import run_job
from lm_geometry.published import FILES_WITH_BASELINES, read_published, read_published_baselines
from lm_geometry.published_comparison import RANDOM_TOLERANCE, TOLERANCES, compare_with_published
from lm_geometry.retrieval.tokenization import STUDY_MAX_LENGTH
from lm_geometry.tables.files import read_table, write_csv, write_table
from lm_geometry.tables.published_comparison import COLLECTION, SCHEMA


def compare_published(
    *,
    scores: Path,
    table: Path,
    csv: Path,
    models: list[Mapping[str, str | None]],
    random_generator: str | None,
    reference: Sequence[Path] = FILES_WITH_BASELINES,
) -> None:
    """Write one row per published value, with ours where there is one, and the verdict.

    Parameters
    ----------
    scores : Path
        The table ``retrieval_scores``.
    table, csv : Path
        Outputs.
    models : list of mappings
        Every model of the config, run or not: model, suite, hub_id and reference (None where the config has none).
    random_generator : str or None
        The config's key.
    reference : sequence of Path
        models.csv, published_embedding_scaling.csv and published_random_baseline.csv, in this order.
    """
    *of_models, of_baselines = reference
    rows = compare_with_published(
        read_table(scores),
        read_published(of_models),
        read_published_baselines(of_baselines),
        models,
        random_generator=random_generator,
        unlike=_unlike_the_study(provenance.read(scores)),
    )
    settings = {
        "random_generator": random_generator,
        "tolerances_percent": {**TOLERANCES, "random": RANDOM_TOLERANCE},
    }
    write_table(table, rows, SCHEMA, inputs=[scores], settings=settings)
    write_csv(csv, rows)


def _unlike_the_study(made: Mapping[str, Any]) -> str:
    """Return in what the provenance of the scores differs from the study's setting; '' if in nothing.

    Whether a query's own document counts is no part of it: in SCIDOCS no document has a query's id.
    """
    longest = made["settings"].get("max_length")
    if longest != STUDY_MAX_LENGTH:
        return f"another length of texts: max_length is {longest} here, {STUDY_MAX_LENGTH} in the study"
    if made["origin"].get("mteb_task") != COLLECTION:
        return f"another collection: a folder of the name {COLLECTION} here, the MTEB task in the study"
    return ""


if __name__ == "__main__":
    run_job(snakemake, compare_published)
