"""All statistics of one cloud of vectors at once."""

from collections.abc import Mapping

import numpy as np

from lm_geometry.geometry.duplicates import DUPLICATE_TOLERANCE
from lm_geometry.geometry.intrinsic_dimension import dimension_statistics
from lm_geometry.geometry.rows import DegenerateError
from lm_geometry.geometry.spectrum import spectral_statistics
from lm_geometry.geometry.statistic import Statistic


def measure_geometry(
    x: np.ndarray,
    *,
    first: np.ndarray | None = None,
    type_matched: np.ndarray | None = None,
    type_matched_first: np.ndarray | None = None,
    duplicate_tolerance: float = DUPLICATE_TOLERANCE,
) -> dict[str, float]:
    """Return every statistic of a cloud of vectors by name, with the numbers of rows it stands on.

    Parameters
    ----------
    x : np.ndarray
        Vectors, shape (n, d).
    first : np.ndarray, optional
        Mask, shape (n,), of the vectors that stand first in their chunk. Without it ``anisotropy_without_first`` is
        left out.
    type_matched : np.ndarray, optional
        Vectors, shape (m, d), one per token type (``type_matched_rows`` draws them). Without it the
        ``..._type_matched`` statistics are left out.
    type_matched_first : np.ndarray, optional
        Mask, shape (m,), as ``first``, for ``type_matched``.
    duplicate_tolerance : float
        See ``distinct_rows``.

    Returns
    -------
    dict
        anisotropy, anisotropy_uncentered, anisotropy_without_first, participation_ratio, twonn_090, twonn_020,
        twonn_mle, each again as ``..._type_matched``; n_vectors and n_distinct of ``x``.

    Raises
    ------
    DegenerateError
        If a statistic has no value, with the numbers that show why.
    """
    found = _statistics(x, first, duplicate_tolerance)
    if type_matched is not None:
        matched = _statistics(type_matched, type_matched_first, duplicate_tolerance)
        found |= {f"{name}_type_matched": statistic for name, statistic in matched.items()}
    rows = found["anisotropy"]
    return {**_values(found), "n_vectors": rows.n_vectors, "n_distinct": rows.n_distinct}


def _statistics(x: np.ndarray, first: np.ndarray | None, duplicate_tolerance: float) -> dict[str, Statistic]:
    return {
        **spectral_statistics(x, first=first, duplicate_tolerance=duplicate_tolerance),
        **dimension_statistics(x, duplicate_tolerance=duplicate_tolerance),
    }


def _values(statistics: Mapping[str, Statistic]) -> dict[str, float]:
    for name, statistic in statistics.items():
        if statistic.value is None:
            raise DegenerateError(f"{name}: {statistic.problem}")
    return {name: statistic.value for name, statistic in statistics.items()}
