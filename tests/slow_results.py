"""The page of the docs that holds the last result of every slow test; ``make test-all`` brings it up to date."""

import datetime
import os
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

HEAD = """# Slow tests: their last results

What takes too long for every change runs under `make test-all`, which writes this page: a line for each slow test, from
its last run. A test that failed or was skipped says so here.

| test | result | what was seen | time | when and where |
|---|---|---|---|---|
"""
_ROW = re.compile(r"^\| `(?P<test>[^`]+)` \| .* \|$", flags=re.MULTILINE)


@dataclass(frozen=True)
class Result:
    """One slow test's result: ``outcome`` is passed, failed or skipped, ``shown`` the figures that it recorded."""

    test: str
    outcome: str
    shown: str
    seconds: float

    def row(self, where: str) -> str:
        """Return the line of the page."""
        minutes, seconds = divmod(round(self.seconds), 60)
        shown = " ".join(self.shown.split()).replace("|", "/")
        return f"| `{self.test}` | {self.outcome} | {shown} | {minutes}:{seconds:02} | {where} |"


def where_and_when() -> str:
    """Return today's date and this machine's size, in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return f"{today}, {cores} cores, {memory:.0f} GB, Python {platform.python_version()}"


def update(page: Path, results: Iterable[Result]) -> None:
    """Write the results into the page; lines of tests that did not run stay."""
    rows = _rows(page.read_text(encoding="utf-8")) if page.exists() else {}
    rows |= {result.test: result.row(where_and_when()) for result in results}
    page.write_text(HEAD + "".join(f"{rows[test]}\n" for test in sorted(rows)), encoding="utf-8")


def _rows(text: str) -> Mapping[str, str]:
    return {found["test"]: found.group() for found in _ROW.finditer(text)}
