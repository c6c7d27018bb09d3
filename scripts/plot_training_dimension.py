"""Draw a model's layer-averaged dimension over training."""

from pathlib import Path

from lm_geometry.figures import style
from lm_geometry.figures.dynamics.training_dimension import training_dimension
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table


def plot_training_dimension(
    *, geometry: Path, layer_means: Path, duplicates: Path, model: str, revisions: list[str], **files: Path
) -> None:
    """Draw a model's layer-averaged dimension over training.

    Parameters
    ----------
    geometry : Path
        The table ``geometry``.
    layer_means : Path
        The table ``geometry_layer_means``.
    duplicates : Path
        The table ``duplicate_checkpoints``.
    model : str
        The model.
    revisions : list of str
        Its checkpoints to draw.
    **files : Path
        The outputs that ``style.save`` writes: png, svg, pdf, data, csv, caption.
    """
    drawing = training_dimension(
        read_table(geometry),
        read_table(layer_means),
        model=model,
        revisions=revisions,
        duplicates=read_table(duplicates),
    )
    inputs = [geometry, layer_means]
    style.save(drawing, **files, inputs=inputs, settings={"model": model, "revisions": revisions})


if __name__ == "__main__":
    run_job(snakemake, plot_training_dimension)
