"""What measures read where there is no geometry to find."""

import numpy as np

from lm_geometry.geometry.spectrum import Spectrum
from lm_geometry.geometry.statistic import Statistic, attempt

NULL_DRAWS = 16  # their mean is known to 1 or 2 per cent of itself


def marchenko_pastur_edge(n_rows: int, width: int) -> float:
    """Return the limit of the anisotropy of distinct isotropic rows, (1 + sqrt(D / N))^2 / D.

    Parameters
    ----------
    n_rows, width : int
        Number of rows N and of columns D.

    Raises
    ------
    ValueError
        If either is not positive.

    References
    ----------
    Marchenko and Pastur, "Distribution of eigenvalues for some sets of random matrices" (1967).
    """
    if n_rows < 1 or width < 1:
        raise ValueError(f"n_rows and width must be positive, got {n_rows} and {width}")
    return (1 + np.sqrt(width / n_rows)) ** 2 / width


def frequency_null(token_ids: np.ndarray, width: int, *, seed: int, n_draws: int) -> np.ndarray:
    """Return the anisotropy of random tables in which nothing but the tokens' frequencies is real.

    Each draw gives every token type one isotropic Gaussian vector and repeats it as often as the type occurs.

    Parameters
    ----------
    token_ids : np.ndarray
        The tokens of a batch, shape (n,), at least two types.
    width : int
        Components per vector.
    seed : int
        Seed of the draws, from 0 up.
    n_draws : int
        Number of independent draws.

    Returns
    -------
    np.ndarray
        Centred anisotropies, shape (n_draws,).

    Raises
    ------
    ValueError
        If ``width`` or ``n_draws`` is not positive.
    DegenerateError
        With fewer than two token types.
    """
    if width < 1 or n_draws < 1:
        raise ValueError(f"width and n_draws must be positive, got {width} and {n_draws}")
    counts = np.unique(token_ids, return_counts=True)[1]
    random = np.random.default_rng(seed)
    return np.array(
        [_repeated_anisotropy(random.standard_normal((counts.size, width)), counts) for _ in range(n_draws)]
    )


class FrequencyNulls:
    """The mean frequency null of batches, found once for all layers that share tokens and width.

    Parameters
    ----------
    seed : int
        Seed of the draws, from 0 up.
    """

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._known: dict[tuple[bytes, int], Statistic] = {}

    def __call__(self, token_ids: np.ndarray, width: int) -> Statistic:
        """Return the null of a batch's tokens, shape (n,), of which ``n_distinct`` counts the types."""
        key = (token_ids.tobytes(), width)
        if key not in self._known:
            n_types = len(np.unique(token_ids))
            self._known[key] = attempt(
                lambda: float(frequency_null(token_ids, width, seed=self._seed, n_draws=NULL_DRAWS).mean()),
                n_vectors=len(token_ids),
                n_distinct=n_types,
            )
        return self._known[key]


def _repeated_anisotropy(vectors: np.ndarray, counts: np.ndarray) -> float:
    """Return the anisotropy of ``vectors``, shape (types, d), each repeated ``counts`` times.

    A vector that is repeated c times adds to the covariance what one of sqrt(c) times its length adds.
    """
    mean = counts @ vectors / counts.sum()
    return Spectrum(np.sqrt(counts)[:, None] * (vectors - mean), center=False).leading_share
