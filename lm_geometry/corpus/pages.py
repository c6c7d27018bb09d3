"""How a cleaned corpus lies in a text file: pages with a form feed line between them."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

PAGE_BREAK = "\f\n"

# Line feed and tab are text; other control characters are not, and a form feed would break a page in two.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


def write_pages(pages: Iterable[str], output: TextIO) -> None:
    """Write pages one by one, each ended by a line feed, with ``PAGE_BREAK`` between them."""
    for number, page in enumerate(pages):
        output.write((PAGE_BREAK if number else "") + page + "\n")


def read_pages(path: Path) -> list[str]:
    """Read back what ``write_pages`` wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        text = file.read()
    return [page.removesuffix("\n") for page in text.split(PAGE_BREAK)] if text else []


def remove_control_characters(text: str) -> str:
    """Return ``text`` without control characters other than tab and line feed."""
    return _CONTROL.sub("", text)


def plain_pages(data: bytes) -> Iterator[str]:
    """Yield the pages of a plain text, which form feeds separate; empty ones are left out.

    Raises
    ------
    ValueError
        If the data hold a NUL byte (binary data, or UTF-16) or are not UTF-8; the message names the byte offset.
    """
    nul = data.find(b"\0")
    if nul >= 0:
        raise ValueError(f"a NUL byte at offset {nul}: binary data or UTF-16, not text; give UTF-8 text or an XML dump")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        offset = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        raise ValueError(
            f"not UTF-8: byte 0x{data[offset]:02x} at offset {offset} ({error.reason}); "
            "convert it, as by iconv -t UTF-8"
        ) from error
    for page in text.replace("\r\n", "\n").split("\f"):
        cleaned = remove_control_characters(page).strip()
        if cleaned:
            yield cleaned
