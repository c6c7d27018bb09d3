"""The share of the energy in the leading direction, of many views of one cloud at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lm_geometry.geometry.arrays import host, like_type, placed, stacked, wide
from lm_geometry.geometry.centred import CentredRows
from lm_geometry.geometry.ritz_space import RitzSpace
from lm_geometry.geometry.rows import DegenerateError
from lm_geometry.geometry.threads import Workers, row_workers
from lm_geometry.geometry.views import SeenRows, View

_EPS = np.finfo(np.float64).eps
# A share may be off by so much of itself, and of what is left beside it; what is asked for is 1e-6.
_ACCURACY = 3e-7
# In float32 a residual of so much of the eigenvalue is round-off.
_SINGLE_ROUND_OFF = 2e-6
_BLOCK = 2  # two nearly equal eigenvalues are told from one by two vectors
_CAPACITY = 120
_STEPS = 120
_CHECK_EVERY = 3
# What a core's own cache holds, beside the vectors.
_BLOCK_BYTES = 2**19


@dataclass(frozen=True)
class _Guess:
    """The leading direction of a view as far as it is found: Ritz values, falling, and the vectors of the first two."""

    values: np.ndarray
    vectors: np.ndarray
    error: float
    """A bound of what the first value is below the largest eigenvalue."""
    residual: float = np.inf
    """Norm of the first vector's residual."""


def leading_shares(rows: CentredRows, views: Mapping[str, View]) -> dict[str, float | DegenerateError]:
    """Return sigma_1^2 / sum_i sigma_i^2 of every view, or why it has none.

    The leading right singular vectors of all views are found in step by block Krylov spaces, whose products read the
    centred rows, in float32, once a step for all views. A value counts only if float64 proves it: the vector's Rayleigh
    quotient and residual are computed from the data in float64, and by the gap theorem the quotient is below the
    eigenvalue by at most residual^2 / gap. Where the proof fails the search goes on in float64, and at last to a dense
    solver.

    Parameters
    ----------
    rows : CentredRows
        The cloud.
    views : mapping
        Views by name.

    References
    ----------
    Parlett, "The Symmetric Eigenvalue Problem" (1998), theorem 11.7.1.
    """
    found: dict[str, float | DegenerateError] = {}
    seen: dict[str, SeenRows] = {}
    for name, view in views.items():
        try:
            seen[name] = SeenRows(rows, view)
        except DegenerateError as error:
            found[name] = error
    unknown = _Guess(np.zeros(0), _random_start(rows.width), np.inf)
    guesses = _search(rows, seen, dict.fromkeys(seen, unknown), "single")
    proven = _search(rows, seen, guesses, "double")
    for name, one in seen.items():
        guess = proven.get(name)
        found[name] = one.share(guess.values[0], guess.vectors[0]) if guess else one.dense_share()
    return {name: found[name] for name in views}


class _Stack:
    """Vectors of several views in one matrix, so that one product with some rows serves all of them.

    Parameters
    ----------
    rows : CentredRows
        The cloud.
    seen : sequence of SeenRows
        The views.
    blocks : sequence of np.ndarray
        Vectors of each view, shape (b, d).
    precision : str
        "single" or "double".
    """

    def __init__(
        self, rows: CentredRows, seen: Sequence[SeenRows], blocks: Sequence[np.ndarray], precision: str
    ) -> None:
        self._rows, self._double = rows, precision == "double"
        self._owner = np.repeat(np.arange(len(seen)), [len(block) for block in blocks])
        self._origin = np.stack([one.origin for one in seen])[self._owner]
        self._common = np.stack([one.common for one in seen])[self._owner]
        vectors = np.concatenate(blocks)
        self._vectors = placed(vectors if self._double else vectors.astype(np.float32), rows.x)
        self._weights, self._kept, self._members = (
            stacked([getattr(one, name) for one in seen])[placed(self._owner, rows.x)]
            for name in ("weights", "kept", "members")
        )
        along_origin, along_common = (
            placed(np.einsum("kd,kd->k", shift, vectors)[:, None], rows.x) for shift in (self._origin, self._common)
        )
        self._along = self._kept * along_origin - self._members * along_common

    def images(self, workers: Workers) -> np.ndarray:
        """Return Z'Z v of every vector, shape (k, d), float64."""
        found = workers.total(self._image, self._rows.slices(8 if self._double else 4, _BLOCK_BYTES))
        kept, members = (host((weights * self._along).sum(1)) for weights in (self._kept, self._members))
        return found + kept[:, None] * self._origin - members[:, None] * self._common

    def _image(self, rows: slice) -> np.ndarray:
        block = self._rows.double(rows) if self._double else self._rows.single[rows]
        weights, along = self._weights[:, rows], self._along[:, rows]
        along += weights * (self._vectors @ block.T)
        return host(wide(like_type(weights * along, block) @ block))


def _random_start(width: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((min(_BLOCK, width), width))


def _search(
    rows: CentredRows, seen: Mapping[str, SeenRows], starts: Mapping[str, _Guess], precision: str
) -> dict[str, _Guess]:
    """Return the guesses that are good enough, in float32 as good as they get; in float64 others are left out."""
    spaces = {name: RitzSpace(starts[name].vectors, _CAPACITY) for name in seen}
    found: dict[str, _Guess] = {}

    def grow(name: str, images: np.ndarray, step: int) -> _Guess | None:
        space = spaces[name]
        space.add(images)
        if precision == "single" and len(space.block) and step % _CHECK_EVERY:
            return None
        guess = _guess(space, starts[name])
        return guess if _suffices(guess, seen[name], space, precision) else None

    with row_workers(rows.x) as workers:
        for step in range(1, _STEPS + 1):
            pending = [name for name in seen if name not in found]
            if not pending:
                break
            blocks = [spaces[name].block for name in pending]
            stack = _Stack(rows, [seen[name] for name in pending], blocks, precision)
            images = np.split(stack.images(workers), np.cumsum([len(block) for block in blocks])[:-1])
            grown = workers.each(lambda one, step=step: grow(*one, step), list(zip(pending, images, strict=True)))
            found |= {name: guess for name, guess in zip(pending, grown, strict=True) if guess is not None}
    if precision == "single":
        found |= {name: _guess(spaces[name], starts[name]) for name in seen if name not in found}
    return found


def _guess(space: RitzSpace, start: _Guess) -> _Guess:
    """Return the leading pair of a space; values that an earlier one found beside its start stand for the others."""
    values, vectors, residuals = space.leading(_BLOCK + 1)
    values = np.concatenate([values, start.values[len(values) :]])
    return _Guess(values, vectors[:_BLOCK], _error(values, residuals), residuals[0])


def _error(values: np.ndarray, residuals: np.ndarray) -> float:
    """Return a bound of what the first Ritz value is below the eigenvalue.

    The residual; its square over the gap to the second value; or, where the first two are close, the squares of both
    over the gap to the third.
    """
    bounds = [residuals[0]]
    for count in range(1, min(_BLOCK, len(values) - 1, len(residuals)) + 1):
        gap = values[0] - values[count]
        if gap > 0:
            bounds.append(float(np.square(residuals[:count]).sum() / gap))
    return float(min(bounds))


def _suffices(guess: _Guess, one: SeenRows, space: RitzSpace, precision: str) -> bool:
    value = guess.values[0]
    if guess.error <= max(_ACCURACY * min(value, one.energy - value), _EPS / 4 * one.energy):
        return True
    return not len(space.block) or (precision == "single" and guess.residual <= _SINGLE_ROUND_OFF * value)
