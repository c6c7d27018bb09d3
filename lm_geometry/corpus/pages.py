"""How a cleaned corpus lies in a text file: pages with a form feed line between them."""

import re
from codecs import IncrementalDecoder, getincrementaldecoder
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, TextIO

_BLOCK = 1 << 20
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
        first, *others = _split_at_form_feeds(iter(partial(file.read, _BLOCK), ""))
    # A page break is a form feed and the line feed behind it.
    pages = [first, *(page.removeprefix("\n") for page in others)]
    return [page.removesuffix("\n") for page in pages] if first or others else []


def remove_control_characters(text: str) -> str:
    """Return ``text`` without control characters other than tab and line feed."""
    return _CONTROL.sub("", text)


def plain_pages(stream: BinaryIO) -> Iterator[str]:
    """Yield the pages of a plain text, which form feeds separate; empty ones are left out. One page is held at a time.

    Raises
    ------
    ValueError
        If the data hold a NUL byte (binary data, or UTF-16) or are not UTF-8; the message names the byte offset.
    """
    for page in _split_at_form_feeds(_decoded(stream)):
        cleaned = remove_control_characters(page).strip()  # of a Windows line end, the carriage return
        if cleaned:
            yield cleaned


def _split_at_form_feeds(texts: Iterable[str]) -> Iterator[str]:
    """Yield the pieces between form feeds of the text that ``texts`` are parts of; one is held at a time."""
    pending: list[str] = []
    for text in texts:
        first, *others = text.split("\f")
        pending.append(first)
        for other in others:
            yield "".join(pending)
            pending = [other]
    yield "".join(pending)


def _decoded(stream: BinaryIO) -> Iterator[str]:
    decoder = getincrementaldecoder("utf-8")()
    offset = 0
    while block := stream.read(_BLOCK):
        nul = block.find(b"\0")
        if nul >= 0:
            raise ValueError(
                f"a NUL byte at offset {offset + nul}: binary data or UTF-16, not text; give UTF-8 text or an XML dump"
            )
        text = _decode(decoder, block, offset)
        yield text if offset else text.removeprefix("\ufeff")
        offset += len(block)
    _decode(decoder, b"", offset, final=True)


def _decode(decoder: IncrementalDecoder, block: bytes, offset: int, *, final: bool = False) -> str:
    held_back, _ = decoder.getstate()  # the beginning of a character that the block before cut in two
    try:
        return decoder.decode(block, final)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not UTF-8: byte 0x{error.object[error.start]:02x} at offset {offset - len(held_back) + error.start} "
            f"({error.reason}); convert it, as by iconv -t UTF-8"
        ) from error
