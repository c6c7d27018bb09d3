"""The files of another format that a rule wrote: who asks what made one of them is told by the table beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm_geometry.tables.files import file_sha256, write_table
from lm_geometry.tables.schema import column

SCHEMA = pa.schema(
    [
        column("path", pa.string(), "path of the file from the folder that this table lies in, '/' between parts"),
        column("size", pa.int64(), "size of the file", unit="bytes"),
        column("sha256", pa.string(), "digest of the file"),
    ]
)


def write_listing(
    listing: Path,
    files: Sequence[Path],
    *,
    inputs: Sequence[Path] = (),
    settings: Mapping[str, Any] | None = None,
    origin: Mapping[str, str] | None = None,
) -> None:
    """List ``files``, which lie in the folder of ``listing`` or below it; other arguments as for ``write_table``."""
    rows = [
        {
            "path": path.relative_to(listing.parent).as_posix(),
            "size": path.stat().st_size,
            "sha256": file_sha256(path),
        }
        for path in files
    ]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    write_table(listing, table, SCHEMA, inputs=inputs, settings=settings, origin=origin)
