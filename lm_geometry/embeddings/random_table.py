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
_CACHED_WORDS = 2**18  # drawn at a time: their low bytes are taken while they are still in the cache


def random_blocks(
    rows: int,
    columns: int,
    seed: int,
    *,
    generator: str = "legacy_bf16",
    n_columns: int | None = None,
    wanted: np.ndarray | None = None,
    block_rows: int | None = None,
) -> Iterator[np.ndarray]:
    """Draw a table of shape (rows, columns) and yield it, or the rows that are wanted of it, in blocks of rows.

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
    wanted : np.ndarray, optional
        Ascending numbers of the rows to yield: of the others only the random words are drawn, so that those behind
        them stay what they are. All rows, if not given.
    block_rows : int, optional
        Rows drawn per block, rounded up to a multiple of 16; about 64 MB per block, if not given. The last block may
        be larger or smaller. The values do not depend on it.

    Returns
    -------
    iterator of np.ndarray
        float32 blocks of shape (n, n_columns): the wanted rows in order.

    Raises
    ------
    ValueError
        If an argument is out of range, or 'legacy_bf16' is asked for fewer than 16 values: torch draws those from
        another algorithm, which is not restated here.
    """
    n_columns = columns if n_columns is None else n_columns
    _check_generator(generator)
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
    wanted = np.arange(rows) if wanted is None else np.asarray(wanted)
    if wanted.size and (wanted[0] < 0 or wanted[-1] >= rows or np.any(np.diff(wanted) <= 0)):
        raise ValueError(f"the wanted rows of a random table must ascend from 0 or more to at most {rows - 1}")
    draw = _legacy_rows if generator == "legacy_bf16" else _torch_rows
    return draw(rows, columns, seed, n_columns, _wanted_by_block(wanted, _block_bounds(rows, columns, block_rows)))


def random_entry_rms(rows: int, columns: int, generator: str) -> float:
    """Return the root-mean-square entry of the distribution that a random table's entries are drawn from.

    Parameters
    ----------
    rows, columns, generator
        As in ``random_blocks``.

    Returns
    -------
    float
        'legacy_bf16': exact, the root of the mean square over all 65,536 pairs of bytes, each as likely, after every
        rounding; about 1 % under the nominal standard deviation, because 256 levels of the radius lose its tail.
        'torch': the nominal sqrt(2 / (rows + columns)), from which torch's draw differs by what rounding each entry
        to bfloat16 does, some 1e-6 of it: torch does not round the deviation itself.

    Raises
    ------
    ValueError
        If the generator is unknown.
    """
    _check_generator(generator)
    std = math.sqrt(2 / (rows + columns))
    if generator == "torch":
        return std
    entries = _legacy_look_up(std).astype(np.float64)
    return float(np.sqrt(np.mean(np.square(entries))))


def _check_generator(generator: str) -> None:
    if generator not in GENERATORS:
        raise ValueError(f"random_generator: '{generator}' is unknown: use one of {', '.join(GENERATORS)}")


def _block_bounds(rows: int, columns: int, block_rows: int | None) -> list[tuple[int, int]]:
    wanted = max(1, _BLOCK_ELEMENTS // columns) if block_rows is None else block_rows
    starts = list(range(0, rows, _GROUP * math.ceil(wanted / _GROUP)))
    # The tail of a table that is no multiple of 16 is drawn over its last 16 values: one block must hold them all.
    if len(starts) > 1 and (rows - starts[-1]) * columns < _GROUP:
        starts.pop()
    return list(zip(starts, [*starts[1:], rows], strict=True))


def _wanted_by_block(wanted: np.ndarray, bounds: list[tuple[int, int]]) -> list[tuple[int, np.ndarray]]:
    """Return for each block how many rows it has, and which of them are wanted; blocks behind the last are left out."""
    found = []
    for start, stop in bounds:
        first, end = np.searchsorted(wanted, [start, stop])
        found.append((stop - start, wanted[first:end] - start))
        if end == len(wanted):
            break
    return found


def _torch_rows(
    rows: int, columns: int, seed: int, n_columns: int, blocks: list[tuple[int, np.ndarray]]
) -> Iterator[np.ndarray]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    std = math.sqrt(2 / (rows + columns))
    for n_rows, wanted in blocks:
        block = torch.empty(n_rows, columns, dtype=torch.bfloat16).normal_(0, std, generator=generator)
        yield block[torch.from_numpy(wanted), :n_columns].float().numpy()


def _legacy_rows(
    rows: int, columns: int, seed: int, n_columns: int, blocks: list[tuple[int, np.ndarray]]
) -> Iterator[np.ndarray]:
    """Restate ``normal_fill`` of torch's aten/src/ATen/native/cpu/DistributionTemplates.h for bfloat16."""
    stream = np.random.RandomState(seed)
    look_up = _legacy_look_up(math.sqrt(2 / (rows + columns)))
    for n_rows, wanted in blocks:
        size = n_rows * columns
        drawn = _low_bytes(stream, size)
        tail = size % _GROUP
        if columns % _GROUP == 0:
            # Rows are whole groups: look up those that hold wanted columns of wanted rows.
            width = _GROUP * math.ceil(n_columns / _GROUP)
            block = _transform(drawn.reshape(-1, columns)[wanted, :width], look_up).reshape(-1, width)
        else:
            block = np.empty(size, dtype=np.float32)
            block[: size - tail] = _transform(drawn[: size - tail], look_up)
            if tail:
                block[-_GROUP:] = _transform(_low_bytes(stream, _GROUP), look_up)
            block = block.reshape(-1, columns)[wanted]
        yield block[:, :n_columns]


def _low_bytes(stream: np.random.RandomState, size: int) -> np.ndarray:
    """Return the low byte of each of the next ``size`` 32-bit words: a bfloat16 uniform has 8 bits."""
    low = np.empty(size, dtype=np.uint8)
    for start in range(0, size, _CACHED_WORDS):
        part = low[start : start + _CACHED_WORDS]
        even = len(part) // 2 * 2
        # Drawn as pairs, a quarter faster than one by one. The first word of a pair is its high half, so that the low
        # bytes of a pair in memory are every fourth byte, the second word's first.
        pairs = stream.randint(0, 2**64, size=even // 2, dtype=np.uint64).astype("<u8", copy=False)
        part[:even] = pairs.view(np.uint8)[::4]
        part[:even].view(np.uint16).byteswap(inplace=True)
        if even < len(part):
            part[even] = stream.randint(0, 2**32, dtype=np.uint32) & 0xFF
    return low


def _legacy_look_up(std: float) -> np.ndarray:
    """Return what two bytes become, float32 of shape (2, 65536): the two branches of Box and Muller's transform.

    The high byte gives the radius and the low one the angle; cosine first, then sine. Every step was rounded to
    bfloat16.
    """
    uniform = np.arange(256) / 256
    radius = round_to_bfloat16(np.sqrt(round_to_bfloat16(-2 * round_to_bfloat16(np.log(1 - uniform)))))
    angle = round_to_bfloat16(2 * np.pi * uniform)
    directions = np.stack([round_to_bfloat16(np.cos(angle)), round_to_bfloat16(np.sin(angle))])
    normal = round_to_bfloat16(radius[:, None] * directions[:, None])
    scaled = round_to_bfloat16(normal * round_to_bfloat16(np.float32(std)))
    scaled += np.float32(0)  # torch adds the mean, 0, which turns -0 into +0
    return scaled.reshape(2, -1)


def _transform(drawn: np.ndarray, look_up: np.ndarray) -> np.ndarray:
    """Turn bytes into normal values: in each group of 16, byte j gives the radius and byte j + 8 the angle."""
    half = _GROUP // 2
    groups = drawn.reshape(-1, _GROUP)
    # Eight values are moved as one item, twice as fast as one by one.
    eight = np.dtype((np.void, half * look_up.itemsize))
    values = np.empty((len(groups), 2), dtype=eight)
    for start in range(0, len(groups), _CACHED_GROUPS):
        part = groups[start : start + _CACHED_GROUPS]
        pairs = ((part[:, :half].astype(np.uint16) << 8) | part[:, half:]).astype(np.intp)
        for branch in range(2):
            # No pair is out of range; 'clip' spares the check of that.
            found = look_up[branch].take(pairs, mode="clip")
            values[start : start + _CACHED_GROUPS, branch] = found.view(eight)[:, 0]
    return values.view(np.float32).ravel()
