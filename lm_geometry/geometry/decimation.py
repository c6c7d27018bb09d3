"""The dimension of a cloud against its scale: TwoNN on random parts of it."""

import numpy as np

from lm_geometry.geometry.cloud import Cloud
from lm_geometry.geometry.duplicates import MIN_DISTINCT
from lm_geometry.geometry.intrinsic_dimension import fitted_dimension
from lm_geometry.geometry.rows import DegenerateError


def decimated_dimension(cloud: Cloud, n_parts: int, *, seed: int | list[int], fit_fraction: float = 0.9) -> float:
    """Return the mean TwoNN dimension of the parts of a random split.

    Neighbours in a part of one row in k stand farther apart than in the whole, so that the dimension is read at a
    larger scale: one that rises with the number of rows is noise, a plateau is the manifold.

    Parameters
    ----------
    cloud : Cloud
        The vectors; only its distinct rows enter.
    n_parts : int
        Disjoint parts k that the distinct rows are split in, equal in size to one row.
    seed : int or list of int
        Seed of the split; the parts of 2 k are halves of the parts of k.
    fit_fraction : float
        Share of the ratios, the smallest, that each line is fitted to.

    Raises
    ------
    DegenerateError
        If a part has fewer than 10 rows, or a fit no ratio that differs from 1.

    References
    ----------
    Facco et al., "Estimating the intrinsic dimension of datasets by a minimal neighborhood information",
    Scientific Reports 7 (2017), 12140, section "Estimating a scale-dependent intrinsic dimension".
    """
    shuffled = np.random.default_rng(seed).permutation(cloud.distinct)
    parts = [shuffled[start::n_parts] for start in range(n_parts)]
    if len(parts[-1]) < MIN_DISTINCT:
        raise DegenerateError(
            f"the least of {n_parts} parts of {len(shuffled)} distinct rows has {len(parts[-1])}; at least "
            f"{MIN_DISTINCT} are needed"
        )
    return float(np.mean([fitted_dimension(cloud.nearest_two(np.sort(part)), fit_fraction) for part in parts]))
