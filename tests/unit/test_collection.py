"""Reading collections: BEIR folders with all their rough edges, and what is said about broken ones."""

import json
import logging

import pyarrow.parquet as pq
import pytest

from lm_geometry import provenance
from lm_geometry.retrieval.collection import Collection, read_beir_folder
from lm_geometry.retrieval.collection_tables import ignores_identical_ids
from scripts import fetch_collection as fetching
from scripts.fetch_collection import fetch_collection

DOCUMENTS = [{"_id": "d1", "title": "A title", "text": "and a text"}, {"_id": "d2", "title": "", "text": " second "}]
QUERIES = [{"_id": "q1", "text": "first query"}, {"_id": "q2", "text": " kept as it is "}]
JUDGEMENTS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq2\td2\t2\n"


def json_lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "corpus.jsonl").write_text(json_lines(DOCUMENTS), encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text(json_lines(QUERIES), encoding="utf-8")
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(JUDGEMENTS, encoding="utf-8")
    return tmp_path


def test_texts_and_judgements_are_read(folder):
    found = read_beir_folder(folder)
    assert found.documents == {"d1": "A title and a text", "d2": "second"}
    assert found.queries == {"q1": "first query", "q2": " kept as it is "}
    assert found.judgements == {"q1": {"d1": 1, "d2": 0}, "q2": {"d2": 2}}
    assert found.unknown_ids() == ([], [])


def test_only_line_feeds_end_a_line(folder):
    text = "one\u2028two\u2029three\x85four\x0bfive"
    rows = [*DOCUMENTS, {"_id": "d3", "title": "", "text": text}]
    (folder / "corpus.jsonl").write_text(json_lines(rows), encoding="utf-8")
    assert read_beir_folder(folder).documents["d3"] == text


def test_carriage_returns_blank_lines_numeric_ids_and_a_missing_header_are_taken(folder):
    (folder / "corpus.jsonl").write_bytes(b'{"_id": 7, "title": null, "text": "x"}\r\n\r\n\n{"_id": "8", "text": ""}')
    (folder / "qrels" / "test.tsv").write_bytes(b"q1\t7\t1\r\nq1\t7\t1\r\nq2\t8\t1\r\n\r\n")
    found = read_beir_folder(folder)
    assert found.documents == {"7": "x", "8": ""}
    assert found.judgements == {"q1": {"7": 1}, "q2": {"8": 1}}


def test_a_byte_order_mark_is_no_part_of_the_text(folder):
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    found = read_beir_folder(folder)
    assert list(found.documents) == ["d1", "d2"]
    assert found.judgements == {"q1": {"d1": 1, "d2": 0}, "q2": {"d2": 2}}


def test_single_empty_texts_are_taken(folder):
    (folder / "corpus.jsonl").write_text(json_lines([*DOCUMENTS, {"_id": "d3", "text": ""}]), encoding="utf-8")
    (folder / "queries.jsonl").write_text(json_lines([*QUERIES, {"_id": "q3", "text": " "}]), encoding="utf-8")
    assert len(read_beir_folder(folder).documents) == 3


def test_another_single_judgements_file_is_taken_and_several_are_not(folder):
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "dev.tsv")
    assert len(read_beir_folder(folder).judgements) == 2
    (folder / "qrels" / "train.tsv").write_text(JUDGEMENTS)
    with pytest.raises(ValueError, match=r"holds dev.tsv, train.tsv and no test.tsv"):
        read_beir_folder(folder)


def break_corpus(folder, line):
    with (folder / "corpus.jsonl").open("ab") as file:
        file.write(line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"_id": "d3", "text": \n', "corpus.jsonl, line 3: not valid JSON"),
        (b'["d3"]\n', "corpus.jsonl, line 3: a JSON object is needed and this is a list"),
        (b'{"id": "d3", "text": "x"}\n', "corpus.jsonl, line 3: key '_id' is missing; the keys are id, text"),
        (b'{"_id": "", "text": "x"}\n', "corpus.jsonl, line 3: key '_id' is \"\""),
        (b'{"_id": "d3", "title": "x"}\n', "corpus.jsonl, line 3: key 'text' is null and must be a string"),
        (b'{"_id": "d3", "title": 5, "text": "x"}\n', "corpus.jsonl, line 3: key 'title' is 5"),
        (b'\n{"_id": "d1", "text": "x"}\n', "corpus.jsonl, line 4: id 'd1' stands in line 1 already"),
        (b'{"_id": "d3", "text": "caf\xe9"}\n', "corpus.jsonl, line 3: not UTF-8"),
        (b'{"_id": "d3", "text": "\\ud800"}\n', "corpus.jsonl, line 3: the text holds half of a surrogate pair"),
    ],
)
def test_a_broken_line_is_named_with_file_and_number(folder, line, message):
    break_corpus(folder, line)
    with pytest.raises(ValueError, match=message):
        read_beir_folder(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q1 d1 1\n", "line 1: 3 columns divided by tabs are needed, found 1"),
        ("q1\tQ0\td1\t1\n", "line 1: 3 columns divided by tabs are needed, found 4"),
        (JUDGEMENTS + "q2\td1\tyes\n", "line 5: relevance 'yes' is no integer"),
        (JUDGEMENTS + "q1\td2\t1\n", "line 5: query 'q1' and document 'd2' are judged 1 here and 0 before"),
        ("query-id\tcorpus-id\tscore\n", "the collection has no judgements"),
        ("", "the collection has no judgements"),
        ("q9\td1\t1\nq1\td9\t1\n", "no judgement names a query and a document of the collection.*'q9'"),
    ],
)
def test_unusable_judgements_are_errors(folder, content, message):
    (folder / "qrels" / "test.tsv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_beir_folder(folder)


@pytest.mark.parametrize(("name", "kind"), [("corpus.jsonl", "documents"), ("queries.jsonl", "queries")])
def test_an_empty_or_absent_file_is_an_error(folder, name, kind):
    (folder / name).write_text("\n")
    with pytest.raises(ValueError, match=f"the collection has no {kind}"):
        read_beir_folder(folder)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        read_beir_folder(folder)


def test_absent_judgements_are_an_error(folder):
    (folder / "qrels" / "test.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"has them in qrels/test.tsv"):
        read_beir_folder(folder)


def test_the_digest_tells_texts_ids_judgements_and_case_apart(folder):
    first = read_beir_folder(folder)
    assert read_beir_folder(folder).sha256() == first.sha256()
    digests = {first.sha256(), first.lowercase().sha256()}
    (folder / "qrels" / "test.tsv").write_text(JUDGEMENTS.replace("q2\td2\t2", "q2\td2\t1"))
    digests.add(read_beir_folder(folder).sha256())
    (folder / "queries.jsonl").write_text(json_lines([QUERIES[0], {"_id": "q2", "text": "other"}]))
    digests.add(read_beir_folder(folder).sha256())
    assert len(digests) == 4


def fetch(folder, target, **options):
    paths = {name: target / f"{name}.parquet" for name in ("corpus", "queries", "judgements")}
    settings = {"collection": "mine", "path": str(folder), "lowercase": False, **options}
    fetch_collection(files=[], **paths, **settings)
    return paths


def test_the_script_writes_three_tables_with_their_digest(folder, tmp_path):
    paths = fetch(folder, tmp_path / "out", lowercase=True)
    assert pq.read_table(paths["corpus"]).to_pydict() == {"id": ["d1", "d2"], "text": ["a title and a text", "second"]}
    assert pq.read_table(paths["judgements"]).to_pylist()[2] == {"query_id": "q2", "document_id": "d2", "relevance": 2}
    expected = read_beir_folder(folder).lowercase().sha256()
    for path in paths.values():
        facts = provenance.read(path)
        assert facts["origin"] == {"collection_sha256": expected}
        assert facts["settings"]["lowercase"] is True


TASK = {"mteb_task": "FiQA2018", "mteb_revision": "27a168", "mteb_split": "test", "mteb_subset": "default"}


@pytest.mark.parametrize("ignored", [False, True])
def test_a_tasks_attribute_decides_about_identical_ids_where_the_key_is_left_out(tmp_path, monkeypatch, ignored):
    task = Collection({"1": "x"}, {"1": "x"}, {"1": {"1": 1}}, ignore_identical_ids=ignored, origin=TASK)
    monkeypatch.setattr(fetching, "load_mteb_task", lambda name: task)
    paths = fetch(None, tmp_path, collection="FiQA2018", path=None)
    assert [ignores_identical_ids(paths["judgements"], key) for key in (None, False, True)] == [ignored, False, True]
    for path in paths.values():
        assert provenance.read(path)["origin"] == {"collection_sha256": task.sha256(), **TASK}


def test_a_folder_ignores_no_identical_ids_where_the_key_is_left_out(folder, tmp_path):
    judgements = fetch(folder, tmp_path / "out", lowercase=True)["judgements"]
    assert [ignores_identical_ids(judgements, key) for key in (None, False, True)] == [False, False, True]


def test_unknown_ids_are_counted_aloud(folder, tmp_path, caplog):
    (folder / "qrels" / "test.tsv").write_text(JUDGEMENTS + "q1\td8\t1\nq1\td9\t1\nq7\td1\t1\n")
    with caplog.at_level(logging.WARNING):
        fetch(folder, tmp_path / "out")
    assert "name 2 documents that it lacks, such as 'd8'" in caplog.text
    assert "name 1 queries that it lacks, such as 'q7'" in caplog.text


@pytest.mark.parametrize(
    ("name", "sizes"), [("cranfield", (1400, 225)), ("cacm", (3204, 64)), ("vaswani_npl", (11429, 93))]
)
def test_real_collections_are_read_whole(shared_data, name, sizes):
    found = read_beir_folder(shared_data / "collections" / name)
    assert (len(found.documents), len(found.queries)) == sizes
    assert found.unknown_ids()[0] == []
