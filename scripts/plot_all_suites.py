"""Draw all suites over the width of their tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lm_geometry.figures import scaling, style
from lm_geometry.job import run_job
from lm_geometry.published import FILES, read_published
from lm_geometry.tables.files import read_table


def plot_all_suites(
    *, scores: Path, left_out: list[Mapping[str, str | None]], reference: Sequence[Path] = FILES, **files: Path
) -> None:
    """Draw all suites over the width of their tables.

    Parameters
    ----------
    scores : Path
        The table ``retrieval_scores``.
    left_out : list of mappings
        The models that were not run: model, suite, hub_id and reference (None where the config has none).
    reference : sequence of Path
        models.csv and published_embedding_scaling.csv, in this order.
    **files : Path
        The outputs that ``style.save`` writes: png, svg, pdf, data, csv, caption.
    """
    drawing = scaling.all_suites(
        read_table(scores),
        left_out=[entry["model"] for entry in left_out],
        published=read_published(reference).points(left_out) if left_out else None,
    )
    style.save(drawing, **files, inputs=[scores], settings={"left_out": left_out})


if __name__ == "__main__":
    run_job(snakemake, plot_all_suites)
