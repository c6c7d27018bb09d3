"""The page's parts as HTML: paragraphs, tables, links; and the words that all its sections share."""

from collections.abc import Iterable
from html import escape
from typing import Any
from urllib.parse import quote

import pandas as pd

from lm_geometry.wording import listing

NAMED_ONE_BY_ONE = 4
"""Up to so many names of a kind are written out."""

CSS = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; font-size: 0.85rem; margin: 1rem 0; }
th, td { text-align: left; padding: 0.2rem 0.7rem 0.2rem 0; border-bottom: 1px solid #e4e4e4; vertical-align: top; }
td { overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
table.heads td { white-space: nowrap; overflow-wrap: normal; }
table.claims td { overflow-wrap: normal; }
table.claims td:nth-child(n+3):nth-child(-n+7) { white-space: nowrap; }
caption { text-align: left; color: #555; padding-bottom: 0.3rem; }
.scroll { overflow-x: auto; }
figure { margin: 2rem 0; max-width: 60rem; }
figure img { max-width: 100%; height: auto; background: white; }
figcaption { font-size: 0.9rem; }
details { margin: 1rem 0; font-size: 0.9rem; }
summary { cursor: pointer; }
"""


def paragraph(text: str, *, strong: bool = False) -> str:
    """Return a text as a paragraph; nothing for an empty text."""
    if not text:
        return ""
    said = escape(text)
    return f"<p><strong>{said}</strong></p>" if strong else f"<p>{said}</p>"


def folded(title: str, lines: Iterable[str]) -> str:
    """Return lines as a list that opens at a click on its title."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<details>\n<summary>{escape(title)}</summary>\n<ul>{items}</ul>\n</details>"


def table(frame: pd.DataFrame, note: str, *, kind: str = "plain") -> str:
    """Return a table with its note as caption; columns of numbers are set to the right."""
    numeric = {name: pd.api.types.is_numeric_dtype(frame[name]) for name in frame.columns}
    head = "".join(_cell("th", name, number=numeric[name]) for name in frame.columns)
    rows = [
        "".join(_cell("td", value, number=numeric[name]) for name, value in zip(frame.columns, row, strict=True))
        for row in frame.itertuples(index=False)
    ]
    return (
        f'<div class="scroll"><table class="{kind}">\n<caption>{escape(note)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(f"<tr>{row}</tr>" for row in rows)
        + "\n</tbody>\n</table></div>"
    )


def _cell(tag: str, value: Any, *, number: bool) -> str:
    if isinstance(value, float):
        value = "none" if pd.isna(value) else f"{value:.2f}"
    kind = ' class="number"' if number else ""
    return f"<{tag}{kind}>{escape(str(value))}</{tag}>"


def url(path: str) -> str:
    """Return a relative path as the value of an HTML attribute."""
    return escape(quote(path), quote=True)


def counted(count: int, what: str = "model") -> str:
    """Return '1 model' or '3 models'."""
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def shortened(names: Iterable[str]) -> str:
    """Return the names in a row, the first of many only."""
    names = list(names)
    if len(names) <= NAMED_ONE_BY_ONE:
        return listing(names)
    return f"{', '.join(names[:NAMED_ONE_BY_ONE])} and {len(names) - NAMED_ONE_BY_ONE} more"


def interval(low: float | None, high: float | None, *, form: str = ".2f") -> str:
    """Return the ends of an interval in words, nothing where there is none."""
    return "" if pd.isna(low) or pd.isna(high) else f"{low:{form}} to {high:{form}}"
