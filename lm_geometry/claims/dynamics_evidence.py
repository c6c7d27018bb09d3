"""Evidence on what the study of hidden states claims: values of batches by layers or steps in, evidence and words out.

Batches are the units. Every function returns the evidence and a sentence on what was compared with what.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lm_geometry.claims.evaluation import NotTestableError
from lm_geometry.claims.evidence import Evidence, held_out_peak, held_out_range, mean_above_zero, ratio_within
from lm_geometry.wording import counted

SETTLED_CHANGE = 0.05
"""Share of the range over training within which anisotropy has settled."""

LAST_FIFTH = 0.8
"""Share of the steps after which the last fifth of training begins."""

MIN_LAST_STEPS = 3
"""Fewer checkpoints have no slope apart from their difference."""

_ORDERS = 9999


def bell(values: np.ndarray) -> tuple[Evidence, str]:
    """Test the mean over the middle third of the layers less those over the first and the last third.

    The first and the last third have a third of the layers each, rounded down; the middle has the rest.

    Parameters
    ----------
    values : np.ndarray
        Shape (batches, layers).

    Raises
    ------
    NotTestableError
        With fewer than three layers.
    """
    n_layers = values.shape[1]
    third = n_layers // 3
    if not third:
        raise NotTestableError(f"{counted([n_layers], 'layer')} cannot be cut into thirds")
    first, middle, last = (part.mean(axis=1) for part in np.split(values, [third, n_layers - third], axis=1))
    words = (
        f"the mean over the middle {n_layers - 2 * third} of {n_layers} layers, {middle.mean():.3g}, less those over "
        f"the first and the last {third}, {first.mean():.3g} and {last.mean():.3g}: the lesser difference"
    )
    return mean_above_zero(np.column_stack([middle - first, middle - last])), words


def flatness(values: np.ndarray, others: Sequence[np.ndarray]) -> tuple[Evidence, str]:
    """Test whether no layer is above another one by half the median range of other models: an upper bound of the range.

    The limit has a value per batch, from layers that all other batches chose (``held_out_range``): what chance does to
    it is in the test, and noise is not taken for range. The median of an even number of models is the mean of the
    middle two.

    Parameters
    ----------
    values : np.ndarray
        Shape (batches, layers).
    others : sequence of np.ndarray
        The models that are the measure, each of shape (batches, its layers), in the same batches.
    """
    ranges = sorted((held_out_range(other) for other in others), key=np.mean)
    limit = np.mean(ranges[(len(ranges) - 1) // 2 : len(ranges) // 2 + 1], axis=0) / 2
    above, below = np.nonzero(~np.eye(values.shape[1], dtype=bool))
    words = (
        f"half the median range over layers of {counted([len(others)], 'decoder')}, {limit.mean():.3g}, less the range "
        f"over {values.shape[1]} layers here, {np.ptp(values.mean(axis=0)):.3g}"
    )
    return mean_above_zero(limit[:, None] - (values[:, above] - values[:, below])), words


def growth(steps: np.ndarray, means: np.ndarray) -> tuple[Evidence, str]:
    """Test the rank correlation with the step (Spearman 1904), each batch's own.

    Batches tell how sure it is for this run's checkpoints on other text. A trend must be more than the scatter of the
    checkpoints too, of which batches know nothing: the p is the larger of the batches' and that of the mean profile
    among all orders of its checkpoints.

    Parameters
    ----------
    steps : np.ndarray
        Ascending, shape (steps,).
    means : np.ndarray
        Shape (batches, steps).

    Raises
    ------
    NotTestableError
        If a batch has the same value at all steps.
    """
    ranks = np.sign(means[:, :, None] - means[:, None, :]).sum(axis=2)  # ascending, up to a factor and a constant
    same = np.flatnonzero(~ranks.any(axis=1))
    if same.size:
        raise NotTestableError(f"in batch {same[0]} it is the same at all {len(steps)} checkpoints")
    order = np.arange(len(steps)) - (len(steps) - 1) / 2
    correlations = ranks @ order / (np.linalg.norm(ranks, axis=1) * np.linalg.norm(order))
    of_orders = _order_p(means.mean(axis=0))
    detail = (
        f"rank correlation with the step over {len(steps)} distinct checkpoints, each batch's own; p among orders of "
        f"the checkpoints is {of_orders:.2g}"
    )
    evidence = mean_above_zero(correlations)
    return replace(evidence, p=max(evidence.p, of_orders)), detail


def _order_p(profile: np.ndarray) -> float:
    """Return the two-sided p of a profile's rank correlation with its place, among random orders of it."""
    ranks = np.sign(profile[:, None] - profile[None, :]).sum(axis=1)
    orders = np.random.default_rng(0).permuted(np.tile(ranks, (_ORDERS, 1)), axis=1)
    place = np.arange(len(profile))
    place = place - place.mean()
    as_large = np.abs(orders @ place) >= np.abs(ranks @ place) * (1 - 1e-12)
    return float((1 + as_large.sum()) / (1 + _ORDERS))


def settling(steps: np.ndarray, means: np.ndarray) -> tuple[Evidence, str]:
    """Test whether the change over the last fifth of training is within a share of the range: two one-sided tests.

    The change is the slope of the line through the checkpoints from ``LAST_FIFTH`` of the last step on, times a fifth
    of the steps. The range is between the checkpoints that all other batches find the largest and the least.

    Parameters
    ----------
    steps, means : np.ndarray
        As in ``growth``.

    Raises
    ------
    NotTestableError
        With too few checkpoints in the last fifth, or without a range to settle within.
    """
    last = steps >= LAST_FIFTH * steps[-1]
    if last.sum() < MIN_LAST_STEPS:
        raise NotTestableError(
            f"{counted([int(last.sum())], 'distinct checkpoint')} from step {LAST_FIFTH * steps[-1]:.0f} on, the last "
            f"fifth of training; a slope needs {MIN_LAST_STEPS} or more"
        )
    ranges = held_out_range(means)
    if ranges.mean() <= 0:
        raise NotTestableError(f"its range over training is {ranges.mean():.3g}: nothing to settle within")
    centred = steps[last] - steps[last].mean()
    changes = means[:, last] @ centred / (centred @ centred) * (1 - LAST_FIFTH) * steps[-1]
    # The ratio of range + change to range is 1 + change / range.
    evidence = ratio_within(ranges + changes, ranges, margin=SETTLED_CHANGE)
    detail = (
        f"the change over the last fifth of training, from {last.sum()} of {len(steps)} distinct checkpoints, as a "
        f"share of the range over training, {ranges.mean():.3g}; equivalent within {SETTLED_CHANGE:.0%}: two one-sided "
        "tests"
    )
    return evidence, detail


def rise_and_fall(steps: np.ndarray, means: np.ndarray) -> tuple[Evidence, str]:
    """Test the best checkpoint between against the first and the last, chosen and tested on different batches.

    Parameters
    ----------
    steps, means : np.ndarray
        As in ``growth``.
    """
    best = means[:, 1:-1].mean(axis=0).argmax() + 1
    first, peak, last = means[:, [0, best, -1]].mean(axis=0)
    detail = (
        f"the largest of {len(steps) - 2} distinct checkpoints between, chosen on every other batch and tested on the "
        f"rest, less the first and the last, {first:.3g} and {last:.3g}; on all batches the largest between is "
        f"{peak:.3g} at step {steps[best]:.0f}; the scatter from one checkpoint to the next is not in p"
    )
    return held_out_peak(means[:, 1:-1], means[:, [0, -1]]), detail
