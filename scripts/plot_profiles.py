"""Draw anisotropy and dimension over the layers, encoders against decoders."""

from pathlib import Path

from lm_geometry.figures import dynamics, style
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table


def plot_profiles(
    *,
    geometry: Path,
    png: Path,
    svg: Path,
    pdf: Path,
    data: Path,
    csv: Path,
    caption: Path,
    profiles: list[list[str]] | None = None,
) -> None:
    """Draw anisotropy and dimension over the layers, encoders against decoders.

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
    profiles : list of pairs, optional
        The models to draw, each with its revision; by default all, at 'main' or else at their last step.
    """
    drawing = dynamics.layer_profiles(read_table(geometry), revisions=None if profiles is None else dict(profiles))
    style.save(
        drawing,
        png=png,
        svg=svg,
        pdf=pdf,
        data=data,
        csv=csv,
        caption=caption,
        inputs=[geometry],
        settings={"profiles": profiles},
    )


if __name__ == "__main__":
    run_job(snakemake, plot_profiles)
