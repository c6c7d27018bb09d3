"""Draw one suite's variants over its models."""

from pathlib import Path

from lm_geometry.figures import scaling, style
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table


def plot_suite_scaling(
    *,
    scores: Path,
    png: Path,
    svg: Path,
    pdf: Path,
    data: Path,
    csv: Path,
    caption: Path,
    suite: str,
    metric: str = "ndcg_at_10",
) -> None:
    """Draw one suite's variants over its models.

    It is saved in three formats, with the table it was drawn from and its caption.

    Parameters
    ----------
    scores : Path
        The table ``retrieval_scores``.
    png, svg, pdf : Path
        The figure, written.
    data, csv : Path
        What the figure was drawn from, written as Parquet and CSV.
    caption : Path
        The caption, written as reStructuredText.
    suite : str
        The suite to draw.
    metric : str
        Metric of the first panel; nDCG@10 and MAP@100 are always drawn.
    """
    drawing = scaling.suite_scaling(read_table(scores), suite=suite, metric=metric)
    style.save(
        drawing,
        png=png,
        svg=svg,
        pdf=pdf,
        data=data,
        csv=csv,
        caption=caption,
        inputs=[scores],
        settings={"suite": suite, "metric": metric},
    )


if __name__ == "__main__":
    run_job(snakemake, plot_suite_scaling)
