"""From a raw corpus to clean pages and chunks, through the scripts: dumps, cut dumps, plain text, no text at all."""

import hashlib
import io
import tracemalloc
from xml.sax.saxutils import escape

import mwparserfromhell
import pytest
from mwparserfromhell.parser import ParserError

from lm_geometry import provenance
from lm_geometry.corpus import pages as pages_module
from lm_geometry.corpus.dump import read_dump
from lm_geometry.corpus.pages import plain_pages, read_pages, write_pages
from lm_geometry.tables.files import read_table
from scripts.clean_enwik8 import clean_enwik8
from scripts.fetch_enwik8 import fetch_enwik8
from scripts.sample_chunks import sample_chunks

HEADER = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.3/" xml:lang="en">\n'
    "<siteinfo><sitename>Wiki</sitename></siteinfo>\n"
)


def page(*revisions):
    texts = "".join(f'<revision><text xml:space="preserve">{escape(text)}</text></revision>' for text in revisions)
    return f"  <page>\n    <title>A title</title>\n    {texts}\n  </page>\n"


def dump(*texts):
    return (HEADER + "".join(map(page, texts)) + "</mediawiki>\n").encode()


def clean(tmp_path, data):
    raw = tmp_path / "raw"
    raw.write_bytes(data)
    clean_enwik8(raw=raw, clean=tmp_path / "clean.txt", statistics=tmp_path / "statistics.parquet")
    (row,) = read_table(tmp_path / "statistics.parquet").to_pylist()
    return (tmp_path / "clean.txt").read_bytes().decode(), row


def test_a_dump_is_cleaned_counted_and_traced(tmp_path):
    data = dump("An '''ant''' &mdash; {{small}}.", "#REDIRECT [[Ant]]", "{{disambig}}", "A [[bee]].\n\nIt flies.")
    text, row = clean(tmp_path, data)
    pages = ["An ant —.", "A bee.\n\nIt flies."]
    assert text == "An ant —.\n\f\nA bee.\n\nIt flies.\n"
    assert read_pages(tmp_path / "clean.txt") == pages
    assert row == {
        "format": "mediawiki_xml",
        "raw_bytes": len(data),
        "distinct_bytes": len(set(data)),
        "pages": 2,
        "redirects": 1,
        "empty_pages": 1,
        "unparsed_pages": 0,
        "unfinished_pages": 0,
        "characters": len("".join(pages)),
        "alphabet_size": len(set("".join(pages))),
        "corpus_sha256": hashlib.sha256(data).hexdigest(),
    }
    origin = provenance.read(tmp_path / "statistics.parquet")["origin"]
    assert origin == {"corpus_sha256": hashlib.sha256(data).hexdigest()}


def test_the_same_dump_gives_the_same_bytes(tmp_path):
    data = dump("An ant.", "A bee.")
    outputs = []
    for name in "ab":
        (tmp_path / name).mkdir()
        clean(tmp_path / name, data)
        outputs.append([(tmp_path / name / file).read_bytes() for file in ("clean.txt", "statistics.parquet")])
    assert outputs[0] == outputs[1]


def test_a_dump_cut_anywhere_keeps_its_whole_pages(tmp_path):
    data = dump("An ant.", "A bee is [[here]].")
    second = data.index(b"<page>", data.index(b"</page>"))
    for end in (second + 8, data.index(b"[[here"), data.rindex(b"</page>") + 3):
        text, row = clean(tmp_path, data[:end])
        assert text == "An ant.\n"
        assert (row["pages"], row["unfinished_pages"]) == (1, 1)
    text, row = clean(tmp_path, data[:second])
    assert (row["pages"], row["unfinished_pages"]) == (1, 0)


def test_a_cut_inside_a_character_is_a_cut(tmp_path):
    data = dump("An ant.", "A bee costs €")
    _, row = clean(tmp_path, data[: data.index("€".encode()) + 1])
    assert (row["pages"], row["unfinished_pages"]) == (1, 1)


def test_a_slice_from_the_middle_of_a_dump(tmp_path):
    data = dump("Half of an ant.", "A bee.", "A wasp.")
    text, _ = clean(tmp_path, data[data.index(b"of an ant") :])
    assert text == "A bee.\n\f\nA wasp.\n"


def test_a_dump_read_in_small_pieces():
    assert list(read_dump(Trickle(dump("An ant.", "A bee.")))) == ["An ant.", "A bee."]


def test_memory_does_not_grow_with_the_dump():
    class Endless(io.RawIOBase):
        """A dump of 40 MB that is never held whole."""

        blocks = iter([HEADER.encode(), *[page("An ant walks. " * 5000).encode()] * 600])

        def read(self, size=-1):
            return next(self.blocks, b"")

    tracemalloc.start()
    try:
        assert sum(len(text) for text in read_dump(Endless())) == 600 * 70_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_a_dump_without_line_breaks_reads_the_same():
    data = (HEADER + page("An ant.") + page("A bee.") + "</mediawiki>").encode()
    assert list(read_dump(io.BytesIO(data.replace(b"\n", b"")))) == list(read_dump(io.BytesIO(data)))


def test_a_text_that_never_ends_is_told_before_it_fills_the_memory():
    class Endless(io.RawIOBase):
        """A page whose text is never closed."""

        n_read = 0

        def read(self, size=-1):
            self.n_read += size
            return b"<page><revision><text>" if self.n_read == size else b"ant " * (size // 4)

    stream = Endless()
    with pytest.raises(ValueError, match=r"no tag within 1[67],\d{3},\d{3} bytes"):
        list(read_dump(stream))
    assert stream.n_read < 20 << 20


def test_the_last_revision_counts():
    data = (HEADER + page("old", "new") + "</mediawiki>").encode()
    assert list(read_dump(io.BytesIO(data))) == ["new"]


def test_broken_xml_in_the_middle_says_where(tmp_path):
    data = dump("An ant.", "A bee.").replace(b"</revision>", b"</revisoin>", 1)
    with pytest.raises(ValueError, match=r"raw: the dump is broken XML: mismatched tag at line 3, column \d+"):
        clean(tmp_path, data)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_page_the_parser_gives_up_on_is_counted_and_kept(tmp_path, monkeypatch):
    parse = mwparserfromhell.parse

    def give_up_on_bees(text, **settings):
        if "bee" in text:
            raise ParserError("too deep")
        return parse(text, **settings)

    monkeypatch.setattr(mwparserfromhell, "parse", give_up_on_bees)
    text, row = clean(tmp_path, dump("An [[ant]].", "A  [[bee]]."))
    assert text == "An ant.\n\f\nA [[bee]].\n"
    assert (row["pages"], row["unparsed_pages"]) == (2, 1)


@pytest.mark.parametrize("texts", [[], ["#REDIRECT [[A]]"], ["{{a}}"]])
def test_a_dump_without_prose_is_an_error(tmp_path, texts):
    with pytest.raises(ValueError, match="no page with text"):
        clean(tmp_path, dump(*texts))


def test_plain_text_is_taken_as_it_is(tmp_path):
    text, row = clean(tmp_path, "\ufeffAn [[ant]] &amp; {{b}}\r\nwalks.\n\f\nA bee.\f\f  \n".encode())
    assert text == "An [[ant]] &amp; {{b}}\nwalks.\n\f\nA bee.\n"
    assert (row["format"], row["pages"], row["redirects"]) == ("plain_text", 2, 0)


class Trickle(io.BytesIO):
    """A file that gives three bytes at a time."""

    def read(self, size=-1):
        return super().read(min(size, 3) if size > 0 else 3)


def test_a_plain_text_read_in_small_pieces():
    data = "\ufeffAn ant costs €5 and 🐜.\r\n\fA bee.\r\n\f\f".encode()
    assert list(plain_pages(Trickle(data))) == ["An ant costs €5 and 🐜.", "A bee."]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"An ant caf\xe9 here", "byte 0xe9 at offset 10 "),
        (b"An ant\xe2\x82", "byte 0xe2 at offset 6 .unexpected end"),
        (b"An \xe2\x82ant", "byte 0xe2 at offset 3 "),
        (b"\xef\xbb\xbfAn \xff", "byte 0xff at offset 6 "),
        (b"An ant\0", "a NUL byte at offset 6"),
    ],
)
def test_an_error_s_place_is_counted_from_the_beginning(data, message):
    with pytest.raises(ValueError, match=message):
        list(plain_pages(Trickle(data)))


def test_memory_does_not_grow_with_a_plain_text():
    class Endless(io.RawIOBase):
        """Pages of 70 kB, 40 MB together, never held whole."""

        blocks = iter(["An änt walks. ".encode() * 5000 + b"\f"] * 600)

        def read(self, size=-1):
            return next(self.blocks, b"")

    tracemalloc.start()
    try:
        assert sum(len(text) for text in plain_pages(Endless())) == 600 * (70_000 - 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_a_cleaned_corpus_is_a_plain_text_that_stays_the_same(tmp_path):
    first, _ = clean(tmp_path, dump("An ant.\n\nIt walks.", "A bee."))
    second, _ = clean(tmp_path, first.encode())
    assert second == first


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"An ant caf\xe9 here", r"raw: not UTF-8: byte 0xe9 at offset 10 .*iconv"),
        (b"\xef\xbb\xbfAn \xff", r"byte 0xff at offset 6 "),
        (b"\x7fELF\x02\x01\x00\x00", r"raw: a NUL byte at offset 6: binary data or UTF-16"),
        ("ant".encode("utf-16-be"), r"NUL byte at offset 0"),
        (b" \n\f\n ", r"no page with text in 5 bytes"),
    ],
)
def test_what_is_no_text_is_an_error(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        clean(tmp_path, data)
    assert not (tmp_path / "clean.txt").exists()


@pytest.mark.parametrize("block", [1, 3, 1 << 20])
def test_pages_come_back_as_they_were_written(tmp_path, monkeypatch, block):
    monkeypatch.setattr(pages_module, "_BLOCK", block)
    for pages in ([], ["one"], ["one\n\ntwo", "three\x85four\u2028five", "six"], ["€", "", "\ufeffseven"]):
        with (tmp_path / "clean.txt").open("w", encoding="utf-8", newline="") as file:
            write_pages(pages, file)
        assert read_pages(tmp_path / "clean.txt") == pages


def test_chunks_of_the_real_prefix(tmp_path, shared_data):
    source = shared_data / "enwik8_prefix" / "enwik8_first_4154399.bin.xz"
    raw, cleaned, statistics = (tmp_path / name for name in ("raw", "clean.txt", "statistics.parquet"))
    listing = tmp_path / "raw.parquet"
    fetch_enwik8(files=[source], raw=raw, listing=listing, path=str(source), cache_dir="unused")
    clean_enwik8(raw=raw, clean=cleaned, statistics=statistics, origins=[listing])
    (row,) = read_table(statistics).to_pylist()
    # Size, digest, page count and the cut are stated by the data's own README; 491 whole pages, one unfinished.
    assert row["raw_bytes"] == 4_154_399
    assert row["corpus_sha256"] == "d502ac7ecb9dd47a062e7d19b8dcd3c753b07c142e48b13dcd521cb747116bdd"
    assert row["pages"] + row["redirects"] + row["empty_pages"] == 491
    assert (row["unfinished_pages"], row["unparsed_pages"]) == (1, 0)
    # All of enwik8 holds 205 byte values; a prefix cannot hold more.
    assert 150 < row["distinct_bytes"] <= 205

    chunks = tmp_path / "chunks.parquet"
    sample_chunks(clean=cleaned, statistics=statistics, chunks=chunks, chunk_characters=512, n_chunks=512, seed=0)
    table = read_table(chunks).to_pylist()
    pages = read_pages(cleaned)
    assert [chunk["chunk"] for chunk in table] == list(range(512))
    assert all(len(chunk["text"]) == 512 and chunk["text"] in pages[chunk["page"]] for chunk in table)
    facts = provenance.read(chunks)
    assert facts["origin"] == {"corpus_sha256": row["corpus_sha256"]}
    assert facts["settings"] == {"chunk_characters": 512, "n_chunks": 512, "seed": 0}
