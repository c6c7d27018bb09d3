"""Fetching: archives of every kind, whole or cut, and a download from a loopback server."""

import bz2
import gzip
import hashlib
import http.server
import io
import lzma
import threading
import zipfile
from contextlib import nullcontext

import numpy as np
import pytest

from lm_geometry import provenance
from lm_geometry.corpus.enwik8 import ENWIK8, Identity, copy_unpacked, download, fetch_published_enwik8
from lm_geometry.tables.files import read_table
from scripts.fetch_enwik8 import fetch_enwik8

# Incompressible, and longer than a block, so that a cut archive is cut inside the data.
DATA = np.random.default_rng(0).bytes(1_500_000)


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


PACKED = {
    "zip": zipped(enwik8=DATA),
    "xz": lzma.compress(DATA, preset=0),
    "gzip": gzip.compress(DATA, 1),
    "bzip2": bz2.compress(DATA),
}


@pytest.mark.parametrize("kind", ["raw", *PACKED])
def test_every_kind_is_told_by_its_bytes_and_not_by_its_name(tmp_path, kind):
    source = tmp_path / "corpus.gz"
    source.write_bytes(PACKED.get(kind, DATA))
    raw, listing = (tmp_path / "out" / name for name in ("raw", "raw.parquet"))
    fetch_enwik8(files=[source], raw=raw, listing=listing, path=str(source), cache_dir=str(tmp_path))
    assert raw.read_bytes() == DATA
    digest = hashlib.sha256(DATA).hexdigest()
    assert provenance.read(listing)["origin"] == {"corpus_sha256": digest}
    assert read_table(listing).to_pylist() == [{"path": "raw", "size": len(DATA), "sha256": digest}]


@pytest.mark.parametrize("kind", PACKED)
def test_a_truncated_archive_says_so_and_leaves_no_file(tmp_path, kind):
    source = tmp_path / "corpus"
    source.write_bytes(PACKED[kind][:-200_000])
    with pytest.raises(ValueError, match=rf"corpus: the {kind} archive is truncated"):
        copy_unpacked(source, tmp_path / "out" / "raw")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("kind", PACKED)
def test_a_damaged_archive_says_so(tmp_path, kind):
    damaged = bytearray(PACKED[kind])
    damaged[700_000:700_020] = bytes(20)
    source = tmp_path / "corpus"
    source.write_bytes(damaged)
    with pytest.raises(ValueError, match=rf"corpus: the {kind} archive is .*damaged"):
        copy_unpacked(source, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_text_that_begins_like_bzip2_is_text(tmp_path):
    source = tmp_path / "corpus"
    source.write_bytes(b"BZh is how a bzip2 file begins")
    copy_unpacked(source, tmp_path / "raw")
    assert (tmp_path / "raw").read_bytes() == source.read_bytes()


def test_a_zip_must_hold_one_file_apart_from_the_mac_shadow(tmp_path):
    source = tmp_path / "corpus.zip"
    source.write_bytes(zipped(**{"a": b"text", "__MACOSX/a": b"shadow"}))
    copy_unpacked(source, tmp_path / "raw")
    assert (tmp_path / "raw").read_bytes() == b"text"
    source.write_bytes(zipped(a=b"text", b=b"more"))
    with pytest.raises(ValueError, match=r"exactly one file, it holds 2 \(a, b\)"):
        copy_unpacked(source, tmp_path / "raw")


def test_a_zip_s_member_is_read_wherever_its_name_points(tmp_path):
    source = tmp_path / "corpus.zip"
    source.write_bytes(zipped(**{"../../outside": b"text"}))
    copy_unpacked(source, tmp_path / "in" / "raw")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["corpus.zip", "in", "raw"]


@pytest.mark.parametrize(("n_bytes", "refused"), [(1 << 24, False), ((1 << 24) + 1, True)])
def test_what_packs_better_than_text_is_taken_while_it_is_short(tmp_path, n_bytes, refused):
    source = tmp_path / "corpus.gz"
    source.write_bytes(gzip.compress(b"a" * n_bytes))
    assert source.stat().st_size * 250 < n_bytes
    with pytest.raises(ValueError, match="no text packs to less") if refused else nullcontext():
        copy_unpacked(source, tmp_path / "raw")
    assert (tmp_path / "raw").exists() is not refused


@pytest.mark.parametrize("content", [b"", gzip.compress(b"")], ids=["plain", "gzip"])
def test_an_empty_file_is_an_error(tmp_path, content):
    source = tmp_path / "corpus"
    source.write_bytes(content)
    with pytest.raises(ValueError, match="corpus: holds no bytes"):
        copy_unpacked(source, tmp_path / "raw")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere is no file"):
        nowhere = str(tmp_path / "nowhere")
        fetch_enwik8(files=[], raw=tmp_path / "raw", listing=tmp_path / "l", path=nowhere, cache_dir=str(tmp_path))


def test_the_pinned_identity_is_the_published_one():
    assert (ENWIK8.size, ENWIK8.md5) == (10**8, "a1fa5ffddb56f4953e226637dabbb36a")


class Server(http.server.BaseHTTPRequestHandler):
    """Serves the zip; /cut announces more than it sends, /unsized announces nothing."""

    requests = 0

    def do_GET(self):
        type(self).requests += 1
        if "missing" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        if "unsized" not in self.path:
            self.send_header("Content-Length", str(len(PACKED["zip"]) + ("cut" in self.path) * 1000))
        self.end_headers()
        self.wfile.write(PACKED["zip"])

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def url(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Server.requests = 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def identity(data):
    return Identity("enwik8", len(data), hashlib.md5(data).hexdigest())


def test_the_download_is_checked_kept_and_not_repeated(tmp_path, url):
    for _ in range(2):
        fetch_published_enwik8(tmp_path / "cache", tmp_path / "raw", url=f"{url}/enwik8.zip", expected=identity(DATA))
        assert (tmp_path / "raw").read_bytes() == DATA
    assert Server.requests == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["enwik8.zip"]


@pytest.mark.parametrize("other", [DATA[:-1], DATA[:-1] + bytes([DATA[-1] ^ 1])], ids=["size", "digest"])
def test_other_bytes_are_refused_with_both_sizes_and_digests(tmp_path, url, other):
    expected = identity(other)
    with pytest.raises(ValueError, match="not enwik8") as raised:
        fetch_published_enwik8(tmp_path / "cache", tmp_path / "raw", url=f"{url}/enwik8.zip", expected=expected)
    for fact in (f"{len(DATA):,}", f"{len(other):,}", hashlib.md5(DATA).hexdigest(), expected.md5, "remove"):
        assert fact in str(raised.value)
    assert not (tmp_path / "raw").exists()


def test_a_cut_download_is_an_error_and_leaves_no_file(tmp_path, url):
    with pytest.raises(ValueError, match=r"the download (was cut|failed)"):
        download(f"{url}/cut.zip", tmp_path / "out" / "enwik8.zip")
    assert not list((tmp_path / "out").iterdir())


def test_a_download_without_announced_length_is_taken(tmp_path, url):
    download(f"{url}/unsized.zip", tmp_path / "enwik8.zip")
    assert (tmp_path / "enwik8.zip").read_bytes() == PACKED["zip"]


def test_a_server_that_refuses_or_is_not_there_is_named(tmp_path, url):
    with pytest.raises(ValueError, match=r"missing.zip: the download failed .*404.*give its path"):
        download(f"{url}/missing.zip", tmp_path / "enwik8.zip")
    with pytest.raises(ValueError, match="the download failed"):
        download("http://127.0.0.1:9/enwik8.zip", tmp_path / "enwik8.zip")


@pytest.mark.parametrize(("offset", "value", "said"), [(0, 1, "encrypted"), (2, 99, "compression")])
def test_a_zip_that_python_cannot_open_is_one_line(tmp_path, offset, value, said):
    """The flags (bit 0: encrypted) and the method stand at 6 in a member's own header, at 8 in the directory's."""
    path = tmp_path / "odd.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("text", b"ants")
    content = bytearray(path.read_bytes())
    for header in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        content[header + offset] = value
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"odd\.zip: .*{said}.*unpack the zip yourself"):
        copy_unpacked(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
