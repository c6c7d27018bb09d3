"""The prose as a dump in enwik8's shape: MediaWiki XML of March 2006, a page per module and per topic."""

from collections.abc import Iterable, Iterator
from itertools import count, groupby
from typing import TextIO
from xml.sax.saxutils import escape as escape_xml

from lm_geometry.demo.docstring_blocks import CODE, HEADING, ITEM, split_blocks
from lm_geometry.demo.prose import TOPICS, Passage
from lm_geometry.demo.wiki_markup import code_block, escape, mark_up, page_foot, page_head

_HEADER = """\
<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.3/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="http://www.mediawiki.org/xml/export-0.3/ http://www.mediawiki.org/xml/export-0.3.xsd" \
version="0.3" xml:lang="en">
  <siteinfo>
    <sitename>The Python standard library</sitename>
    <base>http://docs.python.org/</base>
    <generator>lm-geometry</generator>
    <case>case-sensitive</case>
    <namespaces>
      <namespace key="0" />
      <namespace key="6">Image</namespace>
      <namespace key="10">Template</namespace>
      <namespace key="14">Category</namespace>
    </namespaces>
  </siteinfo>
"""

# One date for all pages: the dump depends on the prose alone.
_TIMESTAMP = "2006-03-03T00:00:00Z"
_REDIRECT_EVERY = 4


def write_dump(passages: Iterable[Passage], output: TextIO) -> None:
    """Write the dump. All prose stands in it as text that MediaWiki would show; examples stand as code."""
    output.write(_HEADER)
    for number, (title, wikitext) in enumerate(pages(passages), start=1):
        output.write(_page_xml(number, title, wikitext))
    output.write("</mediawiki>\n")


def pages(passages: Iterable[Passage]) -> Iterator[tuple[str, str]]:
    """Yield title and wikitext of every page; before every fourth module a page that redirects to it."""
    blocks = count()
    for number, (title, texts) in enumerate(groupby(passages, key=_title)):
        if number % _REDIRECT_EVERY == 0:
            yield f"{title.title()} module", f"#REDIRECT [[{title}]]"
        yield title, _page(title, list(texts), blocks)


def _title(passage: Passage) -> str:
    return f"{passage.name} (topic)" if passage.source == TOPICS else passage.source


def _page(title: str, passages: list[Passage], numbers: Iterator[int]) -> str:
    names = [passage.name.removeprefix(f"{passage.source}.") for passage in passages]
    sections = [_section(passage, numbers) for passage in passages]
    return "\n\n".join([page_head(title, names), *sections, page_foot(title)])


def _section(passage: Passage, numbers: Iterator[int]) -> str:
    has_heading = passage.source not in (TOPICS, passage.name)
    parts = [f"== {escape(passage.name.removeprefix(f'{passage.source}.'))} =="] if has_heading else []
    for block in split_blocks(passage.text):
        if block.kind == CODE:
            parts.append(code_block(block.text, next(numbers)))
        elif block.kind == HEADING:
            parts.append(f"=== {escape(block.text)} ===")
        else:
            parts.append(("* " if block.kind == ITEM else "") + mark_up(block.text, next(numbers)))
    return "\n\n".join(parts)


def _page_xml(number: int, title: str, wikitext: str) -> str:
    return f"""\
  <page>
    <title>{_escape(title)}</title>
    <id>{number}</id>
    <revision>
      <id>{1000 + 7 * number}</id>
      <timestamp>{_TIMESTAMP}</timestamp>
      <contributor>
        {_contributor(number)}
      </contributor>
      <comment>/* {_escape(title)} */ written from the documentation</comment>
      <text xml:space="preserve">{_escape(wikitext)}</text>
    </revision>
  </page>
"""


def _contributor(number: int) -> str:
    if number % 3 == 0:
        return f"<ip>192.0.2.{number % 256}</ip>"
    return f"<username>Docs {number % 10}</username>\n        <id>{number % 10 + 1}</id>"


def _escape(text: str) -> str:
    return escape_xml(text, {'"': "&quot;"})
