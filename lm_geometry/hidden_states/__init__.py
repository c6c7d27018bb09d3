"""Forward passes: the vector of every token at every layer, with its chunk and position.

Layers are numbered as transformers numbers ``hidden_states``: 0 is what enters the first block, L leaves the last one.
Where a stack ends in a norm, transformers' last entry is behind it and all others are not; here layer L stands twice,
before the norm and behind it, each under its own name.

Sequences of equal length run together and no other do, so there is no padding, no attention mask, and every number is
the one that the plain pass over the same batch gives, bit for bit.
"""

from lm_geometry.hidden_states.kinds import check_can_be_built, model_kind
from lm_geometry.hidden_states.layer_model import LayerKey, LayerModel
from lm_geometry.hidden_states.sequences import TokenSequence, equal_length_batches, tokenize_chunks

__all__ = [
    "LayerKey",
    "LayerModel",
    "TokenSequence",
    "check_can_be_built",
    "equal_length_batches",
    "model_kind",
    "tokenize_chunks",
]
