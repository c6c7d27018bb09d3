"""What numpy and torch call by different names, so that the arithmetic of a cloud is written once for both.

Arrays on the CPU are numpy's, whose products of tall matrices and single vectors are faster there; arrays on another
device are torch's and stay on it. Short vectors of results come back as numpy arrays.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.linalg import eigvalsh

Array = Any
"""A numpy array, or a torch tensor on a device other than the CPU."""


def real_matrix(x: Any) -> Array:
    """Return ``x``, shape (n, d), as float32 if it is float32 or a narrower tensor, else as float64.

    Raises
    ------
    ValueError
        If ``x`` is not a matrix of real numbers.
    """
    if _is_tensor(x):
        x = x.detach()
        if x.is_floating_point() and itemsize(x) < 4:  # numpy knows no bfloat16
            x = x.float()
        if x.device.type == "cpu":
            x = x.numpy()
    else:
        x = np.asarray(x)
    real = not x.is_complex() if _is_tensor(x) else x.dtype.kind in "fiu"
    if x.ndim != 2 or not real:
        raise ValueError(
            f"vectors must be a real matrix of shape (n, d), got shape {tuple(x.shape)} and type {x.dtype}"
        )
    return x if str(x.dtype).endswith("float32") else wide(x)


def wide(a: Array) -> Array:
    """Return ``a`` in float64, itself where it is that."""
    return a.double() if _is_tensor(a) else a.astype(np.float64, copy=False)


def narrow(a: Array) -> Array:
    """Return ``a`` in float32, itself where it is that."""
    return a.float() if _is_tensor(a) else a.astype(np.float32, copy=False)


def like_type(a: Array, like: Array) -> Array:
    """Return ``a`` in float32 if ``like`` is float32, else in float64."""
    return narrow(a) if itemsize(like) == 4 else wide(a)


def host(a: Array) -> np.ndarray:
    """Return ``a`` as a numpy array."""
    return a.cpu().numpy() if _is_tensor(a) else a


def placed(a: np.ndarray, like: Array) -> Array:
    """Return a numpy array, in its own type, where ``like`` lies."""
    return sys.modules["torch"].from_numpy(np.ascontiguousarray(a)).to(like.device) if _is_tensor(like) else a


def empty(shape: tuple[int, ...], dtype: str, like: Array) -> Array:
    """Return an array of type float32 or float64 with any content, where ``like`` lies."""
    if _is_tensor(like):
        torch = sys.modules["torch"]
        return torch.empty(shape, dtype=getattr(torch, dtype), device=like.device)
    return np.empty(shape, dtype=dtype)


def itemsize(a: Array) -> int:
    """Return the bytes of one entry."""
    return a.element_size() if _is_tensor(a) else a.itemsize


def stacked(arrays: Sequence[Array]) -> Array:
    """Return arrays of one shape as one, along a new first axis."""
    return sys.modules["torch"].stack(arrays) if _is_tensor(arrays[0]) else np.stack(arrays)


def finite(a: Array) -> np.ndarray:
    """Return where ``a`` is finite."""
    return host(a.isfinite()) if _is_tensor(a) else np.isfinite(a)


def exact_product(a: Array, b: Array) -> Array:
    """Return a b as the type of the two promises, also where torch was told to round float32 for speed."""
    if not _is_tensor(a):
        return a @ b
    torch = sys.modules["torch"]
    told = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        return a @ b
    finally:
        torch.set_float32_matmul_precision(told)


def row_squares(a: Array) -> Array:
    """Return the sum of squares of each row, added up in the type of ``a``."""
    return (a * a).sum(1) if _is_tensor(a) else np.einsum("ij,ij->i", a, a)


def least(a: Array, axis: int) -> Array:
    """Return the least entries along an axis."""
    return a.amin(axis) if _is_tensor(a) else a.min(axis)


def count_true(mask: Array) -> int:
    """Return how many entries are true."""
    return int(mask.sum()) if _is_tensor(mask) else int(np.count_nonzero(mask))


def true_positions(mask: Array) -> np.ndarray:
    """Return the positions of the true entries of a matrix, read row by row."""
    return host(mask.reshape(-1).nonzero()[:, 0]) if _is_tensor(mask) else np.flatnonzero(mask)


def eigenvalues(symmetric: Array) -> np.ndarray:
    """Return the eigenvalues of a symmetric matrix, rising."""
    return host(sys.modules["torch"].linalg.eigvalsh(symmetric)) if _is_tensor(symmetric) else eigvalsh(symmetric)


def is_on_host(a: Array) -> bool:
    """Return whether ``a`` is numpy's."""
    return not _is_tensor(a)


def _is_tensor(a: Any) -> bool:
    torch = sys.modules.get("torch")  # nobody has a tensor where it was not imported
    return torch is not None and isinstance(a, torch.Tensor)
