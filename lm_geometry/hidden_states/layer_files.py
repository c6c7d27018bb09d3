"""One Parquet file per layer, written in the background while the model runs."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from lm_geometry.hidden_states.context_free import ContextFree
from lm_geometry.hidden_states.layer_model import LayerKey
from lm_geometry.hidden_states.passes import ForwardPasses, Pass
from lm_geometry.hidden_states.sequences import TokenSequence
from lm_geometry.tables.files import file_sha256, open_table_writer
from lm_geometry.tables.hidden_states import layer_schema
from lm_geometry.tables.schema import vector_array


def write_layers(
    passes: ForwardPasses, sequences: Sequence[TokenSequence], folder: Path, facts: Mapping[str, Any], threads: int
) -> ContextFree:
    """Write all layers' files; return for each layer whether its vectors depend on their tokens only.

    Parameters
    ----------
    passes : ForwardPasses
        Runs the model.
    sequences : sequence of TokenSequence
        The tokens of all chunks.
    folder, facts, threads
        As of ``open_layer_files``.
    """
    context_free = ContextFree()
    with (
        open_layer_files(folder, facts, threads) as layers,
        tqdm(total=len(sequences), unit="chunk", mininterval=5) as progress,
    ):
        for passed in passes.over(sequences):
            context_free.add(passed)
            layers.write(passed)
            progress.update(len(passed.batch))
    return context_free


class LayerFiles:
    """The files of all layers while they are written; made by ``open_layer_files``."""

    def __init__(self, folder: Path, facts: Mapping[str, Any], files: ExitStack, pool: ThreadPoolExecutor) -> None:
        self._folder = folder
        self._facts = facts
        self._files = files
        self._pool = pool
        self._writers: dict[LayerKey, pq.ParquetWriter] = {}
        self._pending: list[Future] = []

    def write(self, passed: Pass) -> None:
        """Hand a pass over, to be written while the next one runs.

        No more than one pass waits, so that memory holds the states of two.

        Raises
        ------
        OSError
            If the pass before this one could not be written.
        """
        tokens = _token_columns(passed.batch)
        values = {key: states.cpu().numpy() for key, states in passed.states.items()}
        self.wait()
        for key in values.keys() - self._writers.keys():
            schema = layer_schema(values[key].shape[2])
            writer = open_table_writer(self._folder / file_name(key), schema, **self._facts)
            self._writers[key] = self._files.enter_context(writer)
        self._pending = [self._pool.submit(self._write, key, tokens, states) for key, states in values.items()]

    def wait(self) -> None:
        """Wait for what was handed over; an error of its writing is raised here."""
        pending, self._pending = self._pending, []
        for job in pending:
            job.result()

    def _write(self, key: LayerKey, tokens: Sequence[pa.Array], values: np.ndarray) -> None:
        width = values.shape[2]
        columns = [*tokens, vector_array(values.reshape(-1, width))]
        self._writers[key].write_table(pa.table(columns, schema=layer_schema(width)))


@contextmanager
def open_layer_files(folder: Path, facts: Mapping[str, Any], threads: int) -> Iterator[LayerFiles]:
    """Yield the files of all layers to write to; each is whole or absent.

    Parameters
    ----------
    folder : Path
        Where they go.
    facts : mapping
        Their provenance: inputs, settings and origin, as ``open_table_writer`` takes them.
    threads : int
        Threads that write, each one layer at a time.
    """
    with ExitStack() as files, ThreadPoolExecutor(threads, thread_name_prefix="layer-files") as pool:
        layers = LayerFiles(folder, facts, files, pool)
        yield layers
        layers.wait()


def manifest_rows(folder: Path, context_free: Mapping[LayerKey, bool], threads: int) -> list[dict[str, Any]]:
    """Return what a dump's manifest says of its files, in the order of layers.

    Parameters
    ----------
    folder : Path
        Where the files lie.
    context_free : mapping
        For every layer whether its vectors depend on their tokens only.
    threads : int
        Files that are hashed at a time.
    """
    keys = sorted(context_free)
    with ThreadPoolExecutor(threads) as pool:
        digests = pool.map(file_sha256, [folder / file_name(key) for key in keys])
        return [
            {**_size(folder / file_name(key)), **key._asdict(), "context_free": context_free[key], "sha256": digest}
            for key, digest in zip(keys, digests, strict=True)
        ]


def file_name(key: LayerKey) -> str:
    """Return the name of a layer's file."""
    return f"{key.stack}_{key.layer:03d}{'_after_final_norm' if key.after_final_norm else ''}.parquet"


def _size(path: Path) -> dict[str, Any]:
    with pq.ParquetFile(path) as file:
        width = file.schema_arrow.field("vector").type.list_size
        return {"file": path.name, "n_rows": file.metadata.num_rows, "width": width, "size": path.stat().st_size}


def _token_columns(batch: Sequence[TokenSequence]) -> list[pa.Array]:
    """Return the columns that are alike in every layer: chunk, position, token id, special."""
    length = len(batch[0].ids)
    return [
        pa.array(np.repeat(np.array([sequence.chunk for sequence in batch], dtype=np.int32), length)),
        pa.array(np.tile(np.arange(length, dtype=np.int32), len(batch))),
        pa.array(np.concatenate([sequence.ids for sequence in batch])),
        pa.array(np.concatenate([sequence.special for sequence in batch])),
    ]
