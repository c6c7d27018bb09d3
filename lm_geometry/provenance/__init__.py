"""What made a file: sources, settings, code and versions, kept in the file itself.

``python -m lm_geometry.provenance FILE`` prints it. Nothing in it depends on the clock or the machine, so that the same
run writes the same bytes; for that reason it names no git commit either, but the digest of the code that ran.
"""

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lm_geometry.version import __version__

NAME = "lm_geometry"
"""What the facts are called in a file's own metadata."""

LIBRARIES = (
    "numpy", "scipy", "pyarrow", "torch", "transformers", "tokenizers", "safetensors", "mteb", "pytrec-eval-terrier",
    "mwparserfromhell", "matplotlib",
)  # fmt: skip

# Where something lies is no setting: it shapes no value, and is nobody else's business.
_PLACES = {"folder"}

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
    """Return the provenance of a file made from ``inputs``, whose origins and lineage are inherited.

    Where several inputs differ in a fact (a table over many models), all its values are kept, sorted. The lineage names
    every rule on the way to the inputs, with the digest of its code, the settings that all its files share, and the
    versions that were others than this file's: an upgrade re-runs nothing, so that old results stand beside new ones.
    """
    read_inputs = [read(path) for path in inputs]
    versions = {"python": platform.python_version(), **_library_versions()}
    return {
        "lm_geometry": __version__,
        **_job,
        "origin": _merged([*(facts["origin"] for facts in read_inputs), dict(origin or {})]),
        "settings": dict(settings or {}),
        "versions": versions,
        "lineage": _lineage(read_inputs, {"lm_geometry": __version__, **versions}),
    }


def _lineage(inputs: Iterable[Mapping[str, Any]], versions: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the rules that made the inputs and all before them."""
    steps: dict[str, list[dict[str, Any]]] = {}
    for facts in inputs:
        own = {"lm_geometry": facts["lm_geometry"], **facts["versions"]}
        if "rule" in facts:
            steps.setdefault(facts["rule"], []).append({**facts, "versions": own})
        for rule, step in facts.get("lineage", {}).items():
            steps.setdefault(rule, []).append({**step, "versions": {**own, **step["versions"]}})
    return {rule: _one_step(found, versions) for rule, found in sorted(steps.items())}


def _one_step(files: Sequence[Mapping[str, Any]], versions: Mapping[str, str]) -> dict[str, Any]:
    made_with = _merged([facts["versions"] for facts in files])
    shared = _shared([facts["settings"] for facts in files])
    return {
        **_merged([{"code": facts["code"]} for facts in files]),
        "settings": {key: value for key, value in shared.items() if key not in _PLACES},
        "versions": {name: found for name, found in made_with.items() if found != versions.get(name)},
    }


def _merged(facts: Iterable[Mapping[str, str | list[str]]]) -> dict[str, str | list[str]]:
    """Return each fact's value, or all its values, sorted, where there are several."""
    values: dict[str, set[str]] = {}
    for source in facts:
        for key, value in source.items():
            values.setdefault(key, set()).update([value] if isinstance(value, str) else value)
    return {key: min(found) if len(found) == 1 else sorted(found) for key, found in sorted(values.items())}


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
    return _shared([read(path)["settings"] for path in paths])


def _shared(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, *others = settings
    return {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}


def to_metadata(facts: Mapping[str, Any], other: Mapping[bytes, bytes] | None = None) -> dict[bytes, bytes]:
    """Return Parquet key-value metadata that holds ``facts`` beside what the schema already had."""
    return {**(other or {}), NAME.encode(): to_json(facts).encode()}


def to_json(facts: Mapping[str, Any]) -> str:
    """Return the facts as one line of ASCII, the same for the same facts."""
    return json.dumps(facts, sort_keys=True)


def read(path: Path) -> dict[str, Any]:
    """Return the provenance of a Parquet file; for files of any kind see ``finding.find``.

    Raises
    ------
    ValueError
        If the file is no Parquet file or carries no provenance.
    """
    try:
        found = (pq.read_schema(path).metadata or {}).get(NAME.encode())
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a readable Parquet file ({error})") from error
    if found is None:
        raise ValueError(f"{path}: carries no provenance; it was not written by lm-geometry")
    return json.loads(found)
