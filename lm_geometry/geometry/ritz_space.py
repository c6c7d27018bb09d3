"""The leading eigenvectors of a symmetric operator, from a space that grows by the operator's images."""

import numpy as np
from scipy.linalg import eigh

# Of an image, what is left beside the space is round-off if it is shorter than this share,
_ROUND_OFF = 1e-14
# or if a second projection finds most of it inside the space after all ("twice is enough").
_MOSTLY_INSIDE = 0.1


class RitzSpace:
    """A block Krylov space with its images under a symmetric operator (Rayleigh-Ritz, thick restart).

    The images are kept, so that residuals are those of the images themselves, whatever round-off the operator makes.

    Parameters
    ----------
    start : np.ndarray
        Vectors that the space begins with, shape (b, d).
    capacity : int
        Vectors that are kept; at the limit the space shrinks to its leading directions.

    References
    ----------
    Parlett, "The Symmetric Eigenvalue Problem" (1998), chapters 11 and 13; Wu and Simon, "Thick-restart Lanczos method
    for large symmetric eigenvalue problems" (2000).
    """

    def __init__(self, start: np.ndarray, capacity: int) -> None:
        self._basis = np.empty((capacity, start.shape[1]))
        self._images = np.empty_like(self._basis)
        self._projected = np.zeros((capacity, capacity))
        self.size = 0
        self.block = _orthonormal(start, _ROUND_OFF * np.linalg.norm(start))
        """Orthonormal vectors whose images come next, shape (b, d); none where the space is invariant."""

    def add(self, images: np.ndarray) -> None:
        """Take in the images of ``block``, shape (b, d), and find the next block."""
        if self.size + len(self.block) > len(self._basis):
            self._restart()
        old, new = self.size, self.size + len(self.block)
        self._basis[old:new], self._images[old:new] = self.block, images
        self.size = new
        basis = self._basis[:new]
        parts = basis @ images.T
        self._projected[:new, old:new] = parts
        self._projected[old:new, :new] = parts.T
        self._projected[old:new, old:new] = (parts[old:] + parts[old:].T) / 2
        block = _orthonormal(images - parts.T @ basis, _ROUND_OFF * np.linalg.norm(images))
        self.block = _orthonormal(block - (block @ basis.T) @ basis, _MOSTLY_INSIDE)

    def leading(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the largest Ritz values, falling, their unit vectors, and the norms of their residuals.

        Parameters
        ----------
        count : int
            How many at most.

        Returns
        -------
        values, vectors, residuals : np.ndarray
            Shapes (k,), (k, d) and (k,).
        """
        values, parts = self._eigenpairs(count)
        vectors = parts @ self._basis[: self.size]
        beside = parts @ self._images[: self.size] - values[:, None] * vectors
        return values, vectors, np.linalg.norm(beside, axis=1)

    def _eigenpairs(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        size = self.size
        first = max(0, size - count)
        values, parts = eigh(self._projected[:size, :size], subset_by_index=[first, size - 1])
        return values[::-1], parts.T[::-1]

    def _restart(self) -> None:
        values, parts = self._eigenpairs(len(self._basis) // 3)
        kept = len(values)
        self._basis[:kept] = parts @ self._basis[: self.size]
        self._images[:kept] = parts @ self._images[: self.size]
        self._projected[:kept, :kept] = np.diag(values)
        self.size = kept


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
