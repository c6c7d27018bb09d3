"""How alike the directions of a cloud are, from its spectrum, and which of its rows are out of scale."""

import numpy as np

from lm_geometry.geometry.rows import DegenerateError

OUTLYING = 10
"""A row is outlying if its norm is over so many times the median norm."""


def effective_rank_of(singular_values: np.ndarray) -> float:
    """Return exp(-sum p ln p), p_i = sigma_i / sum_j sigma_j.

    Parameters
    ----------
    singular_values : np.ndarray
        Shape (r,), positive.

    References
    ----------
    Roy and Vetterli, "The effective rank: a measure of effective dimensionality" (2007), definition 1.
    """
    shares = singular_values / singular_values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def participation_ratio_of(singular_values: np.ndarray) -> float:
    """Return (sum lambda)^2 / sum lambda^2, lambda_i = sigma_i^2, the effective number of directions.

    Parameters
    ----------
    singular_values : np.ndarray
        Shape (r,), positive.
    """
    return 1 + _ratio_over_one(singular_values)


def iso_score(singular_values: np.ndarray, width: int) -> float:
    """Return IsoScore, (PR - 1) / (d - 1) in the participation ratio PR = (sum lambda)^2 / sum lambda^2.

    The paper's algorithm 1 turns the cloud to its principal axes, takes the variances lambda, scales them to norm
    sqrt(d), sets delta = |scaled - 1| / sqrt(2 (d - sqrt d)), phi = (d - delta^2 (d - sqrt d))^2 / d^2 and returns
    (d phi - 1) / (d - 1). As |scaled - 1|^2 = 2 d - 2 sqrt(d) sum lambda / |lambda| = 2 (d - sqrt(d PR)), this is
    d - delta^2 (d - sqrt d) = sqrt(d PR), so phi = PR / d.

    Parameters
    ----------
    singular_values : np.ndarray
        Of the centred rows, shape (r,), positive; those that are zero may be left out.
    width : int
        Components per vector, d.

    Returns
    -------
    float
        0 in one direction, 1 in all alike, which takes more rows than components.

    Raises
    ------
    DegenerateError
        With fewer than two components.

    References
    ----------
    Rudman, Gillman, Rayne and Eickhoff, "IsoScore: Measuring the Uniformity of Embedding Space Utilization" (2022),
    algorithm 1.
    """
    if width < 2:
        raise DegenerateError(f"IsoScore compares at least 2 directions, got vectors of {width}")
    return _ratio_over_one(singular_values) / (width - 1)


def _ratio_over_one(singular_values: np.ndarray) -> float:
    """Return the participation ratio less 1, which a leading direction of nearly all energy would cancel."""
    energy = np.sort(np.square(singular_values / singular_values.max()))
    rest, leading = energy[:-1], energy[-1]
    return float((2 * leading * rest.sum() + rest.sum() ** 2 - rest @ rest) / (energy @ energy))


def outlying(norms: np.ndarray) -> np.ndarray:
    """Return the mask of rows whose norm is over ``OUTLYING`` times the median norm; ``norms`` has shape (n,)."""
    return norms > OUTLYING * np.median(norms)
