"""Known-item search over the prose: find a docstring's text by its summary line."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lm_geometry.demo.prose import TOPICS, Passage

MINIMUM_QUERY_WORDS = 4
MINIMUM_DOCUMENT_WORDS = 12

_WORD = re.compile(r"[a-z]+", re.IGNORECASE)


class KnownItem(NamedTuple):
    """A query and the one document that answers it.

    The title is the module's name, which all documents of the module share; the object's own name is in neither the
    title nor the ids, for a query that repeats it would find it by that word alone.
    """

    query_id: str
    document_id: str
    query: str
    title: str
    text: str


def known_items(passages: Iterable[Passage]) -> list[KnownItem]:
    """Return the pairs of summary line and remaining text that make a fair search, in the passages' order.

    Left out are docstrings whose first line is not a summary (PEP 257: a line of its own, a blank line after it),
    queries under four words, documents under twelve, summaries and documents that occur more than once, and
    summaries that stand word for word in any document: they would be found by no more than string search, or would
    have several right answers.
    """
    candidates = [item for passage in passages for item in _split(passage)]
    queries = Counter(_plain(item.query) for item in candidates)
    documents = Counter(_plain(item.text) for item in candidates)
    everything = "\n".join(documents)
    return [
        item
        for item in candidates
        if queries[_plain(item.query)] == 1
        and documents[_plain(item.text)] == 1
        and _plain(item.query) not in everything
    ]


def _split(passage: Passage) -> Iterator[KnownItem]:
    summary, _, rest = passage.text.partition("\n")
    blank, _, text = rest.partition("\n")
    if passage.source == TOPICS or blank.strip() or not text.strip():
        return
    if len(_WORD.findall(summary)) < MINIMUM_QUERY_WORDS or len(_WORD.findall(text)) < MINIMUM_DOCUMENT_WORDS:
        return
    digest = hashlib.sha256(f"{passage.source}\0{passage.text}".encode()).hexdigest()[:12]
    yield KnownItem(f"query-{digest}", f"document-{digest}", summary.strip(), passage.source, text.strip())


def _plain(text: str) -> str:
    """Return the words alone, lower case, with a space on both sides of each."""
    return f" {' '.join(_WORD.findall(text.lower()))} "
