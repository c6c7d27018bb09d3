"""The cleaner of wikitext and the reader of pages: prose stays, markup goes, whatever the text and in bounded time."""

import os
import re
import resource
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO

import pytest
from damage import damaged
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lm_geometry.corpus import pages
from lm_geometry.corpus.dump import read_dump
from lm_geometry.corpus.pages import plain_pages, read_pages, remove_control_characters, write_pages
from lm_geometry.corpus.wikitext import clean_plain, clean_wikitext, is_redirect

# Halves and wholes of all that the cleaner knows.
MARKUP = [
    *(
        "{{",
        "}}",
        "{{{",
        "}}}",
        "{{a|",
        "[[",
        "]]",
        "[[a|",
        "[[Image:a|",
        "[[Category:",
        "[http://a ",
        "[[http://a ",
        "]",
    ),
    *("<ref>", "</ref>", "<ref name=", "<b>", "</b>", "<b ", "<p>", "<table>", "</table>", "<tr>", "<td>", "<li>"),
    *(
        "<br>",
        "<nowiki>",
        "</nowiki>",
        "<pre>",
        "</pre>",
        "<math>",
        "</math>",
        "<!--",
        "-->",
        "{|\n",
        "\n|-\n|",
        "\n|}",
    ),
    *("||", "|", "''", "'''", "'''''", "\n==", "==", "=", "\n* ", "\n# ", "\n: ", "\n; ", "\n ", "\n----", "\n"),
    *("\n\n", " ", "\t", "&", "&lt;", "&amp;", "&#160;", "&#xD800;", "__TOC__", "~~~~", "http://a", "(", ")", "()"),
    *(", ", ",", ";", ". ", "<", ">", "</", "/>", '"', "{", "}", "[", "-", ":", "#redirect", "a", "Ants walk. "),
    *("\x00", "\x0c", "\r"),
]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SOUP = st.lists(st.sampled_from(MARKUP) | ANY_TEXT, max_size=30).map("".join)
WORDS = st.text(st.characters(categories=["Lu", "Ll", "Lt", "Lo", "Nd"]), min_size=1, max_size=8)
JOINTS = [*[" "] * 6, ", ", "; ", ": ", " (", ") ", "'s ", "-", " \u2013 ", ". ", ' "', '" ', "/", " = ", " & "]


@st.composite
def prose(draw):
    """Draw paragraphs of sentences that hold no markup."""
    words = draw(st.lists(WORDS, min_size=1, max_size=20))
    joints = draw(st.lists(st.sampled_from([*JOINTS, ".\n", ".\n\n"]), min_size=len(words), max_size=len(words)))
    return "".join(map("".join, zip(words, [*joints[1:], "."], strict=True)))


@given(prose())
def test_plain_prose_is_unchanged(text):
    assert clean_wikitext(text) == text
    assert clean_plain(text) == text


@dataclass(frozen=True)
class Piece:
    """A part of a line, and what a reader of the page would read of it."""

    wikitext: str
    prose: str


def in_line(pieces):
    """Return pieces as one, a blank between them."""
    return Piece(" ".join(one.wikitext for one in pieces), " ".join(one.prose for one in pieces if one.prose))


def framed(begin, end, piece, *, kept):
    return Piece(begin + piece.wikitext + end, piece.prose if kept else "")


WORD = WORDS.map(lambda word: Piece(word, word))
KEPT = [
    *(("[[a b|", "]]"), ("''", "''"), ("'''", "'''"), ("<small>", "</small>"), ('<span style="x">', "</span>")),
    *(("[http://a.b/c?d=e ", "]"), ("<nowiki>", "</nowiki>")),
]
REMOVED = [
    *(("{{a|", "}}"), ("{{{", "}}}"), ("{{a\n| b = ", "\n}}"), ("<ref>", "</ref>"), ('<ref name="a">', "</ref>")),
    *(("<!-- ", "-->"), ("[[Image:a.jpg|thumb|", "]]"), ("[[Category:", "]]"), ("[[fr:", "]]"), ("<math>", "</math>")),
    *(("<code>", "</code>"), ("\n{| class=x\n|-\n| ", "\n|}"), ("<table><tr><td>", "<tr></table>")),
]
# Within these anything may stand.
REMOVED_WHOLE = [("{{a|", "}}"), ("{{b|c=", "}}"), ("<ref>", "</ref>"), ("[[Image:a.jpg|thumb|", "]]")]


def in_frames(frames, pieces, *, kept):
    return st.builds(lambda frame, piece: framed(*frame, piece, kept=kept), st.sampled_from(frames), pieces)


def page_pieces():
    """Return a strategy for nested markup whose prose is known."""
    words = st.lists(WORD, min_size=1, max_size=3).map(in_line)
    address = WORD.map(lambda word: Piece(f"http://a.b/{word.wikitext}", ""))
    inner = WORD | address | in_frames(KEPT, words, kept=True) | in_frames(REMOVED, words, kept=False)
    nested = st.lists(inner, min_size=1, max_size=4).map(in_line)
    # A label that says nothing is no label: the link's target is read.
    labels = st.builds(lambda word, piece: in_line([word, piece]), WORD, nested)
    return inner | in_frames(REMOVED_WHOLE, nested, kept=False) | in_frames([("[[a|", "]]")], labels, kept=True)


@given(st.lists(st.lists(page_pieces(), min_size=1, max_size=5).map(in_line), min_size=1, max_size=4))
def test_markup_goes_and_the_prose_in_it_stays(paragraphs):
    wikitext = "\n\n".join(one.wikitext for one in paragraphs)
    words = clean_wikitext(wikitext).split()
    assert words == " ".join(one.prose for one in paragraphs).split()


@given(SOUP)
def test_whatever_the_text_the_result_is_tidy_and_holds_no_control_characters(text):
    is_redirect(text)
    assert_tidy(clean_wikitext(text))
    assert_tidy(clean_plain(text))


def assert_tidy(text):
    assert remove_control_characters(text) == text
    assert clean_plain(text) == text


# Without what makes a mark only together with what follows it, and entities, which are text.
HALVES = [
    atom
    for atom in MARKUP
    if len(atom.strip()) != 1 and "&" not in atom and "nowiki" not in atom and atom not in {"<ref name=", "<b ", "</"}
]
DEBRIS = re.compile(
    r"\[\[|\]\]|\{\{|\}\}|\{\||<!--|-->|</?(?:ref|b|p|table|t[rd]|li|br|pre|math)\b[^<>\n]*>|__TOC__|~~~"
)


@given(st.lists(st.sampled_from(HALVES), max_size=30).map("".join))
@example("[http://a ()[http://a ")  # the brackets of two addresses, left where all between them went
def test_halves_of_markup_go_too(text):
    assert DEBRIS.findall(clean_wikitext(text)) == []


@settings(max_examples=max(40, settings.default.max_examples // 4))
@given(
    st.lists(st.sampled_from(MARKUP), min_size=1, max_size=4).map("".join),
    st.lists(st.sampled_from(MARKUP), max_size=3).map("".join),
    st.sampled_from([0, 10, 1_000]),
    st.sampled_from([5, 9, 17, 40, 600]),
)
@example("[http://a a[[[", "]]]", 1_000, 30)
@example("<ref>", "", 0, 5_000)
@example("{{a|", "", 0, 5_000)
@example("<table>", "</table>", 0, 3_000)
@example(", ", "", 0, 20_000)
@example("<!--<b>", "", 0, 3_000)
def test_nesting_and_repetition_take_seconds(unit, end, filling, times):
    assert_cleaned_within(10, unit * times + "ant " * filling + end * times)


def assert_cleaned_within(seconds, text):
    """Clean a text in a process that ends after so many seconds of computing: the parser cannot be interrupted."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        clean_wikitext(text)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# Pages.


@given(st.lists(ANY_TEXT.map(remove_control_characters), max_size=5))
def test_pages_are_read_as_they_were_written(tmp_path_factory, texts):
    path = tmp_path_factory.getbasetemp() / "pages.txt"
    with path.open("w", encoding="utf-8", newline="") as file:
        write_pages(texts, file)
    assert read_pages(path) == texts


@given(
    st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.integers(3, 9),
)
@example("\ufeffä\fb\r\n".encode(), 3)
def test_plain_text_is_read_alike_in_blocks_of_any_size(content, block):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pages, "_BLOCK", block)
        try:
            found = list(plain_pages(BytesIO(content)))
        except ValueError as error:
            found = int(re.search(r"offset (\d+)", str(error))[1])
    assert found in expected_pages(content)


def expected_pages(content):
    """Return what may be read: the pages, or the offsets of the first byte that is no UTF-8 and of the first NUL."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        return [error.start, content.find(b"\0")]
    if "\0" in text:
        return [content.index(b"\0")]
    cleaned = (remove_control_characters(page).strip() for page in text.removeprefix("\ufeff").split("\f"))
    return [[page for page in cleaned if page]]


DUMP = (
    b'<mediawiki xml:lang="en">\n<page><title>A</title><revision><text xml:space="preserve">An [[ant]] &amp;</text>'
    b"</revision></page>\n<page><revision><text>first</text></revision><revision><text>last</text></revision></page>\n"
    b"</mediawiki>\n"
)


@given(damaged([DUMP, DUMP.decode().encode("utf-16")]))
def test_damaged_dumps_give_pages_or_an_error_that_says_where(content):
    assert list(read_dump(BytesIO(DUMP))) == ["An [[ant]] &", "last"]
    found = []
    with suppress(ValueError), naming_the_place():
        found = list(read_dump(BytesIO(content)))
    assert all(isinstance(text, str) for text in found[:-1])


@contextmanager
def naming_the_place():
    try:
        yield
    except ValueError as error:
        said = str(error)
        assert re.search(r"broken XML: .* at line \d+, column \d+", said), said
        raise
