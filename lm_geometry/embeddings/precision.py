"""The precision that a table is rounded to before it is pooled, and how large its entries are then."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

TABLE_PRECISIONS = ("bfloat16", "float32")


def round_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Round finite float32 ``values`` to the nearest bfloat16, ties to even, and return them as float32."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


def round_table(table: np.ndarray, precision: str) -> np.ndarray:
    """Return ``table`` rounded to ``precision``, as float32.

    Raises
    ------
    ValueError
        If ``precision`` is neither 'bfloat16' nor 'float32'.
    """
    if precision == "bfloat16":
        return round_to_bfloat16(table)
    if precision == "float32":
        return np.asarray(table, dtype=np.float32)
    raise ValueError(f"table_precision: '{precision}' is unknown: use one of {', '.join(TABLE_PRECISIONS)}")


class RootMeanSquare:
    """The root-mean-square entry of a table whose blocks pass by, summed in float64."""

    def __init__(self) -> None:
        self._total = 0.0
        self._n_entries = 0

    def watched(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield the blocks of a whole table unchanged, and measure it anew."""
        self._total, self._n_entries = 0.0, 0
        for block in blocks:
            self._total += float(np.square(block, dtype=np.float64).sum())
            self._n_entries += block.size
            yield block

    @property
    def value(self) -> float:
        """The root of the mean square of all entries that passed by.

        Raises
        ------
        ValueError
            If no entry has.
        """
        if not self._n_entries:
            raise ValueError("no entry of the table has been read yet: its root mean square is not known")
        return math.sqrt(self._total / self._n_entries)
