"""Measure how many coordinates each layer's hidden states locally need, batch by batch."""

from pathlib import Path

import numpy as np

from lm_geometry import provenance
from lm_geometry.geometry.intrinsic_dimension import dimension_statistics
from lm_geometry.geometry.layers import measure_layers
from lm_geometry.geometry.statistic import Statistic
from lm_geometry.job import run_job
from lm_geometry.tables.files import write_table
from lm_geometry.tables.geometry_batches import BATCHES, batches_table
from lm_geometry.tables.hidden_state_dump import read_kind, read_layers


def measure_intrinsic_dimension(
    *,
    manifest: Path,
    folder: Path,
    measures: Path,
    n_batches: int,
    batch_size: int,
    duplicate_tolerance: float,
    seed: int,
) -> None:
    """Write the TwoNN estimates of every layer and batch of a dump.

    Parameters
    ----------
    manifest, folder : Path
        The dump: its manifest, and the folder of its layers' files, which are held against the manifest.
    measures : Path
        Output, long form.
    n_batches, batch_size, seed : int
        Disjoint groups of chunks, tokens drawn from each, and the seed of the draws.
    duplicate_tolerance : float
        Distance, as a share of the mean centred norm, under which rows count as equal.

    Raises
    ------
    ValueError
        If a file is not what the manifest lists or not finite, or the chunks are too few for the batches.
    """

    def statistics(vectors: np.ndarray, *_: np.ndarray) -> dict[str, Statistic]:
        return dimension_statistics(vectors, duplicate_tolerance=duplicate_tolerance)

    found = measure_layers(
        read_layers(manifest, folder), statistics, n_batches=n_batches, batch_size=batch_size, seed=seed
    )
    settings = {
        "kind": read_kind(manifest),
        "n_batches": n_batches,
        "batch_size": batch_size,
        "duplicate_tolerance": duplicate_tolerance,
        "seed": seed,
        "dropped_tokens": dict(found.n_dropped),
        "chunks": provenance.read(manifest)["settings"].get("chunks"),
    }
    write_table(measures, batches_table(found.records), BATCHES, inputs=[manifest], settings=settings)


if __name__ == "__main__":
    run_job(snakemake, measure_intrinsic_dimension)
