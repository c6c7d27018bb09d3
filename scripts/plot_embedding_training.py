"""Draw how a model's embedding table nears its final one over training."""

from pathlib import Path

from lm_geometry.figures import embedding_training, style
from lm_geometry.job import run_job
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
    drawing = embedding_training.table_over_training(
        read_table(training), model=model, revisions=revisions, duplicates=read_table(duplicates)
    )
    style.save(drawing, **files, inputs=[training], settings={"model": model, "revisions": revisions})


if __name__ == "__main__":
    run_job(snakemake, plot_embedding_training)
