"""Which files hold a revision's weights, which of them holds a tensor, and the tensor's values block by block."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from lm_geometry.checkpoints.byte_source import ByteSource, LocalFile
from lm_geometry.checkpoints.hub import cached_file
from lm_geometry.checkpoints.ledger import find_listed, verify_file
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.checkpoints.revision import Revision
from lm_geometry.checkpoints.tensors import safetensors_reader, torch_reader
from lm_geometry.checkpoints.tensors.range_file import FIRST_READ
from lm_geometry.checkpoints.tensors.tensor import StoredTensor, check_readable, decode_rows, row_bytes, shown
from lm_geometry.checkpoints.weight_files import INDEX_SUFFIX, entry_file, weight_map
from lm_geometry.error_words import naming

_COMPARED_AT_ONCE = 16 * 1024 * 1024
_POINTER = b"version https://git-lfs"


class Weights:
    """The tensors of one revision, in whichever file they lie, of which no more than what is asked for is read.

    Parameters
    ----------
    revision : Revision
        Where the files come from.
    files : sequence of ListedFile
        What was listed; each file read must still be as listed.
    verify : {'ranges', 'full'}
        'ranges' reads parts of files, whose sha256 then stays unchecked; 'full' has each file that is read whole on
        this machine and checks its sha256 first.

    Raises
    ------
    ValueError
        If there are no weights, the index is none or names a shard that is not listed, or the one weight file is of no
        known format.
    """

    def __init__(
        self, revision: Revision, files: Sequence[ListedFile], *, verify: Literal["ranges", "full"] = "ranges"
    ) -> None:
        self._revision = revision
        self._files = files
        self._verify = verify
        self._sources: dict[str, ByteSource] = {}
        self._described: dict[str, dict[str, StoredTensor]] = {}
        self._whole_bytes = 0
        entry = entry_file(files)
        if entry.endswith(INDEX_SUFFIX):
            self._file_of = weight_map(self._whole_file(entry))
            for shard in set(self._file_of.values()):
                find_listed(files, shard)
        else:
            self._file_of = dict.fromkeys(self._describe(entry), entry)

    @property
    def names(self) -> list[str]:
        """Names of all tensors, sorted."""
        return sorted(self._file_of)

    @property
    def bytes_read(self) -> int:
        """Distinct bytes asked of weight files and index so far, whether from the network or from the cache."""
        ranges = 0 if self._verify == "full" else sum(source.bytes_read for source in self._sources.values())
        return self._whole_bytes + ranges

    def file_of(self, name: str) -> str:
        """Return the file that holds a tensor."""
        return self._file_of[name]

    def verified_by(self, name: str) -> Literal["sha256", "crc32", "none"]:
        """Return what a tensor is checked by once read to its end: its whole file, its own checksum, or nothing."""
        if self._verify == "full":
            return "sha256"
        return "none" if self.info(name).crc32 is None else "crc32"

    def info(self, name: str) -> StoredTensor:
        """Return shape, stored type and place of a tensor; ValueError if the index names a shard that lacks it."""
        file = self._file_of[name]
        found = self._describe(file)
        if name not in found:
            raise ValueError(f"{file}: the index says that it holds {shown(name)}, but it does not; fetch both again")
        return found[name]

    def blocks(self, name: str, rows: int) -> Iterator[np.ndarray]:
        """Yield a tensor as float32 in blocks of at most ``rows`` rows, each of shape (n, d) for a matrix.

        Nothing but the block at hand is held. Its checksum, where the file states one, is compared after the last
        block: use no block of a tensor that was not read to its end.

        Raises
        ------
        ValueError
            If the values are quantized or not stored row by row, or the checksum does not fit.
        """
        tensor = self.info(name)
        file = self._file_of[name]
        where = f"{file}: {shown(name)}"
        with naming(where):
            check_readable(tensor)
            length = row_bytes(tensor)
        if tensor.nbytes == 0:
            yield np.empty(tensor.shape, dtype=np.float32)
            return

        def decoded(raw: bytes) -> np.ndarray:
            with naming(where):
                return decode_rows(raw, tensor)

        # Not a loop: its variable would hold one block while the next is read.
        yield from map(decoded, self._raw(name, tensor, max(1, rows) * length))

    def same_bytes(self, first: str, second: str) -> bool:
        """Say whether two tensors are the same: one place, one checksum, else bytes that are compared by reading."""
        one, other = self.info(first), self.info(second)
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            return False
        if self._file_of[first] == self._file_of[second] and one == other:
            return True
        if one.crc32 is not None and other.crc32 is not None:
            return one.crc32 == other.crc32
        pieces = (self._raw(name, self.info(name), _COMPARED_AT_ONCE) for name in (first, second))
        return all(left == right for left, right in zip(*pieces, strict=True))

    def _raw(self, name: str, tensor: StoredTensor, length: int) -> Iterator[bytes]:
        source = self._source(self._file_of[name])
        start = tensor.place(source)
        source.fetch(start, tensor.nbytes)
        crc32 = 0
        for offset in range(0, tensor.nbytes, length):
            raw = source.read(start + offset, min(length, tensor.nbytes - offset))
            crc32 = zlib.crc32(raw, crc32)
            yield raw
            # Else the block outlives its use while the next one is read.
            del raw
        if tensor.crc32 is not None and crc32 != tensor.crc32:
            source.discard(start, tensor.nbytes)
            raise ValueError(
                f"{source.name}: {shown(name)} does not fit its checksum ({crc32:08x}, not {tensor.crc32:08x}): "
                "its bytes are damaged; fetch it again"
            )

    def _describe(self, file: str) -> dict[str, StoredTensor]:
        if file not in self._described:
            source = self._source(file)
            head = source.read(0, min(FIRST_READ, source.size))
            self._described[file] = _reader(source, head)(source)
        return self._described[file]

    def _source(self, file: str) -> ByteSource:
        if file not in self._sources:
            listed = find_listed(self._files, file)
            if self._verify == "full":
                self._sources[file] = LocalFile(self._whole_file(file), file)
            else:
                self._sources[file] = self._revision.open(listed)
        return self._sources[file]

    def _whole_file(self, path: str) -> Path:
        listed = find_listed(self._files, path)
        if self._verify == "full" and listed.sha256 is None and not path.endswith(INDEX_SUFFIX):
            raise ValueError(f"{path}: its source lists no sha256 to check it by; set verify: ranges")
        local = self._revision.local_file(path)
        try:
            verify_file(local, listed)
        except ValueError as error:
            if not self._revision.remote:
                raise
            cached_file.remove(local)
            reason, _, _ = str(error).rpartition("; ")
            raise ValueError(f"{reason}; it was removed, run again to fetch it anew") from error
        self._whole_bytes += listed.size
        return local


def _reader(source: ByteSource, head: bytes) -> Callable[[ByteSource], dict[str, StoredTensor]]:
    """Return the reader of a file by its first bytes, as names promise nothing."""
    if safetensors_reader.is_safetensors(head, source.size):
        return safetensors_reader.describe
    if torch_reader.is_torch(head):
        return torch_reader.describe
    if head.startswith(_POINTER):
        raise ValueError(f"{source.name}: a Git LFS pointer in place of the file; run `git lfs pull` in its folder")
    raise ValueError(
        f"{source.name}: neither a whole safetensors nor a torch file: it has {source.size} bytes and begins with "
        f"{head[:8]!r}; fetch it again"
    )
