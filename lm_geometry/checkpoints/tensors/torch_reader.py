"""What a torch file holds: the zip archive of torch since 1.6, and the older pickles followed by bare storages."""

import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from lm_geometry.checkpoints.byte_source import ByteSource
from lm_geometry.checkpoints.tensors import torch_pickle
from lm_geometry.checkpoints.tensors.range_file import FIRST_READ, LARGEST_PART, RangeFile, source_errors
from lm_geometry.checkpoints.tensors.tensor import StoredTensor, shown
from lm_geometry.checkpoints.tensors.torch_pickle import PickledStorage, PickledTensor
from lm_geometry.checkpoints.tensors.zip_directory import ZipEntry, read_directory

# Where training checkpoints keep the model: fairseq's and metaseq's under 'model', beside cfg and optimizer states;
# many others under 'state_dict'.
NESTED_UNDER = ("model", "state_dict")
_PICKLE = "data.pkl"
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_PICKLE_STARTS = tuple(bytes([0x80, version]) for version in (2, 3, 4, 5))
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_FORMAT_VERSION = 1001
_TAR_MAGIC = slice(257, 262)
_COUNT = struct.Struct("<q")


def is_torch(head: bytes) -> bool:
    """Say whether a file that begins so is a torch file of any age."""
    return head.startswith((*_ZIP_STARTS, *_PICKLE_STARTS)) or _is_tar(head)


def describe(file: ByteSource) -> dict[str, StoredTensor]:
    """Return the tensors of a file by name; only directory and pickle are read, and the pickle is not run.

    Where the file holds one mapping of tensors under 'model' or 'state_dict', its tensors are returned by their names
    in there. Values that are no tensors are left out.

    Raises
    ------
    ValueError
        If the file is cut short, compressed, big-endian, of torch before 0.1.10, holds no mapping with tensors, or its
        pickle asks for more than tensors, or if tensors lie in more than one of these mappings.
    """
    head = file.read(0, min(FIRST_READ, file.size))
    if head.startswith(_ZIP_STARTS):
        return _describe_archive(file)
    if _is_tar(head):
        raise _error(file, "a tar archive of torch before 0.1.10; load it with an old torch and save it again")
    if head.startswith(_PICKLE_STARTS):
        return _describe_stream(file)
    raise _error(file, f"it begins with {head[:8]!r}")


def _is_tar(head: bytes) -> bool:
    return head[_TAR_MAGIC] == b"ustar"


# The archive: NAME/data.pkl, NAME/byteorder, and one entry NAME/data/KEY for each storage.


def _describe_archive(file: ByteSource) -> dict[str, StoredTensor]:
    entries = read_directory(file)
    root = _root(file, entries)
    if f"{root}/constants.pkl" in entries:
        raise _error(file, "a TorchScript program; save its state_dict() instead")
    order = entries.get(f"{root}/byteorder")
    if order is not None and _content(file, order) != b"little":
        raise _error(file, "its numbers are not little-endian (byteorder); save it again on another machine")
    pickle = BytesIO(_content(file, entries[f"{root}/{_PICKLE}"]))
    value, _ = torch_pickle.load(pickle, f"{file.name}: {_PICKLE}")
    if rest := pickle.read():
        raise _error(file, f"{len(rest)} bytes follow the pickle in {_PICKLE}")
    return {name: _in_archive(file, root, entries, name, tensor) for name, tensor in _tensors(file, value).items()}


def _root(file: ByteSource, entries: Mapping[str, ZipEntry]) -> str:
    roots = [name.removesuffix(f"/{_PICKLE}") for name in entries if name.endswith(f"/{_PICKLE}")]
    roots = [root for root in roots if "/" not in root]
    if len(roots) != 1:
        raise _error(file, f"a zip archive with {len(roots)} entries NAME/{_PICKLE}, not one")
    return roots[0]


def _content(file: ByteSource, entry: ZipEntry) -> bytes:
    if entry.size > LARGEST_PART:
        raise _error(file, f"{shown(entry.name)} has {entry.size} bytes, and {LARGEST_PART} are allowed")
    content = file.read(entry.data_start(file), entry.size)
    if entry.crc32 is not None and zlib.crc32(content) != entry.crc32:
        start = entry.data_start(file)
        file.discard(start, entry.size)
        raise _error(file, f"{shown(entry.name)} does not fit its checksum; fetch it again")
    return content


def _in_archive(
    file: ByteSource, root: str, entries: Mapping[str, ZipEntry], name: str, tensor: PickledTensor
) -> StoredTensor:
    storage = tensor.storage
    entry = entries.get(f"{root}/data/{storage.key}")
    if entry is None or entry.size != storage.stored_bytes:
        there = "absent" if entry is None else f"{entry.size} bytes"
        raise _error(
            file,
            f"{shown(name)} needs the storage data/{shown(storage.key)} of "
            f"{storage.stored_bytes} bytes, which is {there}",
        )
    described = _stored(tensor, entry)
    is_whole = (described.start, described.nbytes) == (0, entry.size) and described.strides is None
    return replace(described, crc32=entry.crc32) if is_whole else described


# The old format: five pickles (magic number, version, machine, the value, the list of keys), then the storages in the
# list's order, each behind its number of elements.


@dataclass(frozen=True)
class _BareStorage:
    """A storage of the old format: a ``Holder`` whose place follows from the sizes of those before it."""

    start: int
    count: int

    def data_start(self, file: ByteSource) -> int:
        """Return where its bytes begin; ValueError if the number of elements stored there is another."""
        (stored,) = _COUNT.unpack(file.read(self.start - _COUNT.size, _COUNT.size))
        if stored != self.count:
            raise _error(file, f"{stored} elements before byte {self.start}, where its pickle has {self.count}")
        return self.start


def _describe_stream(file: ByteSource) -> dict[str, StoredTensor]:
    with source_errors():
        stream = RangeFile(file)
        _check_preamble(file, [torch_pickle.load(stream, f"{file.name}: preamble")[0] for _ in range(3)])
        value, storages = torch_pickle.load(stream, f"{file.name}: pickle")
        keys, _ = torch_pickle.load(stream, f"{file.name}: list of storages")
    places = _places(file, stream.tell(), keys, storages)
    return {name: _stored(tensor, places[tensor.storage.key]) for name, tensor in _tensors(file, value).items()}


def _check_preamble(file: ByteSource, preamble: list[Any]) -> None:
    magic, version, machine = preamble
    if magic != _MAGIC_NUMBER or version != _FORMAT_VERSION or not isinstance(machine, dict):
        raise _error(file, "a pickle, but none that torch.save wrote")
    if machine.get("little_endian") is not True:
        raise _error(file, "its numbers are not little-endian (sys_info); save it again on another machine")


def _places(file: ByteSource, start: int, keys: Any, storages: Mapping[str, PickledStorage]) -> dict[str, _BareStorage]:
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _error(file, "its list of storages is none")
    if len(set(keys)) != len(keys) or set(keys) != storages.keys():
        raise _error(file, f"its list of {len(keys)} storages is not that of the {len(storages)} that its tensors use")
    places = {}
    for key in keys:
        start += _COUNT.size
        places[key] = _BareStorage(start, storages[key].count)
        start += storages[key].stored_bytes
    if start != file.size:
        raise _error(file, f"its storages end at byte {start}, but it has {file.size} bytes")
    return places


# Both.


def _tensors(file: ByteSource, value: Any) -> dict[str, PickledTensor]:
    """Return the tensors of the mapping that a file holds, or of the mapping in it that holds the model."""
    if not isinstance(value, dict):
        raise _error(file, f"it holds {torch_pickle.kind_of(value)}, not a mapping from names to tensors")
    nested = {f"under {key}": value[key] for key in NESTED_UNDER if isinstance(value.get(key), dict)}
    found = {place: _named_tensors(mapping) for place, mapping in {**nested, "at its top": value}.items()}
    # Single numbers are no model: beside one they are a loss or a step.
    places = [place for place, tensors in found.items() if any(one.shape for one in tensors.values())]
    if len(places) > 1:
        raise _error(file, f"tensors both {' and '.join(places)}: save the model's alone")
    if places:
        return found[places[0]]
    if numbers := next(filter(None, found.values()), None):
        return numbers
    keys = ", ".join(shown(key) for key in list(value)[:8])
    raise _error(file, f"no tensors in it nor under {' or '.join(NESTED_UNDER)}; its keys are {keys or 'none'}")


def _named_tensors(mapping: dict[Any, Any]) -> dict[str, PickledTensor]:
    """Return a mapping's tensors; none where a name is no text."""
    found = {name: tensor for name, tensor in mapping.items() if isinstance(tensor, PickledTensor)}
    return found if all(isinstance(name, str) for name in found) else {}


def _stored(tensor: PickledTensor, holder: ZipEntry | _BareStorage) -> StoredTensor:
    nbytes = math.prod(tensor.shape) * torch_pickle.DTYPES[tensor.dtype]
    strides = None if _is_row_major(tensor) else tensor.strides
    return StoredTensor(tensor.shape, tensor.dtype, tensor.start, nbytes, strides=strides, holder=holder)


def _is_row_major(tensor: PickledTensor) -> bool:
    if 0 in tensor.shape:
        return True
    expected = 1
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        # The stride of an axis of one entry is never taken.
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def _error(file: ByteSource, what: str) -> ValueError:
    return ValueError(f"{file.name}: not a torch file that can be read: {what}")
