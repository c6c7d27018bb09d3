"""A table too large to hold, as blocks of consecutive rows: how many rows a block has, and the check of each."""

from collections.abc import Iterable, Iterator

import numpy as np

# Bytes of the float32 vectors in one block, and so in one row group of a Parquet file. Parquet's encoder and decoder
# hold several times as much; blocks of 64 MB were no faster and made no smaller files, and took 300 MB more.
BLOCK_BYTES = 16_000_000


def block_rows(width: int) -> int:
    """Return how many rows of ``width`` float32 values make a block of at most 16 MB, at least one."""
    return max(1, BLOCK_BYTES // (4 * width))


def checked_blocks(blocks: Iterable[np.ndarray], rows: int, columns: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each block of a table with the number of its first row, after checking it.

    Parameters
    ----------
    blocks : iterable of np.ndarray
        Consecutive rows of the table from row 0, each block of shape (n, columns).
    rows, columns : int
        Shape of the table that the blocks should add up to.

    Raises
    ------
    ValueError
        If an entry is not finite, with its row and column, or the blocks do not add up to the shape.
    """
    start = 0
    for block in blocks:
        if block.shape[1] != columns or start + len(block) > rows:
            raise ValueError(
                f"rows {start} to {start + len(block) - 1} of the embedding table are {block.shape[1]} wide, and it "
                f"was announced as {rows} rows x {columns} columns"
            )
        _check_finite(block, start)
        yield start, block
        start += len(block)
    if start < rows:
        raise ValueError(f"the embedding table ends after {start} of {rows} rows")


def _check_finite(block: np.ndarray, start: int) -> None:
    finite = np.isfinite(block)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise ValueError(
            f"the embedding table holds {block[row, column]} in row {start + row}, column {column} ({(~finite).sum()} "
            f"entries that are not finite in rows {start} to {start + len(block) - 1}): the weights are damaged, or "
            "overflow the table's precision; fetch them again, or set table_precision: float32"
        )
