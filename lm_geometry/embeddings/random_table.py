"""Random embedding tables, Xavier-normal in bfloat16 (Glorot & Bengio 2010), drawn in blocks of rows.

Both generators draw the table row by row from one stream, so that a table is never held whole, and both round every
entry to bfloat16: a random table has that precision whatever ``table_precision`` says about the model's own table.
"""

import math
from collections.abc import Iterator

import numpy as np

from lm_geometry.embeddings.precision import round_to_bfloat16

GENERATORS = ("legacy_bf16", "torch")

# torch fills a tensor in groups of 16 values; a block of 16 rows ends with a group, however wide the table is.
_GROUP = 16
_BLOCK_ELEMENTS = 2**24
_CACHED_GROUPS = 2**12  # a part that stays in the processor's cache is looked up over three times as fast


def random_blocks(
    rows: int,
    columns: int,
    seed: int,
    *,
    generator: str = "legacy_bf16",
    n_columns: int | None = None,
    block_rows: int | None = None,
) -> Iterator[np.ndarray]:
    """Draw a table of shape (rows, columns) and yield it in blocks of consecutive rows.

    Parameters
    ----------
    rows, columns : int
        Shape of the draw. Both set the standard deviation sqrt(2 / (rows + columns)) and the order of the stream: the
        first columns of a wide draw are not a narrow draw of the same seed.
    seed : int
        Seed of the Mersenne twister, from 0 to 2**32 - 1.
    generator : str
        'legacy_bf16': what ``torch.nn.init.xavier_normal_`` drew into a bfloat16 CPU tensor until torch rewrote its
        bfloat16 normal in 2026, restated; the studies' tables. 'torch': what the installed torch draws.
    n_columns : int, optional
        Yield only the first ``n_columns`` columns. All, if not given.
    block_rows : int, optional
        Rows per block, rounded up to a multiple of 16; about 64 MB per block, if not given. The last block may be
        larger or smaller. The values do not depend on it.

    Returns
    -------
    iterator of np.ndarray
        float32 blocks of shape (n, n_columns), which together have ``rows`` rows.

    Raises
    ------
    ValueError
        If an argument is out of range, or 'legacy_bf16' is asked for fewer than 16 values: torch draws those from
        another algorithm, which is not restated here.
    """
    n_columns = columns if n_columns is None else n_columns
    if generator not in GENERATORS:
        raise ValueError(f"random_generator: '{generator}' is unknown: use one of {', '.join(GENERATORS)}")
    if rows < 1 or not 1 <= n_columns <= columns:
        raise ValueError(
            f"a random table needs at least 1 row and from 1 to all of its columns: got {rows} rows and {n_columns} of "
            f"{columns} columns"
        )
    if not 0 <= seed < 2**32:
        raise ValueError(f"random_seeds: {seed} is out of range: use a seed from 0 to {2**32 - 1}")
    if generator == "legacy_bf16" and rows * columns < _GROUP:
        raise ValueError(
            f"legacy_bf16 draws at least {_GROUP} values, got {rows} rows x {columns} columns: use a larger table or "
            "random_generator: torch"
        )
    bounds = _block_bounds(rows, columns, block_rows)
    draw = _legacy_blocks if generator == "legacy_bf16" else _torch_blocks
    return draw(rows, columns, seed, n_columns, bounds)


def _block_bounds(rows: int, columns: int, block_rows: int | None) -> list[tuple[int, int]]:
    wanted = max(1, _BLOCK_ELEMENTS // columns) if block_rows is None else block_rows
    starts = list(range(0, rows, _GROUP * math.ceil(wanted / _GROUP)))
    # The tail of a table that is no multiple of 16 is drawn over its last 16 values: one block must hold them all.
    if len(starts) > 1 and (rows - starts[-1]) * columns < _GROUP:
        starts.pop()
    return list(zip(starts, [*starts[1:], rows], strict=True))


def _torch_blocks(
    rows: int, columns: int, seed: int, n_columns: int, bounds: list[tuple[int, int]]
) -> Iterator[np.ndarray]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    std = math.sqrt(2 / (rows + columns))
    for start, stop in bounds:
        block = torch.empty(stop - start, columns, dtype=torch.bfloat16).normal_(0, std, generator=generator)
        yield block[:, :n_columns].float().numpy()


def _legacy_blocks(
    rows: int, columns: int, seed: int, n_columns: int, bounds: list[tuple[int, int]]
) -> Iterator[np.ndarray]:
    """Restate ``normal_fill`` of torch's aten/src/ATen/native/cpu/DistributionTemplates.h for bfloat16."""
    stream = np.random.RandomState(seed)
    look_up = _legacy_look_up(math.sqrt(2 / (rows + columns)))
    for start, stop in bounds:
        size = (stop - start) * columns
        words = _low_bytes(stream, size)
        tail = size % _GROUP
        if columns % _GROUP == 0:
            # Rows are whole groups: look up those that hold wanted columns, the others are only drawn.
            wanted = _GROUP * math.ceil(n_columns / _GROUP)
            block = _transform(words.reshape(-1, columns)[:, :wanted], look_up).reshape(-1, wanted)
        else:
            block = np.empty(size, dtype=np.float32)
            block[: size - tail] = _transform(words[: size - tail], look_up)
            if tail:
                block[-_GROUP:] = _transform(_low_bytes(stream, _GROUP), look_up)
            block = block.reshape(-1, columns)
        yield block[:, :n_columns]


def _low_bytes(stream: np.random.RandomState, size: int) -> np.ndarray:
    """Return the low byte of each of the next ``size`` 32-bit words: a bfloat16 uniform has 8 bits."""
    return stream.randint(0, 2**32, size=size, dtype=np.uint32).astype(np.uint8)


def _legacy_look_up(std: float) -> np.ndarray:
    """Return what two bytes become, complex64 of shape (65536,): the two branches of Box and Muller's transform.

    The high byte gives the radius and the low one the angle; the cosine is the real part, the sine the imaginary one.
    Every step was rounded to bfloat16.
    """
    uniform = np.arange(256) / 256
    radius = round_to_bfloat16(np.sqrt(round_to_bfloat16(-2 * round_to_bfloat16(np.log(1 - uniform)))))
    angle = round_to_bfloat16(2 * np.pi * uniform)
    directions = np.stack([round_to_bfloat16(np.cos(angle)), round_to_bfloat16(np.sin(angle))], axis=-1)
    normal = round_to_bfloat16(radius[:, None, None] * directions)
    scaled = round_to_bfloat16(normal * round_to_bfloat16(np.float32(std)))
    scaled += np.float32(0)  # torch adds the mean, 0, which turns -0 into +0
    return scaled.view(np.complex64).ravel()


def _transform(words: np.ndarray, look_up: np.ndarray) -> np.ndarray:
    """Turn bytes into normal values: in each group of 16, byte j gives the radius and byte j + 8 the angle."""
    half = _GROUP // 2
    groups = words.reshape(-1, _GROUP)
    values = np.empty((len(groups), 2, half), dtype=np.float32)
    for start in range(0, len(groups), _CACHED_GROUPS):
        part = groups[start : start + _CACHED_GROUPS].astype(np.intp)
        pairs = look_up[(part[:, :half] << 8) | part[:, half:]]
        values[start : start + _CACHED_GROUPS] = pairs.view(np.float32).reshape(-1, half, 2).transpose(0, 2, 1)
    return values.ravel()
