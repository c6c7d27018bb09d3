"""The provenance of any file of a run: its own, or that of the table that the same rule wrote beside it.

CSV, JSON and plain text have no place for it that their readers would leave alone.
"""

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from lm_geometry import provenance
from lm_geometry.provenance.carriers import read_carried

# Which table tells of a file without a place of its own. Where that table lists files, ``listed`` is the file's name in
# it, and its digest must be the listed one; ``original`` is a name that the source may have had no digest of.
_TELLERS = (
    (r"(?P<top>.*/)mteb/results/.+/(?:model_meta\.json|run_settings\.jsonl)", "{top}tables/mteb_results.parquet"),
    (r"(?P<top>.*/)mteb/(?P<listed>results/.+)", "{top}tables/mteb_results.parquet"),
    (r"(?P<top>.*/)embedded/models/(?P<name>[^/]+)/(?P<listed>.+)", "{top}embedded/manifests/{name}.parquet"),
    (r"(?P<top>.*/embedded/(?:collection|tokenizers/[^/]+)/)(?P<listed>.+)", "{top}listing.parquet"),
    (r"(?P<top>.*/corpora/[^/]+/)(?P<listed>raw)", "{top}raw.parquet"),
    (r"(?P<top>.*/embedded/)(?P<listed>dump\.xml)", "{top}dump.parquet"),
    (r"(?P<top>.*/models/.+/)(?P<original>config\.json)", "{top}listing.parquet"),
    (r"(?P<top>.*/tokenizers/.+/)(?:tokenizer|tokenizer_config)\.json", "{top}listing.parquet"),
    (r"(?P<top>.*/)clean\.txt", "{top}statistics.parquet"),
    (r"(?P<stem>.*)\.(?:csv|rst)", "{stem}.parquet"),
)


class Found(NamedTuple):
    """The provenance of a file, and the table that told it; None where the file carries it."""

    facts: dict[str, Any]
    teller: Path | None


def find(path: Path) -> Found:
    """Return the provenance of any file of a run.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If nothing tells what made it, or it is no longer what was written. That is known of CSV files and of those
        whose digests a table lists; no digest is kept of captions, tokenizers, cleaned texts and MTEB's settings.
    """
    if not path.is_file():
        problem = "a folder; name a file in it" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {problem}")
    carried = read_carried(path)
    if carried is not None:
        return Found(_checked(path, carried), None)
    for pattern, template in _TELLERS:
        match = re.fullmatch(pattern, path.absolute().as_posix())
        teller = Path(template.format_map(match.groupdict())) if match else None
        if match and teller and teller.is_file():
            _check_unchanged(path, teller, **match.groupdict())
            return Found(_checked(teller, provenance.read(teller)), teller)
    raise ValueError(f"{path}: carries no provenance, and no table beside it tells what made it")


def _checked(path: Path, facts: Any) -> dict[str, Any]:
    """Return the facts, if they are such as every file of ours carries."""
    needed = {"lm_geometry", "origin", "settings", "versions"}
    if not isinstance(facts, dict) or not needed <= facts.keys():
        raise ValueError(f"{path}: its provenance lacks {', '.join(sorted(needed - set(facts or ())))}; it was edited")
    return facts


def _check_unchanged(
    path: Path, teller: Path, listed: str | None = None, original: str | None = None, **_names: str
) -> None:
    """Refuse a file that is not what was written beside the table."""
    if path.suffix == ".csv":
        written = pa.BufferOutputStream()
        pyarrow.csv.write_csv(pq.read_table(teller), written)
        if path.read_bytes() != written.getvalue().to_pybytes():
            raise ValueError(f"{path}: not what was written, for it differs from {teller.name} beside it")
    elif name := listed or original:
        table = pq.read_table(teller, columns=["path", "sha256"])
        digests = dict(zip(table["path"].to_pylist(), table["sha256"].to_pylist(), strict=True))
        if original and digests.get(name) is None:
            return
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digests.get(name) != digest:
            raise ValueError(f"{path}: not what was written, for {teller} lists {digests.get(name, 'no such file')}")
