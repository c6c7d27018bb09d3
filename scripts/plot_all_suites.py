"""Draw the trained tables of all suites over log width."""

from pathlib import Path

from lm_geometry.figures import scaling, style
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table


def plot_all_suites(
    *,
    scores: Path,
    png: Path,
    svg: Path,
    pdf: Path,
    data: Path,
    csv: Path,
    caption: Path,
    metric: str = "ndcg_at_10",
) -> None:
    """Draw the trained tables of all suites over log width.

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
    metric : str
        Metric of the first panel; nDCG@10 and MAP@100 are always drawn.
    """
    drawing = scaling.all_suites(read_table(scores), metric=metric)
    style.save(
        drawing,
        png=png,
        svg=svg,
        pdf=pdf,
        data=data,
        csv=csv,
        caption=caption,
        inputs=[scores],
        settings={"metric": metric},
    )


if __name__ == "__main__":
    run_job(snakemake, plot_all_suites)
