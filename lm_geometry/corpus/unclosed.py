"""Openings of wikitext that nothing closes, found in one pass.

The parser reads an opening up to the end of the page before it takes it for text, and then all behind it again: the
time is quadratic in their number, and exponential where brackets of addresses stand within each other. Hundreds of them
stand in pages that are damaged, or made to keep a parser busy.
"""

import re
from collections import defaultdict

from mwparserfromhell.definitions import URI_SCHEMES, is_single

_TOKEN = re.compile(
    rf"(?P<address>\[\[?(?=(?:{'|'.join(URI_SCHEMES)}):|//))"
    r"|(?P<open>\{\{+|\[\[|\{\||<!--)"
    r"|<(?P<tag>[a-z][a-z0-9]*)\b(?:(?P<attributes>[^<>]*)>)?"
    r"|</(?P<end>[a-z][a-z0-9]*)\s*>"
    r"|(?P<close>\}\}+|\]\]?|^[ \t]*\|\}(?!\})|-->)",
    re.IGNORECASE | re.MULTILINE,
)
_OPENED_BY = {"]": "[", "]]": "[[", "|}": "{|", "-->": "<!--"}
_TEMPLATE, _ADDRESS = "{{", "["


def unclosed_openings(wikitext: str) -> list[tuple[int, int]]:
    """Return where openings without an end of their kind begin and end, in order.

    Of templates, links, tables, comments and HTML tags, but for tags that need no end (``<li>``). The bracket of an
    address is one if another address' bracket opens before it is closed.
    """
    opened = _Openings()
    for token in _TOKEN.finditer(wikitext):
        if token["address"]:
            opened.add_address(*token.span())
        elif token["open"]:
            opened.add(token["open"], *token.span())
        elif token["end"]:
            opened.close(f"<{token['end'].lower()}")
        elif token["close"]:
            opened.close_markup(token["close"].strip())
        elif token["attributes"] is None:
            opened.never_closed(*token.span())
        elif not token["attributes"].endswith("/") and not is_single(token["tag"]):
            opened.add(f"<{token['tag'].lower()}", *token.span())
    return opened.left()


class _Openings:
    """What is open at some place of a page, by kind."""

    def __init__(self) -> None:
        self._open: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._never: list[tuple[int, int]] = []

    def add(self, kind: str, start: int, end: int) -> None:
        """Note an opening."""
        self._open[_TEMPLATE if kind.startswith(_TEMPLATE) else kind].append((start, end))

    def add_address(self, start: int, end: int) -> None:
        """Note the opening bracket of an address; one that is open already begins no link any more."""
        self._never += self._open.pop(_ADDRESS, [])
        self.add(_ADDRESS, start, end)

    def never_closed(self, start: int, end: int) -> None:
        """Note an opening that no later token can close: a tag without its angle bracket."""
        self._never.append((start, end))

    def close(self, kind: str) -> None:
        """Close the last opening of a kind, if there is one."""
        if found := self._open[kind]:
            found.pop()

    def close_markup(self, mark: str) -> None:
        """Close what a closing mark of wikitext stands for."""
        if mark.startswith("}}"):
            self._close_braces(len(mark))
        elif self._open[_OPENED_BY[mark]]:
            self.close(_OPENED_BY[mark])
        elif mark == "]]":
            self.close(_ADDRESS)

    def _close_braces(self, count: int) -> None:
        # Three opening braces may be closed by two, or by three: whatever is left of a pair is text.
        found = self._open[_TEMPLATE]
        while count >= 2 and found:
            start, end = found.pop()
            matched = min(count, end - start)
            count -= matched
            if end - matched - start >= 2:
                found.append((start, end - matched))

    def left(self) -> list[tuple[int, int]]:
        """Return all that is open still, in order."""
        return sorted(self._never + [span for spans in self._open.values() for span in spans])
