"""How memory is shared while a model runs: what the forward passes go by, and the plan reckons with."""

SHARE_FOR_WEIGHTS = 0.8
"""Of a place's free memory, for weights; the rest is for a batch's states and activations."""

SHARE_FOR_BATCH = 0.5
"""Of what is free beside the weights, for a batch: states of the one before it are still being written or measured."""

SHARE_FOR_HELD = 0.3
"""Of what is free on a GPU beside the weights, for the moments and drawn rows of layers."""

CPU_TOKENS = 2048
"""Tokens of a forward pass on a CPU at most; larger batches are no faster (1.1 GB of states at 32 layers of 4096)."""

CUDA_TOKENS = 16_384
"""Tokens of a forward pass on a GPU at most: their states come to memory whole, 8.9 GB at 32 layers of 4096."""

# Second moments in float64, and as many rows as columns that wait in float32 to be added to them; of first and of
# special tokens, one or two a chunk, rows alone as long as they are fewer than the columns.
_MOMENT_BYTES, _RARE_KINDS = 8 + 4, 2
# Of the rows that are drawn of a layer: one batch's, and as many type-matched ones.
_DRAWN_ROWS = 2


def held_bytes(width: int, n_chunks: int, batch_size: int) -> int:
    """Return what is held of one layer at most while it is measured: the moments of its tokens, and its drawn rows."""
    rare = _RARE_KINDS * min(4 * n_chunks * width, _MOMENT_BYTES * width**2)
    return _MOMENT_BYTES * width**2 + rare + 4 * _DRAWN_ROWS * batch_size * width
