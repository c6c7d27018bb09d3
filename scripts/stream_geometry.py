"""Run one model over all chunks and measure every layer's hidden states meanwhile; none are stored."""

from collections.abc import Mapping
from pathlib import Path

from lm_geometry import provenance
from lm_geometry.geometry.layers import Settings
from lm_geometry.geometry_files import measurement_settings, write_measures
from lm_geometry.gpus import claim_gpus
from lm_geometry.hidden_states.listed_checkpoint import open_model, remove_checkpoint
from lm_geometry.hidden_states.passes import ForwardPasses, fitting_batch_tokens
from lm_geometry.hidden_states.sequences import read_sequences
from lm_geometry.hidden_states.streaming import measure_while_running
from lm_geometry.job import run_job
from lm_geometry.tables.files import file_sha256


def stream_geometry(
    *,
    checkpoint: Path,
    config: Path,  # noqa: ARG001 - the job's resources are told from it; the model reads its own copy, which is checked
    chunks: Path,
    tokenizer: Path,
    tokenizer_listing: Path,
    batches: Path,
    all_tokens: Path,
    device: str,
    cache_dir: str,
    n_batches: int,
    batch_size: int,
    duplicate_tolerance: float,
    seed: int,
    dtype: str = "float32",
    batch_tokens: int | None = None,
    max_memory: Mapping[str, str | int] | None = None,
    threads: int = 1,
    gpu: int = 0,
    trust_remote_code: bool = False,
    keep_checkpoint: bool = True,
) -> None:
    """Write what ``measure_geometry`` would of a dump of the same model and chunks.

    Parameters
    ----------
    checkpoint, config, chunks, tokenizer, tokenizer_listing : Path
        As in ``dump_hidden_states``.
    batches, all_tokens : Path
        Outputs: statistics of every batch, and of all tokens.
    device, dtype, batch_tokens, max_memory, cache_dir, threads, gpu, trust_remote_code, keep_checkpoint
        As in ``dump_hidden_states``.
    n_batches, batch_size, seed : int
        Disjoint groups of chunks, tokens drawn from each, and the seed of the draws.
    duplicate_tolerance : float
        Distance, as a share of the mean centred norm, under which rows count as equal.

    Raises
    ------
    ValueError
        If the checkpoint's files are not those that were listed, a state is NaN or infinite, a single chunk does not
        fit into memory, too few GPUs are free, or the chunks are too few for the batches.
    """
    claim_gpus(gpu)
    import torch

    torch.set_num_threads(threads)
    settings = Settings(n_batches, batch_size, duplicate_tolerance, seed)
    source = {"cache_dir": cache_dir, "trust_remote_code": trust_remote_code}
    with open_model(checkpoint, device=device, dtype=dtype, max_memory=max_memory, **source) as model:
        sequences = read_sequences(chunks, tokenizer, max_length=model.max_length, vocab_rows=model.vocab_rows)
        passes = ForwardPasses(model, batch_tokens or fitting_batch_tokens(model, sequences))
        found = measure_while_running(passes, sequences, settings)
        facts = measurement_settings(
            settings,
            kind=model.kind,
            dtype=model.dtype,
            dropped_tokens=dict(found.n_dropped),
            chunks=provenance.read(chunks)["settings"],
            hidden_states="stream",
        )
        facts |= {"device": model.device, "threads": threads, "batch_tokens": passes.batch_tokens}
    write_measures(
        batches,
        all_tokens,
        found.batch_records,
        found.all_token_records,
        inputs=[checkpoint, chunks, tokenizer_listing],
        settings=facts,
        origin={"tokenizer_sha256": file_sha256(tokenizer)},
    )
    if not keep_checkpoint:
        remove_checkpoint(checkpoint, cache_dir)


if __name__ == "__main__":
    run_job(snakemake, stream_geometry)
