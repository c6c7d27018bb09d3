"""What every measure asks of its input: a finite matrix with a row per vector, and a centre taken in float64."""

import numpy as np


class DegenerateError(ValueError):
    """The vectors carry no answer to the question asked: too few, all alike, or not finite."""


def checked_rows(x: np.ndarray) -> np.ndarray:
    """Return ``x``, shape (n, d), as float32 if it is float32, else as float64.

    Raises
    ------
    ValueError
        If ``x`` is not a matrix of real numbers.
    DegenerateError
        If it is empty or holds values that are not finite; the message counts them and names the first row.
    """
    x = np.asarray(x)
    if x.ndim != 2 or x.dtype.kind not in "fiu":
        raise ValueError(f"vectors must be a real matrix of shape (n, d), got shape {x.shape} and type {x.dtype}")
    if 0 in x.shape:
        raise DegenerateError(f"no vectors to measure: shape {x.shape}")
    if x.dtype != np.float32:
        x = x.astype(np.float64, copy=False)
    require_finite(np.isfinite(x))
    return x


def require_finite(finite: np.ndarray) -> None:
    """Refuse a matrix where some values, False in ``finite``, are not finite.

    Raises
    ------
    DegenerateError
        With their number and the first row.
    """
    if not finite.all():
        rows = np.flatnonzero(~finite.all(axis=1))
        raise DegenerateError(
            f"{finite.size - int(finite.sum())} values in {rows.size} of {len(finite)} rows are not finite, the first "
            f"in row {rows[0]}"
        )


def centre(x: np.ndarray) -> np.ndarray:
    """Return the rows of ``x`` less their mean, as float64; the mean is taken and subtracted in float64."""
    return np.subtract(x, x.mean(axis=0, dtype=np.float64), dtype=np.float64)


def row_norms(x: np.ndarray) -> np.ndarray:
    """Return the Euclidean norm of each row of a float64 matrix."""
    return np.sqrt(np.einsum("ij,ij->i", x, x))
