"""The self-made dump: well-formed, full of markup, and no word of its prose is lost in cleaning."""

import io
import re
from itertools import groupby
from xml.etree import ElementTree

import pytest

from lm_geometry.corpus.wikitext import clean_wikitext, is_redirect
from lm_geometry.demo.docstring_blocks import CODE, HEADING, ITEM, PARAGRAPH, split_blocks
from lm_geometry.demo.dump import pages, write_dump
from lm_geometry.demo.prose import TOPICS, Passage, read_prose
from lm_geometry.demo.wiki_markup import escape, mark_up

WORD = re.compile(r"[A-Za-z]{2,}")
NAMESPACE = "{http://www.mediawiki.org/xml/export-0.3/}"

HOSTILE = "a < b && c > d, x[[0]] and {{y}}, ''quoted'' __init__ and __NOTOC__, [x] | ~~~~ &amp; <ref> -- </ref> <!--"


@pytest.fixture(scope="module")
def passages():
    # Every third module keeps the file fast; all topics, for they bring headings and lists.
    found = read_prose()
    chosen = set(sorted({passage.source for passage in found})[::3]) | {TOPICS}
    return [passage for passage in found if passage.source in chosen]


@pytest.fixture(scope="module")
def wikitext(passages):
    return dict(pages(passages))


def test_blocks_of_a_docstring():
    text = """Summary line
over two lines.

Title
=====
Intro:
  - first item
    goes on
  - second item

    An indented paragraph of plain words in a row.

    value = function(argument)

>>> 1 + 1
2
"""
    assert [tuple(block) for block in split_blocks(text)] == [
        (PARAGRAPH, "Summary line over two lines."),
        (HEADING, "Title"),
        (PARAGRAPH, "Intro:"),
        (ITEM, "first item goes on"),
        (ITEM, "second item"),
        (PARAGRAPH, "An indented paragraph of plain words in a row."),
        (CODE, "    value = function(argument)"),
        (CODE, ">>> 1 + 1\n2"),
    ]


@pytest.mark.parametrize("text", [HOSTILE, "* no item", "# no item", "== no heading ==", ": no indent", "---- no rule"])
def test_escaped_text_is_shown_as_it_is(text):
    assert clean_wikitext(escape(text)) == text


@pytest.mark.parametrize("number", range(24))
def test_inline_markup_keeps_the_words_and_adds_some_markup(number):
    text = "Return the longest common prefix of some names."
    marked = mark_up(text, number)
    assert marked != text
    assert clean_wikitext(marked) == text


def test_the_dump_is_well_formed_and_in_enwik8s_shape(passages):
    output = io.StringIO()
    write_dump(passages, output)
    root = ElementTree.fromstring(output.getvalue())
    found = root.findall(f"{NAMESPACE}page")
    ids = [int(page.findtext(f"{NAMESPACE}id")) for page in found]
    assert ids == sorted(set(ids))
    revision = f"{NAMESPACE}revision/{NAMESPACE}"
    for page in found:
        assert page.findtext(f"{NAMESPACE}title")
        assert page.findtext(f"{revision}timestamp") == "2006-03-03T00:00:00Z"
        assert page.find(f"{revision}contributor") is not None
    assert [page.findtext(f"{revision}text") for page in found] == [text for _, text in pages(passages)]


@pytest.mark.parametrize(
    "markup",
    [
        r"\[\[\w+\]\]", r"\[\[[^\]|]+\|\w+\]\]", r"\[http://\S+ \w+\]", r"\{\{\w+\|\{\{\w+", r"<ref>\{\{cite",
        r"\{\|.*?\|\}", r"<math>", r"<pre>", r"<source", r"<code>", r"^ <nowiki>", r"\[\[Image:[^\]]*\[\[", r"<!--",
        "'''", "&nbsp;", "&mdash;", r"\[\[Category:", r"\[\[de:", r"^== ", r"^=== ", r"^\* ", r"^#REDIRECT", r"<br />",
    ],
)  # fmt: skip
def test_every_kind_of_markup_occurs_often(wikitext, markup):
    everything = "\n".join(wikitext.values())
    assert len(re.findall(markup, everything, re.MULTILINE | re.DOTALL)) >= 20


def test_all_prose_survives_cleaning_and_nothing_else_does(passages, wikitext):
    texts = [text for text in wikitext.values() if not is_redirect(text)]
    groups = [list(group) for _, group in groupby(passages, lambda p: p.name if p.source == TOPICS else p.source)]
    assert len(texts) == len(groups)
    for group, text in zip(groups, texts, strict=True):
        if not _has_address(group):
            assert WORD.findall(clean_wikitext(text)) == [word for passage in group for word in _prose_words(passage)]


def _has_address(group: list[Passage]) -> bool:
    # Addresses are markup to MediaWiki and go.
    return any(re.search(r"\w:/+", passage.text) for passage in group)


def _prose_words(passage: Passage) -> list[str]:
    heading = "" if passage.source in (TOPICS, passage.name) else passage.name.removeprefix(f"{passage.source}.")
    blocks = (block.text for block in split_blocks(passage.text) if block.kind != CODE)
    return WORD.findall(" ".join([heading, *blocks]))
