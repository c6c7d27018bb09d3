"""Measure how evenly each layer's hidden states spread over directions, batch by batch."""

from functools import cache, partial
from pathlib import Path

import numpy as np

from lm_geometry import provenance
from lm_geometry.geometry.layers import measure_layers
from lm_geometry.geometry.nulls import frequency_null
from lm_geometry.geometry.spectrum import spectral_statistics
from lm_geometry.geometry.statistic import Statistic, attempt
from lm_geometry.job import run_job
from lm_geometry.tables.files import write_table
from lm_geometry.tables.geometry_batches import BATCHES, batches_table
from lm_geometry.tables.hidden_state_dump import read_kind, read_layers

NULL_DRAWS = 4  # their mean is known to a few per cent of itself


def measure_anisotropy(
    *,
    manifest: Path,
    folder: Path,
    measures: Path,
    n_batches: int,
    batch_size: int,
    duplicate_tolerance: float,
    seed: int,
) -> None:
    """Write anisotropy, its frequency null and participation ratio of every layer and batch of a dump.

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

    @cache  # the null depends on the tokens and the width alone, which layers share
    def null(token_ids: bytes, width: int) -> Statistic:
        tokens = np.frombuffer(token_ids, dtype=np.int32)
        draws = partial(frequency_null, tokens, width, seed=seed, n_draws=NULL_DRAWS)
        return attempt(lambda: float(draws().mean()), n_vectors=len(tokens), n_distinct=len(np.unique(tokens)))

    def statistics(vectors: np.ndarray, first: np.ndarray, token_id: np.ndarray) -> dict[str, Statistic]:
        return {
            **spectral_statistics(vectors, first=first, duplicate_tolerance=duplicate_tolerance),
            "anisotropy_frequency_null": null(token_id.tobytes(), vectors.shape[1]),
        }

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
    run_job(snakemake, measure_anisotropy)
