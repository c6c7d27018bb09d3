"""Make a judged retrieval collection from the prose: known-item search in BEIR's shape."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from lm_geometry.demo.collection import known_items
from lm_geometry.demo.prose import Passage
from lm_geometry.job import run_job
from lm_geometry.tables.files import read_table, write_text
from lm_geometry.tables.written_files import write_listing


def make_collection(*, prose: Path, corpus: Path, queries: Path, judgements: Path, listing: Path) -> None:
    """Write corpus.jsonl, queries.jsonl and qrels/test.tsv, and what made them.

    Raises
    ------
    ValueError
        If the prose holds no docstring that makes a known item.
    """
    items = known_items([Passage(**row) for row in read_table(prose).to_pylist()])
    if not items:
        raise ValueError(f"{prose}: no docstring with a summary line and a text below it; extract the prose again")
    write_text(corpus, _lines({"_id": item.document_id, "title": item.title, "text": item.text} for item in items))
    write_text(queries, _lines({"_id": item.query_id, "text": item.query} for item in items))
    rows = (f"{item.query_id}\t{item.document_id}\t1\n" for item in items)
    write_text(judgements, "query-id\tcorpus-id\tscore\n" + "".join(rows))
    write_listing(listing, [corpus, queries, judgements], inputs=[prose])


def _lines(records: Iterable[Mapping[str, str]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


if __name__ == "__main__":
    run_job(snakemake, make_collection)
