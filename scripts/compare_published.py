"""Set every value that the embedding study published beside ours."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lm_geometry.job import run_job
from lm_geometry.published import FILES_WITH_BASELINES, read_published, read_published_baselines
from lm_geometry.published_comparison import RANDOM_TOLERANCE, TOLERANCES, compare_with_published
from lm_geometry.tables.files import read_table, write_csv, write_table
from lm_geometry.tables.published_comparison import SCHEMA


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
    )
    settings = {
        "random_generator": random_generator,
        "tolerances_percent": {**TOLERANCES, "random": RANDOM_TOLERANCE},
    }
    write_table(table, rows, SCHEMA, inputs=[scores], settings=settings)
    write_csv(csv, rows)


if __name__ == "__main__":
    run_job(snakemake, compare_published)
