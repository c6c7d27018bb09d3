"""What a safetensors file holds, from its header alone."""

import json
import math
import re
from typing import Any

from lm_geometry.checkpoints.byte_source import ByteSource
from lm_geometry.checkpoints.tensors.range_file import FIRST_READ, LARGEST_PART
from lm_geometry.checkpoints.tensors.tensor import MOST_DIMENSIONS, StoredTensor, shown

_LENGTH = 8
_METADATA = "__metadata__"
# torch's name and the bits of one element.
_TYPES = {
    "BOOL": ("bool", 8), "U8": ("uint8", 8), "I8": ("int8", 8), "U16": ("uint16", 16), "I16": ("int16", 16),
    "U32": ("uint32", 32), "I32": ("int32", 32), "U64": ("uint64", 64), "I64": ("int64", 64), "F16": ("float16", 16),
    "BF16": ("bfloat16", 16), "F32": ("float32", 32), "F64": ("float64", 64), "C64": ("complex64", 64),
    "F4": ("float4_e2m1fn_x2", 4), "F6_E2M3": ("float6_e2m3", 6), "F6_E3M2": ("float6_e3m2", 6),
    "F8_E4M3": ("float8_e4m3fn", 8), "F8_E5M2": ("float8_e5m2", 8), "F8_E8M0": ("float8_e8m0fnu", 8),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 8), "F8_E5M2FNUZ": ("float8_e5m2fnuz", 8),
}  # fmt: skip
_TYPE_NAME = re.compile(r"[A-Z0-9_]{1,16}")
_KEYS = {"dtype", "shape", "data_offsets"}


def is_safetensors(head: bytes, size: int) -> bool:
    """Say whether a file of ``size`` bytes that begins so is safetensors: a header's length, then a JSON object."""
    length, begins = int.from_bytes(head[:_LENGTH], "little"), head[_LENGTH : _LENGTH + 1]
    return begins == b"{" and length < size


def describe(file: ByteSource) -> dict[str, StoredTensor]:
    """Return the tensors of a file by name, as the header has them; nothing behind the header is read.

    Raises
    ------
    ValueError
        If the header is no safetensors header, or does not fit the file: tensors must lie end to end from the header's
        end to the file's end, each as long as its shape and type say.
    """
    header, data = _header(file)
    place = data
    found = {}
    for name, facts in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, end = (data + offset for offset in facts["data_offsets"])
        if start != place:
            raise _error(file, f"tensor {shown(name)} begins at byte {start}, but the one before it ends at {place}")
        dtype, bits = _TYPES.get(facts["dtype"], (facts["dtype"].lower(), None))
        if bits is not None and math.prod(facts["shape"]) * bits != 8 * (end - start):
            raise _error(file, f"tensor {shown(name)} of {dtype} {facts['shape']} is no {end - start} bytes")
        found[name] = StoredTensor(tuple(facts["shape"]), dtype, start, end - start)
        place = end
    if place != file.size:
        raise _error(file, f"its tensors end at byte {place}, but it has {file.size} bytes")
    return {name: found[name] for name in header}


def _header(file: ByteSource) -> tuple[dict[str, Any], int]:
    """Return the header without its metadata, checked by itself, and the offset at which the data begin."""
    head = file.read(0, min(FIRST_READ, file.size))
    if len(head) < _LENGTH:
        raise _error(file, f"it has {file.size} bytes")
    end = _LENGTH + int.from_bytes(head[:_LENGTH], "little")
    if end > min(file.size, _LENGTH + LARGEST_PART):
        raise _error(
            file,
            f"its header of {end - _LENGTH} bytes is longer than the file of {file.size} bytes or the {LARGEST_PART} "
            "that are allowed",
        )
    if end > len(head):
        head += file.read(len(head), end - len(head))
    try:
        header = json.loads(head[_LENGTH:end].decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise _error(file, f"its header is no JSON of it ({error})") from error
    if not isinstance(header, dict):
        raise _error(file, f"its header is a {type(header).__name__}")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise _error(file, f"its {_METADATA} is no mapping of texts")
    for name, facts in header.items():
        if not _is_tensor(facts):
            raise _error(file, f"the header's entry {shown(name)} is no type, shape and data_offsets")
    return header, end


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        # add returns None: the first name that is there already.
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"{shown(twice)} occurs twice")
    return found


def _is_tensor(facts: Any) -> bool:
    return (
        isinstance(facts, dict)
        and facts.keys() == _KEYS
        and isinstance(facts["dtype"], str)
        and _TYPE_NAME.fullmatch(facts["dtype"]) is not None
        and _are_sizes(facts["shape"])
        and len(facts["shape"]) <= MOST_DIMENSIONS
        and _are_sizes(facts["data_offsets"])
        and len(facts["data_offsets"]) == 2
        and facts["data_offsets"][0] <= facts["data_offsets"][1]
    )


def _are_sizes(value: Any) -> bool:
    # Not isinstance: True is an int to Python.
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 2**63 for number in value)


def _error(file: ByteSource, what: str) -> ValueError:
    return ValueError(f"{file.name}: not a whole safetensors file: {what}; fetch it again")
