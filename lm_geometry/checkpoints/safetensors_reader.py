"""Tensors out of one safetensors file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lm_geometry.checkpoints.tensor import TensorInfo

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def describe(path: Path) -> dict[str, TensorInfo]:
    """Return name, shape and stored type of all tensors; only the header is read.

    Raises
    ------
    ValueError
        If the file is no whole safetensors file.
    """
    with _opened(path) as file:
        views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
        return {
            name: TensorInfo(tuple(view.get_shape()), _DTYPES.get(view.get_dtype(), view.get_dtype()))
            for name, view in views.items()
        }


def read(path: Path, name: str) -> np.ndarray:
    """Return one tensor as float32; half and bfloat16 values are exact in it."""
    with _opened(path) as file:
        return file.get_tensor(name).float().numpy()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        # The torch view, as numpy has no bfloat16.
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from error
