"""What made a file: sources, settings, code and versions, kept in the key-value metadata of every Parquet file.

``python -m lm_geometry.provenance FILE`` prints it. Nothing in it depends on the clock or the machine's paths, so that
the same run writes the same bytes.
"""

import argparse
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lm_geometry.version import __version__

KEY = b"lm_geometry"
LIBRARIES = (
    "numpy", "scipy", "pyarrow", "torch", "transformers", "tokenizers", "safetensors", "mteb", "pytrec-eval-terrier",
    "mwparserfromhell",
)  # fmt: skip

# Set once per job by lm_geometry.job, so that every file a rule writes names the rule and the code that made it.
_job: dict[str, str] = {}


def set_job(rule: str, code: str) -> None:
    """Name the rule and the digest of its code for all files written by this process."""
    _job.update(rule=rule, code=code)


def describe(
    *,
    inputs: Sequence[Path] = (),
    settings: Mapping[str, Any] | None = None,
    origin: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the provenance of a file made from ``inputs``, whose own origins are inherited.

    Where several inputs differ in a fact (a table over many models), all its values are kept, sorted.
    """
    values: dict[str, set[str]] = {}
    for source in [*(read(path)["origin"] for path in inputs), dict(origin or {})]:
        for key, value in source.items():
            values.setdefault(key, set()).update([value] if isinstance(value, str) else value)
    return {
        "lm_geometry": __version__,
        **_job,
        "origin": {key: min(found) if len(found) == 1 else sorted(found) for key, found in sorted(values.items())},
        "settings": dict(settings or {}),
        "versions": {"python": platform.python_version(), **_library_versions()},
    }


@cache
def _library_versions() -> dict[str, str]:
    installed = {}
    for name in LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def shared_settings(paths: Sequence[Path]) -> dict[str, Any]:
    """Return the settings that all of these files were made with; those in which they differ are left out."""
    first, *others = (read(path)["settings"] for path in paths)
    return {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}


def to_metadata(facts: Mapping[str, Any], other: Mapping[bytes, bytes] | None = None) -> dict[bytes, bytes]:
    """Return Parquet key-value metadata that holds ``facts`` beside what the schema already had."""
    return {**(other or {}), KEY: json.dumps(facts, sort_keys=True).encode()}


def read(path: Path) -> dict[str, Any]:
    """Return the provenance of a Parquet file.

    Raises
    ------
    ValueError
        If the file is no Parquet file or carries no provenance.
    """
    try:
        found = (pq.read_schema(path).metadata or {}).get(KEY)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a readable Parquet file ({error})") from error
    if found is None:
        raise ValueError(f"{path}: carries no provenance; it was not written by lm-geometry")
    return json.loads(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the provenance of the files named on the command line, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m lm_geometry.provenance", description="Print what made a result.")
    parser.add_argument("file", type=Path, nargs="+", help="a Parquet file written by lm-geometry")
    for path in parser.parse_args(arguments).file:
        try:
            print(json.dumps(read(path), indent=2))
        except (ValueError, OSError) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
