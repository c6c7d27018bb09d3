"""The ledger of one model revision: its files with sizes and digests, and the check that they are still the same."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

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
