"""The known-item collection: fair pairs only, in BEIR's shape."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest

from lm_geometry.demo.collection import known_items
from lm_geometry.demo.prose import TOPICS, Passage, read_prose
from lm_geometry.tables.files import write_table
from lm_geometry.tables.prose import SCHEMA
from scripts.make_collection import make_collection

LONG = "The description goes on for a while and says what the caller has to know before the call."


def docstring(summary: str, text: str, name: str = "m.f") -> Passage:
    return Passage("m", name, f"{summary}\n\n{text}")


def queries(*passages: Passage) -> list[str]:
    return [item.query for item in known_items(passages)]


def test_a_pair_is_the_summary_and_what_is_below_it():
    (item,) = known_items([docstring("Return the next free slot.", LONG)])
    assert (item.query, item.title, item.text) == ("Return the next free slot.", "m", LONG)
    assert item.query_id != item.document_id


@pytest.mark.parametrize(
    "passage",
    [
        docstring("Too short here.", LONG),
        docstring("Return the next free slot.", "Only a few words."),
        docstring("Return the next free slot.", f"Return the next\nfree slot. {LONG}"),
        Passage("m", "m.f", f"Return the next free slot\nof this table.\n\n{LONG}"),
        Passage("m", "m.f", "Return the next free slot."),
        Passage(TOPICS, "slots", f"Return the next free slot.\n\n{LONG}"),
    ],
    ids=["short query", "short document", "query in its document", "no summary line", "no text", "topic"],
)
def test_what_makes_no_known_item_is_left_out(passage):
    assert queries(passage) == []


def test_summaries_and_documents_that_are_not_the_only_one_are_left_out():
    other = "Another description that goes on for a while, in other words than the first one does."
    assert queries(docstring("Return the next slot.", LONG), docstring("return the next  slot", other)) == []
    assert queries(docstring("Return the next slot.", LONG), docstring("Delete the last slot.", LONG)) == []
    mention = f"To return the next slot, call the other function. {other}"
    assert queries(docstring("Return the next slot.", LONG), docstring("Delete the last slot.", mention)) == [
        "Delete the last slot."
    ]


def test_ids_do_not_depend_on_the_other_passages():
    first, second = docstring("Return the next slot.", LONG), docstring("Delete the last slot.", LONG + " More.")
    assert known_items([first, second])[1] == known_items([second])[0]


def write_prose(path: Path, passages: Iterable[Passage]) -> Path:
    rows = pa.Table.from_pylist([passage._asdict() for passage in passages], schema=SCHEMA)
    write_table(path, rows, SCHEMA)
    return path


def test_the_files_are_a_collection_in_beirs_shape(tmp_path):
    passages = read_prose()
    prose = write_prose(tmp_path / "prose.parquet", passages)
    corpus, asked, judged = (tmp_path / name for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"))
    make_collection(prose=prose, corpus=corpus, queries=asked, judgements=judged, listing=tmp_path / "listing.parquet")
    documents = {row["_id"]: row for row in map(json.loads, corpus.read_text("utf-8").split("\n")[:-1])}
    questions = {row["_id"]: row["text"] for row in map(json.loads, asked.read_text("utf-8").split("\n")[:-1])}
    with judged.open(newline="") as file:
        judgements = list(csv.DictReader(file, delimiter="\t"))
    assert 1000 < len(judgements) < 4000
    assert list(judgements[0]) == ["query-id", "corpus-id", "score"]
    assert {row["query-id"] for row in judgements} == set(questions)
    assert {row["corpus-id"] for row in judgements} == set(documents)
    assert not set(questions) & set(documents)
    everything = "\n".join(document["text"] for document in documents.values())
    assert not any(question in everything for question in questions.values())
    assert {document["title"] for document in documents.values()} <= {passage.source for passage in passages}


def test_prose_without_pairs_is_refused(tmp_path):
    prose = write_prose(tmp_path / "prose.parquet", [Passage("m", "m", "Short.")])
    with pytest.raises(ValueError, match=r"prose\.parquet: no docstring with a summary line"):
        outputs = {name: tmp_path / name for name in ("corpus", "queries", "judgements", "listing")}
        make_collection(prose=prose, **outputs)
