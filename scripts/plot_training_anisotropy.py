"""Draw a model's anisotropy profiles over training."""

from pathlib import Path

from lm_geometry.figures import style
from lm_geometry.figures.dynamics.training_anisotropy import training_anisotropy
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table


def plot_training_anisotropy(
    *, geometry: Path, duplicates: Path, model: str, revisions: list[str], **files: Path
) -> None:
    """Draw a model's anisotropy profiles over training.

    Parameters
    ----------
    geometry : Path
        The table ``geometry``.
    duplicates : Path
        The table ``duplicate_checkpoints``.
    model : str
        The model.
    revisions : list of str
        Its checkpoints to draw.
    **files : Path
        The outputs that ``style.save`` writes: png, svg, pdf, data, csv, caption.
    """
    drawing = training_anisotropy(
        read_table(geometry), model=model, revisions=revisions, duplicates=read_table(duplicates)
    )
    style.save(drawing, **files, inputs=[geometry], settings={"model": model, "revisions": revisions})


if __name__ == "__main__":
    run_job(snakemake, plot_training_anisotropy)
