"""Draw the layer-averaged dimension of one model over its training."""

from pathlib import Path

from lm_geometry.figures import dynamics, style
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table


def plot_training_dimension(
    *,
    geometry: Path,
    png: Path,
    svg: Path,
    pdf: Path,
    data: Path,
    csv: Path,
    caption: Path,
    model: str,
    revisions: list[str] | None = None,
) -> None:
    """Draw the layer-averaged dimension of one model over its training.

    It is saved in three formats, with the table it was drawn from and its caption.

    Parameters
    ----------
    geometry : Path
        The table ``geometry``.
    png, svg, pdf : Path
        The figure, written.
    data, csv : Path
        What the figure was drawn from, written as Parquet and CSV.
    caption : Path
        The caption, written as reStructuredText.
    model : str
        The model whose checkpoints are drawn.
    revisions : list of str, optional
        The checkpoints; by default every revision of the model that has a step.
    """
    drawing = dynamics.training_dimension(read_table(geometry), model=model, revisions=revisions)
    style.save(
        drawing,
        png=png,
        svg=svg,
        pdf=pdf,
        data=data,
        csv=csv,
        caption=caption,
        inputs=[geometry],
        settings={"model": model, "revisions": revisions},
    )


if __name__ == "__main__":
    run_job(snakemake, plot_training_dimension)
