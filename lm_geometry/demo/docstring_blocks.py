"""Docstrings and topics taken apart: paragraphs, headings, list items and code."""

import re
from collections.abc import Iterator
from typing import NamedTuple

PARAGRAPH = "paragraph"
HEADING = "heading"
ITEM = "item"
CODE = "code"

_UNDERLINE = re.compile(r"[=*~^\"'`#-]{3,}")
_BULLET = re.compile(r"\s*[-*+]\s+(?=\S)")
# An interpreter's or a shell's prompt, or the edge of a drawing.
_EXAMPLE = re.compile(r"\s*((>>>|\.\.\.|\$)(\s|$)|\||\+--)")
# What tells an indented example from an indented paragraph: signs of code, and few lines with words in a row.
_CODE_SIGN = re.compile(r"::=|[=!<>+-]=|[{}\[\]\\|]|\w\(|^\s*(def|class|import|from|for|if|with|return) |\w = ")
_WORDS_IN_A_ROW = re.compile(r"\b[A-Za-z]+ [a-z]+ [a-z]+\b")


class Block(NamedTuple):
    """A piece of a text; lines of prose are joined, lines of code are kept."""

    kind: str
    text: str


def split_blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a text in their order; blank lines part them."""
    for chunk in re.split(r"\n\s*\n", text.strip("\n")):
        lines = chunk.split("\n")
        if _is_code(lines):
            yield Block(CODE, chunk)
        elif len(lines) > 1 and _UNDERLINE.fullmatch(lines[1].strip()):
            yield Block(HEADING, lines[0].strip())
            yield from _paragraphs(lines[2:])
        else:
            yield from _paragraphs(lines)


def _paragraphs(lines: list[str]) -> Iterator[Block]:
    kind, words = PARAGRAPH, []
    for line in lines:
        bullet = _BULLET.match(line)
        if bullet:
            yield from _block(kind, words)
            kind, words, line = ITEM, [], line[bullet.end() :]
        words += line.split()
    yield from _block(kind, words)


def _block(kind: str, words: list[str]) -> Iterator[Block]:
    # A line of dots or dashes is drawing, not prose.
    if any(character.isalnum() for word in words for character in word):
        yield Block(kind, " ".join(words))


def _is_code(lines: list[str]) -> bool:
    if any(_EXAMPLE.match(line) for line in lines):
        return True
    if not all(line.startswith("   ") for line in lines) or _BULLET.match(lines[0]):
        return False
    n_prose = sum(bool(_WORDS_IN_A_ROW.search(line)) for line in lines)
    return n_prose * 2 < len(lines) and any(_CODE_SIGN.search(line) for line in lines)
