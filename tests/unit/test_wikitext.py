"""Wikitext cleaning against hand-written pages, and on real ones."""

import html
import re
import time

import mwparserfromhell
import pytest
from mwparserfromhell.parser import ParserError

from lm_geometry.corpus.dump import read_dump
from lm_geometry.corpus.enwik8 import open_unpacked
from lm_geometry.corpus.unclosed import unclosed_openings
from lm_geometry.corpus.wikitext import WikitextError, clean_plain, clean_wikitext, is_redirect

CASES = {
    "plain prose": ("Ants live in colonies.", "Ants live in colonies."),
    "italic and bold": ("''an'' '''ant''' and '''''both'''''", "an ant and both"),
    "apostrophe beside italic": ("l''''Arbre''' isn't", "l'Arbre isn't"),
    "blank after a quote mark": ("'' An ant.'' So.", "An ant. So."),
    "unclosed bold": ("'''An ant is small.", "An ant is small."),
    "link": ("an [[ant]] here", "an ant here"),
    "link with label": ("an [[ant|insect]] here", "an insect here"),
    "link with ending": ("many [[ant]]s", "many ants"),
    "link label with markup": ("[[ant|''the'' {{x}}insect]]", "the insect"),
    "link to section": ("[[ant#Life|life]]", "life"),
    "project link keeps its label": ("[[Wiktionary:ant|ant]] [[wp:ant|the ant]]", "ant the ant"),
    "title with a colon": ("[[Dune: The Film]]", "Dune: The Film"),
    "interwiki": ("Ants.\n[[fr:Fourmi]]\n[[zh-min-nan:Káu-hiā]]\n[[simple:Ant]]", "Ants."),
    "visible interwiki": ("as in [[:fr:Fourmi]] and [[:fr:Fourmi|French]]", "as in fr:Fourmi and French"),
    "category": ("Ants.\n\n[[Category:Insects|Ant]]\n[[category: Hymenoptera]]", "Ants."),
    "image with nested links": ("A.[[Image:a.jpg|thumb|left|An [[ant]] on a [[leaf|''leaf'']].]] B.", "A. B."),
    "file and media": ("[[File:a.png|20px]]Hear [[media:a.ogg|it]].", "Hear."),
    "gallery": ("A.\n<gallery>\nImage:a.jpg|An ant\n</gallery>\nB.", "A.\nB."),
    "external link with label": ("see [http://ants.org/a?b=1 the ''ant'' page] now", "see the ant page now"),
    "numbered and bare addresses": ("as shown [http://ants.org] at http://ants.org/x today", "as shown at today"),
    "template": ("A {{convert|5|km}} walk", "A walk"),
    "nested templates": ("A{{box|x={{y|[[z]]|{{w}}}}|k=v}} walk", "A walk"),
    "template over lines": ("{{Infobox\n| a = 1\n| b = {{c}}\n}}\nAnts walk.", "Ants walk."),
    "template parameter": ("A {{{size|big}}} ant", "A ant"),
    "unclosed template": ("An ant {{lives here.", "An ant lives here."),
    "unclosed link": ("An [[ant lives here.", "An ant lives here."),
    "reference": ('Ants walk.<ref name="a">Smith, Ants</ref> They do.<ref name="a" /> So.', "Ants walk. They do. So."),
    "reference list": ("Ants.\n== Notes ==\n<references/>", "Ants.\n\nNotes"),
    "reference before a point": ("Ants walk <ref>S.</ref>, and run <ref>T.</ref>.", "Ants walk, and run."),
    "unclosed external link": ("See [http://ants.org Ants and [http://bees.org", "See Ants and"),
    "unclosed link to an address": ("See [[http://ants.org Ants.", "See Ants."),
    "bracket apart from an address": ("Ants [1] http://ants.org walk.", "Ants [1] walk."),
    "unclosed reference": ('Ants walk.<ref name="a"> They do.', "Ants walk. They do."),
    "math": ("where <math>x^2 < {y}</math> holds", "where holds"),
    "code": ('A.\n<pre>if [[x]]:\n  y</pre>\n<source lang="c">int {{a}};</source>\nB<code>x</code>.', "A.\nB."),
    "preformatted lines": ("A.\n  for x in ants:\n   walk(x)\nB.", "A.\nB."),
    "line that a template began": ("{{dropcap}} Ants walk.", "Ants walk."),
    "nowiki prose": ("<nowiki>'tis</nowiki> so", "'tis so"),
    "nowiki markup": ("write <nowiki>[[ant]]</nowiki> so", "write so"),
    "table": ("A.\n{| class=x\n|-\n| ant || [[bee]]\n|}\nB.", "A.\nB."),
    "nested table": ("A.\n{|\n|\n{|\n| ant\n|}\n|}\nB.", "A.\nB."),
    "html table": ("A.\n<table><tr><td>ant</td></tr></table>\nB.", "A.\nB."),
    "html table without closed cells": ("A.\n<table border=0>\n<tr><td>ant<td>bee\n</table>\nB.", "A.\nB."),
    "half a table": ("A.\n| ant\n|-\n| bee\n|}\nB.", "A.\nB."),
    "comment": ("An <!-- big\n[[x]] -->ant", "An ant"),
    "html tags": ('A <span style="x">b</span> <font color=red>c</font> m<sup>2</sup><br/>d', "A b c m2\nd"),
    "unclosed html": ("<small> Small print.\nA <b>bold", "Small print.\nA bold"),
    "entities": ("1&ndash;2&nbsp;km &#945; &amp; caf&eacute;", "1–2 km α & café"),  # noqa: RUF001
    "entity of windows-1252": ("an ant&#146;s", "an ant’s"),  # noqa: RUF001
    "entity of a lone surrogate": ("a&#xD800;b", "a\ufffdb"),
    "written tag is text": ("the &lt;a&gt; tag", "the <a> tag"),
    "headings": ("A.\n== Life ==\nB.\n=== ''Late'' life ===\nC.", "A.\n\nLife\n\nB.\n\nLate life\n\nC."),
    "text on a heading's line": (
        "A.\n== Life == Ants walk.\n==''Odd''== was\n== Bees ==<!-- c -->\n== Wasps ==<ref>S.</ref>\nB.",
        "A.\n\nLife\n\nAnts walk.\n\nOdd\n\nwas\n\nBees\n\nWasps\n\nB.",
    ),
    "preformatted line below a heading": ("A.\n== Life ==\n  for x in ants\nB.", "A.\n\nLife\n\nB."),
    "lists": ("* an ant\n** a [[bee]]\n# one\n: aside\n; term\n*\nend", "an ant\na bee\none\naside\nterm\nend"),
    "html list": ("<ul><li>ant</li><li>bee</li></ul>", "ant\nbee"),
    "rule": ("A.\n----\nB.", "A.\nB."),
    "magic words": ("__NOTOC__\nAnts.\n__NOEDITSECTION__", "Ants."),
    "no magic word": ("A class has __init__ and __NAME__.", "A class has __init__ and __NAME__."),
    "signature": ("Ants. ~~~~", "Ants."),
    "brackets emptied": (
        "Ants ({{lang}}) and bees ({{a}}; from Latin) and wasps (x, {{b}})",
        "Ants and bees (from Latin) and wasps (x)",
    ),
    "line that emptied brackets began": ("Ants.\n({{lang}}) [] Bees.", "Ants.\nBees."),
    "brackets of a function": ("call main() so", "call main() so"),
    "blanks": ("A  b\t c \n\n\n\nD", "A b c\n\nD"),
    "control characters": ("a\x0cb\x00c", "abc"),
    "nothing left": ("{{disambig}}\n[[Category:A]]", ""),
}


@pytest.mark.parametrize(("wikitext", "prose"), CASES.values(), ids=CASES.keys())
def test_each_kind_of_markup(wikitext, prose):
    assert clean_wikitext(wikitext) == prose


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("#REDIRECT [[AAA]]", True),
        ("\n#redirect[[A]]", True),
        ("# REDIRECT: [[A]]", True),
        ("# redirection is an item of a list", False),
        ("A #REDIRECT", False),
    ],
)
def test_redirects_are_known(wikitext, expected):
    assert is_redirect(wikitext) is expected


def test_a_page_the_parser_gives_up_on_raises_and_plain_cleaning_keeps_it(monkeypatch):
    def give_up(*_arguments, **_settings):
        raise ParserError("too deep")

    monkeypatch.setattr(mwparserfromhell, "parse", give_up)
    with pytest.raises(WikitextError, match="too deep"):
        clean_wikitext("An [[ant]]")
    assert clean_plain(" An  [[ant]]\x0c\n\n\n\nwalks ") == "An [[ant]]\n\nwalks"


@pytest.mark.parametrize("markup", ["{{", "[[", "{|\n", "<b>", "{{{", "<ref>"])
def test_endless_openings_leave_nothing(markup):
    assert clean_wikitext(markup * 300 + "\nAnts walk.") in {"", "Ants walk."}


# From openings alone, from such as closings seem to fit, and from each other: time was quadratic, cubic or exponential.
@pytest.mark.parametrize(
    "markup",
    [
        *(
            "<ref>" * 20_000,
            "<!--<b>" * 2_000,
            "{{a|" * 10_000,
            "<b " * 10_000,
            "<table>" * 10_000 + "</table>" * 10_000,
        ),
        *("[http://a a[[[" * 30 + "]]]" * 30, "[http://a a[[[" * 30 + "ant " * 1_000 + "]</" * 30, ", " * 40_000),
    ],
    ids=lambda markup: markup[:14],
)
def test_markup_to_keep_a_parser_busy_is_cleaned_in_seconds(markup):
    began = time.process_time()
    assert clean_wikitext(f"Ants walk.\n\n{markup}\n\nThey run.").startswith("Ants walk.")
    assert time.process_time() - began < 10


def test_many_unclosed_openings_change_nothing_else():
    """What is done to a page of many is what the parser does to one of few."""
    few = "A [[ant {{walks <b>on <i >a [http://a <zz>leaf <!-- and {| in x <y or z <"
    cleaned = clean_wikitext(few)
    assert unclosed_openings(few)
    assert clean_wikitext("\n\n".join([few] * 12)) == "\n\n".join([cleaned] * 12)


def test_unclosed_openings_are_found_by_kind():
    text = "{{a {{{b}}} {{c}} [[d [[e]] [f] [http://g [http://h] <b>i<b>j</b> <br> <i/> <k {| l\n|} <!-- m"
    assert [text[slice(*place)] for place in unclosed_openings(text)] == ["{{", "[[", "[", "<b>", "<k", "<!--"]


@pytest.fixture(scope="module")
def real_pages(shared_data):
    with open_unpacked(shared_data / "enwik8_prefix" / "enwik8_first_4154399.bin.xz") as stream:
        # A third of the prefix keeps the test short and holds every kind of markup named here.
        pages = [page for page in read_dump(stream) if page and not is_redirect(page)][::3]
    return [clean_wikitext(page) for page in pages], pages


def test_real_pages_keep_no_markup(real_pages):
    cleaned, raw = real_pages
    debris = re.compile(
        r"\[\[|\]\]|\{\{|\}\}|\{\||\|\}|</?ref|<br|</?small|</?t[drh]\b|&lt;|&amp;|&#?\w+;|''|thumb\||\x00|\x0c",
        re.IGNORECASE,
    )
    assert len(debris.findall("\n".join(raw))) > 20_000
    left = debris.findall("\n".join(cleaned))
    # Malformed pages may leave a bit: one per million characters is bounded, none was seen.
    assert len(left) <= sum(map(len, cleaned)) / 1e6, left


def test_real_prose_survives(real_pages):
    cleaned, raw = real_pages
    # Sentences that hold no markup must come out as they went in; those from a reference, a table or a caption not.
    sentence = re.compile(r"(?<=\. )[A-Z][a-z]+(?: [a-z]+){4,14}\.(?= [A-Z])")
    outside = [
        re.sub(r"<!--.*?-->|<ref.*?</ref>|\{\{.*?\}\}|\{\|.*?\|\}|\[\[Image:[^\n]*", "", page, flags=re.DOTALL)
        for page in raw
    ]
    kept = lost = 0
    for before, after in zip(outside, cleaned, strict=True):
        for found in sentence.findall(html.unescape(before)):
            kept += found in after
            lost += found not in after
    assert kept > 100
    assert lost <= 0.01 * kept


def test_known_sentences_of_the_first_article(real_pages):
    anarchism = real_pages[0][0]
    assert anarchism.startswith(
        "Anarchism originated as a term of abuse first used against early working class radicals including the Diggers "
        "of the English Revolution and the sans-culottes of the French Revolution. Whilst the term is still used"
    )
    assert 'derived from the Greek αναρχία ("without archons (ruler, chief, king)").' in anarchism
    assert "\nOrigins and predecessors\n" in anarchism
