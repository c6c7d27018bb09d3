"""Draw all suites over the width of their tables."""

from pathlib import Path

from lm_geometry.figures import scaling, style
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table


def plot_all_suites(*, scores: Path, **files: Path) -> None:
    """Draw all suites over the width of their tables.

    Parameters
    ----------
    scores : Path
        The table ``retrieval_scores``.
    **files : Path
        The outputs that ``style.save`` writes: png, svg, pdf, data, csv, caption.
    """
    drawing = scaling.all_suites(read_table(scores))
    style.save(drawing, **files, inputs=[scores], settings={})


if __name__ == "__main__":
    run_job(snakemake, plot_all_suites)
