"""The mean row and the leading principal directions of an embedding table, and vectors without them.

Mu & Viswanath, "All-but-the-Top: Simple and Effective Postprocessing for Word Representations" (ICLR 2018), take the
mean of all word vectors away, and then the d / 100 directions in which the rest varies most. The mean of such changed
rows is the mean of the rows, changed in the same way: vectors pooled from a table are changed instead of the table.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.linalg import blas, eigh

from lm_geometry.tables.files import read_table


@dataclass(frozen=True)
class Components:
    """What is taken away from the rows of a table d columns wide; made by ``principal_components``.

    Parameters
    ----------
    mean : np.ndarray
        The mean row, float64, shape (d,).
    directions : np.ndarray
        The leading directions, orthonormal, float64, shape (D, d); that of most variance first.
    variance_shares : np.ndarray
        Share of the variance about the mean that lies along each direction, float64, shape (D,).
    """

    mean: np.ndarray
    directions: np.ndarray
    variance_shares: np.ndarray


def n_directions(width: int) -> int:
    """Return how many directions are taken away from a table: a hundredth of its columns, rounded, at least one."""
    return max(1, round(width / 100))


def principal_components(blocks: Callable[[], Iterable[np.ndarray]], width: int) -> Components:
    """Find the mean row of a table and its leading ``n_directions(width)`` directions about it.

    The covariance matrix of the columns is summed in float64 over two passes of the table, and its leading eigenvectors
    are LAPACK's. Memory is 8 ``width``^2 bytes and a few blocks.

    Parameters
    ----------
    blocks : callable
        Returns the table's rows in blocks of shape (n, width), float32 and finite; called once a pass.
    width : int
        Columns of the table, d.

    Returns
    -------
    Components
        The sign of a direction is that which makes its largest entry positive.

    Raises
    ------
    ValueError
        If all rows are equal, or nothing would be left of them without the directions.
    """
    n_components = n_directions(width)
    n_rows, mean = _mean(blocks(), width)
    if n_components >= min(n_rows - 1, width):
        raise ValueError(
            f"{n_rows} rows with a token, {width} wide, vary in at most {max(0, min(n_rows - 1, width))} directions: "
            f"without the leading {n_components} nothing would be left of them"
        )
    covariance = np.zeros((width, width), order="F")
    for block in blocks():
        centered = block - mean
        covariance = blas.dsyrk(1 / n_rows, centered.T, beta=1, c=covariance, lower=1, overwrite_c=1)
    variance = np.trace(covariance)
    if not variance > 0:
        raise ValueError(
            f"the {n_rows} rows of the embedding table that have a token vary by {variance} about their mean: leading "
            "directions need rows that differ"
        )
    leading = (width - n_components, width - 1)
    variances, vectors = eigh(covariance, lower=True, subset_by_index=leading, overwrite_a=True)
    directions = np.ascontiguousarray(vectors.T[::-1])
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    return Components(mean, directions * np.sign(largest), variances[::-1] / variance)


def _mean(blocks: Iterable[np.ndarray], width: int) -> tuple[int, np.ndarray]:
    n_rows, total = 0, np.zeros(width)
    for block in blocks:
        total += block.sum(axis=0, dtype=np.float64)
        n_rows += len(block)
    return n_rows, total / max(1, n_rows)


def remove_mean(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return ``vectors``, shape (n, d), less ``mean``, shape (d,), in float64."""
    return vectors - mean.astype(np.float64, copy=False)


def remove_directions(vectors: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return ``vectors``, shape (n, d), without their parts along orthonormal ``directions``, shape (D, d), in float64.

    Mu & Viswanath (2018), algorithm 1, line 3; of centered vectors, so that nothing is left along the directions.
    """
    vectors = vectors.astype(np.float64, copy=False)
    return vectors - (vectors @ directions.T) @ directions


def project(vectors: np.ndarray, has_tokens: np.ndarray, components: Components, *, directions: bool) -> np.ndarray:
    """Return what pooling the table without its mean row would have given, from vectors pooled from the table.

    Parameters
    ----------
    vectors : np.ndarray
        Means of table rows, shape (texts, d).
    has_tokens : np.ndarray
        Whether each text has a token, bool, shape (texts,): one without stays zero, for it is the mean of nothing.
    components : Components
        The table's mean row and leading directions.
    directions : bool
        Whether the leading directions are taken away too.

    Returns
    -------
    np.ndarray
        float32, shape (texts, d); arithmetic is in float64, in which it takes twice 8 bytes per value meanwhile.

    Raises
    ------
    ValueError
        If the vectors are not as wide as the components.
    """
    width = len(components.mean)
    if vectors.shape[1] != width:
        raise ValueError(
            f"the pooled vectors are {vectors.shape[1]} wide and the table's mean row {width}: they are of two tables"
        )
    changed = remove_mean(vectors, components.mean)
    if directions:
        changed = remove_directions(changed, components.directions)
    changed[~has_tokens] = 0
    return changed.astype(np.float32)


def read_components(path: Path) -> Components:
    """Read what ``find_principal_components`` wrote.

    Raises
    ------
    ValueError
        If the file does not hold one mean row and then directions in order.
    """
    table = read_table(path, ["rank", "variance_share", "vector"])
    ranks = table["rank"].to_pylist()
    if len(ranks) < 2 or ranks != list(range(len(ranks))):
        raise ValueError(f"{path}: holds the ranks {ranks[:5]}, not 0 and then 1 and up; remove it and run again")
    vectors = pa.concat_arrays(table["vector"].chunks)
    matrix = vectors.flatten().to_numpy().reshape(len(ranks), -1)
    return Components(matrix[0], matrix[1:], table["variance_share"].to_numpy()[1:])
