"""Forward passes over a whole corpus, in batches as large as fit, every state checked to be a number."""

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lm_geometry.hidden_states.layer_model import LayerKey, LayerModel
from lm_geometry.hidden_states.sequences import TokenSequence, equal_length_batches
from lm_geometry.memory_limit import available_memory
from lm_geometry.memory_shares import CPU_TOKENS, CUDA_TOKENS, SHARE_FOR_BATCH

# On a CPU nothing tells how much a pass took. Beside its states a token takes about this many vectors of activations,
# and all of it twice, as freed memory comes back late.
_ACTIVATION_VECTORS, _LATE = 20, 2

log = logging.getLogger(__name__)


class Pass(NamedTuple):
    """One forward pass: its sequences, all of one length, and every layer's states, (sequences, length, width)."""

    batch: Sequence[TokenSequence]
    states: Mapping[LayerKey, Any]

    @property
    def ids(self) -> np.ndarray:
        """Token ids, shape (sequences, length)."""
        return _ids(self.batch)


class ForwardPasses:
    """Runs a model over sequences, and remembers how many tokens fit into one pass.

    Parameters
    ----------
    model : LayerModel
        The model.
    batch_tokens : int
        Tokens of a pass at most; a single sequence may be longer.

    Attributes
    ----------
    batch_tokens : int
        As given, and less once a batch did not fit into memory.
    """

    def __init__(self, model: LayerModel, batch_tokens: int) -> None:
        self._model = model
        self.batch_tokens = batch_tokens

    def over(self, sequences: Sequence[TokenSequence]) -> Iterator[Pass]:
        """Yield the passes over sequences, in the order of ``equal_length_batches``.

        A batch that does not fit into memory is halved, and so are those after it; the order of tokens stays.

        Raises
        ------
        ValueError
            If a single sequence does not fit, or a state is NaN or infinite.
        """
        waiting = deque(equal_length_batches(sequences, self.batch_tokens))
        while waiting:
            batch = waiting.popleft()
            states = _states_that_fit(self._model, batch)
            if states is None:
                self._halve(batch)
                left = [*batch, *(sequence for later in waiting for sequence in later)]
                waiting = deque(equal_length_batches(left, self.batch_tokens))
                continue
            for key, layer_states in states.items():
                refuse_non_finite(layer_states, key, batch, self._model.dtype)
            yield Pass(batch, states)

    def _halve(self, batch: Sequence[TokenSequence]) -> None:
        length = len(batch[0].ids)
        self.batch_tokens = len(batch) // 2 * length
        log.warning("a batch of %d tokens does not fit, going on with %d", len(batch) * length, self.batch_tokens)


def fitting_batch_tokens(model: LayerModel, sequences: Sequence[TokenSequence]) -> int:
    """Return how many tokens a forward pass may take: as many as fit into what memory is free, a power of two.

    The longest sequence runs once to see what a token takes.

    Raises
    ------
    ValueError
        If it does not fit by itself.
    """
    import torch

    longest = max(sequences, key=lambda sequence: len(sequence.ids))
    on_gpus = range(torch.cuda.device_count()) if model.device == "cuda" else range(0)
    before = []
    for gpu in on_gpus:
        torch.cuda.reset_peak_memory_stats(gpu)
        before.append(torch.cuda.memory_allocated(gpu))
    states = _states_that_fit(model, [longest])
    if model.device == "cpu":
        return _tokens_within(available_memory(), _LATE * _bytes_on_cpu(states), len(longest.ids), CPU_TOKENS)
    del states
    taken = [torch.cuda.max_memory_allocated(gpu) - held for gpu, held in zip(on_gpus, before, strict=True)]
    torch.cuda.empty_cache()
    free = [torch.cuda.mem_get_info(gpu)[0] for gpu in on_gpus]
    fitting = [_tokens_within(*each, len(longest.ids), CUDA_TOKENS) for each in zip(free, taken, strict=True)]
    return min(fitting)


def refuse_non_finite(states: Any, key: LayerKey, batch: Sequence[TokenSequence], dtype: str) -> None:
    """Check that all states of a layer are numbers.

    Parameters
    ----------
    states : tensor
        Shape (sequences, length, width).
    key, batch, dtype
        The layer, the sequences and what the model computes in, for the message.

    Raises
    ------
    ValueError
        If a state is NaN or infinite, with layer, chunk and position of the first, and how many vectors hold one.
    """
    # One pass without a mask: a sum is finite only if all its terms are.
    if bool(states.sum().isfinite()):
        return
    bad = (~states.isfinite()).any(dim=2).nonzero()
    if len(bad):
        sequence, position = bad[0].tolist()
        wider = "" if dtype == "float32" else ", or set dtype: float32"
        raise ValueError(
            f"{key.stack} layer {key.layer}: a hidden state is NaN or infinite, first at chunk "
            f"{batch[sequence].chunk}, position {position}; {len(bad)} of {states[..., 0].numel()} vectors of this "
            f"pass hold one; the checkpoint is damaged or overflows {dtype}: fetch it again{wider}"
        )


def _states_that_fit(model: LayerModel, batch: Sequence[TokenSequence]) -> dict[LayerKey, Any] | None:
    """Return a batch's states, None where several sequences do not fit into memory together."""
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    try:
        return model.states(_ids(batch))
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
        if len(batch) == 1:
            raise ValueError(
                f"chunk {batch[0].chunk}: its {len(batch[0].ids)} tokens do not fit into the memory of {model.device} "
                f"by themselves ({error}); make chunks shorter, lower max_memory so that weights leave more room, "
                "or set a smaller dtype or another device"
            ) from error
    # What the failed pass held is free only now that its error is gone.
    if model.device == "cuda":
        torch.cuda.empty_cache()
    return None


def _bytes_on_cpu(states: Mapping[LayerKey, Any]) -> int:
    widest = max(state.shape[2] for state in states.values())
    n_tokens = next(iter(states.values()))[..., 0].numel()
    return sum(state.nbytes for state in states.values()) + 4 * _ACTIVATION_VECTORS * n_tokens * widest


def _tokens_within(free: int, taken: int, n_tokens: int, most: int) -> int:
    """Return the largest power of two of tokens that fit, where ``n_tokens`` took ``taken`` bytes."""
    fitting = int(SHARE_FOR_BATCH * free * n_tokens / taken) if taken else most
    return min(most, 1 << max(fitting, 1).bit_length() - 1)


def _ids(batch: Sequence[TokenSequence]) -> np.ndarray:
    return np.stack([sequence.ids for sequence in batch])
