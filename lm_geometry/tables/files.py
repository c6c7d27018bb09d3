"""Write a file so that it is either whole or absent, and read tables back."""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from lm_geometry import provenance
from lm_geometry.run_lock import LOCK_NAME
from lm_geometry.tables.schema import conform

# What is being written bears this ending until it is whole; no other program's, for what bears it is removed.
PART_SUFFIX = ".lm-geometry.part"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is renamed to ``path``, on failure it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART_SUFFIX, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files that only their owner reads; results are to be shared like any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file is on the disk: after a power cut one that was renamed before may be empty."""
    with path.open("rb") as written:
        os.fsync(written.fileno())


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``folder``; on success it takes its place, on failure it is removed."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=PART_SUFFIX, dir=folder.parent))
    try:
        yield temporary
        # mkdtemp makes folders that only their owner opens; results are to be shared like any other folder.
        temporary.chmod(folder.parent.stat().st_mode & 0o777)
        for path in temporary.rglob("*"):
            if path.is_file():
                _sync(path)
        if folder.exists():
            # Out of the way in one step: a run that is cut in the middle of removing it leaves no half of it there.
            former = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=PART_SUFFIX, dir=folder.parent))
            folder.replace(former)
            temporary.replace(folder)
            shutil.rmtree(former)
        else:
            temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path) -> int:
    """Remove what killed jobs left half-written under ``folder``, where no job runs; return how many there were.

    In folders below it that had runs of their own, jobs may run: they are left alone.
    """
    leftovers = [path for path in _below(folder) if path.name.startswith(".") and path.name.endswith(PART_SUFFIX)]
    for path in leftovers:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # it may have lain in a folder that is gone
    return len(leftovers)


def set_back_future_times(folder: Path) -> int:
    """Give files that seem to come from the future, as the clock was set back, the present time; return how many did.

    Snakemake takes what a job makes of such a file, and is older, for a failure.
    """
    now = time.time_ns()
    ahead = [path for path in _below(folder) if path.lstat().st_mtime_ns > now]
    for path in ahead:
        os.utime(path, ns=(now, now), follow_symlinks=False)
    return len(ahead)


def _below(folder: Path) -> Iterator[Path]:
    """Yield all that lies below a results folder, but for results folders in it."""
    for path in Path(folder).iterdir():
        if path.is_symlink() or not path.is_dir():
            yield path
        elif not (path / LOCK_NAME).exists():
            yield path
            yield from _below(path)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, read in pieces."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(
    path: Path,
    table: pa.Table,
    schema: pa.Schema,
    *,
    inputs: Sequence[Path] = (),
    settings: Mapping[str, Any] | None = None,
    origin: Mapping[str, str] | None = None,
) -> None:
    """Write ``table`` as Parquet with its provenance; a CSV twin is written by ``write_csv``.

    Parameters
    ----------
    path : Path
        The Parquet file; it appears by an atomic rename.
    table, schema : pa.Table, pa.Schema
        The rows and the schema they must fit (see ``conform``).
    inputs : sequence of Path
        Parquet files this one was made from; their ``origin`` facts are inherited.
    settings : mapping
        The settings that shaped the values (seed, sizes, names).
    origin : mapping
        Facts about the sources: model id, commit, digests of tokenizer and data.
    """
    facts = provenance.describe(inputs=inputs, settings=settings, origin=origin)
    table = conform(table, schema).replace_schema_metadata(provenance.to_metadata(facts, schema.metadata))
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


@contextmanager
def open_table_writer(
    path: Path,
    schema: pa.Schema,
    *,
    inputs: Sequence[Path] = (),
    settings: Mapping[str, Any] | None = None,
    origin: Mapping[str, str] | None = None,
    compress_vectors: bool = True,
) -> Iterator[pq.ParquetWriter]:
    """Yield a Parquet writer for a table that is too large to hold; same arguments as ``write_table``, and one more.

    Parameters
    ----------
    path, schema, inputs, settings, origin
        As in ``write_table``.
    compress_vectors : bool
        Whether columns of vectors are byte-stream-split before zstd, which halves bfloat16-precision vectors on disk.
        It spares only a fifth where the values fill float32, as means do, and takes twice the time to write and read.
    """
    facts = provenance.describe(inputs=inputs, settings=settings, origin=origin)
    schema = schema.with_metadata(provenance.to_metadata(facts, schema.metadata))
    vectors = [f"{field.name}.list.element" for field in schema if pa.types.is_fixed_size_list(field.type)]
    plain = [field.name for field in schema if not pa.types.is_fixed_size_list(field.type)]
    compression = dict.fromkeys(plain, "zstd") | dict.fromkeys(vectors, "zstd" if compress_vectors else "none")
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression=compression,
            use_dictionary=plain,
            use_byte_stream_split=vectors if compress_vectors else False,
        ) as writer,
    ):
        yield writer


def write_csv(path: Path, table: pa.Table) -> None:
    """Write ``table`` as CSV beside its Parquet twin; list columns are not allowed."""
    with atomic_path(path) as temporary:
        pyarrow.csv.write_csv(table, temporary)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet table that this project wrote.

    Raises
    ------
    ValueError
        If the file is no Parquet file; the message names it and says to remove it, so that it is made again.
    """
    try:
        return pq.read_table(path, columns=None if columns is None else list(columns))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a readable Parquet file ({error}); remove it and run again") from error
