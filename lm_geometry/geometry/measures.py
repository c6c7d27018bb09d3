"""All statistics of one batch of vectors at once."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from lm_geometry.geometry.cloud import Cloud, Neighbors, View
from lm_geometry.geometry.decimation import decimated_dimension
from lm_geometry.geometry.duplicates import DUPLICATE_TOLERANCE, MIN_DISTINCT, require_distinct
from lm_geometry.geometry.intrinsic_dimension import (
    fitted_dimension,
    likeliest_dimension,
    log_mu_variation,
    n_fitted,
)
from lm_geometry.geometry.isotropy import effective_rank_of, iso_score, outlying, participation_ratio_of
from lm_geometry.geometry.linear_reference import gaussian_like
from lm_geometry.geometry.nulls import marchenko_pastur_edge
from lm_geometry.geometry.rows import DegenerateError
from lm_geometry.geometry.statistic import Statistic, attempt
from lm_geometry.geometry.tokens import Tokens
from lm_geometry.tables.geometry_statistics import (
    ANISOTROPY,
    DECIMATED,
    FIT_GAP,
    FREQUENCY_NULL,
    LINEAR_020,
    LINEAR_090,
    LOG_MU_VARIATION,
    MARCHENKO_PASTUR,
    MATCHED,
    MEANINGS,
    TWONN_020,
    TWONN_090,
    TWONN_MLE,
    UNCENTERED,
    UNIT_ROWS,
    WITHOUT_FIRST,
    WITHOUT_OUTLYING,
    WITHOUT_SPECIAL,
)

FrequencyNull = Callable[[np.ndarray, int], Statistic]
"""Takes the tokens of a batch and the width of its vectors; ``nulls.FrequencyNulls`` is one."""

# What a stream of random numbers is for, so that one more use of one never changes the other.
_LINEAR, _PARTS = range(2)


def measure_geometry(
    x: np.ndarray,
    *,
    first: np.ndarray | None = None,
    special: np.ndarray | None = None,
    token_id: np.ndarray | None = None,
    chunk: np.ndarray | None = None,
    type_matched: np.ndarray | None = None,
    type_matched_first: np.ndarray | None = None,
    duplicate_tolerance: float = DUPLICATE_TOLERANCE,
    seed: int = 0,
) -> dict[str, float]:
    """Return every statistic of a cloud of vectors by name, with the numbers of rows it stands on.

    Parameters
    ----------
    x : np.ndarray
        Vectors, shape (n, d).
    first, special : np.ndarray, optional
        Masks, shape (n,), of the vectors that stand first in their chunk, and of those of special tokens. Without them
        ``anisotropy_without_first`` and ``anisotropy_without_special`` are left out.
    token_id, chunk : np.ndarray, optional
        Token and chunk of each vector, shape (n,). Without them ``same_token_neighbors`` and ``same_chunk_neighbors``
        are left out.
    type_matched : np.ndarray, optional
        Vectors, shape (m, d), one per token type (``type_matched_rows`` draws them). Without it the
        ``..._type_matched`` statistics are left out.
    type_matched_first : np.ndarray, optional
        Mask, shape (m,), as ``first``, for ``type_matched``.
    duplicate_tolerance : float
        See ``distinct_rows``.
    seed : int
        Seed of the linear reference and of the parts that a cloud is thinned to, from 0 up.

    Returns
    -------
    dict
        The statistics that ``lm_geometry.tables.geometry_statistics`` names and explains, but for the frequency null,
        in its order, each again as ``..._type_matched``; n_vectors and n_distinct of ``x``. The dimension at a larger
        scale is left out where a part would have fewer than ten rows, IsoScore for vectors of one component.

    Raises
    ------
    DegenerateError
        If another statistic has no value, with the numbers that show why.
    """
    found = _statistics(
        x,
        first=first,
        special=special,
        token_id=token_id,
        chunk=chunk,
        duplicate_tolerance=duplicate_tolerance,
        seed=[seed, 0],
    )
    rows = found[ANISOTROPY]
    if type_matched is not None:
        matched = _statistics(
            type_matched, first=type_matched_first, duplicate_tolerance=duplicate_tolerance, seed=[seed, 0]
        )
        found |= {name + MATCHED: statistic for name, statistic in matched.items()}
    return {**_values(found), "n_vectors": rows.n_vectors, "n_distinct": rows.n_distinct}


def batch_statistics(
    x: Any,
    tokens: Tokens,
    *,
    duplicate_tolerance: float = DUPLICATE_TOLERANCE,
    seed: int,
    batch: int = 0,
    frequency_null: FrequencyNull | None = None,
) -> dict[str, Statistic]:
    """Return every statistic of a batch by name, in the order of ``geometry_statistics.MEANINGS``.

    ``n_vectors`` counts the rows that entered, which a view may have left, ``n_distinct`` those left of them when equal
    ones are merged, and ``n_used`` the ratios of a line, the rows of a view or the rows with a neighbour. Of a cloud
    thinned to parts, ``n_vectors`` and ``n_distinct`` are the whole's and ``n_used`` is the ratios of the smallest
    part's line. A batch of fewer than ten distinct rows has nulls and no other values.

    Parameters
    ----------
    x : np.ndarray or torch.Tensor
        Vectors, shape (n, d), on any device.
    tokens : Tokens
        What they stand for.
    duplicate_tolerance : float
        See ``distinct_rows``.
    seed, batch : int
        Seed of what is drawn (the linear reference, the parts), and number of the batch, from 0 up.
    frequency_null : callable, optional
        Without it ``anisotropy_frequency_null`` is left out.

    Raises
    ------
    ValueError
        If tokens and vectors differ in number.
    DegenerateError
        If values are not finite, or there are none. Other degenerate input gives statistics without a value.
    """
    if len(tokens) != len(x):
        raise ValueError(f"{len(x)} vectors stand for {len(tokens)} tokens")
    found = _statistics(
        x,
        first=tokens.first,
        special=tokens.special,
        token_id=tokens.token_id,
        chunk=tokens.chunk,
        duplicate_tolerance=duplicate_tolerance,
        seed=[seed, batch],
    )
    if frequency_null is not None:
        found[FREQUENCY_NULL] = frequency_null(tokens.token_id, x.shape[1])
    return {name: found[name] for name in MEANINGS if name in found}


def _statistics(
    x: Any,
    *,
    first: np.ndarray | None = None,
    special: np.ndarray | None = None,
    token_id: np.ndarray | None = None,
    chunk: np.ndarray | None = None,
    duplicate_tolerance: float,
    seed: list[int],
) -> dict[str, Statistic]:
    """Return the statistics that the facts given allow, in the order of ``MEANINGS``."""
    cloud = Cloud(x, duplicate_tolerance=duplicate_tolerance)
    found = {
        **_leading_shares(x, cloud, first=first, special=special, duplicate_tolerance=duplicate_tolerance),
        **_spectral(cloud),
        **_dimensions(cloud, token_id, chunk),
        **_decimated(cloud, [*seed, _PARTS]),
        **_linear_reference(x, cloud, first, duplicate_tolerance, [*seed, _LINEAR]),
    }
    return {name: found[name] for name in MEANINGS if name in found}


def _values(statistics: Mapping[str, Statistic]) -> dict[str, float]:
    optional = {name + ending for name in (*DECIMATED.values(), "iso_score") for ending in ("", MATCHED)}
    values = {}
    for name, statistic in statistics.items():
        if statistic.value is not None:
            values[name] = statistic.value
        elif name not in optional:
            raise DegenerateError(f"{name}: {statistic.problem}")
    return values


def statistic_of(cloud: Cloud, measure: Callable[[], float], *, n_used: int | None = None) -> Statistic:
    """Return a statistic of all rows of a cloud, or why there is none; fewer than ten distinct rows have none."""

    def guarded() -> float:
        require_distinct(len(cloud.distinct), cloud.n_rows)
        return measure()

    return attempt(guarded, n_vectors=cloud.n_rows, n_distinct=len(cloud.distinct), n_used=n_used)


def _leading_shares(
    x: Any, cloud: Cloud, *, first: np.ndarray | None, special: np.ndarray | None, duplicate_tolerance: float
) -> dict[str, Statistic]:
    """Return the anisotropy of every view, and the number of outlying rows that one of them leaves out."""
    strange = outlying(cloud.norms)
    left_out = {WITHOUT_FIRST: first, WITHOUT_SPECIAL: special, WITHOUT_OUTLYING: strange}
    rows = {name: ~mask for name, mask in left_out.items() if mask is not None}
    # Where no row is left out, or the same rows by another name, one spectrum serves.
    home = {
        name: ANISOTROPY if kept.all() else next(other for other in rows if np.array_equal(rows[other], kept))
        for name, kept in rows.items()
    }
    views = {ANISOTROPY: View(), UNCENTERED: View(center=False), UNIT_ROWS: View(unit=True)}
    views |= {name: View(rows=rows[name]) for name in home.values() if name in rows}
    n_distinct = {
        name: len(cloud.distinct) if view.rows is None else _n_distinct(x, view.rows, duplicate_tolerance)
        for name, view in views.items()
    }
    shares = cloud.leading_shares({name: views[name] for name in views if n_distinct[name] >= MIN_DISTINCT})

    def statistic(name: str) -> Statistic:
        at = home.get(name, name)
        n_rows = int(rows[name].sum()) if name in rows else cloud.n_rows

        def share() -> float:
            require_distinct(n_distinct[at], n_rows)
            return share_or_error(shares[at])

        used = n_rows if name in rows else None
        return attempt(share, n_vectors=n_rows, n_distinct=n_distinct[at], n_used=used)

    found = {name: statistic(name) for name in (ANISOTROPY, UNCENTERED, UNIT_ROWS, *rows)}
    return found | {"outlying_rows": statistic_of(cloud, lambda: float(strange.sum()))}


def share_or_error(found: float | DegenerateError) -> float:
    """Return a leading share that a cloud found, or raise why it found none."""
    if isinstance(found, DegenerateError):
        raise found
    return found


def _n_distinct(x: Any, rows: np.ndarray, duplicate_tolerance: float) -> int:
    return len(Cloud(x[rows], duplicate_tolerance=duplicate_tolerance).distinct) if rows.any() else 0


def _spectral(cloud: Cloud) -> dict[str, Statistic]:
    singular_values = cache(cloud.singular_values)
    measures = {
        "top_channel_share": cloud.top_channel_share,
        "participation_ratio": lambda: participation_ratio_of(singular_values()),
        "effective_rank": lambda: effective_rank_of(singular_values()),
        "iso_score": lambda: iso_score(singular_values(), cloud.width),
        "mean_cosine": cloud.mean_cosine,
    }
    found = {name: statistic_of(cloud, measure) for name, measure in measures.items()}
    edge = float(marchenko_pastur_edge(cloud.n_rows, cloud.width))
    return found | {MARCHENKO_PASTUR: Statistic(edge, cloud.n_rows, len(cloud.distinct))}


def _dimensions(cloud: Cloud, token_id: np.ndarray | None, chunk: np.ndarray | None) -> dict[str, Statistic]:
    """Return the TwoNN estimates, what shows whether one dimension fits, and what the nearest neighbours are."""
    n = len(cloud.distinct)
    neighbors = cache(cloud.nearest_two)
    fit = cache(lambda fraction: fitted_dimension(neighbors(), fraction))
    measures = {
        TWONN_090: (lambda: fit(0.9), n_fitted(n, 0.9)),
        TWONN_020: (lambda: fit(0.2), n_fitted(n, 0.2)),
        TWONN_MLE: (lambda: likeliest_dimension(neighbors().r1, neighbors().r2), n),
        FIT_GAP: (lambda: fit(0.2) / fit(0.9), n_fitted(n, 0.9)),
        LOG_MU_VARIATION: (lambda: log_mu_variation(neighbors().r1, neighbors().r2), n),
    }
    if token_id is not None:
        measures["same_token_neighbors"] = (lambda: _share_alike(neighbors(), token_id), n)
    if chunk is not None:
        measures["same_chunk_neighbors"] = (lambda: _share_alike(neighbors(), chunk), n)
    return {name: statistic_of(cloud, measure, n_used=used) for name, (measure, used) in measures.items()}


def _share_alike(neighbors: Neighbors, kind: np.ndarray) -> float:
    """Return the share of rows whose nearest neighbour is of their kind."""
    return float((kind[neighbors.rows] == kind[neighbors.nearest]).mean())


def _decimated(cloud: Cloud, seed: list[int]) -> dict[str, Statistic]:
    n = len(cloud.distinct)
    return {
        name: statistic_of(
            cloud, partial(decimated_dimension, cloud, n_parts, seed=seed), n_used=n_fitted(n // n_parts, 0.9)
        )
        for n_parts, name in DECIMATED.items()
    }


def _linear_reference(
    x: Any, cloud: Cloud, first: np.ndarray | None, duplicate_tolerance: float, seed: list[int]
) -> dict[str, Statistic]:
    """Return the TwoNN fits of a Gaussian like the distinct rows, as many of it, without first positions."""
    rows = cloud.distinct if first is None else cloud.distinct[~first[cloud.distinct]]

    @cache
    def neighbors() -> Neighbors:
        require_distinct(len(rows), cloud.n_rows)
        drawn = Cloud(gaussian_like(x[rows], len(cloud.distinct), seed=seed), duplicate_tolerance=duplicate_tolerance)
        return drawn.nearest_two()

    def fit(fraction: float) -> Statistic:
        found = statistic_of(cloud, lambda: fitted_dimension(neighbors(), fraction))
        return found if found.problem else found._replace(n_used=n_fitted(len(neighbors().rows), fraction))

    return {LINEAR_090: fit(0.9), LINEAR_020: fit(0.2)}
