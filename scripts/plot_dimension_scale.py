"""Draw the dimension of three layers of each model against the number of vectors."""

from pathlib import Path

from lm_geometry.figures import style
from lm_geometry.figures.dynamics.dimension_scale import dimension_scale
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table


def plot_dimension_scale(*, geometry: Path, profiles: list[list[str]], **files: Path) -> None:
    """Draw the dimension of three layers of each model against the number of vectors.

    Parameters
    ----------
    geometry : Path
        The table ``geometry``.
    profiles : list of pairs
        The models to draw, each with its revision.
    **files : Path
        The outputs that ``style.save`` writes: png, svg, pdf, data, csv, caption.
    """
    drawing = dimension_scale(read_table(geometry), revisions=dict(profiles))
    style.save(drawing, **files, inputs=[geometry], settings={"profiles": profiles})


if __name__ == "__main__":
    run_job(snakemake, plot_dimension_scale)
