"""Measure the geometry of each layer's hidden states, batch by batch and of all tokens."""

from pathlib import Path

from tqdm import tqdm

from lm_geometry.geometry.layers import Settings, measure_layers
from lm_geometry.geometry_files import measurement_settings, write_measures
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table
from lm_geometry.tables.hidden_state_dump import read_layers, read_settings


def measure_geometry(
    *,
    manifest: Path,
    folder: Path,
    batches: Path,
    all_tokens: Path,
    n_batches: int,
    batch_size: int,
    duplicate_tolerance: float,
    seed: int,
    threads: int = 1,
) -> None:
    """Write the statistics of every layer of a dump, of each batch and of all tokens.

    Parameters
    ----------
    manifest, folder : Path
        The dump: its manifest, and the folder of its layers' files, which are held against the manifest.
    batches, all_tokens : Path
        Outputs, long form.
    n_batches, batch_size, duplicate_tolerance, seed
        See ``Settings``.
    threads : int
        Threads to compute on.

    Raises
    ------
    ValueError
        If a file is not what the manifest lists or not finite, or the chunks are too few for the batches.
    """
    import torch

    torch.set_num_threads(threads)
    settings = Settings(n_batches, batch_size, duplicate_tolerance, seed)
    origin = read_settings(manifest)
    n_layers = read_table(manifest, columns=["layer"]).num_rows
    layers = tqdm(read_layers(manifest, folder), total=n_layers, unit="layer", mininterval=5)
    found = measure_layers(layers, settings)
    facts = measurement_settings(settings, **origin, dropped_tokens=found.n_dropped, hidden_states="dump")
    write_measures(batches, all_tokens, found.batch_records, found.all_token_records, inputs=[manifest], settings=facts)


if __name__ == "__main__":
    run_job(snakemake, measure_geometry)
