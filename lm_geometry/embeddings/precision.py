"""The precision that a table is rounded to before it is pooled."""

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
