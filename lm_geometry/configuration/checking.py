"""Find everything that is wrong with a config before a job starts."""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema

from lm_geometry.configuration.contradictions import find_contradictions
from lm_geometry.configuration.locations import find_location_errors
from lm_geometry.configuration.names import find_name_errors
from lm_geometry.configuration.reading import ConfigError, parse_config
from lm_geometry.configuration.schema import load_schema, with_defaults
from lm_geometry.configuration.wording import key_of, on_one_line, show, translate


def load_config(path: Path, *, base: Path) -> dict[str, Any]:
    """Read and check a config file; return it with its defaults.

    Raises
    ------
    ConfigError
        With a line for everything that is wrong, keys that are given twice included.
    """
    config, repeated = parse_config(path)
    if lines := [*repeated, *find_errors(config, base=base)]:
        raise ConfigError(lines)
    return with_defaults(config)


def complete_config(config: dict[str, Any], files: Sequence[Path], *, base: Path) -> dict[str, Any]:
    """Check a config that Snakemake has read from ``files``, and perhaps changed by --config; return it with defaults.

    Raises
    ------
    ConfigError
        With a line for everything that is wrong, keys that are given twice in a file included: Snakemake drops those.
    """
    repeated = [line for path in files for line in parse_config(path)[1]]
    if lines := [*repeated, *find_errors(config, base=base)]:
        raise ConfigError(lines)
    return with_defaults(config)


def check_config(config: dict[str, Any], *, base: Path) -> None:
    """Raise ``ConfigError`` with a line for everything that ``find_errors`` finds, if it finds anything."""
    if lines := find_errors(config, base=base):
        raise ConfigError(lines)


def find_errors(config: dict[str, Any], *, base: Path) -> list[str]:
    """Return a line ``key: value: fix`` for everything that is wrong with ``config``; an empty list if it can be run.

    Parameters
    ----------
    config : dict
        The config as it was read, without defaults.
    base : Path
        Folder that relative paths start at: the working directory of the run.
    """
    lines: list[str] = []
    readable = _with_text_keys(config, (), lines)
    for error in _Validator(load_schema()).iter_errors(readable):
        lines += translate(error)
    if isinstance(readable, dict):
        lines += find_contradictions(readable)
        filled = with_defaults(readable, tidy_paths=False)
        lines += [*find_name_errors(filled), *find_location_errors(filled, Path(base))]
    return list(dict.fromkeys(map(on_one_line, lines)))


def _with_text_keys(value: Any, path: tuple[str, ...], lines: list[str]) -> Any:
    """Return a copy less the keys that are no text, each of which becomes a line: YAML reads no: and 7: as such."""
    # An alias inside its own anchor has no bottom; the schema is less deep than this.
    if not isinstance(value, dict) or len(path) > 8:
        return value
    lines += [
        f"{key_of(path)}: {show(name)}: a key must be text; write it in quotes"
        for name in value
        if not isinstance(name, str)
    ]
    return {name: _with_text_keys(item, (*path, name), lines) for name, item in value.items() if isinstance(name, str)}


def _is_integer(_checker: jsonschema.TypeChecker, value: Any) -> bool:
    """Take 512 but neither 512.0, which JSON Schema takes for one, nor true, which Python does."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_checker: jsonschema.TypeChecker, value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole_pattern(
    validator: Any, pattern: str, value: Any, _schema: dict[str, Any]
) -> Iterator[jsonschema.ValidationError]:
    """Match the whole text: names become files, and a search would let a name end in a line break."""
    if validator.is_type(value, "string") and not re.fullmatch(pattern, value):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    validators={"pattern": _whole_pattern},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)
