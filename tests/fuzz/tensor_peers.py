"""What is asked of every reader of tensors: the peer's tensors, or one clear error."""

import numpy as np
import torch
from memory_file import MemoryFile

from lm_geometry.checkpoints.tensors.tensor import decode_rows

DTYPES = [
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32",
    "uint64", "bool", "complex64", "float8_e4m3fn", "float8_e5m2",
]  # fmt: skip
FLOATS = {"float64", "float32", "float16", "bfloat16"}


def tensor_of(dtype, shape, seed=0):
    """Return a tensor of small numbers."""
    count = int(np.prod(shape))
    return ((torch.arange(count) * 7 + seed) % 19).to(getattr(torch, dtype)).reshape(shape)


def raw_bytes(values):
    """Return a tensor's bytes, row by row."""
    return values.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def described(describe, content, size=None):
    """Return a file's tensors and their bytes by name, or the error; anything but a clear error is a failure."""
    file = MemoryFile(content, size)
    try:
        found = describe(file)
        return found, {name: _values(file, tensor) for name, tensor in found.items()}
    except ValueError as error:
        check_message(error)
        return error, {}


def check_message(error):
    """Check that an error is one line that names the file, and can be printed."""
    message = str(error)
    assert message.startswith("weights: "), message
    assert message.isprintable(), message
    assert message.encode()
    assert len(message) < 600, message


def _values(file, tensor):
    """Return a tensor's bytes; None where they do not lie row by row."""
    if tensor.strides is not None:
        return None
    start = tensor.place(file)
    assert start >= 0
    assert start + tensor.nbytes <= file.size
    return file.read(start, tensor.nbytes)


def assert_as_peer(found, values, peer):
    """Assert that names, shapes, types and bytes are the peer's, and the numbers as float32."""
    assert found.keys() == peer.keys()
    for name, expected in peer.items():
        tensor = found[name]
        assert tensor.shape == tuple(expected.shape)
        assert tensor.dtype == str(expected.dtype).removeprefix("torch.")
        assert (values[name] is None) or values[name] == raw_bytes(expected)
        if values[name] and tensor.dtype in FLOATS and tensor.shape:
            got = decode_rows(values[name], tensor)
            assert got.shape == tensor.shape
            np.testing.assert_array_equal(got, expected.detach().float().numpy())
