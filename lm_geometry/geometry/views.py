"""Views of one cloud: which rows are taken, and how, without a copy of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lm_geometry.geometry.arrays import Array, host, placed, row_squares
from lm_geometry.geometry.centred import CentredRows
from lm_geometry.geometry.rows import DegenerateError
from lm_geometry.geometry.spectrum import Spectrum

_EPS = np.finfo(np.float64).eps
# A difference that is left of sums by less than this share is taken anew, free of cancellation.
_CANCELLED = 1e-6
# Rows shorter than this share of the origin keep too few digits of what is left of it.
_SHORT = 1e-6
# Views share a base operator if they differ from it by no more than one row in so many.
_FEW = 16


@dataclass(frozen=True)
class View:
    """Which rows of a cloud are taken, and how.

    Parameters
    ----------
    rows : np.ndarray, optional
        Mask, shape (n,); all rows without it.
    center : bool
        Subtract the mean of the rows taken.
    unit : bool
        Scale rows to unit length before they are centred; zero rows stay zero.
    """

    rows: np.ndarray | None = None
    center: bool = True
    unit: bool = False


def has_short_rows(rows: CentredRows, members: np.ndarray | None = None) -> bool:
    """Return whether rows are so short that their direction would be lost beside the cloud's origin or its far rows.

    Parameters
    ----------
    rows : CentredRows
        The cloud.
    members : np.ndarray, optional
        The rows that are asked about, mask of shape (n,); all rows without it.
    """
    norms = np.sqrt(rows.norms2 if members is None else rows.norms2[members])
    longest = max(float(np.linalg.norm(rows.origin)), rows.scale)
    return bool(((norms > 0) & (norms < _SHORT * longest)).any())


def unit_rows(rows: CentredRows, members: np.ndarray | None = None) -> np.ndarray:
    """Return rows at unit length, each from its own entries, in float64; zero rows stay zero."""
    x = host(rows.x) if members is None else host(rows.x)[members]
    x = x.astype(np.float64)
    # The largest entry first, so that squares of tiny entries do not vanish.
    x /= np.maximum(np.abs(x).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)


class SeenRows:
    """The rows of one view, z_i = w_i y_i + e_i o - s_i c in float64, of which only y_i is a matrix.

    ``o`` is the cloud's origin in units of y, ``w`` the weight of a row (0 if it is left out), ``e`` how much of the
    origin a row keeps, ``s`` marks the rows, and ``c`` is their mean of w_i y_i. What is common to the rows is so
    kept apart from what tells them apart, and no float32 holds the sum of both.

    Parameters
    ----------
    rows : CentredRows
        The cloud.
    view : View
        What is taken of it.

    Attributes
    ----------
    weights, kept, members : array
        w, e and s, shape (n,), float64, where the cloud lies.
    origin, common : np.ndarray
        o and c, shape (d,), float64.
    mask : np.ndarray
        The rows taken, shape (n,).
    unit : bool
        Whether they are scaled to unit length.
    energy : float
        The sum of squares of z.

    Raises
    ------
    DegenerateError
        If the view has no rows, all of them are equal, or their energy is out of range.
    """

    def __init__(self, rows: CentredRows, view: View) -> None:
        self._rows = rows
        members = np.ones(rows.n_rows, dtype=bool) if view.rows is None else np.asarray(view.rows, dtype=bool)
        self._n = int(members.sum())
        if self._n == 0:
            raise DegenerateError(f"no vectors to measure: shape {(0, rows.width)}")
        if rows.equal(np.flatnonzero(members)):
            raise DegenerateError(f"all {self._n} rows are equal: there is no variance to measure")
        self.origin = rows.origin / rows.scale
        self.mask, self.unit = members, view.unit
        self._place(members, view)
        self.energy = self._checked_energy(members, view)

    def _place(self, members: np.ndarray, view: View) -> None:
        rows, like = self._rows, self._rows.x
        weights = members.astype(np.float64)
        if view.unit:
            norms = np.sqrt(rows.norms2)
            weights = np.divide(rows.scale, norms, out=np.zeros_like(norms), where=members & (norms > 0))
        kept, self.common = weights, np.zeros(rows.width)
        if view.center:
            kept = np.where(members, weights - weights.sum() / self._n, 0.0) if view.unit else np.zeros(rows.n_rows)
            self.common = self._weighted_sum(weights, members, view) / self._n
        self.weights, self.kept = placed(weights, like), placed(kept, like)
        self.members = placed(members.astype(np.float64), like)

    def _weighted_sum(self, weights: np.ndarray, members: np.ndarray, view: View) -> np.ndarray:
        if view.unit:
            return self._rows.weighted_sum(weights)
        # The sum of all rows is known, so that the few that are left out tell the sum of the others.
        return self._rows.n_rows * self._rows.offset - self._rows.weighted_sum((~members).astype(np.float64))

    def _checked_energy(self, members: np.ndarray, view: View) -> float:
        rows = self._rows
        if view.unit:
            whole, common = float((members & (rows.norms2 > 0)).sum()), self.common
            if view.center:
                common = common + self.origin * (float(self.weights.sum()) / self._n)
        elif view.center:
            whole, common = float(rows.squares[members].sum()), self.common
        else:
            whole, common = float(rows.norms2[members].sum()) / rows.scale**2, self.common
        energy = whole - self._n * float(common @ common)
        if energy < _CANCELLED * whole:
            energy = self.energy_beside(np.zeros(rows.width))
        if view.unit and energy <= self._n * (64 * _EPS) ** 2:
            raise DegenerateError(f"all {self._n} rows have the same direction: there is no variance to measure")
        absolute = energy if view.unit else energy * rows.scale**2
        if not np.finfo(np.float64).tiny < absolute < np.inf:
            raise DegenerateError(f"the sum of squares, {absolute}, is out of range; rescale the {self._n} rows")
        return energy

    def vectors(self) -> Iterator[Array]:
        """Yield the rows z in float64, some at a time; rows left out are 0."""
        origin, common = placed(self.origin, self._rows.x), placed(self.common, self._rows.x)
        for rows, block in self._rows.blocks():
            block *= self.weights[rows, None]
            block += self.kept[rows, None] * origin
            block -= self.members[rows, None] * common
            yield block

    def energy_beside(self, direction: np.ndarray) -> float:
        """Return the energy outside a unit vector, free of the cancellation in ``energy - lambda_1``."""
        direction = placed(direction, self._rows.x)
        total = 0.0
        for block in self.vectors():
            block -= (block @ direction)[:, None] * direction
            total += float(row_squares(block).sum())
        return total

    def share(self, eigenvalue: float, direction: np.ndarray) -> float:
        """Return the share of the energy in the leading direction; an error of angle t in it costs t^2 only."""
        if eigenvalue < self.energy / 2:
            return float(eigenvalue / self.energy)
        rest = self.energy - eigenvalue
        if rest < _CANCELLED * self.energy:
            rest = self.energy_beside(direction)
        return float(1 - rest / self.energy)

    def dense_share(self) -> float:
        """Return the same share from all entries at once, in float64; slow, and in need of the most memory."""
        return Spectrum(np.concatenate([host(block) for block in self.vectors()]), center=False).leading_share

    def beside_base(self, base: np.ndarray) -> "BesideBase":
        """Return what Z'Z is beside sum_i b_i y_i y_i', given the weights b, shape (n,)."""
        return BesideBase(self._rows, self, base)


class BesideBase:
    """The part of a view's operator that is not a sum over many rows.

    With g = sum_i w_i e_i y_i, and n c = sum_i w_i y_i and sum_i e_i = 0 where rows are centred, c = 0 where they are
    not, z_i = w_i y_i + e_i o - s_i c gives

        Z'Z = sum_i w_i^2 y_i y_i' + g o' + o g' + (sum_i e_i^2) o o' - n c c',

    and the first sum differs from the base's by few rows.

    Parameters
    ----------
    rows : CentredRows
        The cloud.
    seen : SeenRows
        The view.
    base : np.ndarray
        Weights of the base operator's rows, shape (n,).

    Attributes
    ----------
    size : float
        A bound of how far the sums are from what is left of them.
    """

    def __init__(self, rows: CentredRows, seen: SeenRows, base: np.ndarray) -> None:
        weights, kept = host(seen.weights), host(seen.kept)
        difference = weights**2 - base
        some = np.flatnonzero(difference)
        self._rows, self._signed = host(rows.double(some)), difference[some]
        self._origin, self._common = seen.origin, seen.common
        self._crossed = rows.weighted_sum(weights * kept)
        self._n, self._kept = float(seen.mask.sum()), float(kept @ kept)
        taken = np.minimum(self._signed, 0) @ np.square(self._rows).sum(axis=1)
        self.size = self._n * float(self._common @ self._common) - float(taken)

    def images(self, vectors: np.ndarray) -> np.ndarray:
        """Return the images of some vectors, shape (b, d)."""
        along_origin = (vectors @ self._origin)[:, None]
        found = ((vectors @ self._rows.T) * self._signed) @ self._rows
        found += along_origin * (self._crossed + self._kept * self._origin)
        found += (vectors @ self._crossed)[:, None] * self._origin
        found -= self._n * (vectors @ self._common)[:, None] * self._common
        return found


def family_weights(rows: CentredRows, seen: SeenRows) -> np.ndarray:
    """Return the weights of the base operator that a view shares with others like it, shape (n,).

    Rows that are far out are not in the base of rows as they are: a view without them would be what is left of a
    difference.
    """
    if seen.unit:
        base = np.divide(rows.scale**2, rows.norms2, out=np.zeros(rows.n_rows), where=rows.norms2 > 0)
    else:
        base = (~rows.far).astype(np.float64)
    own = host(seen.weights) ** 2
    return base if np.count_nonzero(base != own) <= rows.n_rows // _FEW else own
