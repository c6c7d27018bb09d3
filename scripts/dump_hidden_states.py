"""Run one model over all chunks and keep the vector of every token at every layer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm_geometry import provenance
from lm_geometry.gpus import claim_gpus
from lm_geometry.hidden_states.layer_files import manifest_rows, write_layers
from lm_geometry.hidden_states.layer_model import LayerModel
from lm_geometry.hidden_states.listed_checkpoint import open_model, remove_checkpoint
from lm_geometry.hidden_states.passes import ForwardPasses, fitting_batch_tokens
from lm_geometry.hidden_states.sequences import read_sequences
from lm_geometry.job import run_job
from lm_geometry.tables.files import atomic_folder, file_sha256, write_table
from lm_geometry.tables.hidden_states import MANIFEST


def dump_hidden_states(
    *,
    checkpoint: Path,
    config: Path,  # noqa: ARG001 - the job's resources are told from it; the model reads its own copy, which is checked
    chunks: Path,
    tokenizer: Path,
    tokenizer_listing: Path,
    folder: Path,
    manifest: Path,
    device: str,
    cache_dir: str,
    dtype: str = "float32",
    batch_tokens: int | None = None,
    max_memory: Mapping[str, str | int] | None = None,
    threads: int = 1,
    gpu: int = 0,
    trust_remote_code: bool = False,
    keep_checkpoint: bool = True,
) -> None:
    """Write one Parquet file per layer into ``folder``, whole or not at all, then the manifest that lists them.

    Rows are in the order in which the model saw the chunks (by length), the same in every layer. Last of all, a
    checkpoint that came from the hub is removed from the cache, unless it is kept.

    Parameters
    ----------
    checkpoint, config, chunks, tokenizer, tokenizer_listing : Path
        The checkpoint's listing and config.json, the corpus' chunks, and the tokenizer.json with its listing.
    folder, manifest : Path
        Outputs.
    device, dtype, max_memory, trust_remote_code
        Where the model runs and in what; see ``LayerModel``.
    batch_tokens : int, optional
        Tokens of a forward pass; by default as many as fit.
    cache_dir : str
        Where files from the hub lie.
    threads : int
        Threads that compute, and that write.
    gpu : int
        GPUs to claim for this job; see ``claim_gpus``.
    keep_checkpoint : bool
        Whether files from the hub stay in the cache.

    Raises
    ------
    ValueError
        If the checkpoint's files are not those that were listed, a state is NaN or infinite, a single chunk does not
        fit into memory, or too few GPUs are free.
    """
    claim_gpus(gpu)
    import torch

    torch.set_num_threads(threads)
    source = {"cache_dir": cache_dir, "trust_remote_code": trust_remote_code}
    with open_model(checkpoint, device=device, dtype=dtype, max_memory=max_memory, **source) as model:
        sequences = read_sequences(chunks, tokenizer, max_length=model.max_length, vocab_rows=model.vocab_rows)
        passes = ForwardPasses(model, batch_tokens or fitting_batch_tokens(model, sequences))
        facts = {
            "inputs": [checkpoint, chunks, tokenizer_listing],
            "settings": _settings(checkpoint, chunks, model, threads, passes.batch_tokens),
            "origin": {"tokenizer_sha256": file_sha256(tokenizer)},
        }
        with atomic_folder(folder) as temporary:
            context_free = write_layers(passes, sequences, temporary, facts, threads)
            rows = manifest_rows(temporary, context_free, threads)
    write_table(manifest, pa.Table.from_pylist(rows, schema=MANIFEST), MANIFEST, **facts)
    if not keep_checkpoint:
        remove_checkpoint(checkpoint, cache_dir)


def _settings(checkpoint: Path, chunks: Path, model: LayerModel, threads: int, batch_tokens: int) -> dict[str, Any]:
    return {
        "kind": model.kind,
        "dtype": model.dtype,
        "device": model.device,
        "threads": threads,
        "batch_tokens": batch_tokens,
        "model_id": provenance.read(checkpoint)["origin"]["model_id"],
        "revision": provenance.read(checkpoint)["settings"]["revision"],
        "chunks": provenance.read(chunks)["settings"],
    }


if __name__ == "__main__":
    run_job(snakemake, dump_hidden_states)
