"""Which layers hold look-ups: vectors that depend on their token only."""

import numpy as np

from lm_geometry.hidden_states.layer_model import LayerKey
from lm_geometry.hidden_states.passes import Pass


class ContextFree(dict[LayerKey, bool]):
    """For each layer whether its vectors depend on their tokens only, in all passes so far; only a layer 0 may."""

    def add(self, passed: Pass) -> None:
        """Look at another pass."""
        for key, states in passed.states.items():
            may_be = key.layer == 0 and self.get(key, True)
            self[key] = may_be and depends_on_token_only(passed.ids, states.cpu().numpy())


def depends_on_token_only(ids: np.ndarray, values: np.ndarray) -> bool:
    """Return whether equal tokens have equal vectors: a look-up, perhaps scaled or normed, without a position.

    Parameters
    ----------
    ids : ndarray of int
        Token ids, shape (sequences, length).
    values : ndarray
        Vectors, shape (sequences, length, width).
    """
    _, first, kind = np.unique(ids, return_index=True, return_inverse=True)
    flat = values.reshape(-1, values.shape[-1])
    return bool((flat == flat[first[kind.reshape(-1)]]).all())
