"""Draw one suite's variants over its models."""

from pathlib import Path

from lm_geometry.figures import scaling, style
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table


def plot_suite_scaling(*, scores: Path, suite: str, **files: Path) -> None:
    """Draw one suite's variants over its models.

    Parameters
    ----------
    scores : Path
        The table ``retrieval_scores``.
    suite : str
        The suite to draw.
    **files : Path
        The outputs that ``style.save`` writes: png, svg, pdf, data, csv, caption.
    """
    drawing = scaling.suite_scaling(read_table(scores), suite=suite)
    style.save(drawing, **files, inputs=[scores], settings={"suite": suite})


if __name__ == "__main__":
    run_job(snakemake, plot_suite_scaling)
