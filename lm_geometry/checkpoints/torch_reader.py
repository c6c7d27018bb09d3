"""Tensors out of one torch ``.bin`` file; its pickle may build tensors and nothing else."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lm_geometry.checkpoints.source import first_line
from lm_geometry.checkpoints.tensor import TensorInfo


def describe(path: Path) -> dict[str, TensorInfo]:
    """Return name, shape and stored type of all tensors; the values stay on disk.

    Raises
    ------
    ValueError
        If the file is no torch file, or its pickle asks for more than tensors.
    """
    return {
        name: TensorInfo(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in _load(path).items()
    }


def read(path: Path, name: str) -> np.ndarray:
    """Return one tensor as float32; half and bfloat16 values are exact in it."""
    # A copy: the array must not hang on a mapped file that may change or vanish.
    return _load(path)[name].detach().float().contiguous().numpy().copy()


def _load(path: Path) -> dict[str, Any]:
    import torch

    try:
        # Files of torch before 1.6 (2020) are no zip archives and cannot be mapped.
        state = torch.load(path, weights_only=True, mmap=zipfile.is_zipfile(path), map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path}: not a torch file that holds tensors alone ({first_line(error)})") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path}: holds a {type(state).__name__}, not a mapping from names to tensors")
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
