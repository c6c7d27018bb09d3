"""Ranges of remote files against a hub whose answers go wrong in every way we know of."""

import email.utils
import errno
import hashlib
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from loopback_hub import Fault, OnlyListed, Repository, serve

from lm_geometry.checkpoints.byte_source import LocalFile
from lm_geometry.checkpoints.hub import pieces, progress
from lm_geometry.checkpoints.hub.patience import Patience, retry_after
from lm_geometry.checkpoints.hub.ranges import RemoteFile
from lm_geometry.checkpoints.listed_file import ListedFile

PROJECT = Path(__file__).resolve().parents[2]
REPOSITORY = "tiny/model"
FILE = "pytorch_model.bin"
DATA = random.Random(0).randbytes(100_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
# Pieces of the fetch below: 5 to 30,005, to 60,005, to 90,005, to 95,005.
START, LENGTH, PIECE = 5, 95_000, 30_000
END = START + LENGTH
QUICK = Patience(
    attempts=3, first_wait=0.001, longest_wait=0.002, longest_retry_after=0.01, silence=0.3, slowest=20_000
)


@pytest.fixture(autouse=True)
def _no_token(monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)


def open_file(hub, cache, *, patience=QUICK, threads=4, name=FILE, sha256=SHA256):
    return RemoteFile(
        REPOSITORY, hub.commit(REPOSITORY), ListedFile(name, "weights", len(DATA), sha256), cache,
        endpoint=hub.url, patience=patience, piece_bytes=PIECE, threads=threads,
    )  # fmt: skip


def check_cache(cache):
    """Every byte in the cache is the file's byte at the place that its name says."""
    for path in (cache / "ranges").rglob("*"):
        if found := re.fullmatch(r"(\d+)-(\d+)(\.part)?", path.name):
            start, end = int(found[1]), int(found[2])
            content = path.read_bytes()
            assert content == DATA[start : start + len(content)], path.name
            assert found[3] or len(content) == end - start, path.name


def http_date(seconds):
    return email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


# What passes: each strikes once, or a few times, and the bytes come out right all the same.
PASSING = {
    "cut before the first byte": [Fault("truncate", after=0)],
    "cut after one byte": [Fault("truncate", after=1)],
    "cut in the middle of the second piece": [Fault("truncate", skip=1, after=15_000)],
    "cut before the last byte": [Fault("truncate", after=29_999)],
    "the last piece is cut": [Fault("truncate", skip=3, after=4_000)],
    "every piece is cut once": [Fault("truncate", times=4, after=10_000)],
    "one piece is cut twice": [Fault("truncate", times=2, after=7)],
    "reset before the first byte": [Fault("reset", after=0)],
    "reset after one byte": [Fault("reset", after=1)],
    "reset in the third piece": [Fault("reset", skip=2, after=20_000)],
    "reset before the last byte": [Fault("reset", after=29_999)],
    "silence before the first byte": [Fault("hang", after=0)],
    "silence after some bytes": [Fault("hang", skip=1, after=10_000)],
    "trickle": [Fault("trickle", rate=5_000)],
    "trickle in the last piece": [Fault("trickle", skip=3, rate=500)],
    "no answer": [Fault("drop")],
    "no answer twice": [Fault("drop", times=2)],
    "range moved up in name": [Fault("wrong_range", shift=1)],
    "range moved down in name": [Fault("wrong_range", skip=1, shift=-5)],
    "range of another piece in name": [Fault("wrong_range", shift=PIECE)],
    "bytes from one place on": [Fault("other_bytes", shift=1)],
    "bytes from one place before": [Fault("other_bytes", skip=1, shift=-1)],
    "bytes of another piece": [Fault("other_bytes", shift=PIECE)],
    "total too large": [Fault("wrong_total", shift=1)],
    "total too small": [Fault("wrong_total", skip=2, shift=-100)],
    "no Content-Range": [Fault("no_range")],
    "length too large": [Fault("wrong_length", shift=1)],
    "length too small": [Fault("wrong_length", shift=-1)],
    "length not said": [Fault("no_length")],
    "the whole file": [Fault("whole")],
    "several parts": [Fault("multipart")],
    "gzip": [Fault("gzip")],
    "said to be deflated": [Fault("deflate_header")],
    "empty body": [Fault("empty")],
    "more bytes than said": [Fault("extra", after=50)],
    "more bytes, as said": [Fault("longer", after=50)],
    "changed ETag in the first piece": [Fault("etag", value="f" * 64)],
    "changed ETag in the middle": [Fault("etag", skip=2, value="f" * 64)],
    "changed ETag of a file without digest": [Fault("etag", skip=2, value="other")],
    "no ETag": [Fault("no_etag")],
    "another commit": [Fault("commit", value="e" * 40)],
    "408": [Fault("status", status=408)],
    "429": [Fault("status", status=429, retry_after="0")],
    "429 for longer than we wait": [Fault("status", status=429, retry_after="3600")],
    "429 until a date": [Fault("status", status=429, retry_after=http_date(60))],
    "429 with nonsense": [Fault("status", status=429, retry_after="soon")],
    "500": [Fault("status", status=500)],
    "500 twice": [Fault("status", status=500, times=2)],
    "502": [Fault("status", status=502, skip=1)],
    "503": [Fault("status", status=503, retry_after="0")],
    "504": [Fault("status", status=504, skip=3)],
    "one thing after another": [
        Fault("status", status=503),
        Fault("truncate", after=100),
        Fault("wrong_range"),
        Fault("reset", after=300),
    ],
}

# What stays: the fetch ends in an error of one line.
LASTING = {
    "cut before the first byte": (Fault("truncate", after=0), "given up after 3 attempts"),
    "cut after seven bytes": (Fault("truncate", after=7), "given up after 3 attempts"),
    "reset": (Fault("reset", after=10), "given up after 3 attempts"),
    "silence": (Fault("hang", after=10), "given up after 3 attempts"),
    "trickle": (Fault("trickle", rate=500), r"trickles at \d+ bytes per second; given up after 3 attempts"),
    "no answer": (Fault("drop"), "given up after 3 attempts"),
    "range moved": (Fault("wrong_range"), "Content-Range is 'bytes 6-30005/100000', where 'bytes 5-30004/100000'"),
    "other bytes": (Fault("other_bytes", shift=-1), "Content-Range is 'bytes 4-30003/100000'"),
    "total changed": (Fault("wrong_total"), "Content-Range is 'bytes 5-30004/100001'"),
    "no Content-Range": (Fault("no_range"), "Content-Range is None"),
    "wrong length": (Fault("wrong_length"), "Content-Length is '30001', where '30000' was expected"),
    "length not said": (Fault("no_length"), "Content-Length is None"),
    "the whole file": (Fault("whole"), r"answered 200 where a range \(206\) was asked for"),
    "several parts": (Fault("multipart"), "the answer has several parts"),
    "gzip": (Fault("gzip"), r"the answer is encoded \(gzip\)"),
    "said to be deflated": (Fault("deflate_header"), r"the answer is encoded \(deflate\)"),
    "empty body": (Fault("empty"), "Content-Length is '0'"),
    "more bytes, as said": (Fault("longer", after=50), "Content-Length is '30050'"),
    "no ETag": (Fault("no_etag"), "the answer has no ETag"),
    "another commit": (Fault("commit", value="e" * 40), "the hub serves commit 'e{40}' for [0-9a-f]{40}, again"),
    "another file": (Fault("etag", value="f" * 64), "the hub serves sha256 f{16}… where [0-9a-f]{16}… was listed"),
    "429": (Fault("status", status=429, retry_after="0"), "the server answered 429; given up after 3 attempts"),
    "500": (Fault("status", status=500), "the server answered 500; given up after 3 attempts"),
    "503": (Fault("status", status=503), "the server answered 503; given up after 3 attempts"),
    "400": (Fault("status", status=400), "tiny/model .*: the hub refused the request with 400"),
    "403": (Fault("status", status=403), "tiny/model .*: the hub refused the request with 403"),
    "416": (Fault("status", status=416), "tiny/model .*: the hub refused the request with 416"),
}


@pytest.mark.parametrize("faults", PASSING.values(), ids=PASSING)
def test_a_fault_that_passes_costs_time_but_no_byte(tmp_path, faults):
    faults = [Fault(**vars(fault)) for fault in faults]
    # All of the faults may strike the same piece.
    patience = Patience(**{**vars(QUICK), "attempts": 6})
    with serve({REPOSITORY: {FILE: DATA}}, faults=faults) as hub:
        file = open_file(hub, tmp_path, patience=patience)
        file.fetch(START, LENGTH)
        check_cache(tmp_path)
        assert not list(tmp_path.rglob("*.part"))
        hub.faults.clear()
        assert file.read(START, LENGTH) == DATA[START:END]
        assert all(fault.times == 0 for fault in faults)
    assert file.bytes_read == LENGTH
    assert file.network_bytes >= LENGTH


@pytest.mark.parametrize(("fault", "message"), LASTING.values(), ids=LASTING)
def test_a_fault_that_lasts_ends_in_one_line_and_leaves_nothing_wrong_behind(tmp_path, fault, message):
    with serve({REPOSITORY: {FILE: DATA}}, faults=[Fault(**{**vars(fault), "times": None})]) as hub:
        file = open_file(hub, tmp_path, threads=1)
        with pytest.raises(ValueError, match=message) as caught:
            file.fetch(START, LENGTH)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(REPOSITORY)
        check_cache(tmp_path)
        hub.faults.clear()
        again = open_file(hub, tmp_path)
        assert again.read(START, LENGTH) == DATA[START:END]
        check_cache(tmp_path)


@pytest.mark.parametrize("name", sorted(set(LASTING) - {"no ETag", "another commit", "another file", "400", "416"}))
def test_faults_of_the_server_that_the_hub_sends_on_to(tmp_path, name):
    fault, _ = LASTING[name]
    elsewhere = Fault(**{**vars(fault), "times": None})
    with serve({REPOSITORY: {FILE: DATA}}, faults=[elsewhere], cdn=True) as hub:
        with pytest.raises(ValueError, match="given up after 3 attempts"):
            open_file(hub, tmp_path).fetch(START, LENGTH)
        check_cache(tmp_path)
        hub.faults.clear()
        assert open_file(hub, tmp_path).read(START, LENGTH) == DATA[START:END]


def test_a_changed_etag_of_the_server_that_the_hub_sends_on_to_starts_the_file_anew(tmp_path, caplog):
    with serve({REPOSITORY: {FILE: DATA}}, faults=[Fault("etag", skip=2, value="other")], cdn=True) as hub:
        file = open_file(hub, tmp_path, threads=1)
        assert file.read(START, LENGTH) == DATA[START:END]
    assert re.search(r"its ETag changed from \"cdn-\w+\" to \"other\"; fetching it anew", caplog.text)
    # The two pieces that had come, and then all four.
    assert file.network_bytes == 2 * PIECE + LENGTH


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_an_etag_that_differs_from_an_earlier_run_discards_what_that_run_fetched(tmp_path, sha256):
    with serve({REPOSITORY: {FILE: DATA}}) as hub:
        open_file(hub, tmp_path, sha256=sha256).fetch(START, 100)
        kept = next((tmp_path / "ranges").rglob("etag"))
        kept.write_text("another")
        file = open_file(hub, tmp_path, sha256=sha256)
        assert file.read(50_000, 10) == DATA[50_000:50_010]
        assert file.read(START, 100) == DATA[START : START + 100]
    assert file.network_bytes == 110


@pytest.mark.parametrize("after", [0, 1, 29_999])
@pytest.mark.parametrize("kind", ["truncate", "reset"])
def test_a_break_is_resumed_where_it_broke(tmp_path, kind, after):
    with serve({REPOSITORY: {FILE: DATA}}, faults=[Fault(kind, after=after)]) as hub:
        open_file(hub, tmp_path, threads=1).fetch(START, LENGTH)
        first, second, *_ = [request.range for request in hub.file_requests()]
    assert first == f"bytes={START}-{START + PIECE - 1}"
    assert second == f"bytes={START + after}-{START + PIECE - 1}"


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_later_run_goes_on_where_an_earlier_one_gave_up(tmp_path, place):
    faults = [Fault("truncate", skip=place, after=3_000), Fault("drop", times=None)]
    faults[1].skip = place
    with serve({REPOSITORY: {FILE: DATA}}, faults=faults) as hub:
        with pytest.raises(ValueError, match="run again to go on from here"):
            open_file(hub, tmp_path, threads=1).fetch(START, LENGTH)
        hub.faults.clear()
        hub.requests.clear()
        hub.bytes_sent.clear()
        file = open_file(hub, tmp_path, threads=1)
        file.fetch(START, LENGTH)
        first = hub.file_requests()[0].range
        assert first == f"bytes={START + place * PIECE + 3_000}-{min(START + (place + 1) * PIECE, END) - 1}"
        assert hub.bytes_sent[f"{REPOSITORY}/{FILE}"] == LENGTH - place * PIECE - 3_000 == file.network_bytes
        assert file.read(START, LENGTH) == DATA[START:END]


def test_progress_starts_the_count_of_attempts_anew(tmp_path):
    patience = Patience(**{**vars(QUICK), "worthwhile": 2_000})
    faults = [Fault("truncate", times=8, after=2_000)]
    with serve({REPOSITORY: {FILE: DATA}}, faults=faults) as hub:
        open_file(hub, tmp_path, patience=patience, threads=1).fetch(START, PIECE)
    assert faults[0].times == 0


def test_what_was_fetched_is_read_without_the_network(tmp_path):
    with serve({REPOSITORY: {FILE: DATA}}) as hub:
        file = open_file(hub, tmp_path)
        file.fetch(START, LENGTH)
        hub.close()
        # Within one piece, over three of them, and all.
        for start, length in ((10, 5), (20_000, 60_000), (START, LENGTH), (500, 0)):
            assert file.read(start, length) == DATA[start : start + length]
        with pytest.raises(ValueError, match=r"tiny/model/pytorch_model\.bin: bytes 95005 to 95009: .*given up"):
            file.read(END - 1, 5)
    assert file.network_bytes == LENGTH


def test_only_what_is_missing_is_asked_for(tmp_path):
    with serve({REPOSITORY: {FILE: DATA}}) as hub:
        file = open_file(hub, tmp_path, threads=1)
        assert file.read(1_000, 10) == DATA[1_000:1_010]
        assert file.read(40_000, 100) == DATA[40_000:40_100]
        file.fetch(0, 60_000)
        ranges = [request.range for request in hub.file_requests()]
        assert file.read(0, 60_000) == DATA[:60_000]
    assert ranges == [
        "bytes=1000-1009", "bytes=40000-40099", "bytes=0-999", "bytes=1010-29999", "bytes=30000-39999",
        "bytes=40100-59999",
    ]  # fmt: skip
    assert file.bytes_read == file.network_bytes == 60_000


def test_the_bytes_read_do_not_depend_on_the_cache(tmp_path):
    with serve({REPOSITORY: {FILE: DATA}}) as hub:
        counts = []
        for _ in range(2):
            file = open_file(hub, tmp_path)
            file.read(0, 8)
            file.read(8, 92)
            file.fetch(50, 1_000)
            file.read(60, 10)
            counts.append(file.bytes_read)
    assert counts == [1_050, 1_050]


def test_a_wrong_byte_that_a_checksum_finds_is_fetched_again(tmp_path):
    with serve({REPOSITORY: {FILE: DATA}}, faults=[Fault("corrupt", skip=1)]) as hub:
        file = open_file(hub, tmp_path, threads=1)
        assert file.read(START, LENGTH) != DATA[START:END]
        file.discard(START + PIECE, 10)
        assert file.read(START, LENGTH) == DATA[START:END]
        assert file.network_bytes == LENGTH + PIECE
        file.discard(0, file.size)
        check_cache(tmp_path)
        assert not list((tmp_path / "ranges").rglob("*-*.part"))


def test_pieces_that_lost_bytes_or_their_etag_are_not_trusted(tmp_path):
    with serve({REPOSITORY: {FILE: DATA}}) as hub:
        open_file(hub, tmp_path).fetch(START, LENGTH)
        folder = next((tmp_path / "ranges").rglob("etag")).parent
        (folder / f"{START}-{START + PIECE}").write_bytes(DATA[:10])
        file = open_file(hub, tmp_path)
        assert file.read(START, LENGTH) == DATA[START:END]
        assert file.network_bytes == PIECE
        (folder / "etag").unlink()
        file = open_file(hub, tmp_path)
        assert file.read(START, LENGTH) == DATA[START:END]
        assert file.network_bytes == LENGTH


@pytest.mark.parametrize("damage", ["a byte", "a seal that is none", "no seal"])
def test_a_piece_that_was_damaged_on_the_disk_is_fetched_again(tmp_path, damage):
    with serve({REPOSITORY: {FILE: DATA}}) as hub:
        open_file(hub, tmp_path).fetch(START, LENGTH)
        folder = next((tmp_path / "ranges").rglob("etag")).parent
        piece = folder / f"{START}-{START + PIECE}"
        if damage == "a byte":
            content = piece.read_bytes()
            piece.write_bytes(content[:7] + bytes([content[7] ^ 1]) + content[8:])
        elif damage == "no seal":
            piece.with_suffix(".seal").unlink()
        else:
            piece.with_suffix(".seal").write_bytes(b"\xff\x00")
        file = open_file(hub, tmp_path)
        assert file.read(START, LENGTH) == DATA[START:END]
        assert file.network_bytes == PIECE
        assert open_file(hub, tmp_path).read(START, LENGTH) == DATA[START:END]
        file.discard(0, file.size)
        assert not list(folder.glob("*-*"))


def test_only_the_pieces_asked_for_are_compared_and_each_once(tmp_path, monkeypatch):
    with serve({REPOSITORY: {FILE: DATA}}) as hub:
        open_file(hub, tmp_path).fetch(START, LENGTH)
        pieces._crc32_of.cache_clear()
        compared, crc32 = [], pieces._crc32
        monkeypatch.setattr(pieces, "_crc32", lambda path, count: compared.append(path.name) or crc32(path, count))
        for _ in range(2):
            file = open_file(hub, tmp_path)
            file.read(START + PIECE, 10)
            file.fetch(START + PIECE, PIECE)
            file.read(START + PIECE, PIECE)
    assert compared == [f"{START + PIECE}-{START + 2 * PIECE}"]


def test_pieces_of_another_sha256_than_is_listed_are_not_used(tmp_path, caplog):
    with serve({REPOSITORY: {FILE: DATA}}) as hub:
        open_file(hub, tmp_path).fetch(START, LENGTH)
        next((tmp_path / "ranges").rglob("etag")).write_text("f" * 64)
        file = open_file(hub, tmp_path)
        assert file.read(START, LENGTH) == DATA[START:END]
    assert file.network_bytes == LENGTH
    assert re.search(r"its pieces are of sha256 f{16}… where \w{16}… was listed; fetching it anew", caplog.text)


@pytest.mark.parametrize("sealed", [0, 2_000])
def test_what_a_power_cut_left_of_a_part_is_trusted_as_far_as_it_was_sealed(tmp_path, sealed):
    faults = [Fault("truncate", after=2_000), Fault("drop", times=None)]
    with serve({REPOSITORY: {FILE: DATA}}, faults=faults) as hub:
        with pytest.raises(ValueError, match="given up"):
            open_file(hub, tmp_path, threads=1).fetch(START, PIECE)
        part = next(tmp_path.rglob("*.part"))
        # Bytes that were counted, but never reached the disk.
        part.write_bytes(part.read_bytes()[:sealed] + bytes(10_000))
        if not sealed:
            part.with_suffix(".seal").unlink()
        hub.faults.clear()
        file = open_file(hub, tmp_path)
        assert file.read(START, PIECE) == DATA[START : START + PIECE]
    assert file.network_bytes == PIECE - sealed


def test_pieces_that_vanish_while_the_file_is_open_are_fetched_again(tmp_path):
    with serve({REPOSITORY: {FILE: DATA}}) as hub:
        file = open_file(hub, tmp_path)
        file.fetch(START, LENGTH)
        folder = next((tmp_path / "ranges").rglob("etag")).parent
        (folder / f"{START}-{START + PIECE}").unlink()
        assert file.read(START, LENGTH) == DATA[START:END]
        (folder / f"{START}-{START + PIECE}").write_bytes(b"cut")
        assert file.read(START, LENGTH) == DATA[START:END]
        assert file.network_bytes == LENGTH + 2 * PIECE


def test_a_part_that_is_too_long_is_begun_anew(tmp_path):
    with serve({REPOSITORY: {FILE: DATA}}) as hub:
        file = open_file(hub, tmp_path)
        file.fetch(START, 10)
        folder = next((tmp_path / "ranges").rglob("etag")).parent
        (folder / "1000-1010.part").write_bytes(bytes(11))
        file.fetch(1_000, 10)
        check_cache(tmp_path)
        assert (folder / "1000-1010").is_file()


def test_parts_of_a_fetch_with_other_cuts_are_swept_away(tmp_path):
    with serve({REPOSITORY: {FILE: DATA}}, faults=[Fault("truncate", times=None, after=100)]) as hub:
        with pytest.raises(ValueError, match="given up"):
            open_file(hub, tmp_path, threads=1).read(40_000, 1_000)
        assert [path.name for path in (tmp_path / "ranges").rglob("*.part")] == ["40000-41000.part"]
        hub.faults.clear()
        open_file(hub, tmp_path).fetch(START, LENGTH)
        assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, 100_001), (100_000, 1), (5, -1)])
def test_ranges_outside_the_file_are_refused(tmp_path, start, length):
    with serve({REPOSITORY: {FILE: DATA}}) as hub:
        file = open_file(hub, tmp_path)
        for call in (file.read, file.fetch):
            with pytest.raises(ValueError, match=r"pytorch_model\.bin: bytes .* lie outside the file of 100000 bytes"):
                call(start, length)
        assert hub.file_requests() == []


def test_a_listed_file_that_is_not_there(tmp_path):
    with serve({REPOSITORY: {FILE: OnlyListed(1_000)}}) as hub:
        file = open_file(hub, tmp_path)
        with pytest.raises(ValueError, match=r"tiny/model .*: the hub lists pytorch_model.bin but does not have it"):
            file.read(0, 10)


@pytest.mark.parametrize("path", ["../out.bin", "/out.bin", "a/../../out.bin", "a\\..\\out.bin"])
def test_no_name_leads_out_of_the_cache(tmp_path, path):
    with pytest.raises(ValueError, match="is refused"):
        RemoteFile(REPOSITORY, "0" * 40, ListedFile(path, "weights", 10, None), tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_known_before_a_byte_is_asked_for(tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 94_999})()
    monkeypatch.setattr("lm_geometry.checkpoints.hub.access.shutil.disk_usage", lambda _: usage)
    with serve({REPOSITORY: {FILE: DATA}}) as hub:
        with pytest.raises(ValueError, match=r"ranges/.*: 95,000 bytes are needed, 94,999 are free; make room, or"):
            open_file(hub, tmp_path).fetch(START, LENGTH)
        assert hub.file_requests() == []
        usage.free = 95_000
        hub.faults = [Fault("truncate", after=10_000), Fault("drop", times=None)]
        with pytest.raises(ValueError, match="given up"):
            open_file(hub, tmp_path, threads=1).fetch(START, LENGTH)
        # What a part holds has its room already.
        hub.faults.clear()
        part = next(tmp_path.rglob("*.part"))
        usage.free = LENGTH - part.stat().st_size - 1
        with pytest.raises(ValueError, match="bytes are needed"):
            open_file(hub, tmp_path).fetch(START, LENGTH)
        usage.free += 1
        open_file(hub, tmp_path).fetch(START, LENGTH)


def test_a_disk_that_runs_full_is_said_in_one_line(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with serve({REPOSITORY: {FILE: DATA}}) as hub:
        with monkeypatch.context() as patched, pytest.raises(ValueError, match="the disk ran full: 95,000 bytes were"):
            patched.setattr(pieces.os, "fsync", full)
            open_file(hub, tmp_path).fetch(START, LENGTH)
        check_cache(tmp_path)
        file = open_file(hub, tmp_path)
        assert file.read(START, LENGTH) == DATA[START:END]


FETCH = """
import sys
from pathlib import Path
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.checkpoints.hub.ranges import RemoteFile
listed = ListedFile("pytorch_model.bin", "weights", 100_000, None)
RemoteFile("tiny/model", sys.argv[1], listed, Path(sys.argv[2]), endpoint=sys.argv[3], piece_bytes=30_000).fetch(0, 100_000)
"""  # noqa: E501


def test_a_fetch_that_is_interrupted_goes_on_where_it_was(tmp_path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    with serve({REPOSITORY: {FILE: DATA}}, faults=[Fault("trickle", times=None, rate=6_000)]) as hub:
        command = [sys.executable, "-c", FETCH, hub.commit(REPOSITORY), str(tmp_path), hub.url]
        running = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while hub.bytes_sent[f"{REPOSITORY}/{FILE}"] < 3_000 or not list(tmp_path.glob("ranges/**/[0-9]*.part")):
            assert running.poll() is None, "ended before it could be interrupted"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)  # what was sent is received, and kept by the interrupted process
        running.send_signal(signal.SIGINT)
        running.wait(30)
        hub.faults.clear()
        held = sum(path.stat().st_size for path in (tmp_path / "ranges").rglob("*.part"))
        file = open_file(hub, tmp_path, sha256=None)
        file.fetch(0, len(DATA))
    assert held > 0
    assert file.network_bytes == len(DATA) - held
    check_cache(tmp_path)


def test_two_processes_fetch_each_piece_once(tmp_path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    with serve({REPOSITORY: {FILE: DATA}}, faults=[Fault("trickle", times=4, rate=100_000)]) as hub:
        command = [sys.executable, "-c", FETCH, hub.commit(REPOSITORY), str(tmp_path), hub.url]
        running = [subprocess.Popen(command, env=environment) for _ in range(2)]
        assert [process.wait(60) for process in running] == [0, 0]
        assert hub.bytes_sent[f"{REPOSITORY}/{FILE}"] == len(DATA)
    check_cache(tmp_path)


def test_threads_with_their_own_handles_share_the_pieces(tmp_path):
    with serve({REPOSITORY: {FILE: DATA}}) as hub:
        files = [open_file(hub, tmp_path) for _ in range(4)]
        threads = [Thread(target=file.fetch, args=(START, LENGTH)) for file in files]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert hub.bytes_sent[f"{REPOSITORY}/{FILE}"] == LENGTH
        assert {file.read(START, LENGTH) for file in files} == {DATA[START:END]}


def test_whoever_waits_for_another_process_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO, "lm_geometry")
    store = pieces.Pieces(tmp_path)
    other = pieces.Pieces(tmp_path)
    held, words = Event(), "another process fetches this file; waiting for it"

    def hold():
        with other.lock():
            held.set()
            deadline = time.monotonic() + 10
            while words not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.02)

    thread = Thread(target=hold)
    thread.start()
    held.wait()
    with store.lock():
        pass
    thread.join()
    assert words in caplog.text


def test_the_first_failure_stops_the_other_pieces(tmp_path):
    faults = [Fault("status", status=404, skip=1), Fault("trickle", times=None, rate=1_000)]
    patience = Patience(**{**vars(QUICK), "silence": 30.0})
    with serve({REPOSITORY: {FILE: DATA}}, faults=faults) as hub:
        begun = time.monotonic()
        with pytest.raises(ValueError, match="refused the request with 404"):
            open_file(hub, tmp_path, patience=patience).fetch(START, LENGTH)
        # A piece would take half a minute.
        assert time.monotonic() - begun < 3
        check_cache(tmp_path)


def test_waits_double_up_to_the_longest_and_jitter_only_shortens_them():
    patience = Patience(first_wait=1.0, longest_wait=10.0, longest_retry_after=60.0)
    for failures, most in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0), (50, 10.0)):
        waits = [patience.wait(failures) for _ in range(50)]
        assert most / 2 <= min(waits) <= max(waits) <= most
        assert len(set(waits)) > 1
    assert [patience.wait(1, seconds) for seconds in (0.0, 7.5, 3600.0, -5.0)] == [0.0, 7.5, 60.0, 0.0]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "17"}, 17),
        ({"Retry-After": "soon"}, None),
        ({}, None),
        ({"RateLimit": '"api";r=0;t=55'}, 55),
        ({"RateLimit": '"api";r=3;t=55'}, None),
    ],
)
def test_what_a_server_asks_to_wait(headers, seconds):
    assert retry_after(headers) == seconds


def test_a_server_may_name_a_date_to_wait_for():
    assert 50 < retry_after({"Retry-After": http_date(60)}) <= 60


def test_retry_after_is_waited_for(tmp_path):
    patience = Patience(**{**vars(QUICK), "longest_retry_after": 5.0})
    with serve({REPOSITORY: {FILE: DATA}}, faults=[Fault("status", status=429, retry_after="1")]) as hub:
        begun = time.monotonic()
        open_file(hub, tmp_path, patience=patience).read(0, 10)
        assert time.monotonic() - begun >= 1


def test_progress_is_a_line_in_the_log_now_and_then(caplog):
    caplog.set_level(logging.INFO, "lm_geometry")
    with progress.Progress("model.bin", 200_000_000, seconds=0) as shown:
        shown.add(50_000_000)
    assert re.search(r"model\.bin: 50 of 200 MB \(25 %\), [\d.]+ MB/s", caplog.text)
    caplog.clear()
    with progress.Progress("model.bin", 200_000_000) as shown:
        shown.add(50_000_000)
    assert caplog.text == ""


def test_progress_is_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.Progress("model.bin", 200_000_000) as shown:
        shown.add(200_000_000)
    assert "model.bin: 100%" in capsys.readouterr().err


def test_no_token_reaches_the_server_that_the_hub_sends_on_to(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    repositories = {REPOSITORY: Repository({"main": {FILE: DATA}}, gated=True, token="hf_secret")}
    with serve(repositories, cdn=True, faults=[Fault("truncate", after=9)]) as hub:
        assert open_file(hub, tmp_path).read(START, LENGTH) == DATA[START:END]
        seen = {(str(request.port) in hub.cdn_url, "hf_secret" in str(request.headers)) for request in hub.requests}
        assert seen == {(False, True), (True, False)}
    assert "hf_secret" not in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hf_secret" in path.read_bytes()]


def test_a_local_file_is_a_byte_source_too(tmp_path):
    (tmp_path / "model.bin").write_bytes(DATA)
    file = LocalFile(tmp_path / "model.bin", "sub/model.bin")
    assert (file.name, file.size) == ("sub/model.bin", len(DATA))
    assert file.read(START, LENGTH) == DATA[START:END]
    assert file.read(0, 10) == DATA[:10]
    assert file.bytes_read == END
    file.fetch(0, len(DATA))
    file.discard(0, len(DATA))
    assert file.bytes_read == len(DATA)
    with pytest.raises(ValueError, match=r"sub/model\.bin: bytes 99999 to 100001 lie outside the file"):
        file.read(99_999, 2)
    (tmp_path / "model.bin").write_bytes(DATA[:50])
    with pytest.raises(ValueError, match=r"sub/model\.bin: ends after 50 of 100000 bytes: it was cut short"):
        file.read(0, 100)
