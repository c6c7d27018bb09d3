"""The directory of a zip archive read by ranges, and the place of an entry's bytes."""

import struct
import zipfile
from dataclasses import dataclass

from lm_geometry.checkpoints.byte_source import ByteSource
from lm_geometry.checkpoints.tensors.range_file import RangeFile, source_errors
from lm_geometry.checkpoints.tensors.tensor import shown

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 0x1
_SIZES_FOLLOW = 0x8
_UTF_8 = 0x800
_IN_ZIP64 = 0xFFFFFFFF


@dataclass(frozen=True)
class ZipEntry:
    """One stored (never compressed) entry: a ``Holder`` of tensors.

    ``end`` is where the next entry or the directory begins; ``crc32`` is None where the writer left it out.
    """

    name: str
    raw_name: bytes
    header: int
    size: int
    crc32: int | None
    end: int

    def data_start(self, file: ByteSource) -> int:
        """Return the offset of the entry's first byte, as its local header says.

        Raises
        ------
        ValueError
            If the local header is none, contradicts the directory, or leaves no room for the entry's bytes.
        """
        head = file.read(self.header, min(_LOCAL_HEADER.size + len(self.raw_name), file.size - self.header))
        if len(head) < _LOCAL_HEADER.size + len(self.raw_name) or not head.startswith(_SIGNATURE):
            raise _error(file, f"no entry at byte {self.header}, where the directory has {shown(self.name)}")
        _, _, flags, method, _, _, crc32, packed, size, name, extra = _LOCAL_HEADER.unpack_from(head)
        if (name, head[_LOCAL_HEADER.size :]) != (len(self.raw_name), self.raw_name):
            raise _error(file, f"another name at byte {self.header} than the directory's {shown(self.name)}")
        if method != zipfile.ZIP_STORED or flags & _ENCRYPTED:
            raise _error(file, f"{shown(self.name)} is compressed or encrypted by its own header")
        if not flags & _SIZES_FOLLOW:
            self._check_sizes(file, packed, size, crc32)
        start = self.header + _LOCAL_HEADER.size + name + extra
        if start + self.size > self.end:
            raise _error(
                file, f"{shown(self.name)} ends at byte {start + self.size}, inside the next entry at {self.end}"
            )
        return start

    def _check_sizes(self, file: ByteSource, packed: int, size: int, crc32: int) -> None:
        if {packed, size} - {self.size, _IN_ZIP64}:
            raise _error(file, f"{shown(self.name)} has {size} bytes by its own header, {self.size} by the directory")
        if self.crc32 is not None and crc32 != self.crc32:
            raise _error(file, f"{shown(self.name)} has another checksum in its own header than in the directory")


def read_directory(file: ByteSource) -> dict[str, ZipEntry]:
    """Return the entries of a zip archive by name; the file's end is read, and its directory where that is longer.

    Raises
    ------
    ValueError
        If the file is no zip archive, an entry is compressed, encrypted or named twice, or entries overlap each other,
        the directory or the file's end.
    """
    with source_errors():
        try:
            archive = zipfile.ZipFile(RangeFile(file, keep_end=True))
        # The parser lets slip whatever its fields lead to; each of them says that the fields are wrong.
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OverflowError, OSError) as error:
            raise _error(file, f"no directory that can be read ({shown(error)}); fetch it again") from error
        with archive:
            entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
            directory = archive.start_dir
    if not entries:
        raise _error(file, "an empty zip archive")
    found: dict[str, ZipEntry] = {}
    ends = [*(entry.header_offset for entry in entries[1:]), directory]
    for entry, end in zip(entries, ends, strict=True):
        if entry.filename in found:
            raise _error(file, f"two entries are named {shown(entry.filename)}")
        found[entry.filename] = _entry(file, entry, end)
    return found


def _entry(file: ByteSource, entry: zipfile.ZipInfo, end: int) -> ZipEntry:
    name = shown(entry.filename)
    raw_name = entry.orig_filename.encode("utf-8" if entry.flag_bits & _UTF_8 else "cp437")
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise _error(file, f"{name} is compressed; save the file again with torch.save")
    if entry.flag_bits & _ENCRYPTED:
        raise _error(file, f"{name} is encrypted")
    least = entry.header_offset + _LOCAL_HEADER.size + len(raw_name) + entry.file_size
    if entry.header_offset < 0 or least > end:
        raise _error(file, f"{name} at bytes {entry.header_offset} to {least} runs into what begins at byte {end}")
    # torch writes 0 where it was told to leave checksums out.
    return ZipEntry(entry.filename, raw_name, entry.header_offset, entry.file_size, entry.CRC or None, end)


def _error(file: ByteSource, what: str) -> ValueError:
    return ValueError(f"{file.name}: not a whole torch file: {what}")
