"""Draw random tables over their width, a line per tokenizer."""

from pathlib import Path

from lm_geometry.figures import scaling, style
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table


def plot_random_baselines(*, scores: Path, **files: Path) -> None:
    """Draw random tables over their width, a line per tokenizer.

    Parameters
    ----------
    scores : Path
        The table ``retrieval_scores``.
    **files : Path
        The outputs that ``style.save`` writes: png, svg, pdf, data, csv, caption.
    """
    drawing = scaling.random_baselines(read_table(scores))
    style.save(drawing, **files, inputs=[scores], settings={})


if __name__ == "__main__":
    run_job(snakemake, plot_random_baselines)
