"""Getting hold of a corpus file: a local copy, packed or not, or enwik8 from its public home."""

import bz2
import gzip
import hashlib
import lzma
import re
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, BinaryIO

from tqdm import tqdm

from lm_geometry.tables.files import atomic_path

ENWIK8_URL = "http://mattmahoney.net/dc/enwik8.zip"
BLOCK = 1 << 20

_TIMEOUT_SECONDS = 60
# "BZh" alone could begin a text; the block's own magic number follows it.
_MAGIC = re.compile(
    rb"(?P<zip>PK(?:\x03\x04|\x05\x06))|(?P<xz>\xfd7zXZ\x00)|(?P<gzip>\x1f\x8b)|(?P<bzip2>BZh[1-9]1AY&SY)"
)
_MAGIC_BYTES = 10
_ENCRYPTED = 1  # bit of a zip member's flags
_OPENERS = {"xz": lzma.open, "gzip": gzip.open, "bzip2": bz2.open}
# What is not read here; Wikipedia's histories come as 7z.
_OTHER_ARCHIVES = {b"7z\xbc\xaf\x27\x1c": "7z", b"\x28\xb5\x2f\xfd": "zstd", b"Rar!\x1a\x07": "rar"}

# Text packs to a half or a twentieth, a wiki's whole history to a hundredth; what packs better is no text. A short text
# that says one thing over and over may, so that only what is longer than this is held to it.
_MOST_TIMES = 250
_HARMLESS_BYTES = 16 << 20


@dataclass(frozen=True)
class Identity:
    """What a file's bytes must be: their number and their MD5 digest, the one its publisher prints."""

    name: str
    size: int
    md5: str


ENWIK8 = Identity("enwik8", 100_000_000, "a1fa5ffddb56f4953e226637dabbb36a")


def packing(path: Path) -> str | None:
    """Return how a file is packed: 'zip', 'xz', 'gzip' or 'bzip2', told by its first bytes; None for all others."""
    with path.open("rb") as file:
        magic = _MAGIC.match(file.read(_MAGIC_BYTES))
    return magic and str(magic.lastgroup)


@contextmanager
def open_unpacked(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, unpacked if it is a zip, xz, gzip or bzip2 archive.

    The kind is told by the first bytes, not by the name.

    Raises
    ------
    ValueError
        If the file is an archive that is cut short, damaged or encrypted, of a kind that is not read here, or a zip
        that does not hold exactly one file.
    """
    with path.open("rb") as file:
        head = file.read(_MAGIC_BYTES)
        if other := next((kind for start, kind in _OTHER_ARCHIVES.items() if head.startswith(start)), None):
            raise ValueError(
                f"{path}: is a {other} archive; unpack it yourself, or give a zip, xz, gzip or bzip2 archive"
            )
        magic = _MAGIC.match(head)
        file.seek(0)
        if magic is None:
            yield file
            return
        try:
            with _unpacker(path, file, str(magic.lastgroup)) as stream:
                yield stream
        except EOFError as error:
            raise ValueError(
                f"{path}: the {magic.lastgroup} archive is truncated; remove it and fetch it again"
            ) from error
        except zipfile.BadZipFile as error:
            raise ValueError(
                f"{path}: the zip archive is truncated or damaged ({error}); remove it and fetch it again"
            ) from error
        except (lzma.LZMAError, zlib.error, OSError) as error:
            # bz2 and gzip report damage as an OSError without a number; one with a number is the system's.
            if getattr(error, "errno", None) is not None:
                raise
            raise ValueError(
                f"{path}: the {magic.lastgroup} archive is damaged ({error}); remove it and fetch it again"
            ) from error


def _unpacker(path: Path, file: BinaryIO, kind: str) -> IO[bytes]:
    return _open_only_member(path, file) if kind == "zip" else _OPENERS[kind](file, "rb")


def _open_only_member(path: Path, file: BinaryIO) -> IO[bytes]:
    archive = zipfile.ZipFile(file)
    # macOS adds a shadow folder to every zip that it makes.
    members = [item for item in archive.infolist() if not item.is_dir() and not item.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        names = ", ".join(item.filename for item in members[:5])
        said = f"the zip must hold exactly one file, it holds {len(members)} ({names or 'none'})"
        raise ValueError(f"{path}: {said}; pack the text alone")
    try:
        return archive.open(members[0])
    except RuntimeError as error:  # encrypted; or, as a subclass of it, an unsupported compression
        problem = "is encrypted" if members[0].flag_bits & _ENCRYPTED else f"cannot be unpacked ({error})"
        said = f"{members[0].filename!r} {problem}; unpack the zip yourself and give the unpacked file"
        raise ValueError(f"{path}: {said}") from error


def copy_unpacked(source: Path, target: Path, *, expected: Identity | None = None) -> None:
    """Copy ``source`` to ``target``, unpacked, in blocks; ``target`` appears only if all went well.

    Parameters
    ----------
    source, target : Path
        The file as it is, packed or not, and where its unpacked bytes go.
    expected : Identity, optional
        Size and digest that the unpacked bytes must have.

    Raises
    ------
    ValueError
        If the source is empty, truncated, damaged, or not what ``expected`` says; or an archive that unpacks to far
        more than text can, which is said before it fills the disk.
    """
    packed_size = source.stat().st_size
    limit = max(_HARMLESS_BYTES, _MOST_TIMES * packed_size)
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    with atomic_path(target) as temporary, open_unpacked(source) as stream, temporary.open("wb") as output:
        with tqdm(total=expected and expected.size, unit="B", unit_scale=True, desc="unpack", mininterval=5) as bar:
            while block := stream.read(BLOCK):
                digest.update(block)
                size += len(block)
                if size > limit:
                    raise ValueError(
                        f"{source}: {packed_size:,} bytes that unpack to more than {limit:,}: no text packs to less "
                        f"than 1/{_MOST_TIMES}; if it is one, unpack it yourself and give the unpacked file"
                    )
                output.write(block)
                bar.update(len(block))
        if not size:
            raise ValueError(f"{source}: holds no bytes; give a text or a MediaWiki XML dump")
        if expected:
            _check_identity(source, size, digest.hexdigest(), expected)


def _check_identity(source: Path, size: int, md5: str, expected: Identity) -> None:
    if (size, md5) != (expected.size, expected.md5):
        raise ValueError(
            f"{source}: not {expected.name}: it unpacks to {size:,} bytes with md5 {md5}, expected "
            f"{expected.size:,} bytes with md5 {expected.md5}; remove {source} to download it again"
        )


def download(url: str, target: Path) -> None:
    """Download ``url`` to ``target``, in blocks; ``target`` appears only if every announced byte came.

    Raises
    ------
    ValueError
        If the server cannot be reached, answers with an error, or sends less than it announced.
    """
    fix = "try again, or download it by other means and give its path"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer, atomic_path(target) as temporary:
            announced = answer.headers.get("Content-Length")
            received = _save(answer, temporary, int(announced) if announced else None)
            if announced and received != int(announced):
                raise ValueError(f"{url}: the download was cut: {received:,} of {int(announced):,} bytes came; {fix}")
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise ValueError(f"{url}: the download failed ({error}); {fix}") from error


def _save(stream: IO[bytes], target: Path, size: int | None) -> int:
    received = 0
    with (
        target.open("wb") as output,
        tqdm(total=size, unit="B", unit_scale=True, desc="download", mininterval=5) as bar,
    ):
        while block := stream.read(BLOCK):
            output.write(block)
            received += len(block)
            bar.update(len(block))
    return received


def fetch_published_enwik8(
    cache_dir: Path, target: Path, *, url: str = ENWIK8_URL, expected: Identity = ENWIK8
) -> None:
    """Write enwik8 to ``target`` from its public home; the archive is kept in ``cache_dir`` and downloaded once.

    Source: M. Mahoney, Large Text Compression Benchmark, http://mattmahoney.net/dc/textdata.html.

    Raises
    ------
    ValueError
        If the download fails or is cut, or the unpacked bytes are not enwik8's in number and MD5 digest.
    """
    archive = cache_dir / url.rpartition("/")[2]
    if not archive.exists():
        download(url, archive)
    copy_unpacked(archive, target, expected=expected)
