"""Provenance inside pictures and pages, each in the place that its format has for such words."""

import json
import re
from collections.abc import Callable, Mapping
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from lm_geometry import provenance

_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
# What matplotlib writes the facts under: a PNG takes any keyword, the other formats have a fixed set.
_KEYWORDS = {"png": provenance.NAME, "svg": "Source", "pdf": "Keywords"}


def picture_metadata(kind: str, facts: Mapping[str, Any]) -> dict[str, str]:
    """Return what ``matplotlib``'s ``savefig`` takes as metadata, for a picture of one kind: png, svg or pdf."""
    return {_KEYWORDS[kind]: provenance.to_json(facts)}


def html_element(facts: Mapping[str, Any]) -> str:
    """Return an element for the head of a page; a browser shows nothing of it."""
    return f'<meta name="{provenance.NAME}" content="{escape(provenance.to_json(facts))}">'


def read_carried(path: Path) -> dict[str, Any] | None:
    """Return the provenance that a file carries in itself; None where it carries none, or its format has no place.

    Raises
    ------
    ValueError
        If the file is not what its ending says.
    """
    if path.suffix == ".parquet":
        return provenance.read(path)
    if path.suffix not in _READERS:
        return None
    try:
        words = _READERS[path.suffix](path)
        return None if words is None else json.loads(words)
    except (UnicodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: what it carries cannot be read ({error})") from error


def _in_png(path: Path) -> str | None:
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.info.get(provenance.NAME)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path}: not a readable PNG file ({error})") from error


def _in_svg(path: Path) -> str | None:
    try:
        found = ElementTree.parse(path).find(f".//{_DUBLIN_CORE}source")
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: not a readable SVG file ({error})") from error
    return None if found is None else _if_ours(found.text)


def _in_pdf(path: Path) -> str | None:
    content = path.read_bytes()
    if not content.startswith(b"%PDF"):
        raise ValueError(f"{path}: not a PDF file")
    # A literal string of the info dictionary, which matplotlib does not compress: brackets and backslashes in it are
    # escaped by a backslash, and all else is ASCII.
    found = re.search(rb"/Keywords \(((?:[^()\\]|\\.)*)\)", content, flags=re.DOTALL)
    return _if_ours(re.sub(r"\\(.)", r"\1", found[1].decode("ascii"))) if found else None


def _in_html(path: Path) -> str | None:
    reader = _PageReader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader.words


class _PageReader(HTMLParser):
    """Finds the element that ``html_element`` wrote."""

    words: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "meta" and ("name", provenance.NAME) in attrs:
            self.words = dict(attrs).get("content")


def _if_ours(words: str | None) -> str | None:
    """Return the words if they are ours: others write other things in the same place."""
    return words if words and words.startswith("{") and f'"{provenance.NAME}"' in words else None


_READERS: dict[str, Callable[[Path], str | None]] = {
    ".png": _in_png,
    ".svg": _in_svg,
    ".pdf": _in_pdf,
    ".html": _in_html,
}
