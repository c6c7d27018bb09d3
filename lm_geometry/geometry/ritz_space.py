"""The leading eigenvectors of symmetric operators, from a space that grows by their images."""

import numpy as np
from scipy.linalg import eigh

# Of an image, what is left beside the space is round-off if it is shorter than this share,
_ROUND_OFF = 1e-14
# or if a second projection finds most of it inside the space after all ("twice is enough").
_MOSTLY_INSIDE = 0.1


class Basis:
    """Orthonormal vectors that become more.

    Parameters
    ----------
    start : np.ndarray
        Vectors that the space begins with, shape (b, d).
    capacity : int
        Vectors that there is room for.

    References
    ----------
    Parlett, "The Symmetric Eigenvalue Problem" (1998), sections 6.9 and 13.
    """

    def __init__(self, start: np.ndarray, capacity: int) -> None:
        self.block = _orthonormal(start, _ROUND_OFF * np.linalg.norm(start))
        """The vectors added last, shape (b, d)."""
        self._vectors = np.empty((capacity, start.shape[1]))
        self._vectors[: len(self.block)] = self.block
        self.size = len(self.block)

    @property
    def vectors(self) -> np.ndarray:
        """All vectors, shape (size, d)."""
        return self._vectors[: self.size]

    def grow(self, vectors: np.ndarray) -> bool:
        """Add what some vectors hold beside the space; return False where that is nothing, or there is no room."""
        block = _orthonormal(vectors - (vectors @ self.vectors.T) @ self.vectors, _ROUND_OFF * np.linalg.norm(vectors))
        block = _orthonormal(block - (block @ self.vectors.T) @ self.vectors, _MOSTLY_INSIDE)
        grown = self.size + len(block)
        if not len(block) or grown > len(self._vectors):
            return False
        self._vectors[self.size : grown] = self.block = block
        self.size = grown
        return True


class RitzSpace:
    """What a basis tells of a symmetric operator (Rayleigh-Ritz).

    The images are kept, so that residuals are those of the images themselves, whatever round-off the operator makes.

    Parameters
    ----------
    basis : Basis
        May be shared by several operators.
    capacity : int
        Vectors that there is room for.
    """

    def __init__(self, basis: Basis, capacity: int) -> None:
        self._basis = basis
        self._images = np.empty((capacity, basis.vectors.shape[1]))
        self._projected = np.zeros((capacity, capacity))

    def add(self, images: np.ndarray) -> None:
        """Take in the images of the basis' last block, shape (b, d)."""
        new = self._basis.size
        old = new - len(images)
        self._images[old:new] = images
        parts = self._basis.vectors @ images.T
        self._projected[:new, old:new] = parts
        self._projected[old:new, :new] = parts.T
        self._projected[old:new, old:new] = (parts[old:] + parts[old:].T) / 2

    def leading(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the largest Ritz values, falling, their unit vectors, and the residuals of these.

        Parameters
        ----------
        count : int
            How many at most.

        Returns
        -------
        values, vectors, residuals : np.ndarray
            Shapes (k,), (k, d) and (k, d).
        """
        size = self._basis.size
        values, parts = eigh(self._projected[:size, :size], subset_by_index=[max(0, size - count), size - 1])
        values, parts = values[::-1], parts.T[::-1]
        vectors = parts @ self._basis.vectors
        return values, vectors, parts @ self._images[:size] - values[:, None] * vectors


def _orthonormal(vectors: np.ndarray, shortest: float) -> np.ndarray:
    """Return an orthonormal basis of a few vectors, less those of which no more than ``shortest`` is left."""
    found: list[np.ndarray] = []
    for vector in vectors:
        for _ in range(2):
            for earlier in found:
                vector = vector - (earlier @ vector) * earlier
        length = np.linalg.norm(vector)
        if length > shortest:
            found.append(vector / length)
    return np.array(found).reshape(len(found), vectors.shape[1])
