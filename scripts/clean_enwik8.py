"""Clean the corpus: prose of a MediaWiki XML dump, or a plain text as it is."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from lm_geometry.corpus.dump import BLOCK, SNIFFED_BYTES, is_dump, read_dump
from lm_geometry.corpus.pages import plain_pages, write_pages
from lm_geometry.corpus.wikitext import WikitextError, clean_plain, clean_wikitext, is_redirect
from lm_geometry.job import run_job
from lm_geometry.tables import corpus_statistics
from lm_geometry.tables.files import atomic_path, write_table


@dataclass
class Counts:
    """Pages by what became of them, and what the kept ones hold; the names are the statistics table's columns."""

    pages: int = 0
    redirects: int = 0
    empty_pages: int = 0
    unparsed_pages: int = 0
    unfinished_pages: int = 0
    characters: int = 0
    alphabet: set[str] = field(default_factory=set)


def clean_enwik8(*, raw: Path, clean: Path, statistics: Path, origins: Sequence[Path] = ()) -> None:
    """Write the corpus' pages as prose, and what was found on the way.

    Parameters
    ----------
    raw : Path
        A MediaWiki XML dump; a file without ``<mediawiki`` or ``<page>`` at its beginning is taken as plain text.
    clean, statistics : Path
        The pages with form feed lines between them, and their statistics.
    origins : sequence of Path
        The table beside the raw corpus, which says where it is from.

    Raises
    ------
    ValueError
        If the file is broken XML, no UTF-8, binary, or holds no page with text; the message says where.
    """
    facts = describe_raw(raw)
    counts = Counts()
    pages = _dump_pages if facts["format"] == corpus_statistics.MEDIAWIKI_XML else _text_pages
    try:
        with atomic_path(clean) as temporary, temporary.open("w", encoding="utf-8", newline="") as output:
            write_pages(_count(pages(raw, counts), counts), output)
            if not counts.pages:
                raise ValueError(
                    f"no page with text in {facts['raw_bytes']:,} bytes: {counts.redirects} redirects, "
                    f"{counts.empty_pages} empty pages, {counts.unfinished_pages} unfinished; "
                    "give a text or a whole dump"
                )
    except ValueError as error:
        raise ValueError(f"{raw}: {error}") from error
    found = {name: value for name, value in vars(counts).items() if name != "alphabet"}
    write_table(
        statistics,
        pa.Table.from_pylist([{**facts, **found, "alphabet_size": len(counts.alphabet)}]),
        corpus_statistics.SCHEMA,
        inputs=origins,
        origin={"corpus_sha256": facts["corpus_sha256"]},
    )


def describe_raw(raw: Path) -> dict[str, Any]:
    """Return size, distinct byte values, digest and format of a raw corpus, under the statistics table's names."""
    occurrences = np.zeros(256, dtype=np.int64)
    digest = hashlib.sha256()
    with raw.open("rb") as stream:
        dump = is_dump(stream.read(SNIFFED_BYTES))
        stream.seek(0)
        while block := stream.read(BLOCK):
            digest.update(block)
            occurrences += np.bincount(np.frombuffer(block, dtype=np.uint8), minlength=256)
    return {
        "format": corpus_statistics.MEDIAWIKI_XML if dump else corpus_statistics.PLAIN_TEXT,
        "raw_bytes": int(occurrences.sum()),
        "distinct_bytes": int(np.count_nonzero(occurrences)),
        "corpus_sha256": digest.hexdigest(),
    }


def _text_pages(raw: Path, _counts: Counts) -> Iterator[str]:
    with raw.open("rb") as stream:
        yield from plain_pages(stream)


def _dump_pages(raw: Path, counts: Counts) -> Iterator[str]:
    bar = {"total": raw.stat().st_size, "desc": "clean", "mininterval": 5}
    with raw.open("rb") as file, tqdm.wrapattr(file, "read", **bar) as stream:
        for wikitext in read_dump(stream):
            if wikitext is None:
                counts.unfinished_pages += 1
            elif is_redirect(wikitext):
                counts.redirects += 1
            elif prose := _to_prose(wikitext, counts):
                yield prose
            else:
                counts.empty_pages += 1


def _to_prose(wikitext: str, counts: Counts) -> str:
    try:
        return clean_wikitext(wikitext)
    except WikitextError as error:
        counts.unparsed_pages += 1
        logging.getLogger(__name__).warning("a page keeps its markup: %s", error)
        return clean_plain(wikitext)


def _count(pages: Iterable[str], counts: Counts) -> Iterator[str]:
    for page in pages:
        counts.pages += 1
        counts.characters += len(page)
        counts.alphabet.update(page)
        yield page


if __name__ == "__main__":
    run_job(snakemake, clean_enwik8)
