"""Wikitext to prose: what a reader of the page would read aloud.

Kept: running text, headings, list items, link labels, quotations. Removed: templates, tables, references, math, code,
images with their captions, galleries, comments, HTML tags, addresses, categories, links to other languages.

The parser is mwparserfromhell with its C tokenizer: on the first 4 MB of enwik8 it reads about 1.5 MB/s and copes with
what people really leave unclosed. Its own ``strip_code`` is not used, because it keeps the text of references, tables
and image captions; a walk over the parsed nodes takes as long and knows what a node is. What the parser gives back as
text because its other half is missing (a lone ``[[``, a ``<small>`` never closed) is removed by expressions.
"""

import html
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Any

import mwparserfromhell
from mwparserfromhell import nodes
from mwparserfromhell.parser import ParserError
from mwparserfromhell.wikicode import Wikicode

from lm_geometry.corpus.pages import remove_control_characters
from lm_geometry.corpus.unclosed import unclosed_openings

# Takes the place of what is removed before the parser reads a page: of the mark it would think that the page ends.
_REMOVED = "<!---->"
# The parser may try all subsets of this many nested openings. 236 of 248 pages of 2006 have none, one has 18.
_MOST_UNCLOSED = 8
# Stands where markup was removed, so that a line that began with markup is not taken for one that begins with a space.
_MARK = "\x00"

_REMOVED_TAGS = frozenset(
    {
        *("ref", "references", "pre", "source", "syntaxhighlight", "code", "templatedata", "style", "script"),
        *("math", "chem", "hiero", "score", "timeline", "graph", "gallery", "imagemap", "mapframe", "inputbox"),
        *("table", "caption", "tr", "td", "th", "includeonly"),
    }
)
_LINE_TAGS = frozenset({"br", "hr", "li", "dt", "dd"})
_PARAGRAPH_TAGS = frozenset({"p", "div", "blockquote", "center"})

_REMOVED_NAMESPACES = frozenset({"image", "file", "media", "category"})
# Codes of two or three letters with regional parts are languages, but for these aliases of project pages.
_LANGUAGE = re.compile(r"(?!(?:wp|mw)$)(?:[a-z]{2,3}(?:-[a-z]+)*|simple|tokipona|nostalgia)")

_REDIRECT = re.compile(r"\s*#\s*redirect\b", re.IGNORECASE)
_HTML_TABLE_TAG = re.compile(r"<table\b|(?P<end></table\s*>)", re.IGNORECASE)
_STRAY = re.compile(
    r"</?(?:ref|references|small|big|sub|sup|span|div|font|center|table|tr|td|th|tbody|caption|cite|blockquote|p|br|hr"
    r"|li|ul|ol|dl|dd|dt|b|i|u|s|em|strong|strike|del|ins|tt|code|pre|nowiki|noinclude|includeonly|onlyinclude|gallery"
    r"|math|abbr|var|kbd|samp|h[1-6])\b[^<>\n]*>"
    r"|<!--|-->|\[\[|\]\]|\{\{+|\}\}+|\{\||~{3,5}"
    # Behaviour switches by name: __init__ in prose about Python is none.
    r"|__(?:(?:NO|FORCE)?TOC|(?:NO)?EDITSECTION|(?:NO)?NEWSECTIONLINK|NOGALLERY|HIDDENCAT|(?:NO)?INDEX|NOTITLECONVERT"
    r"|NOCONTENTCONVERT|STATICREDIRECT|DISAMBIG|START|END)__",
    re.IGNORECASE,
)
_QUOTES = re.compile("'{2,}")
_EMPTY_PAIR = r"(?:\(\s*(?:[,;:/]\s*)*\)|\[\s*\])"
_EMPTY_BRACKETS = re.compile(rf"^(?:{_EMPTY_PAIR} ?)+| {_EMPTY_PAIR}", re.MULTILINE)
_OPENING_BRACKET = re.compile(r"\(\s*(?:[,;:]\s*)+")
# Sought from the beginning of a run of blanks and commas only: else a long run without a bracket takes quadratic time.
_CLOSING_BRACKET = re.compile(r"(?<![\s,;])[\s,;]*[,;]\s*\)")
_SPACED_POINT = re.compile(r" +([,.;:])(?=\s|$)", re.MULTILINE)
_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"\n{3,}")


class WikitextError(ValueError):
    """The parser could not read a page."""


def is_redirect(wikitext: str) -> bool:
    """Tell whether a page only sends its reader to another page."""
    return _REDIRECT.match(wikitext) is not None


def clean_wikitext(wikitext: str) -> str:
    """Return the prose of a page: paragraphs, headings and list items on lines of their own, no markup.

    Lines that begin with a space are preformatted text in MediaWiki (code, listings, drawings) and are removed.

    Raises
    ------
    WikitextError
        If the parser gives up on the page.
    """
    wikitext = remove_control_characters(wikitext)
    # An HTML table whose cells are not closed, as was the custom in 2006, is no table to the parser.
    wikitext = _replaced(wikitext, _html_tables(wikitext), lambda _: _REMOVED)
    unclosed = unclosed_openings(wikitext)
    if len(unclosed) > _MOST_UNCLOSED:
        wikitext = _replaced(wikitext, unclosed, _as_left_by_the_parser)
    try:
        parsed = mwparserfromhell.parse(wikitext, skip_style_tags=True)
    except (ParserError, RecursionError) as error:
        raise WikitextError(f"the wikitext parser gave up: {error}") from error
    return _tidy(_render(parsed))


def clean_plain(text: str) -> str:
    """Return a page's text with its blanks tidied and its markup left as it is."""
    lines = (_SPACES.sub(" ", line).strip() for line in remove_control_characters(text).split("\n"))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _html_tables(wikitext: str) -> list[tuple[int, int]]:
    """Return where the outermost HTML tables begin and end, in order."""
    tables: list[tuple[int, int]] = []
    begun: list[int] = []
    for tag in _HTML_TABLE_TAG.finditer(wikitext):
        if not tag["end"]:
            begun.append(tag.start())
        elif begun:
            start = begun.pop()
            while tables and tables[-1][0] > start:
                tables.pop()
            tables.append((start, tag.end()))
    return tables


def _replaced(text: str, places: Iterable[tuple[int, int]], replacement: Callable[[str], str]) -> str:
    parts, end = [], 0
    for start, stop in places:
        parts += [text[end:start], replacement(text[start:stop])]
        end = stop
    return "".join([*parts, text[end:]])


def _as_left_by_the_parser(opening: str) -> str:
    # What ``_STRAY`` would remove from text, or text that the parser does not take for markup.
    return _REMOVED if _STRAY.fullmatch(opening) else f"&#{ord(opening[0])};{opening[1:]}"


def _render(code: Wikicode) -> str:
    return "".join(_RENDERERS[type(node)](node) for node in _without_lone_brackets(code.nodes))


def _without_lone_brackets(found: Sequence[nodes.Node]) -> Iterable[nodes.Node]:
    """Yield the nodes without the bracket before an address whose closing one is missing."""
    for node, following in zip_longest(found, found[1:]):
        unclosed = isinstance(following, nodes.ExternalLink) and not following.brackets
        yield nodes.Text(f"{node.value.rstrip('[')}{_MARK}") if unclosed and _ends_with_bracket(node) else node


def _ends_with_bracket(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Text) and node.value.endswith("[")


def _render_text(node: nodes.Text) -> str:
    return _QUOTES.sub(_apostrophes, _STRAY.sub(_MARK, node.value))


def _apostrophes(quotes: re.Match[str]) -> str:
    # Two mean italic, three bold, five both; the fourth of four and all beyond five are apostrophes (MediaWiki).
    n_quotes = len(quotes[0])
    return _MARK + ("'" if n_quotes == 4 else "'" * max(0, n_quotes - 5))


def _render_link(node: nodes.Wikilink) -> str:
    title = _render(node.title).strip()
    prefix, colon, _ = title.partition(":")
    # A colon in front makes a visible link of what would otherwise file the page or show an image.
    if colon and prefix and _is_removed_prefix(prefix.strip().lower()):
        return _MARK
    label = _render(node.text).strip() if node.text else ""
    return label or title.removeprefix(":")


def _is_removed_prefix(prefix: str) -> bool:
    return prefix in _REMOVED_NAMESPACES or _LANGUAGE.fullmatch(prefix) is not None


def _render_external_link(node: nodes.ExternalLink) -> str:
    return _render(node.title) if node.brackets and node.title else _MARK


def _render_heading(node: nodes.Heading) -> str:
    # Text on the heading's own line, which MediaWiki forbids, is a paragraph; the mark keeps it, for a blank leads it.
    return f"\n{_MARK}{_render(node.title).strip()}\n\n{_MARK}"


def _render_tag(node: nodes.Tag) -> str:
    name = str(node.tag).strip().lower()
    if node.wiki_markup and name in _LINE_TAGS:
        return _MARK
    if name in _REMOVED_TAGS:
        return _MARK
    if name in _LINE_TAGS:
        return f"\n{_MARK}{_contents(node)}"
    if name == "nowiki":
        return _render_nowiki(str(node.contents or ""))
    if name in _PARAGRAPH_TAGS:
        return f"\n\n{_MARK}{_contents(node)}\n\n{_MARK}"
    return _MARK + _contents(node)


def _contents(node: nodes.Tag) -> str:
    return _render(node.contents) if node.contents else ""


def _render_nowiki(text: str) -> str:
    # Half of what stands in <nowiki> is an apostrophe or a quotation, half is markup on show, which is code.
    return _MARK if re.search(r"[\[\]{}<|]", text) else html.unescape(text)


def _remove(_node: nodes.Node) -> str:
    return _MARK


_RENDERERS: dict[type[nodes.Node], Callable[[Any], str]] = {
    nodes.Text: _render_text,
    nodes.Wikilink: _render_link,
    nodes.ExternalLink: _render_external_link,
    nodes.Heading: _render_heading,
    nodes.Tag: _render_tag,
    # html.unescape reads numbers as browsers do (windows-1252, no lone surrogates); the parser's own does not.
    nodes.HTMLEntity: lambda node: html.unescape(str(node)),
    nodes.Template: _remove,
    nodes.Argument: _remove,
    nodes.Comment: _remove,
}


def _tidy(rendered: str) -> str:
    text = "\n".join(_prose_lines(rendered.split("\n")))
    text = _EMPTY_BRACKETS.sub("", text)
    text = _CLOSING_BRACKET.sub(")", _OPENING_BRACKET.sub("(", text))
    return _BLANK_LINES.sub("\n\n", _SPACED_POINT.sub(r"\1", text)).strip()


def _prose_lines(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        preformatted = line.startswith(" ") and not line.isspace()
        text = _SPACES.sub(" ", line.replace(_MARK, "")).strip()
        # A row of a table whose beginning or end is missing.
        if preformatted or text.startswith("|"):
            continue
        # Lists of links to other languages and the like leave lines that held nothing else.
        if not text and _MARK in line:
            continue
        yield text
