"""The ledger of one model revision: its files with sizes and digests, and the check that they are still the same."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm_geometry import provenance
from lm_geometry.checkpoints.embedding_names import is_embedding_name
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.tables.files import file_sha256, read_table
from lm_geometry.tables.listing import SCHEMA


def listing_table(files: Iterable[ListedFile]) -> pa.Table:
    """Return the files as a table of ``tables.listing``, sorted by path."""
    rows = sorted(files, key=lambda file: file.path)
    return pa.Table.from_pylist([vars(file) for file in rows], schema=SCHEMA)


def read_listing(path: Path) -> list[ListedFile]:
    """Return the files that a listing's Parquet file names."""
    return [ListedFile(**row) for row in read_table(path).to_pylist()]


def read_ledger(listings: Sequence[Path], models: Sequence[Mapping[str, Any]]) -> list[list[ListedFile]]:
    """Return the listed files of several revisions, in their order.

    Parameters
    ----------
    listings : sequence of Path
        One listing per entry of ``models``, in its order.
    models : sequence of mappings
        One entry per model and revision; ``revision`` is read.

    Raises
    ------
    ValueError
        If the listings are not one per entry, or one is of another revision than its entry.
    """
    if len(listings) != len(models):
        raise ValueError(f"{len(models)} models and revisions need as many listings, got {len(listings)}")
    for path, entry in zip(listings, models, strict=True):
        listed = provenance.read(path)["settings"].get("revision")
        if listed != entry["revision"]:
            raise ValueError(f"{path}: lists revision {listed!r}, not {entry['revision']!r}; remove it and run again")
    return [read_listing(path) for path in listings]


def embedding_in(shard_of: Mapping[str, str], tensor: str | None = None) -> dict[str, bool]:
    """Return of each shard whether the token-embedding table lies in it.

    Parameters
    ----------
    shard_of : mapping
        The shard of each tensor, as an index names it.
    tensor : str, optional
        Name of the table; None = any name that an input embedding bears.
    """
    tables = {shard for name, shard in shard_of.items() if (name == tensor if tensor else is_embedding_name(name))}
    return {shard: shard in tables for shard in shard_of.values()}


def mark_weights(files: Iterable[ListedFile], holds_embedding: Mapping[str, bool]) -> list[ListedFile]:
    """Return the files, those that ``holds_embedding`` names marked as the weights that would be read."""
    return [
        replace(file, role="weights", holds_embedding=holds_embedding[file.path])
        if file.path in holds_embedding
        else file
        for file in files
    ]


def weights_read(files: Iterable[ListedFile]) -> list[ListedFile]:
    """Return the weight files of the one format that would be read, as ``mark_weights`` marked them."""
    return [file for file in files if file.holds_embedding is not None]


def listing_digest(files: Iterable[ListedFile]) -> str:
    """Return one sha256 over all paths, sizes and digests: it stands for the commit that a folder lacks."""
    lines = [f"{file.path}\t{file.size}\t{file.sha256}\n" for file in sorted(files, key=lambda file: file.path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def find_listed(files: Sequence[ListedFile], path: str) -> ListedFile:
    """Return the listed file of that path; ValueError if there is none."""
    for file in files:
        if file.path == path:
            return file
    raise ValueError(f"{path} is not among the {len(files)} listed files; remove the listing and run again")


def verify_file(local: Path, listed: ListedFile) -> None:
    """Check that a local file is the one that was listed: size always, sha256 where it is known.

    Raises
    ------
    ValueError
        If the file is absent or differs; both sizes or digests are named.
    """
    if not local.is_file():
        raise ValueError(f"{local}: the file is listed but absent; remove the listing and run again")
    size = local.stat().st_size
    if size != listed.size:
        raise ValueError(f"{local}: {size} bytes, but {listed.size} were listed; remove the listing and run again")
    if listed.sha256 is None:
        return
    digest = file_sha256(local)
    if digest != listed.sha256:
        raise ValueError(
            f"{local}: sha256 {digest[:16]}…, but {listed.sha256[:16]}… was listed; remove the listing and run again"
        )
