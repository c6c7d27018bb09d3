"""Run one model over all chunks and keep the vector of every token at every layer."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from lm_geometry import provenance
from lm_geometry.checkpoints.hub.whole_files import CachedRevision
from lm_geometry.checkpoints.ledger import read_listing, verify_file
from lm_geometry.hidden_states import (
    LayerKey,
    LayerModel,
    TokenSequence,
    depends_on_token_only,
    equal_length_batches,
    non_finite,
    tokenize_chunks,
)
from lm_geometry.job import run_job
from lm_geometry.tables.files import atomic_folder, file_sha256, open_table_writer, read_table, write_table
from lm_geometry.tables.hidden_states import MANIFEST, layer_schema
from lm_geometry.tables.schema import vector_array


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
    threads: int = 1,
    trust_remote_code: bool = False,
    keep_checkpoint: bool = True,
) -> None:
    """Write one Parquet file per layer into ``folder``, whole or not at all, then the manifest that lists them.

    Rows are in the order in which the model saw the chunks (by length), the same in every layer. Last of all, a
    checkpoint that came from the hub is removed from the cache, unless it is kept.

    Raises
    ------
    ValueError
        If the checkpoint's files are not those that were listed, or a state is NaN or infinite.
    """
    import torch

    torch.set_num_threads(threads)
    model = _verified_model(checkpoint, cache_dir, device, trust_remote_code)
    text = read_table(chunks, columns=["chunk", "text"])
    sequences = tokenize_chunks(tokenizer, text["chunk"].to_pylist(), text["text"].to_pylist(), model.max_length)
    _say_what_was_lost(sequences, text.num_rows, model.max_length)
    _refuse_foreign_tokens(sequences, model.vocab_rows, tokenizer)
    facts = {
        "inputs": [checkpoint, chunks, tokenizer_listing],
        "settings": _settings(checkpoint, chunks, model, threads),
        "origin": {"tokenizer_sha256": file_sha256(tokenizer)},
    }
    with atomic_folder(folder) as temporary:
        context_free = _write_layers(model, sequences, temporary, facts)
        rows = [_manifest_row(temporary / _file_name(key), key, context_free) for key in sorted(context_free)]
    write_table(manifest, pa.Table.from_pylist(rows, schema=MANIFEST), MANIFEST, **facts)
    if not keep_checkpoint:
        _remove(checkpoint, cache_dir)


def _verified_model(checkpoint: Path, cache_dir: str, device: str, trust_remote_code: bool) -> LayerModel:
    """Load the model after checking sizes and digests of its files.

    Files from the hub that are not in the cache, since they are not to be kept or another job removed the same commit,
    are fetched; those that were hashed there and not written since are not hashed again.
    """
    files = read_listing(checkpoint)
    cached = _cached(checkpoint, cache_dir)
    with cached.lock() if cached else nullcontext():
        if cached:
            cached.fetch(files)
            folder = cached.folder
        else:
            folder = Path(provenance.read(checkpoint)["settings"]["folder"]).expanduser()
            for file in files:
                verify_file(folder / file.path, file)
        safetensors = any(file.path.endswith(".safetensors") for file in files)
        return LayerModel(
            folder,
            files=[file.path for file in files],
            device=device,
            safetensors=safetensors,
            trust_remote_code=trust_remote_code,
        )


def _cached(checkpoint: Path, cache_dir: str) -> CachedRevision | None:
    """Return the place of a hub checkpoint's files in the cache; None for a folder."""
    facts = provenance.read(checkpoint)
    if facts["settings"]["folder"] is not None:
        return None
    return CachedRevision(facts["origin"]["model_id"], facts["origin"]["commit"], cache_dir)


def _remove(checkpoint: Path, cache_dir: str) -> None:
    """Remove a hub checkpoint's files; what cannot be removed is said, and costs no forward pass."""
    cached = _cached(checkpoint, cache_dir)
    if cached is None:
        return
    try:
        with cached.lock():
            cached.remove(read_listing(checkpoint))
    except (ValueError, OSError) as error:
        logging.getLogger(__name__).warning("the checkpoint was not removed: %s", error)


def _settings(checkpoint: Path, chunks: Path, model: LayerModel, threads: int) -> dict[str, Any]:
    return {
        "kind": model.kind,
        "dtype": "float32",
        "device": model.device,
        "threads": threads,
        "model_id": provenance.read(checkpoint)["origin"]["model_id"],
        "revision": provenance.read(checkpoint)["settings"]["revision"],
        "chunks": provenance.read(chunks)["settings"],
    }


def _say_what_was_lost(sequences: Sequence[TokenSequence], n_chunks: int, max_length: int | None) -> None:
    if not sequences:
        raise ValueError(f"no token in any of {n_chunks} chunks: the corpus is empty")
    truncated = sum(sequence.truncated for sequence in sequences)
    if truncated:
        logging.getLogger(__name__).warning(
            "%d of %d chunks are longer than the model's %d positions and were cut", truncated, n_chunks, max_length
        )
    if len(sequences) < n_chunks:
        logging.getLogger(__name__).warning(
            "%d of %d chunks have no token and were left out", n_chunks - len(sequences), n_chunks
        )


def _refuse_foreign_tokens(sequences: Sequence[TokenSequence], vocab_rows: int, tokenizer: Path) -> None:
    largest = max(int(sequence.ids.max()) for sequence in sequences)
    if largest >= vocab_rows:
        raise ValueError(
            f"the tokenizer {tokenizer} gives token id {largest}, but the model's embedding table has {vocab_rows} "
            "rows: they do not belong together"
        )


def _write_layers(
    model: LayerModel, sequences: Sequence[TokenSequence], folder: Path, facts: Mapping[str, Any]
) -> dict[LayerKey, bool]:
    """Write all layers' files; return for each layer whether its vectors depend on their tokens only."""
    batches = list(equal_length_batches(sequences))
    context_free: dict[LayerKey, bool] = {}
    writers: dict[LayerKey, Any] = {}
    with ExitStack() as stack, tqdm(total=len(sequences), unit="chunk", mininterval=5) as progress:
        for batch in batches:
            ids = np.stack([sequence.ids for sequence in batch])
            for key, states in model.states(ids).items():
                values = states.cpu().numpy()
                context_free[key] = (
                    context_free.get(key, True) and key.layer == 0 and depends_on_token_only(ids, values)
                )
                _refuse_non_finite(values, key, batch)
                schema = layer_schema(values.shape[2])
                if key not in writers:
                    writers[key] = stack.enter_context(open_table_writer(folder / _file_name(key), schema, **facts))
                writers[key].write_table(_rows(batch, values, schema))
            progress.update(len(batch))
    return context_free


def _rows(batch: Sequence[TokenSequence], values: np.ndarray, schema: pa.Schema) -> pa.Table:
    n_sequences, length, width = values.shape
    return pa.table(
        [
            pa.array(np.repeat(np.array([sequence.chunk for sequence in batch], dtype=np.int32), length)),
            pa.array(np.tile(np.arange(length, dtype=np.int32), n_sequences)),
            pa.array(np.concatenate([sequence.ids for sequence in batch])),
            pa.array(np.concatenate([sequence.special for sequence in batch])),
            vector_array(values.reshape(-1, width)),
        ],
        schema=schema,
    )


def _refuse_non_finite(values: np.ndarray, key: LayerKey, batch: Sequence[TokenSequence]) -> None:
    bad = non_finite(values)
    if bad is not None:
        raise ValueError(
            f"{key.stack} layer {key.layer}: a hidden state is NaN or infinite, first at chunk {batch[bad[0]].chunk}, "
            f"position {bad[1]}; the checkpoint is damaged or overflows float32"
        )


def _file_name(key: LayerKey) -> str:
    return f"{key.stack}_{key.layer:03d}{'_after_final_norm' if key.after_final_norm else ''}.parquet"


def _manifest_row(path: Path, key: LayerKey, context_free: Mapping[LayerKey, bool]) -> dict[str, Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        n_rows = file.metadata.num_rows
        width = file.schema_arrow.field("vector").type.list_size
    return {
        "file": path.name,
        **key._asdict(),
        "context_free": context_free[key],
        "n_rows": n_rows,
        "width": width,
        "size": path.stat().st_size,
        "sha256": file_sha256(path),
    }


if __name__ == "__main__":
    run_job(snakemake, dump_hidden_states)
