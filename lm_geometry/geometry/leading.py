"""The share of the energy in the leading direction, of many views of one cloud at once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lm_geometry.geometry.centred import CentredRows
from lm_geometry.geometry.operators import base_products, images
from lm_geometry.geometry.ritz_space import Basis, RitzSpace
from lm_geometry.geometry.rows import DegenerateError
from lm_geometry.geometry.spectrum import Spectrum
from lm_geometry.geometry.threads import Workers, row_workers
from lm_geometry.geometry.views import SeenRows, View, family_weights, has_short_rows, unit_rows

_EPS = np.finfo(np.float64).eps
# A share may be off by so much of itself, and of what is left beside it; what is asked for is 1e-6.
_ACCURACY = 3e-7
# In float32 a residual of so much of what is summed is round-off.
_SINGLE_ROUND_OFF = 2e-6
_BLOCK = 2  # two nearly equal eigenvalues are told from one by two vectors
_CAPACITY = 240
_CHECK_EVERY = 3


@dataclass(frozen=True)
class _Guess:
    """The leading directions of a view as far as they are found: Ritz values, falling, and the first two vectors."""

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray

    @property
    def error(self) -> float:
        """A bound of what the first Ritz value is below the eigenvalue.

        The residual; its square over the gap to the second value; or, where the first two are close, the squares of
        both over the gap to the third.
        """
        squares = np.square(self.residuals).sum(axis=1)
        bounds = [float(np.sqrt(squares[0]))]
        for count in range(1, min(_BLOCK, len(self.values) - 1, len(squares)) + 1):
            gap = self.values[0] - self.values[count]
            if gap > 0:
                bounds.append(float(squares[:count].sum() / gap))
        return min(bounds)


def leading_shares(rows: CentredRows, views: Mapping[str, View]) -> dict[str, float | DegenerateError]:
    """Return sigma_1^2 / sum_i sigma_i^2 of every view, or why it has none.

    Views that differ by few rows, or by what is subtracted, share one block Krylov space, whose products read the cloud
    in float32 once a step for all of them; what a view differs by is added in float64. A value counts only if float64
    proves it: a Rayleigh quotient and its residual are computed from the view's own rows in float64, and by the gap
    theorem the quotient is below the eigenvalue by at most residual^2 / gap. Where the proof fails the search goes on
    in float64, and at last to a dense solver.

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
            if view.unit and has_short_rows(rows, view.rows):
                found[name] = Spectrum(unit_rows(rows, view.rows), center=view.center).leading_share
            else:
                seen[name] = SeenRows(rows, view)
        except DegenerateError as error:
            found[name] = error
    with row_workers(rows.x) as workers:
        proven = _prove(rows, seen, _guess_together(rows, seen, workers), workers)
    for name, one in seen.items():
        guess = proven.get(name)
        found[name] = one.share(guess.values[0], guess.vectors[0]) if guess else one.dense_share()
    return {name: found[name] for name in views}


def _guess_together(rows: CentredRows, seen: Mapping[str, SeenRows], workers: Workers) -> dict[str, _Guess]:
    """Return what float32 finds of all views."""
    families = _families(rows, seen)
    step = 0
    while open_families := [family for family in families if family.open]:
        step += 1
        weights = [family.weights for family in open_families]
        products = base_products(rows, weights, [family.basis.block for family in open_families], workers)
        for family, product in zip(open_families, products, strict=True):
            family.take(product, workers, check=step % _CHECK_EVERY == 0)
    return {name: guess for family in families for name, guess in family.found.items()}


def _prove(
    rows: CentredRows, seen: Mapping[str, SeenRows], guesses: Mapping[str, _Guess], workers: Workers
) -> dict[str, _Guess]:
    """Return the guesses that float64 proves, better ones where it must go on; views that it does not are left out."""
    bases = {name: Basis(guess.vectors, _CAPACITY) for name, guess in guesses.items()}
    spaces = {name: RitzSpace(basis, _CAPACITY) for name, basis in bases.items()}
    found: dict[str, _Guess] = {}
    pending = list(guesses)
    while pending:
        new = images(rows, [seen[name] for name in pending], [bases[name].block for name in pending], workers)
        for name, image in zip(pending, new, strict=True):
            spaces[name].add(image)
            guess = _guess(spaces[name], guesses[name].values)
            if guess.error <= _tolerance(guess, seen[name]):
                found[name] = guess
        grown = zip(pending, new, strict=True)
        pending = [name for name, image in grown if name not in found and bases[name].grow(image)]
    return found


class _Family:
    """Views that share a base operator and a space.

    Parameters
    ----------
    rows : CentredRows
        The cloud.
    weights : np.ndarray
        Squared weights of the base operator's rows, shape (n,).
    seen : mapping
        The views by name.
    """

    def __init__(self, rows: CentredRows, weights: np.ndarray, seen: Mapping[str, SeenRows]) -> None:
        self.weights = weights
        self.basis = Basis(np.random.default_rng(0).standard_normal((min(_BLOCK, rows.width), rows.width)), _CAPACITY)
        self.found: dict[str, _Guess] = {}
        self._seen = dict(seen)
        self._beside = {name: one.beside_base(weights) for name, one in seen.items()}
        self._spaces = {name: RitzSpace(self.basis, _CAPACITY) for name in seen}

    @property
    def open(self) -> bool:
        """Whether a view is still to be found."""
        return len(self.found) < len(self._seen)

    def take(self, product: np.ndarray, workers: Workers, *, check: bool) -> None:
        """Take in what the base operator makes of the last block; look whether that suffices, and grow the basis."""
        pending = [name for name in self._seen if name not in self.found]
        new = dict(zip(pending, workers.each(lambda name: self._add(name, product), pending), strict=True))
        if not self.found and not check and self.basis.grow(new[pending[0]]):
            return
        guesses = dict(zip(pending, workers.each(lambda name: _guess(self._spaces[name]), pending), strict=True))
        self.found |= {name: guess for name, guess in guesses.items() if self._suffices(name, guess)}
        rest = [name for name in pending if name not in self.found]
        if not rest:
            return
        # Images of the last block make a Krylov space of the first view; the others go on from what their best vectors
        # still lack, as the space is no Krylov space of theirs.
        wanted = np.stack([guesses[name].residuals[0] for name in rest]) if self.found else new[rest[0]]
        if not self.basis.grow(wanted):
            self.found |= {name: guesses[name] for name in rest}

    def _add(self, name: str, product: np.ndarray) -> np.ndarray:
        image = product + self._beside[name].images(self.basis.block)
        self._spaces[name].add(image)
        return image

    def _suffices(self, name: str, guess: _Guess) -> bool:
        round_off = _SINGLE_ROUND_OFF * (guess.values[0] + self._beside[name].size)
        return guess.error <= _tolerance(guess, self._seen[name]) or np.linalg.norm(guess.residuals[0]) <= round_off


def _families(rows: CentredRows, seen: Mapping[str, SeenRows]) -> list[_Family]:
    members: dict[bytes, tuple[np.ndarray, dict[str, SeenRows]]] = {}
    for name, one in seen.items():
        weights = family_weights(rows, one)
        members.setdefault(weights.tobytes(), (weights, {}))[1][name] = one
    return [_Family(rows, weights, some) for weights, some in members.values()]


def _guess(space: RitzSpace, known: np.ndarray | None = None) -> _Guess:
    """Return what a space tells; values that an earlier one found beside this one's start stand for the others."""
    values, vectors, residuals = space.leading(_BLOCK + 1)
    if known is not None:
        values = np.concatenate([values, known[len(values) :]])
    return _Guess(values, vectors[:_BLOCK], residuals)


def _tolerance(guess: _Guess, one: SeenRows) -> float:
    value = guess.values[0]
    return max(_ACCURACY * min(value, one.energy - value), _EPS / 4 * one.energy)
