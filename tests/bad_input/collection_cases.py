"""Judged collections that cannot be read or scored: folders in BEIR shape, through the job that fetches one."""

import gzip
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from entry_points import BadInput, Ran, ran

from scripts.fetch_collection import fetch_collection

_TEXTS = [json.dumps({"_id": f"t{number}", "title": "", "text": f"Ant {number} walks."}) for number in range(1, 21)]
_HEADER = "query-id\tcorpus-id\tscore"
_JUDGED = [_HEADER, *(f"t{number}\tt{number}\t1" for number in range(1, 21))]

_DOCUMENTS, _QUERIES, _JUDGEMENTS = "corpus.jsonl", "queries.jsonl", "qrels/test.tsv"


def good_collection(folder: Path) -> list[Ran]:
    """Fetch a collection of 20 documents and as many queries."""
    return [_fetched(folder, lambda folder: None)]


def _fetched(folder: Path, spoil: Callable[[Path], object]) -> Ran:
    source = folder / "beir"
    (source / "qrels").mkdir(parents=True)
    for name, lines in ((_DOCUMENTS, _TEXTS), (_QUERIES, _TEXTS), (_JUDGEMENTS, _JUDGED)):
        (source / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    spoil(source)
    return ran(
        folder,
        fetch_collection,
        input={"files": [source / name for name in (_DOCUMENTS, _QUERIES, _JUDGEMENTS)]},
        output={name: f"{name}.parquet" for name in ("corpus", "queries", "judgements")},
        params={"collection": "beir", "path": str(source), "lowercase": False},
    )


def _case(name: str, spoil: Callable[[Path], object], *says: str) -> BadInput:
    """Return a case of a good folder that ``spoil`` changes; every line begins with the job's name."""
    return BadInput(f"collection, {name}", partial(_fetched, spoil=spoil), ("^fetch_collection: ", *says))


def _file(name: str, file: str, content: str | bytes, *says: str) -> BadInput:
    """Return a case of one file with another content."""
    data = content.encode() if isinstance(content, str) else content
    return _case(name, lambda folder: (folder / file).write_bytes(data), *says)


def _line(name: str, file: str, number: int, line: str | bytes, *says: str) -> BadInput:
    """Return a case of one file whose line of that number is another."""
    lines: Sequence[str] = _JUDGED if file == _JUDGEMENTS else _TEXTS
    data = [*(text.encode() for text in lines), b""]
    data[number - 1] = line.encode() if isinstance(line, str) else line
    return _file(name, file, b"\n".join(data), rf"/{file}, line {number}: ", *says)


def _be_a_folder(file: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).mkdir()

    return spoil


def _be_one_endless_line(folder: Path) -> None:
    with (folder / _DOCUMENTS).open("wb") as file:
        file.truncate((32 << 20) + 1)  # of NUL bytes, which take no room on the disk


def _have_two_splits(folder: Path) -> None:
    (folder / _JUDGEMENTS).rename(folder / "qrels" / "dev.tsv")
    (folder / "qrels" / "train.tsv").write_text(_HEADER, encoding="utf-8")


_ALL_TEXTS = "\n".join(_TEXTS)

COLLECTIONS = [
    _case(
        "no judgements file",
        lambda folder: (folder / _JUDGEMENTS).unlink(),
        r"/qrels/test\.tsv: no judgements",
        "a folder in BEIR shape has them in qrels/test.tsv",
    ),
    _case(
        "several judgements files, none of them test.tsv",
        _have_two_splits,
        r"/qrels: holds dev\.tsv, train\.tsv and no test\.tsv",
        r"rename the one to use to test\.tsv",
    ),
    _file("a judgements file of its header only", _JUDGEMENTS, _HEADER, "/beir: the collection has no judgements; add"),
    _file(
        "no relevant document",
        _JUDGEMENTS,
        f"{_HEADER}\nt1\tt1\t0\nt2\tt2\t-1\n",
        "/beir: none of 2 judgements finds a document relevant, the highest is 0",
        "a relevant one has 1 or more",
    ),
    _file(
        "judgements of others' ids",
        _JUDGEMENTS,
        f"{_HEADER}\nq1\tt1\t1\n",
        "/beir: no judgement names a query and a",
        "query 'q1'",
        "'t1'; give both the same ids",
    ),
    _file(
        "relevant documents that are not there",
        _JUDGEMENTS,
        f"{_HEADER}\nt1\td1\t1\nt1\tt1\t0\n",
        "/beir: none of 1 judgements finds a document relevant",
        "1 or more",
    ),
    _file("no documents", _DOCUMENTS, "\n\n", "/beir: the collection has no documents; add them"),
    _file("no queries", _QUERIES, "", "/beir: the collection has no queries; add them"),
    _file(
        "documents that are all empty",
        _DOCUMENTS,
        '{"_id": "t1", "text": " "}\n{"_id": "t2", "text": ""}\n',
        "/beir: all 2 documents are empty; their words belong into the key 'text'",
    ),
    _file("queries that are all empty", _QUERIES, '{"_id": "t1", "text": ""}', "/beir: all 1 queries are empty"),
    _line(
        "broken JSON in line 17",
        _DOCUMENTS,
        17,
        '{"_id": "t17", "text": "Ant',
        "not valid JSON .*Unterminated string",
        "beginning",
        "one object a line is needed",
    ),
    _line(
        "a number for a document",
        _DOCUMENTS,
        3,
        "17",
        "a JSON object is needed and this is a int",
        "on a line of its own",
    ),
    _file(
        "one array of all documents",
        _DOCUMENTS,
        f"[{', '.join(_TEXTS)}]",
        r"/corpus\.jsonl, line 1: ",
        "this is a list",
        "on a line of its own",
    ),
    _file(
        "an array over several lines",
        _DOCUMENTS,
        f"[\n{_ALL_TEXTS}\n]",
        r"/corpus\.jsonl, line 1: not valid JSON",
        "one object a line is needed",
    ),
    _line("JSON nested without end", _DOCUMENTS, 2, "[" * 100_000, "JSON nested too deep; one plain object is needed"),
    _line("no _id", _QUERIES, 5, '{"id": "t5", "text": "x"}', "key '_id' is missing; the keys are id, text; add it"),
    _line("an _id that is null", _QUERIES, 5, '{"_id": null, "text": "x"}', "key '_id' is null and must be a string"),
    _line("an _id that is a list", _QUERIES, 5, '{"_id": ["t5"], "text": "x"}', r"key '_id' is \[\"t5\"\] and must be"),
    _line("an _id that is empty", _QUERIES, 5, '{"_id": "", "text": "x"}', "key '_id' is \"\" and must be a string"),
    _line("a text that is a number", _QUERIES, 5, '{"_id": "t5", "text": 17}', "key 'text' is 17 and must be a string"),
    _line(
        "a text that is a long list",
        _DOCUMENTS,
        5,
        json.dumps({"_id": "t5", "text": ["word"] * 99}),
        r"key 'text' is \[\"word\", .{70,80}\.\.\. and must be a string; write it in double quotes",
    ),
    _line("a document without text", _DOCUMENTS, 5, '{"_id": "t5", "title": "x"}', "key 'text' is null and must be a"),
    _line(
        "a title that is no text", _DOCUMENTS, 5, '{"_id": "t5", "title": {}, "text": ""}', "key 'title' is {} and must"
    ),
    _line("document ids given twice", _DOCUMENTS, 18, _TEXTS[3], "id 't4' stands in line 4 already; give each its own"),
    _line("query ids given twice", _QUERIES, 20, _TEXTS[0], "id 't1' stands in line 1 already; give each its own"),
    _line(
        "half of a surrogate pair in a text", _DOCUMENTS, 9, '{"_id": "t9", "text": "\\ud83d"}', "half of a surrogate"
    ),
    _line(
        "half of a surrogate pair in an id",
        _DOCUMENTS,
        9,
        '{"_id": "\\ud83d", "text": "x"}',
        "half of a surrogate",
        "write the whole character",
    ),
    _line(
        "a Latin-1 byte", _DOCUMENTS, 12, b'{"_id": "t12", "text": "caf\xe9"}', "not UTF-8 .*0xe9", "convert the file"
    ),
    _file(
        "UTF-16",
        _DOCUMENTS,
        _ALL_TEXTS.encode("utf-16"),
        r"/corpus\.jsonl, line 1: a NUL byte at \d+: .*UTF-16",
        "convert the file to UTF-8",
    ),
    _line("NUL bytes", _QUERIES, 7, b"\0" * 40, "a NUL byte at 0: binary data", "convert the file"),
    _file(
        "gzip under a plain name",
        _DOCUMENTS,
        gzip.compress(_ALL_TEXTS.encode()),
        r"/corpus\.jsonl, line 1: a gzip",
        "unpack it",
    ),
    _case(
        "one endless line",
        _be_one_endless_line,
        r"/corpus\.jsonl, line 1: longer than 33,554,432 bytes",
        "end each line with a line feed",
    ),
    _case(
        "no documents file",
        lambda folder: (folder / _DOCUMENTS).unlink(),
        r"/corpus\.jsonl: no such file",
        "BEIR shape",
    ),
    _case("a folder for the queries", _be_a_folder(_QUERIES), r"/queries\.jsonl: no such file", "BEIR shape"),
    _line(
        "a relevance that is a word",
        _JUDGEMENTS,
        6,
        "t5\tt5\tyes",
        "relevance 'yes' is no integer of up to 9 digits",
        "write 0, 1 or",
    ),
    _line(
        "a relevance that is a fraction",
        _JUDGEMENTS,
        6,
        "t5\tt5\t1.0",
        r"relevance '1\.0' is no integer of up to 9 digits",
        "write 0, 1",
    ),
    _line(
        "a relevance of 20 digits",
        _JUDGEMENTS,
        6,
        f"t5\tt5\t{'9' * 20}",
        "relevance '9{20}' is no integer of up to 9 digits",
        "write 0",
    ),
    _line(
        "another header",
        _JUDGEMENTS,
        1,
        "query\tdocument\trelevance",
        "relevance 'relevance' is no integer of up to 9 digits",
        "a header must be query-id, corpus-id, score",
    ),
    _line(
        "judgements of trec_eval's four columns",
        _JUDGEMENTS,
        1,
        "t1\t0\tt1\t1",
        "3 columns .*found 4",
        "write query-id, corpus-id, score",
    ),
    _line(
        "judgements divided by blanks",
        _JUDGEMENTS,
        4,
        "t3 t3 1",
        "3 columns divided by tabs are needed, found 1",
        "'t3 t3 1'|\"t3 t3 1\"",
    ),
    _line(
        "one pair judged twice",
        _JUDGEMENTS,
        21,
        "t1\tt1\t2",
        "query 't1' and document 't1' are judged 2 here and 1",
        "remove one",
    ),
]
