"""What the rows of a layer stand for."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tokens:
    """The tokens that the rows of a layer stand for; arrays of shape (n,).

    Parameters
    ----------
    chunk : np.ndarray
        Number of the chunk that the token stands in.
    position : np.ndarray
        Position in the chunk's token sequence, from 0, special tokens counted.
    token_id : np.ndarray
        Token id.
    special : np.ndarray
        Mask of the special tokens that the tokenizer added.

    Raises
    ------
    ValueError
        If the arrays differ in shape, or ``special`` is no mask.
    """

    chunk: np.ndarray
    position: np.ndarray
    token_id: np.ndarray
    special: np.ndarray

    def __post_init__(self) -> None:
        shapes = [array.shape for array in (self.chunk, self.position, self.token_id, self.special)]
        if set(shapes) != {(len(self.chunk),)}:
            raise ValueError(f"chunk, position, token_id and special must have one shape (n,), got {shapes}")
        if self.special.dtype != bool:
            raise ValueError(f"special must be a mask, got {self.special.dtype}")

    def __len__(self) -> int:
        return len(self.chunk)

    @property
    def first(self) -> np.ndarray:
        """Mask of the tokens that stand first in their chunk, where attention sinks lie."""
        return self.position == 0

    def take(self, rows: np.ndarray) -> "Tokens":
        """Return the tokens of some rows: indices or a mask."""
        return Tokens(self.chunk[rows], self.position[rows], self.token_id[rows], self.special[rows])
