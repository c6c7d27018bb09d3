"""Pages of a MediaWiki XML dump, read as a stream; a dump cut in mid-page, as enwik8 is, is read up to the cut."""

from collections.abc import Iterator
from typing import BinaryIO
from xml.etree import ElementTree
from xml.parsers import expat

BLOCK = 1 << 20
SNIFFED_BYTES = 16384

_PAGE = b"<page>"
# MediaWiki takes 2 MiB of text by default; what goes on for far longer without an end has lost it.
_LONGEST_TEXT = 16 << 20


def is_dump(head: bytes) -> bool:
    """Tell by a file's first ``SNIFFED_BYTES`` bytes whether it is a MediaWiki XML dump (else it is plain text)."""
    return b"<mediawiki" in head or _PAGE in head


def read_dump(stream: BinaryIO) -> Iterator[str | None]:
    """Yield the wikitext of every page, of its last revision if there are several.

    What stands before the first page (site names, or the end of a page where a slice begins) is skipped.

    Yields
    ------
    str or None
        The wikitext. None once, at the end, if the dump ends inside a page: half a page is dropped, for
        its last words may be half a template or half a link, but it is counted.

    Raises
    ------
    ValueError
        If the XML is broken before its end, or no tag begins or ends in 16 MiB of it; the message says where, counted
        from the first page.
    """
    parser = ElementTree.XMLPullParser(["start", "end"])
    # The dump's own header is replaced: a slice of a dump has none, and a bare tag frees us of the namespace.
    parser.feed(b"<mediawiki>\n")
    root = next(element for _, element in parser.read_events())
    in_page = False
    n_bytes = last_tag = 0
    for block in _from_first_page(stream):
        n_bytes += len(block)
        try:
            parser.feed(block)
            for event, element in parser.read_events():
                last_tag = n_bytes
                if element.tag == "page":
                    in_page = event == "start"
                    if not in_page:
                        yield _last_text(element)
                        root.clear()
        except ElementTree.ParseError as error:
            # One line is our own header's.
            line, column = error.position[0] - 1, error.position[1]
            raise ValueError(
                f"the dump is broken XML: {expat.ErrorString(error.code)} at line {line}, column {column}, "
                "counted from the first <page>; fetch it again, and convert it if it is not UTF-8"
            ) from error
        if n_bytes - last_tag > _LONGEST_TEXT:
            raise ValueError(
                f"the dump is broken XML: no tag within {n_bytes - last_tag:,} bytes, from about {last_tag:,} bytes "
                "behind the first <page>; fetch it again"
            )
    if in_page:
        yield None


def _from_first_page(stream: BinaryIO) -> Iterator[bytes]:
    pending = b""
    while block := stream.read(BLOCK):
        pending += block
        start = pending.find(_PAGE)
        if start >= 0:
            yield pending[start:]
            break
        pending = pending[-len(_PAGE) :]
    while block := stream.read(BLOCK):
        yield block


def _last_text(page: ElementTree.Element) -> str:
    text = ""
    for revision in page.iter("revision"):
        text = revision.findtext("text") or ""
    return text
