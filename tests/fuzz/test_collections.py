"""The reader of folders in BEIR shape: the collection that was written, or an error that names file and line."""

import json
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from damage import damaged
from hypothesis import example, given
from hypothesis import strategies as st

from lm_geometry.retrieval.collection import read_beir_folder

FILES = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")
HEADER = b"query-id\tcorpus-id\tscore\n"
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    [
        "one\u2028two\u2029three\x85four\x0bfive\x0csix",
        "\ufeff",
        "\0",
        '"',
        "\\",
        "\\ud800",
        "e\u0301",
        "\U0001f642",
        " a ",
        "\r\n",
    ]
)
# What a table divided by tabs can hold; a NUL is taken for a sign of another encoding.
IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), min_size=1, max_size=8)
GRADES = st.integers(-3, 3) | st.sampled_from([999_999_999, -999_999_999])


@contextmanager
def folder_of(contents):
    """Yield a folder of the three files, made in memory where the system has such a place."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    (folder / "qrels").mkdir()
    try:
        for name, content in zip(FILES, contents, strict=True):
            (folder / name).write_bytes(content)
        yield folder
    finally:
        shutil.rmtree(folder)


def read(contents):
    """Return the collection, or the message of the error without the folder; it is one line that can be printed."""
    with folder_of(contents) as folder:
        try:
            return read_beir_folder(folder)
        except ValueError as error:
            message = str(error)
            assert message.startswith(str(folder)), message
            message = message.removeprefix(str(folder))
    assert message.encode()
    assert message.isprintable(), message
    assert len(message) < 600, message
    return message


@st.composite
def lines_of(draw, rows):
    """Draw lines that hold these rows: with or without escapes, other keys, blanks, empty lines, carriage returns."""
    escaped = draw(st.booleans())
    more = draw(st.sampled_from([{}, {"metadata": {}}, {"url": None, "n": [1.5]}]))
    end = draw(st.sampled_from(["\n", "\r\n", " \n", "\n\n"]))
    lines = [json.dumps({**more, **row}, ensure_ascii=escaped) + end for row in rows]
    return "".join(lines).encode()


@st.composite
def collections(draw):
    """Draw the parts of a collection that can be scored, and its files."""
    titles = st.sampled_from([None, ""]) | TEXTS
    documents = draw(st.dictionaries(IDS, st.tuples(titles, TEXTS), min_size=1, max_size=4))
    queries = draw(st.dictionaries(IDS, TEXTS, min_size=1, max_size=3))
    # One of each says something, and one judgement finds one of them relevant.
    documents["d"], queries["q"] = (None, "a text"), "a query"
    judgements = draw(st.dictionaries(IDS, st.dictionaries(IDS, GRADES, min_size=1, max_size=3), max_size=2))
    judgements.setdefault("q", {})["d"] = 1
    rows = [
        {"_id": key, "text": text, **({} if title is None else {"title": title})}
        for key, (title, text) in documents.items()
    ]
    tsv = "".join(f"{query}\t{key}\t{grade}\n" for query, judged in judgements.items() for key, grade in judged.items())
    contents = (
        draw(lines_of(rows)),
        draw(lines_of([{"_id": key, "text": text} for key, text in queries.items()])),
        HEADER + tsv.encode(),
    )
    expected = {key: f"{title or ''} {text}".strip() for key, (title, text) in documents.items()}
    return (expected, queries, judgements), contents


@given(collections())
def test_what_was_written_is_read(drawn):
    (documents, queries, judgements), contents = drawn
    found = read(contents)
    assert not isinstance(found, str), found
    assert (found.documents, found.queries, found.judgements) == (documents, queries, judgements)
    assert (list(found.documents), list(found.queries)) == (list(documents), list(queries))
    assert len(found.sha256()) == 64
    found.lowercase()


GOOD = (
    b'{"_id": "d1", "title": "A title", "text": "and a text"}\n{"_id": "d2", "title": "", "text": "second"}\n',
    b'{"_id": "q1", "text": "first query"}\n{"_id": "q2", "text": "\xc3\xa4 \xf0\x9f\x99\x82"}\n',
    HEADER + b"q1\td1\t1\nq1\td2\t0\nq2\td2\t2\n",
)
BROKEN_TEXTS = [
    b'{"_id": "x", "text": ', b'["x"]', b"7", b"null", b'{"id": "x", "text": "x"}', b'{"_id": "", "text": "x"}',
    b'{"_id": null, "text": "x"}', b'{"_id": 1.5, "text": "x"}', b'{"_id": true, "text": "x"}', b'{"_id": "x"}',
    b'{"_id": "x", "text": 5}', b'{"_id": "x", "text": "caf\xe9"}', b'{"_id": "x", "text": "\\ud800"}',
    b'{"_id": "\\udfff", "text": "x"}', b'{"_id": "x", "text": "\\ude42\\ud83d"}', b'{"_id": "x", "text": "a\0b"}',
    b"[" * 100_000, b'{"_id": ' + b"9" * 5_000 + b', "text": "x"}', b'{"_id": "x", "text": NaN}', b"\xff\xfe{\0",
    b'{"\\ud800": 1}', b'{"a\\nb": 1}', b'{"_id": {"\\u2028": "\\ud800"}, "text": "x"}', b"x" * 5_000,
    b'{"' + b"k" * 5_000 + b'": 1}', b'{"_id": "x", "text": {"a": [' + b"1," * 5_000 + b"1]}}",
]  # fmt: skip
BROKEN_JUDGEMENTS = [
    b"q1 d1 1", b"q1\td1", b"q1\tQ0\td1\t1", b"q2\td1\tyes", b"q2\td1\t1.0", b"q2\td1\t", b"q2\td1\t9999999999",
    b"\xff\t\t1", b"q2\td1\t\xd9\xa1", b"q2\td1\t1_0", b"q1\td1\t2", b"q\0\td1\t1", b"a\x1b[31m\xe2\x80\xa8",
    b"q2\td1\t\x1b[2J",
    b"x" * 5_000, b"q1\t" + b"d" * 5_000 + b"\t1.", b"\x7f",
]  # fmt: skip
BROKEN = {"corpus.jsonl": BROKEN_TEXTS, "queries.jsonl": BROKEN_TEXTS, "qrels/test.tsv": BROKEN_JUDGEMENTS}


@given(st.data())
def test_a_broken_line_is_named_with_its_file_and_number(data):
    name = data.draw(st.sampled_from(FILES))
    broken = data.draw(st.sampled_from(BROKEN[name]))
    contents = dict(zip(FILES, GOOD, strict=True))
    lines = contents[name].splitlines(keepends=True)
    # Not before the line that it contradicts, and empty lines count.
    place = data.draw(st.integers(2 if name.startswith("qrels") else 0, len(lines)))
    empty = data.draw(st.integers(0, 3))
    contents[name] = b"".join([*lines[:place], b"\n" * empty, broken, b"\n", *lines[place:]])
    message = read(contents.values())
    assert isinstance(message, str), broken
    assert message.startswith(f"/{name}, line {place + empty + 1}: "), (message, broken)


@given(st.sampled_from(range(3)), st.binary(max_size=80) | damaged(GOOD))
@example(0, b"\xef\xbb\xbf" + GOOD[0])
@example(2, b"\xef\xbb\xbf" + GOOD[2])
def test_any_bytes_are_a_collection_or_an_error_that_says_where(place, content):
    contents = [*GOOD[:place], content, *GOOD[place + 1 :]]
    found = read(contents)
    if isinstance(found, str):
        # What no line is to blame for is said of the whole.
        assert re.match(rf"/{re.escape(FILES[place])}, line [1-9]\d*: |: ", found), found
        return
    for part in (found.documents, found.queries):
        assert all(key and isinstance(text, str) for key, text in part.items())
        assert "".join([*part, *part.values()]).encode() is not None
    assert all(type(grade) is int for judged in found.judgements.values() for grade in judged.values())
