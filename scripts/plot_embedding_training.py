"""Draw how a model's embedding table nears its final one over training."""

from pathlib import Path

import pyarrow as pa

from lm_geometry.checkpoints.duplicates import groups_of_tables
from lm_geometry.figures import embedding_training, style
from lm_geometry.job import run_job
from lm_geometry.tables.duplicate_checkpoints import SCHEMA
from lm_geometry.tables.files import read_table


def plot_embedding_training(
    *, training: Path, duplicates: Path, model: str, revisions: list[str], **files: Path
) -> None:
    """Draw how a model's embedding table nears its final one over training.

    Parameters
    ----------
    training : Path
        The table ``embedding_training``.
    duplicates : Path
        The table ``duplicate_checkpoints``.
    model : str
        The model.
    revisions : list of str
        Its checkpoints to draw.
    **files : Path
        The outputs that ``style.save`` writes: png, svg, pdf, data, csv, caption.
    """
    groups = pa.Table.from_pylist(groups_of_tables(read_table(duplicates).to_pylist()), schema=SCHEMA)
    drawing = embedding_training.table_over_training(
        read_table(training), model=model, revisions=revisions, duplicates=groups
    )
    style.save(drawing, **files, inputs=[training], settings={"model": model, "revisions": revisions})


if __name__ == "__main__":
    run_job(snakemake, plot_embedding_training)
