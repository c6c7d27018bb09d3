"""Wikitext for the self-made dump: prose escaped and marked up, and the markup around it that a cleaner must remove.

Every choice follows from a running number, so that the same prose gives the same dump and every kind occurs often.
"""

import re
from collections.abc import Callable

# Characters with a meaning in wikitext, written as the entities that MediaWiki shows as themselves.
_ENTITIES = {character: f"&#{ord(character)};" for character in "[]{}|'~"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_LINE_MARKS = frozenset("*#:;=-")

_PLAIN_WORD = re.compile(r"(?<![\w&#./:@-])[A-Za-z]{4,}(?![\w;./:@-])")


def escape(text: str) -> str:
    """Return a line of plain text as wikitext that shows exactly this text."""
    escaped = "".join(_ENTITIES.get(character, character) for character in text)
    escaped = escaped.replace("__", "&#95;&#95;")  # __NOTOC__ and its like are switches
    return f"&#{ord(escaped[0])};{escaped[1:]}" if escaped[:1] in _LINE_MARKS else escaped


def mark_up(text: str, number: int) -> str:
    """Return a line of plain text as wikitext with one kind of inline markup, the next one for each ``number``.

    The words that are shown stay the same.
    """
    escaped = escape(text).replace(" -- ", " &mdash; ")
    return _INLINE[number % len(_INLINE)](escaped, number)


def code_block(code: str, number: int) -> str:
    """Return code in one of the four ways that pages show it."""
    escaped = code.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if number % 4 == 0:
        return f"<pre>\n{escaped}\n</pre>"
    if number % 4 == 1:
        return f'<source lang="python">\n{escaped}\n</source>'
    if number % 4 == 2:
        return f"<code>{escaped}</code>"
    return "\n".join(f" <nowiki>{line}</nowiki>" for line in escaped.split("\n") if line.strip())


def page_head(title: str, names: list[str]) -> str:
    """Return what stands above a page's text: an info box with templates inside it, an image, a switch, a table."""
    box = (
        "{{Infobox module\n"
        f"| name    = {title}\n"
        f"| members = {{{{formatnum:{len(names)}}}}}\n"
        "| licence = {{nowrap|{{PSF licence|version=2}}}}\n"
        f"| website = [http://docs.python.org/library/{title}.html docs.python.org]\n"
        "}}"
    )
    image = f"[[Image:{title}.png|thumb|right|180px|The [[module]] ''{title}'' in a [[diagram|class diagram]]]]"
    return "\n".join(["__NOTOC__", box, image, "<!-- The text below is the documentation's. -->", _table(names)])


def page_foot(title: str) -> str:
    """Return what stands below a page's text: math, a template, categories, links to other languages."""
    return "\n".join(
        [
            r"<math>T(n) = \sum_{i=1}^{n} \frac{1}{i} + O(\log n)</math>",
            "<references />",
            f"{{{{Python-stub|{title}}}}}",
            f"[[Category:Python modules|{title}]]",
            f"[[de:{title} (Python)]]",
            f"[[fr:{title} (Python)]]",
        ]
    )


def _table(names: list[str]) -> str:
    rows = "\n".join(f"|-\n| {number} || <tt>{escape(name)}</tt>" for number, name in enumerate(names[:20], start=1))
    return f'{{| class="wikitable" border="1"\n|+ Members\n! Number !! Name\n{rows}\n|}}'


def _on_word(wrap: Callable[[str], str]) -> Callable[[str, int], str]:
    """Return an inline markup that wraps one plain word of the line, if there is one."""

    def apply(text: str, number: int) -> str:
        words = list(_PLAIN_WORD.finditer(text))
        if not words:
            return text
        word = words[number % len(words)]
        return text[: word.start()] + wrap(word[0]) + text[word.end() :]

    return apply


def _hard_space(text: str, number: int) -> str:
    words = text.split(" ")
    place = number % max(1, len(words) - 1)
    return "&nbsp;".join([" ".join(words[: place + 1]), " ".join(words[place + 1 :])]) if len(words) > 1 else text


def _reference(text: str, number: int) -> str:
    source = f"{{{{cite web|url=http://www.python.org/doc/{number}|title=Documentation {number}|year=2006}}}}"
    return f"{text}<ref>{source}, [[Guido van Rossum|van Rossum]], p.&nbsp;{number}</ref>"


_INLINE: list[Callable[[str, int], str]] = [
    _on_word(lambda word: f"[[{word}]]"),
    _on_word(lambda word: f"'''{word}'''"),
    _reference,
    _on_word(lambda word: f"[[{word.capitalize()} (computing)|{word}]]"),
    _hard_space,
    _on_word(lambda word: f"''{word}''"),
    _on_word(lambda word: f"[http://www.python.org/{word} {word}]"),
    lambda text, number: f"{text}<!-- checked {number} -->",
    _on_word(lambda word: f'<span style="color:navy">{word}</span>'),
    lambda text, number: f"{text} {{{{fact|date={{{{CURRENTMONTHNAME}}}} {number}}}}}",
    lambda text, _number: f"{text}<br />",
    lambda text, _number: f"<small>{text}</small>",
]
