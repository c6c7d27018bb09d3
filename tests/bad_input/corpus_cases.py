"""Corpora that cannot be unpacked, read or cut into chunks, through the three jobs that a corpus passes."""

import bz2
import gzip
import io
import lzma
import zipfile
from functools import partial
from pathlib import Path

from entry_points import BadInput, Ran, ran

from scripts.clean_enwik8 import clean_enwik8
from scripts.fetch_enwik8 import fetch_enwik8
from scripts.sample_chunks import sample_chunks

_TEXT = "".join(f"Ant {number} walks over leaf {number * 7919 % 1009}.\n" for number in range(2000)).encode()
_PAGE = "<page><title>Ant</title><revision><text>An ant walks.</text></revision></page>\n"
_DUMP = f'<mediawiki xml:lang="en">\n{_PAGE * 40}</mediawiki>\n'


def good_corpora(folder: Path) -> list[Ran]:
    """Fetch, clean and sample a text and a dump, each in a folder of its own."""
    seen = []
    for name, data in (("text", gzip.compress(_TEXT)), ("dump", bz2.compress(_DUMP.encode()))):
        (folder / name).mkdir()
        seen.append(_fetched(folder / name, data))
        seen.append(_cleaned(folder / name, (seen[-1].outputs / "raw").read_bytes()))
        seen.append(
            _sampled(folder / name, (seen[-1].outputs / "clean.txt").read_bytes(), chunk_characters=8, n_chunks=9)
        )
    return seen


# -- fetching ----------------------------------------------------------------------------------------------------------


def _fetched(folder: Path, data: bytes) -> Ran:
    source = folder / "corpus"
    source.write_bytes(data)
    return _fetch(folder, str(source))


def _fetch(folder: Path, path: str | None) -> Ran:
    return ran(
        folder,
        fetch_enwik8,
        input={"files": [Path(path)] if path else []},
        output={"raw": "raw", "listing": "raw.parquet"},
        params={"path": path},
        resources={"cache_dir": str(folder / "cache")},
    )


def _archive(name: str, data: bytes, *says: str) -> BadInput:
    """Return a case of fetching a file of those bytes."""
    return BadInput(f"corpus, {name}", partial(_fetched, data=data), ("^fetch_enwik8: .*/corpus: ", *says))


def _published(name: str, data: bytes, *says: str) -> BadInput:
    """Return a case of an archive of enwik8 that lies in the cache from an earlier download."""

    def run(folder: Path) -> Ran:
        (folder / "cache").mkdir()
        (folder / "cache" / "enwik8.zip").write_bytes(data)
        return _fetch(folder, None)

    return BadInput(f"corpus, {name}", run, (r"^fetch_enwik8: .*/cache/enwik8\.zip: ", *says))


def _zip(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _encrypted() -> bytes:
    """Return a zip whose only member says that it is encrypted: bit 0 of the flags in both of its headers."""
    data = bytearray(_zip(ants=_TEXT))
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def _damaged(data: bytes) -> bytes:
    """Return an archive with some bytes in its middle turned over."""
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 255 for byte in data[middle : middle + 16]) + data[middle + 16 :]


# More than what any archive may unpack to.
_BLANKS = bytes(1 << 20)
_BOMB = (
    r" [0-9,]+ bytes that unpack to more than 16,777,216",
    "no text packs to less than 1/250",
    "unpack it yourself",
)

_FETCHING = [
    _archive("empty", b"", "holds no bytes; give a text or a MediaWiki XML dump"),
    _archive("an empty text, packed", gzip.compress(b""), "holds no bytes; give a text or a MediaWiki XML dump"),
    _archive("a zip cut short", _zip(ants=_TEXT)[:-40], "the zip archive is truncated or damaged", "fetch it again"),
    _archive("a gzip cut short", gzip.compress(_TEXT)[:-40], "the gzip archive is truncated; remove it and fetch it"),
    _archive("an xz cut short", lzma.compress(_TEXT)[:-40], "the xz archive is truncated; remove it and fetch it"),
    _archive("a bzip2 cut short", bz2.compress(_TEXT)[:-40], "the bzip2 archive is truncated; remove it and fetch it"),
    _archive(
        "a zip with a wrong checksum", _damaged(_zip(ants=_TEXT)), "the zip archive is .*damaged", "fetch it again"
    ),
    _archive("a gzip with a wrong checksum", gzip.compress(_TEXT)[:-8] + bytes(8), "the gzip archive is damaged .*CRC"),
    _archive(
        "a bzip2 with turned bits", _damaged(bz2.compress(_TEXT)), "the bzip2 archive is damaged", "fetch it again"
    ),
    _archive("an xz with turned bits", _damaged(lzma.compress(_TEXT)), "the xz archive is damaged", "fetch it again"),
    _archive(
        "a zip of two files", _zip(ants=_TEXT, bees=_TEXT), r"must hold exactly one file, it holds 2 \(ants, bees\)"
    ),
    _archive("a zip of none", _zip(), "must hold exactly one file, it holds 0", "pack the text alone"),
    _archive(
        "an encrypted zip", _encrypted(), "'ants' is encrypted", "unpack the zip yourself and give the unpacked file"
    ),
    _archive("a 7z archive", b"7z\xbc\xaf\x27\x1c\x00\x04", "is a 7z archive; unpack it yourself"),
    _archive("a zip bomb", _zip(ants=_BLANKS * 17), *_BOMB),
    _archive("a gzip bomb", gzip.compress(_BLANKS) * 17, *_BOMB),
    _archive("a bzip2 bomb", bz2.compress(_BLANKS) * 17, *_BOMB),
    _archive("an xz bomb", lzma.compress(_BLANKS, preset=0) * 17, *_BOMB),
    BadInput(
        "corpus, absent",
        lambda folder: _fetch(folder, str(folder / "corpus")),
        ("^fetch_enwik8: corpus path: .*/corpus is no file; give a text",),
    ),
    BadInput(
        "corpus, a folder", lambda folder: _fetch(folder, str(folder)), ("^fetch_enwik8: corpus path: .* is no file",)
    ),
    _published(
        "enwik8 with a wrong checksum",
        _zip(enwik8=_TEXT),
        f"not enwik8: it unpacks to {len(_TEXT):,} bytes with md5",
        r"expected 100,000,000 bytes with md5 a1fa5ffddb56f4953e226637dabbb36a; remove .*enwik8\.zip to download",
    ),
    _published(
        "enwik8 that is a server's error page", b"<html>busy</html>", "not enwik8: it unpacks to 17 bytes", "remove"
    ),
    _published(
        "enwik8 cut short", _zip(enwik8=_TEXT)[:-1], "zip archive is truncated or damaged", "remove it and fetch"
    ),
]


# -- cleaning ----------------------------------------------------------------------------------------------------------


def _cleaned(folder: Path, data: bytes) -> Ran:
    raw = folder / "raw"
    raw.write_bytes(data)
    output = {"clean": "clean.txt", "statistics": "statistics.parquet"}
    return ran(folder, clean_enwik8, input={"raw": raw}, output=output)


def _raw(name: str, data: str | bytes, *says: str) -> BadInput:
    """Return a case of cleaning those bytes."""
    content = data.encode() if isinstance(data, str) else data
    return BadInput(f"corpus, {name}", partial(_cleaned, data=content), ("^clean_enwik8: .*/raw: ", *says))


_NO_PAGE = "give a text or a whole dump"

_CLEANING = [
    _raw("blanks only", " \n\f\n ", "no page with text in 5 bytes", _NO_PAGE),
    _raw("binary", b"\x7fELF\2\1\0\0", "a NUL byte at offset 6: binary data or UTF-16", "give UTF-8 text"),
    _raw("UTF-16", "An ant".encode("utf-16"), "a NUL byte at offset 3: binary data or UTF-16", "give UTF-8 text"),
    _raw("Latin-1", b"An ant in a caf\xe9.", "not UTF-8: byte 0xe9 at offset 15", "convert it, as by iconv -t UTF-8"),
    _raw(
        "a text cut within a character",
        _TEXT + "é".encode()[:1],
        f"not UTF-8: byte 0xc3 at offset {len(_TEXT)}",
        "conv",
    ),
    _raw(
        "Latin-1 in a dump",
        _DUMP.replace("An ant", "Caf\xe9").encode("latin-1"),
        "broken XML: not well-formed .*line 1",
        "convert it if it is not UTF-8",
    ),
    _raw(
        "a dump without pages", '<mediawiki xml:lang="en">\n<siteinfo/>\n</mediawiki>\n', "no page with text", _NO_PAGE
    ),
    _raw(
        "a dump of redirects only",
        _DUMP.replace("An ant walks.", "#REDIRECT [[Bee]]"),
        "no page .*: 40 redirects",
        _NO_PAGE,
    ),
    _raw("a dump of empty pages", _DUMP.replace("An ant walks.", "{{stub}}"), "no page .* 40 empty pages", _NO_PAGE),
    _raw("a dump that is cut in its first page", _DUMP[:80], "no page .* 1 unfinished", _NO_PAGE),
    _raw(
        "a dump whose tags do not match",
        _DUMP.replace("</text>", "</test>", 1),
        "broken XML: mismatched tag at line 1, co",
        "fetch it again",
    ),
    _raw(
        "a dump with a bare ampersand",
        _DUMP.replace("An ant", "Ants & bees"),
        "broken XML: not well-formed",
        "fetch it",
    ),
    _raw(
        "a dump that names an entity",
        _DUMP.replace("An ant", "&bomb;"),
        "broken XML: undefined entity",
        "fetch it again",
    ),
    _raw(
        "a dump of one endless line",
        _DUMP[: _DUMP.index("An ant")].encode() + b"An ant walks. " * (5 << 18),
        "no tag within 17,",
        "bytes behind the first <page>; fetch it again",
    ),
]


# -- cutting into chunks -----------------------------------------------------------------------------------------------


def _sampled(folder: Path, clean: bytes, *, tokenizer: bytes | None = None, **settings: int) -> Ran:
    made = _cleaned(folder, b"An ant walks.")
    (folder / "clean.txt").write_bytes(clean)
    statistics = (made.outputs / "statistics.parquet").rename(folder / "statistics.parquet")
    for output in made.outputs.iterdir():
        output.unlink()
    if tokenizer is not None:
        (folder / "tokenizer.json").write_bytes(tokenizer)
    return ran(
        folder,
        sample_chunks,
        input={
            "clean": folder / "clean.txt",
            "statistics": statistics,
            "tokenizer": [folder / "tokenizer.json"] if tokenizer is not None else [],
        },
        output={"chunks": "chunks.parquet"},
        params={"seed": 0, **settings},
    )


def _chunks(name: str, clean: bytes, *says: str, tokenizer: bytes | None = None, **settings: int) -> BadInput:
    """Return a case of sampling chunks of a cleaned text."""
    run = partial(_sampled, clean=clean, tokenizer=tokenizer, **settings)
    return BadInput(f"corpus, {name}", run, ("^sample_chunks: ", *says))


# A tokenizer whose tokens are words.
_WORDS = (
    b'{"model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}, "pre_tokenizer": {"type": "Whitespace"}}'
)

_SAMPLING = [
    _chunks(
        "too short for the default chunks",
        _TEXT,
        r"n_chunks is 512, but the corpus holds \d+ windows of 512 characters",
        rf"{len(_TEXT) - 1:,} characters",
        "lower n_chunks or chunk_characters, or give more text",
        chunk_characters=512,
        n_chunks=512,
    ),
    _chunks(
        "pages that are all shorter than a chunk",
        b"An ant.\n\f\nA bee.\n" * 99,
        "holds 0 windows of 512 characters",
        "within its 100 pages",
        chunk_characters=512,
        n_chunks=1,
    ),
    _chunks(
        "too few tokens",
        b"An ant walks over a leaf.\n",
        "holds 2 windows of 3 tokens",
        "lower n_chunks or chunk_tokens",
        tokenizer=_WORDS,
        chunk_tokens=3,
        n_chunks=3,
    ),
    _chunks(
        "a counting tokenizer that is none",
        _TEXT,
        r"/tokenizer\.json: not a tokenizer\.json",
        "fetch it again",
        tokenizer=b"<html>",
        chunk_tokens=3,
        n_chunks=3,
    ),
]

CORPORA = [*_FETCHING, *_CLEANING, *_SAMPLING]
