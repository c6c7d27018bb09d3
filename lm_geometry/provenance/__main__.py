"""Say what made a file of a run: rule, code, sources, settings, versions, and the rules before it."""

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_geometry.provenance.finding import Found, find

_LABEL = 12
_WIDTH = 120
_DIGEST_SHOWN = 12
_VALUES_SHOWN = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what made the files named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m lm_geometry.provenance", description=__doc__)
    parser.add_argument("file", type=Path, nargs="+", help="a table, figure, page or text that lm-geometry wrote")
    parser.add_argument("--json", action="store_true", help="print JSON, with everything in full")
    given = parser.parse_args(arguments)
    code = 0
    for path in given.file:
        try:
            found = find(path)
        except (ValueError, OSError) as error:
            print(error, file=sys.stderr)
            code = 1
            continue
        print(json.dumps(found.facts, indent=2) if given.json else "\n".join([*_lines(path, found), ""]))
    return code


def _lines(path: Path, found: Found) -> Iterator[str]:
    facts = found.facts
    yield str(path)
    if found.teller:
        yield from _entry("told by", found.teller.name)
    yield from _entry("made by", _maker(facts.get("rule", "no rule"), facts.get("code", "")))
    yield from _entry("with", _pairs({"lm-geometry": facts["lm_geometry"], **facts["versions"]}, " "))
    yield from _entries("from", facts["origin"])
    yield from _entries("settings", facts["settings"])
    for label, (rule, step) in zip(_labels("after"), facts.get("lineage", {}).items()):  # noqa: B905 (labels go on)
        words = [_maker(rule, step["code"]), _pairs(step["settings"], " "), _pairs(step["versions"], " ")]
        yield from _entry(label, "; ".join(filter(None, words)))


def _maker(rule: str, code: str | Sequence[str]) -> str:
    digests = ", ".join(digest[:_DIGEST_SHOWN] for digest in ([code] if isinstance(code, str) else code))
    return f"{rule} (code {digests})"


def _entries(label: str, facts: Mapping[str, Any]) -> Iterator[str]:
    for shown, (key, value) in zip(_labels(label), facts.items()):  # noqa: B905
        yield from _entry(shown, f"{key} {_said(value)}")


def _labels(label: str) -> Iterator[str]:
    """Yield a label for the first of several entries, and none for the others."""
    yield label
    while True:
        yield ""


def _entry(label: str, words: str) -> list[str]:
    paragraphs = words.splitlines() or [""]
    first, later = f"  {label:<{_LABEL}}", " " * (_LABEL + 4)
    lines = []
    for number, text in enumerate(paragraphs):
        begin = first if number == 0 else later
        lines += textwrap.wrap(text, _WIDTH, initial_indent=begin, subsequent_indent=later, break_on_hyphens=False)
    return lines


def _pairs(facts: Mapping[str, Any], between: str) -> str:
    return ", ".join(f"{key}{between}{_said(value)}" for key, value in facts.items())


def _said(value: Any) -> str:
    if isinstance(value, list) and len(value) > _VALUES_SHOWN:
        shown = ", ".join(map(_said, value[: _VALUES_SHOWN - 1]))
        return f"{shown} and {len(value) - _VALUES_SHOWN + 1} others"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
