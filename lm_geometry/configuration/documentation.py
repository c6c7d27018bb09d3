"""The reference of all config keys, docs/config.md, made from the schema.

``python -m lm_geometry.configuration.documentation > docs/config.md`` writes it anew.
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from lm_geometry.configuration.schema import flow, load_schema
from lm_geometry.configuration.wording import TYPES

COMMAND = "python -m lm_geometry.configuration.documentation > docs/config.md"
_HEAD = f"""\
<!-- Made from schemas/config.schema.yaml by `{COMMAND}`; edit the schema, not this page. -->
# The config, key by key

{{description}}

Every error is found before a job starts: all of them, one line each, as `key: value: fix`. A key that is not listed
here is an error, and so is a key given twice. A number with an exponent needs a point and a sign, as in 1.0e-5; YAML
reads 1e-5 as text.
"""


def render() -> str:
    """Return the page as Markdown."""
    schema = load_schema()
    return "\n".join([_HEAD.format(description=schema["description"].strip()), *_sections(schema, ())])


def _sections(schema: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for name, key in schema.get("properties", {}).items():
        yield from _section((*path, name), key, required=name in schema.get("required", ()))
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        yield from _section((*path, schema["x-placeholder"]), others, required=False)


def _section(path: tuple[str, ...], key: Mapping[str, Any], *, required: bool) -> Iterator[str]:
    yield f"{'#' * min(len(path) + 1, 4)} `{'.'.join(path)}`\n"
    yield " · ".join([_kind(key), *_limits(key), *_default(key, required)]) + "\n"
    yield key["description"].strip() + "\n"
    for example in key.get("examples", ()):
        yield f"    {path[-1]}: {flow(example)}\n"
    yield from _sections(key, path)


def _kind(key: Mapping[str, Any]) -> str:
    if "enum" in key:
        return "one of " + ", ".join(f"`{value}`" for value in key["enum"])
    types = [key["type"]] if isinstance(key["type"], str) else key["type"]
    kind = " or ".join(TYPES[name] for name in types)
    if "items" not in key:
        return kind
    items = key["items"]
    if "enum" in items:
        return f"{kind} out of " + ", ".join(f"`{value}`" for value in items["enum"])
    return f"{kind} of {TYPES[items['type']].removeprefix('a ')}s"


def _limits(key: Mapping[str, Any]) -> Iterator[str]:
    limited = key.get("items", key)
    if "minimum" in limited:
        yield f"at least {flow(limited['minimum'])}"
    if "maximum" in limited:
        yield f"at most {flow(limited['maximum'])}"


def _default(key: Mapping[str, Any], required: bool) -> Iterator[str]:
    if required:
        yield "**required**"
    elif "default" in key:
        yield f"default `{flow(key['default'])}`"
    elif "x-default-text" in key:
        yield f"default: {key['x-default-text']}"


if __name__ == "__main__":
    sys.stdout.write(render())
