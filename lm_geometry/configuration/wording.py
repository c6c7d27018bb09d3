"""How an error in the config is said: one line, ``key: value: fix``."""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jsonschema

from lm_geometry.configuration.schema import flow, load_schema

# JSON Schema's types in a user's words.
TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "keys with values",
}
_LONGEST_VALUE = 80

_Path = list[str | int]


def say(path: Iterable[str | int], value: Any, fix: str) -> str:
    """Return the line ``key: value: fix`` for the value at ``path``."""
    return f"{key_of(path)}: {show(value)}: {fix}"


def key_of(path: Iterable[str | int]) -> str:
    """Return a path as a user writes it: ``embedding_scaling.variants[2]``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "config"


def on_one_line(text: str) -> str:
    """Return ``text`` with line breaks and all else that does not print as escapes."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def show(value: Any) -> str:
    """Return a value as it stands in YAML, or nearly so, on one line and short."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(dict(value) if isinstance(value, dict) else value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def did_you_mean(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """Return ``"did you mean 'x'?"`` for the known name nearest to ``name``, or nothing if none is near."""
    by_folded_case = {item.casefold(): item for item in known}
    near = difflib.get_close_matches(name.casefold(), by_folded_case, n=1, cutoff=0.6)
    return f"did you mean '{prefix}{by_folded_case[near[0]]}'?" if near else ""


def choices(known: Iterable[str]) -> str:
    """Return ``"a, b or c"``, at most a dozen of them."""
    names = [str(name) for name in known]
    if len(names) > 12:
        return f"{', '.join(names[:12])} or one of {len(names) - 12} more"
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def translate(error: jsonschema.ValidationError) -> Iterator[str]:
    """Yield our lines for one error that jsonschema found in a config."""
    yield from _WORDINGS[error.validator](list(error.absolute_path), error)


def _type(path: _Path, error: jsonschema.ValidationError) -> Iterator[str]:
    yield say(path, error.instance, _wrong_type(error))


def _pattern(path: _Path, error: jsonschema.ValidationError) -> Iterator[str]:
    names_a_key = "propertyNames" in error.absolute_schema_path
    yield say([*path, error.instance] if names_a_key else path, error.instance, error.schema["x-fix"])


def _enum(path: _Path, error: jsonschema.ValidationError) -> Iterator[str]:
    yield say(path, error.instance, f"unknown; use {choices(error.validator_value)}")


def _required(path: _Path, error: jsonschema.ValidationError) -> Iterator[str]:
    # jsonschema gives one error per absent key without saying which; all are said each time, and repeats dropped.
    for name in error.validator_value:
        if name not in error.instance:
            example = error.schema["properties"][name].get("examples")
            yield f"{key_of([*path, name])}: not given: add it" + (f", such as {flow(example[0])}" if example else "")


def _additional(path: _Path, error: jsonschema.ValidationError) -> Iterator[str]:
    known = error.schema["properties"]
    for name in error.instance:
        if name not in known:
            yield say([*path, name], error.instance[name], _unknown_key(name, known))


def _unique(path: _Path, error: jsonschema.ValidationError) -> Iterator[str]:
    first: dict[str, int] = {}
    for index, value in enumerate(error.instance):
        other = first.setdefault(repr(value), index)
        if other != index:
            yield say([*path, index], value, f"given twice, first as [{other}]; remove one")


def _long(path: _Path, error: jsonschema.ValidationError) -> Iterator[str]:
    names_a_key = "propertyNames" in error.absolute_schema_path
    fix = f"has {len(error.instance)} characters, and file systems take few; give at most {error.validator_value}"
    yield say([*path, error.instance] if names_a_key else path, error.instance, fix)


def _empty(path: _Path, error: jsonschema.ValidationError) -> Iterator[str]:
    yield say(path, error.instance, "is empty; give at least one")


def _small(path: _Path, error: jsonschema.ValidationError) -> Iterator[str]:
    yield say(path, error.instance, f"too small; give at least {error.validator_value}")


def _large(path: _Path, error: jsonschema.ValidationError) -> Iterator[str]:
    yield say(path, error.instance, f"too large; give at most {error.validator_value}")


# Every word of JSON Schema that the config's schema may use to refuse a value.
_WORDINGS = {
    "type": _type, "pattern": _pattern, "enum": _enum, "required": _required, "additionalProperties": _additional,
    "maxLength": _long, "uniqueItems": _unique, "minItems": _empty, "minProperties": _empty, "minimum": _small,
    "maximum": _large,
}  # fmt: skip


def _wrong_type(error: jsonschema.ValidationError) -> str:
    value, expected = error.instance, error.validator_value
    if value is None:
        return "has no value; give one, or remove the key"
    # Where text must follow a pattern, a number in quotes would be refused as well.
    if "x-fix" in error.schema and (not isinstance(expected, str) or _is_number_for_text(value, error.schema)):
        return error.schema["x-fix"]
    return f"must be {TYPES[expected]}" + _type_hint(value, expected, error.schema)


def _is_number_for_text(value: Any, schema: Mapping[str, Any]) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and "pattern" in schema and not re.fullmatch(schema["pattern"], str(value))


def _type_hint(value: Any, expected: str, schema: Mapping[str, Any]) -> str:
    if expected in ("integer", "number"):
        number = _as_number(value)
        # To YAML 1e-5 is text; 1.0e-5 is a number.
        return "" if number is None else f"; write {flow(round(number) if expected == 'integer' else number)}"
    if expected == "string" and not isinstance(value, (list, dict)):
        return "; write it in quotes"
    if expected == "array" and isinstance(value, (str, int)):
        return f"; write [{value}]"
    if expected == "boolean":
        return ", without quotes" if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no") else ""
    if expected == "object" and "examples" in schema:
        return f", such as {flow(schema['examples'][0])}"
    return ""


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _unknown_key(name: str, known: Iterable[str]) -> str:
    guess = _missing_space(name, known) or did_you_mean(name, known)
    if not guess:
        places = sorted({key_of(path) for path in _paths_of(name, load_schema(), ())})
        guess = f"it belongs to {choices(places)}" if places else f"use {choices(known)}"
    return f"unknown key; {guess}"


def _missing_space(name: str, known: Iterable[str]) -> str:
    """Return the fix for {source:./x}, which YAML takes for a key."""
    key, colon, value = name.partition(":")
    return f"write a space after the colon: {key}: {value}" if colon and key in known else ""


def _paths_of(name: str, schema: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not isinstance(schema, dict):
        return
    for key, below in schema.get("properties", {}).items():
        if key == name:
            yield path
        yield from _paths_of(name, below, (*path, key))
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        yield from _paths_of(name, others, (*path, schema["x-placeholder"]))
