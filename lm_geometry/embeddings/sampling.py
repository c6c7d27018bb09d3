"""Rows drawn from a table that is too large to hold."""

import numpy as np


def draw_rows(rows: np.ndarray, size: int, *, seed: int) -> np.ndarray:
    """Return ``size`` of ``rows`` at random, without replacement and in random order; all of them if there are fewer.

    Parameters
    ----------
    rows : np.ndarray
        Row numbers, shape (n,).
    size : int
        Rows to draw.
    seed : int
        Seed of the draw, from 0 up.
    """
    return np.random.default_rng(seed).permutation(rows)[:size]


class RowSample:
    """Collects chosen rows of a table while its blocks go by.

    Parameters
    ----------
    wanted : np.ndarray
        Row numbers, shape (m,), each once.
    shape : tuple of int
        Rows and columns of the table.

    Attributes
    ----------
    vectors : np.ndarray
        float32, shape (m, columns), in the order of ``wanted``; complete once all blocks were added.
    """

    def __init__(self, wanted: np.ndarray, shape: tuple[int, int]) -> None:
        rows, columns = shape
        self._place = np.full(rows, -1)
        self._place[wanted] = np.arange(len(wanted))
        self.vectors = np.empty((len(wanted), columns), dtype=np.float32)

    def add(self, start: int, block: np.ndarray) -> None:
        """Keep what is wanted of ``block``, whose first row is the table's row ``start``."""
        place = self._place[start : start + len(block)]
        found = place >= 0
        self.vectors[place[found]] = block[found]
