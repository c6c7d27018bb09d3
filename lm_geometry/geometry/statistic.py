"""One measured number with the rows it stands on, or the reason why there is none."""

from collections.abc import Callable
from typing import NamedTuple

from lm_geometry.geometry.rows import DegenerateError


class Statistic(NamedTuple):
    """A statistic of one cloud of vectors; ``value`` is None exactly where ``problem`` says why.

    ``n_used`` counts the ratios or rows that the value rests on, where they are fewer than ``n_vectors``.
    """

    value: float | None
    n_vectors: int
    n_distinct: int
    problem: str | None = None
    n_used: int | None = None


def attempt(measure: Callable[[], float], *, n_vectors: int, n_distinct: int, n_used: int | None = None) -> Statistic:
    """Return what ``measure`` gives, or why the vectors carry no answer."""
    try:
        return Statistic(measure(), n_vectors, n_distinct, n_used=n_used)
    except DegenerateError as error:
        return Statistic(None, n_vectors, n_distinct, str(error))
