"""What forward passes take: GPUs, memory, disk, seconds; and measuring hidden states while they run. Arithmetic only.

As in ``cost``: best estimates without a margin. What is said of GPUs follows from sizes and ratings, and of several of
them from how accelerate fills one after the other; none of it was measured.
"""

import math
from typing import NamedTuple

from lm_geometry.memory_shares import (
    CPU_TOKENS,
    CUDA_TOKENS,
    SHARE_FOR_BATCH,
    SHARE_FOR_HELD,
    SHARE_FOR_WEIGHTS,
    held_bytes,
)
from lm_geometry.plan import cost
from lm_geometry.plan.model_facts import ModelFacts
from lm_geometry.plan.passing import Passing

ON_CPU = Passing()
"""Float32 on one thread, in passes of what fits."""

CPU_FLOPS = {"float32": 60e9, "bfloat16": 60e9, "float16": 1e9}
"""Operations a second of one thread. Forward passes in float32 gave 57e9 to 78e9, a matrix product of 1024 85e9; in
bfloat16 the product gave 206e9, on a processor that has instructions for it, and in float16 1e9, as torch emulates it.
"""

GPU_FLOPS = {"float32": 10e12, "bfloat16": 100e12, "float16": 100e12}
"""Operations a second of one GPU: half of what an A100 is rated for in float32 without tensor cores, a third of its
rating in half precision. Not measured."""

# A byte-level vocabulary of V tokens spells English in about 0.28 log2 V characters a token: 3.09 for the 2,048 of the
# embedded tokenizers, 4.4 for 50,000.
_CHARACTERS_PER_BIT = 0.28
# Tokens of a pass that must fit a GPU.
_LEAST_GPU_TOKENS = 512
# What a pass holds for each token beside its layers' states: a block's queries, keys, values, products and residuals,
# and three arrays of the feed-forward layer; on a CPU all of it twice, as freed memory comes back late. Within 7 % of
# GPT-NeoX with 768 x 12 and 2048 x 8 and of T5 with 512 x 6 + 6.
_BLOCK_ARRAYS, _INNER_ARRAYS, _LATE = 8, 3, 2
_ACTIVATION_BASE = 100e6
# A CUDA context with its libraries, on each GPU and in the machine's memory. Not measured.
_CUDA_BYTES, _CUDA_HOST_BYTES = 600e6, 3e9
# Imports of torch and transformers, and the model's construction: 5 to 6 s alone, 8 s beside another job.
_TORCH_START = 7.0
# Bytes a second of hashing a checkpoint, reading it and turning it into another type; and from memory to a GPU, which
# is not measured.
_LOAD_RATE, _TO_GPU_RATE = 300e6, 10e9
# Share of float32 that states take on disk: 0.79 to 0.83. Seconds to check, order, encode and write them: 120 MB/s.
_DUMP_SHARE, _DUMP_RATE = 0.82, 120e6
# Matrices in float64 for a moment, while the statistics of one layer's tokens are taken.
_STATISTICS_COPIES = 5
# A GPU's speed beside one thread's, of the measures' products in float64. Not measured: an A100 is rated at 160 times
# as much, a GPU for games at 20 times.
_GPU_GEOMETRY = 20


class Places(NamedTuple):
    """Where a model's weights lie: on how many GPUs, and bytes on these, in memory, and on disk."""

    gpus: int
    on_gpus: int
    in_memory: int
    on_disk: int


def n_tokens(n_characters: int, vocab_rows: int) -> int:
    """Return about how many tokens a text of that many characters is to a tokenizer of that many tokens."""
    return round(n_characters / (_CHARACTERS_PER_BIT * math.log2(max(vocab_rows, 256))))


# -- where weights lie -------------------------------------------------------------------------------------------------


def places(facts: ModelFacts, passing: Passing) -> Places:
    """Return where the weights lie: on as few GPUs as hold them, then in memory, then on disk.

    accelerate fills one place after the other, splits no block, and on the first GPU and in memory, where it brings
    what lies elsewhere, leaves room for the largest one.
    """
    weights = loaded_bytes(facts, passing)
    modules = _modules(facts, passing)
    if not passing.on_gpu:
        room = passing.cpu_weights
        in_memory = weights if room is None or weights <= room else _filled(modules, [room - max(modules)])
        return Places(0, 0, in_memory, weights - in_memory)
    room = _weight_room(facts, passing)
    if weights <= room:
        return Places(1, weights, 0, 0)
    for gpus in range(1, passing.most_gpus + 1):
        on_gpus = _filled(modules, [room - max(modules), *[room] * (gpus - 1)])
        if on_gpus == sum(modules):
            return Places(gpus, weights, 0, 0)
    left = weights - on_gpus
    in_memory = left if passing.cpu_weights is None else min(left, passing.cpu_weights)
    return Places(passing.most_gpus, on_gpus, in_memory, left - in_memory)


def loaded_bytes(facts: ModelFacts, passing: Passing) -> int:
    """Return the bytes of the weights that a pass needs, in the type that it computes in."""
    return passing.value_bytes * facts.parameters.loaded


def _weight_room(facts: ModelFacts, passing: Passing) -> int:
    """Return the bytes of weights that one GPU takes beside a small pass."""
    if passing.gpu_weights is not None:
        return passing.gpu_weights
    free = passing.gpu_bytes - _CUDA_BYTES
    return round(min(SHARE_FOR_WEIGHTS * free, free - _LEAST_GPU_TOKENS * _token_bytes(facts, passing)))


def _modules(facts: ModelFacts, passing: Passing) -> list[int]:
    """Return the bytes of what no place may split: tables and what belongs to no block, and each block."""
    n_blocks = max(1, sum(facts.n_layers))
    block = passing.value_bytes * facts.parameters.blocks // n_blocks
    return [loaded_bytes(facts, passing) - n_blocks * block, *[block] * n_blocks]


def _filled(modules: list[int], rooms: list[int]) -> int:
    """Return the bytes of modules that places of this size take, one after the other, each in order."""
    waiting = iter(modules)
    module = next(waiting)
    filled = 0
    for room in rooms:
        while module is not None and module <= room:
            room -= module
            filled += module
            module = next(waiting, None)
    return filled


# -- passes ------------------------------------------------------------------------------------------------------------


def pass_tokens(facts: ModelFacts, passing: Passing) -> int:
    """Return the tokens of a pass: those that the config asks for, or as many as are of use and fit the first GPU."""
    if passing.batch_tokens is not None:
        return passing.batch_tokens
    if not passing.on_gpu:
        return CPU_TOKENS
    fitting = int(SHARE_FOR_BATCH * _free_on_first(facts, passing) / _token_bytes(facts, passing))
    return min(CUDA_TOKENS, 1 << max(fitting, 1).bit_length() - 1)


def forward_memory(facts: ModelFacts, passing: Passing = ON_CPU) -> int:
    """Return the machine's memory of forward passes.

    Weights are loaded without an output matrix. Files are mapped: weights of another type stand in memory beside their
    copies until all are loaded; those of the same type are used where they lie. Of a GPU's passes the states come to
    memory.
    """
    held = places(facts, passing)
    mapped = 0 if facts.stored_dtype == passing.dtype else facts.parameters.loaded * facts.value_bytes
    # One pass waits to be written while the next one runs.
    waiting = 4 * pass_tokens(facts, passing) * facts.n_states * facts.hidden_width
    if not passing.on_gpu:
        return round(cost.TORCH_BYTES + held.in_memory + max(mapped, activation_bytes(facts, passing) + waiting))
    # A model that fits one GPU is loaded in memory first; one that is spread goes straight to its places.
    loading = mapped + (held.on_gpus if held.gpus == 1 and not held.in_memory else 0)
    return round(cost.TORCH_BYTES + _CUDA_HOST_BYTES + held.in_memory + max(loading, 2 * waiting))


def forward_gpu_memory(facts: ModelFacts, passing: Passing) -> int:
    """Return the memory that forward passes take on all their GPUs: weights, and a batch's states."""
    held = places(facts, passing)
    return round(held.gpus * _CUDA_BYTES + held.on_gpus + activation_bytes(facts, passing))


def activation_bytes(facts: ModelFacts, passing: Passing = ON_CPU) -> int:
    """Return what a forward pass holds beside the weights."""
    late = 1 if passing.on_gpu else _LATE
    return round(_ACTIVATION_BASE + late * pass_tokens(facts, passing) * _token_bytes(facts, passing))


def dump_disk_bytes(facts: ModelFacts, tokens: int) -> int:
    """Return the size of the hidden states of ``tokens`` tokens at all layers."""
    return round(4 * _DUMP_SHARE * tokens * facts.n_states * facts.hidden_width)


def forward_seconds(facts: ModelFacts, tokens: int, passing: Passing = ON_CPU, *, stored: bool = True) -> float:
    """Return the time of forward passes over ``tokens`` tokens, from the start of the job to its last file.

    Two operations a parameter and token; attention over a chunk is a few per cent more. On several GPUs one computes at
    a time. Weights that lie beside the GPU, or on disk, are brought in by every pass.

    Parameters
    ----------
    facts : ModelFacts
        The model.
    tokens : int
        Tokens of all chunks.
    passing : Passing
        How the passes run.
    stored : bool
        Whether the states are written to disk.
    """
    held = places(facts, passing)
    loading = facts.weight_bytes / _LOAD_RATE
    writing = 4 * tokens * facts.n_states * facts.hidden_width / _DUMP_RATE / passing.threads if stored else 0.0
    beside = held.on_disk / _LOAD_RATE + (held.in_memory / _TO_GPU_RATE if passing.on_gpu else 0.0)
    brought = beside * -(-tokens // pass_tokens(facts, passing))
    return _TORCH_START + loading + compute_seconds(facts, tokens, passing) + writing + brought


def compute_seconds(facts: ModelFacts, tokens: int, passing: Passing = ON_CPU) -> float:
    """Return the time of the products alone."""
    operations = 2 * tokens * facts.parameters.multiplied
    if passing.on_gpu:
        return operations / GPU_FLOPS[passing.dtype]
    return operations / (CPU_FLOPS[passing.dtype] * passing.threads)


def _token_bytes(facts: ModelFacts, passing: Passing) -> int:
    """Return what a pass holds for each token; states of half precision stand beside their copies in float32."""
    state = 4 if passing.value_bytes == 4 else 4 + passing.value_bytes
    block = _BLOCK_ARRAYS * facts.hidden_width + _INNER_ARRAYS * facts.inner_width
    return state * facts.n_states * facts.hidden_width + passing.value_bytes * block


def _free_on_first(facts: ModelFacts, passing: Passing) -> int:
    """Return what the weights leave free on the first GPU, where all states come together."""
    held = places(facts, passing)
    weights = held.on_gpus if held.gpus == 1 else min(held.on_gpus, _weight_room(facts, passing))
    return max(0, round(passing.gpu_bytes - _CUDA_BYTES - weights))


# -- measuring while the model runs ------------------------------------------------------------------------------------


def held_of_all_layers(facts: ModelFacts, n_chunks: int, batch_size: int) -> int:
    """Return what is held of all layers while they are measured: the moments of their tokens, and their drawn rows."""
    return facts.n_states * held_bytes(facts.hidden_width, n_chunks, batch_size)


def held_on_gpus(facts: ModelFacts, n_chunks: int, batch_size: int, passing: Passing) -> int:
    """Return how much of it lies on the GPUs: as much as a share of what the weights leave there takes."""
    if not passing.on_gpu:
        return 0
    weights = places(facts, passing)
    free = weights.gpus * (passing.gpu_bytes - _CUDA_BYTES) - weights.on_gpus
    return min(held_of_all_layers(facts, n_chunks, batch_size), max(0, round(SHARE_FOR_HELD * free)))


def streaming_memory(facts: ModelFacts, n_chunks: int, batch_size: int, passing: Passing = ON_CPU) -> int:
    """Return the machine's memory of measuring while a model runs: the passes, and what no GPU holds of the layers."""
    width = facts.hidden_width
    held = held_of_all_layers(facts, n_chunks, batch_size) - held_on_gpus(facts, n_chunks, batch_size, passing)
    measured = max(cost.batch_bytes(width, batch_size), 8 * _STATISTICS_COPIES * width**2)
    return round(forward_memory(facts, passing) + held + measured)


def streaming_gpu_memory(facts: ModelFacts, n_chunks: int, batch_size: int, passing: Passing) -> int:
    """Return the memory on all GPUs of measuring while a model runs."""
    return forward_gpu_memory(facts, passing) + held_on_gpus(facts, n_chunks, batch_size, passing)


def streaming_seconds(
    facts: ModelFacts, tokens: int, n_chunks: int, n_batches: int, batch_size: int, passing: Passing = ON_CPU
) -> float:
    """Return the time that measuring adds to passes over ``tokens`` tokens; GPUs measure the layers that they hold."""
    on_gpus = held_on_gpus(facts, n_chunks, batch_size, passing) / held_of_all_layers(facts, n_chunks, batch_size)
    sizes = (facts.n_states, n_batches, batch_size, facts.hidden_width)
    by_gpu, by_cpu = (
        cost.geometry_seconds(*sizes, tokens=tokens, threads=workers) for workers in (_GPU_GEOMETRY, passing.threads)
    )
    return on_gpus * by_gpu + (1 - on_gpus) * by_cpu
