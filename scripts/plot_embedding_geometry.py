"""Draw the embedding tables' own geometry over their width."""

from pathlib import Path

from lm_geometry.figures import embedding_geometry, style
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table


def plot_embedding_geometry(*, geometry: Path, **files: Path) -> None:
    """Draw the embedding tables' own geometry over their width.

    Parameters
    ----------
    geometry : Path
        The table ``embedding_geometry``.
    **files : Path
        The outputs that ``style.save`` writes: png, svg, pdf, data, csv, caption.
    """
    style.save(embedding_geometry.tables_over_width(read_table(geometry)), **files, inputs=[geometry], settings={})


if __name__ == "__main__":
    run_job(snakemake, plot_embedding_geometry)
