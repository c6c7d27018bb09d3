"""The config's schema: where it lies, and the defaults it states."""

import copy
import re
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from lm_geometry.configuration.revision_patterns import expand_revisions

# The workflow and its library travel together; the schema lies where workflow authors look for it.
SCHEMA_FILE = Path(__file__).resolve().parents[2] / "schemas" / "config.schema.yaml"


@cache
def load_schema() -> dict[str, Any]:
    """Return the config's JSON Schema. It is shared: do not change it."""
    return yaml.safe_load(SCHEMA_FILE.read_text(encoding="utf-8"))


def with_defaults(config: dict[str, Any], *, tidy_paths: bool = True) -> dict[str, Any]:
    """Return a copy of ``config`` in which every key that the schema has a default for is there.

    A study that is left out stays out, as do the random tokenizer baselines and a model's ``tokenizer``. Values of a
    wrong type are copied as they are.

    Parameters
    ----------
    config : dict
        A config as it was read; it is not changed.
    tidy_paths : bool
        Replace ``~`` and drop ``./`` and trailing slashes in the paths that become Snakemake's, which knows no home
        folder and warns of the others.
    """
    return _filled(config, load_schema(), tidy_paths)


def expanded(path: str) -> Path:
    """Return ``path`` with ``~`` replaced, unless it names a user whom this machine does not know."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _filled(value: Any, schema: dict[str, Any], tidy_paths: bool) -> Any:
    if tidy_paths and schema.get("x-path") and isinstance(value, str):
        return str(expanded(value))
    if schema.get("x-expand") and isinstance(value, list):
        return list(dict.fromkeys(chain.from_iterable(map(_revisions, value))))
    if not isinstance(value, dict) or not schema:
        return copy.deepcopy(value)
    known = schema.get("properties", {})
    others = schema.get("additionalProperties") or {}
    defaults = {name: key["default"] for name, key in known.items() if "default" in key and name not in value}
    return {name: _filled(item, known.get(name, others), tidy_paths) for name, item in {**value, **defaults}.items()}


def _revisions(value: Any) -> list[Any]:
    """Return the revisions that an entry stands for; one that cannot be expanded, which is an error, as it is."""
    try:
        return expand_revisions(value) if isinstance(value, str) else [str(value)]
    except ValueError:
        return [value]


def flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
    return re.sub(r"e([+-])0+", r"e\1", text.removesuffix("...\n").strip())
