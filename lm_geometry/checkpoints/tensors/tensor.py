"""What is known of a tensor without reading it, and the decoding of its stored bytes."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lm_geometry.checkpoints.byte_source import ByteSource

# How each stored type that is a floating-point number of its own is laid out, little-endian; bfloat16 is the upper half
# of a float32. Any other type is an integer, a packed or an 8-bit code that needs scales to mean anything.
_LAYOUTS = {"float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}

# numpy's own limit.
MOST_DIMENSIONS = 64


def shown(text: Any) -> str:
    """Return a text from a file as an error may show it: escaped, and not for pages."""
    return ascii(str(text)[:80])[1:-1]


class Holder(Protocol):
    """The part of a file that holds a tensor's bytes and says itself where they begin."""

    def data_start(self, file: ByteSource) -> int:
        """Return the offset in the file of the part's first byte; ValueError if the file says otherwise there."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file.

    Parameters
    ----------
    shape : tuple of int
        Its shape.
    dtype : str
        Its stored type by torch's name: 'float32', 'bfloat16', 'int8', 'float8_e4m3fn' ...
    start, nbytes : int
        Where its bytes lie, row-major: from the start of the file, or of ``holder``'s data where there is a holder.
    crc32 : int, optional
        The checksum of exactly these bytes, where the file states one.
    strides : tuple of int, optional
        Its strides in elements where it does not lie row-major; such a tensor is described but not read.
    holder : Holder, optional
        What to ask for the place before reading; asked late, as it costs one read for each tensor.
    """

    shape: tuple[int, ...]
    dtype: str
    start: int
    nbytes: int
    crc32: int | None = None
    strides: tuple[int, ...] | None = None
    holder: Holder | None = None

    def place(self, file: ByteSource) -> int:
        """Return the offset of the tensor's first byte in its file; ValueError as ``Holder.data_start``."""
        return self.start if self.holder is None else self.holder.data_start(file) + self.start

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Return the shape of one entry along the first axis; () for a tensor of one axis or none."""
        return self.shape[1:]


def check_readable(tensor: StoredTensor) -> None:
    """Check that a tensor's values can be read as they lie.

    Raises
    ------
    ValueError
        If it is stored as integers, 8-bit floats or packed codes, or not row by row; the message begins with a verb.
    """
    if tensor.dtype not in _LAYOUTS:
        raise ValueError(
            f"is stored as {tensor.dtype}: quantized values mean nothing without their scales; "
            f"take the model's unquantized weights ({', '.join(sorted(_LAYOUTS))})"
        )
    if tensor.strides is not None:
        raise ValueError(
            f"is stored with strides {tensor.strides} for the shape {tensor.shape}, not row by row; "
            "save it again as tensor.contiguous()"
        )


def row_bytes(tensor: StoredTensor) -> int:
    """Return the bytes of one entry along the first axis."""
    return math.prod(tensor.row_shape) * np.dtype(_LAYOUTS[tensor.dtype]).itemsize


def decode_rows(raw: bytes | memoryview, tensor: StoredTensor) -> np.ndarray:
    """Return whole rows of a tensor as float32, shape (n, d) for a matrix of d columns.

    float16 and bfloat16 are exact in float32, and float32 is passed on bit for bit (as a read-only view). float64 is
    rounded to the nearest float32 where it does not fit exactly.

    Raises
    ------
    ValueError
        If the type is quantized, the bytes are no whole number of rows, or a float64 is beyond float32's range.
    """
    check_readable(tensor)
    length = row_bytes(tensor)
    if length == 0 or len(raw) % length:
        raise ValueError(f"{len(raw)} bytes are no whole number of rows of {length} bytes")
    stored = np.frombuffer(raw, dtype=_LAYOUTS[tensor.dtype]).reshape(-1, *tensor.row_shape)
    if tensor.dtype == "bfloat16":
        widened = stored.astype(np.uint32)
        # In place, so that a block is never held twice at full width.
        np.left_shift(widened, 16, out=widened)
        return widened.view(np.float32)
    with np.errstate(over="ignore"):
        values = stored.astype(np.float32, copy=False)
    infinite = np.isinf(values) if tensor.dtype == "float64" else None
    if infinite is not None and infinite.any() and np.isfinite(stored[infinite]).any():
        largest = np.abs(stored[infinite & np.isfinite(stored)]).max()
        raise ValueError(f"holds float64 values beyond the range of float32, up to {largest:.3g}: it is damaged")
    return values
