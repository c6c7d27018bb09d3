"""Draw the published values against ours."""

from pathlib import Path

from lm_geometry.figures import published_comparison, style
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table


def plot_published_comparison(*, comparison: Path, **files: Path) -> None:
    """Draw the published values against ours.

    Parameters
    ----------
    comparison : Path
        The table ``published_comparison``.
    **files : Path
        The outputs that ``style.save`` writes: png, svg, pdf, data, csv, caption.
    """
    drawing = published_comparison.published_comparison(read_table(comparison))
    style.save(drawing, **files, inputs=[comparison], settings={})


if __name__ == "__main__":
    run_job(snakemake, plot_published_comparison)
