"""Layers, training steps and models compared over the same batches of text: paired differences and what they are worth.

The batches are disjoint groups of chunks, alike in every layer, step and model, so that a batch's two values are a pair
and the differences of the batches are independent. Tests are Student's t: eight batches have too few patterns of signs
for a sign-flip test (2^8) to reach far below Holm's correction.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from lm_geometry.measured_stacks import (
    GapError,
    LayerValues,
    MeasuredStack,
    MeasuredStacks,
    check_distinct,
    check_pairs,
    is_dimension,
)
from lm_geometry.statistics.paired import holm, paired_t
from lm_geometry.tables.geometry_batches import OK
from lm_geometry.tables.geometry_comparisons import LAYERS, MODELS, STEPS
from lm_geometry.tables.geometry_statistics import (
    ANISOTROPY,
    FREQUENCY_NULL,
    MATCHED,
    TWONN_020,
    TWONN_090,
    WITHOUT_FIRST,
)

_HEADLINE = (ANISOTROPY, WITHOUT_FIRST, TWONN_090, TWONN_020)
COMPARED = (*_HEADLINE, *(name + MATCHED for name in _HEADLINE))
"""What is compared between layers and between steps."""

EXCESS = "anisotropy_excess"
"""Anisotropy less the frequency null of the same layer and batch."""

COMPARED_MODELS = (EXCESS, TWONN_090, TWONN_090 + MATCHED, TWONN_020, TWONN_020 + MATCHED)
"""What is compared between models: other anisotropies have no frequency null of their own to be measured from."""

NEEDED = (*COMPARED, FREQUENCY_NULL)
"""The statistics that the comparisons read."""


@dataclass(frozen=True)
class _Pair:
    """Two layers, or two stacks over their layers, and the differences a - b of their batches or why there are none."""

    a: MeasuredStack
    b: MeasuredStack
    found: np.ndarray | str
    layer_a: int | None = None
    layer_b: int | None = None


def compare_stacks(
    stacks: MeasuredStacks, profiles: Sequence[tuple[str, str]], training: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """Compare layers, steps and models.

    'layers': each layer of a profiled revision against the one before it, a context-free layer 0 type-matched only.
    Checkpoints in training are not compared layer by layer: Holm's correction over thousands of pairs would leave none.
    'steps': the mean over layers of each distinct checkpoint against the one before it, and of the last against the
    first. 'models': the means over layers of all pairs of profiled models of the same kind, in the same stack, where
    the text, the batch size and the seed are the same; type-matched only where the models have as many types.

    Parameters
    ----------
    stacks : MeasuredStacks
        The statistics ``NEEDED``.
    profiles : sequence of (str, str)
        Model and revision of each profiled run; copies of other revisions are left out.
    training : mapping
        The revisions over which each model is followed.

    Returns
    -------
    list of dict
        Rows of the table ``geometry_comparisons``. Holm's correction is over one comparison, statistic and model; of
        models, over one statistic.

    Raises
    ------
    ValueError
        If a run is not in the table, or checkpoints have no steps of their own.
    """
    profiled = stacks.of_runs(profiles)
    rows: list[dict[str, Any]] = []
    for model in dict.fromkeys(stack.model for stack in profiled):
        of_model = [stack for stack in profiled if stack.model == model]
        for name in COMPARED:
            rows += _tested(LAYERS, name, [pair for stack in of_model for pair in _layer_pairs(stack, name)])
    for model, revisions in training.items():
        by_stack = stacks.checkpoints(model, revisions).values()
        for name in COMPARED:
            rows += _tested(STEPS, name, [pair for of_stack in by_stack for pair in _step_pairs(of_stack, name)])
    for name in COMPARED_MODELS:
        rows += _tested(MODELS, name, list(_model_pairs(profiled, name)))
    return rows


def _layer_pairs(stack: MeasuredStack, statistic: str) -> Iterator[_Pair]:
    """Yield each layer with the one before it."""
    try:
        values = stack.of(statistic, with_lookup=statistic.endswith(MATCHED))
    except GapError as reason:
        yield _Pair(stack, stack, str(reason))
        return
    for place in range(1, values.layers.size):
        both = slice(place - 1, place + 1)
        layers = (int(values.layers[place]), int(values.layers[place - 1]))
        problem = values.problem(both) or _unlike_sizes(values, both, statistic)
        yield _Pair(stack, stack, problem or np.diff(values.values[:, both])[:, 0], *layers)


def _unlike_sizes(values: LayerValues, both: slice, statistic: str) -> str:
    """Return why the dimensions of two layers do not compare; empty if they do, or are none."""
    if not is_dimension(statistic):
        return ""
    before, after = zip(values.layers[both].tolist(), values.n_distinct_of_layers[both].tolist(), strict=True)
    try:
        check_distinct((f"layer {before[0]}", before[1]), (f"layer {after[0]}", after[1]))
    except GapError as reason:
        return str(reason)
    return ""


def _step_pairs(checkpoints: Sequence[MeasuredStack], statistic: str) -> Iterator[_Pair]:
    """Yield each checkpoint with the one before it, and the last with the first."""
    pairs = list(pairwise(checkpoints))
    if len(pairs) > 1:
        pairs.append((checkpoints[0], checkpoints[-1]))
    for before, after in pairs:
        yield _Pair(after, before, _difference_of_means(after, before, statistic))


def _model_pairs(profiled: Sequence[MeasuredStack], statistic: str) -> Iterator[_Pair]:
    """Yield all pairs of the same kind and stack."""
    for a, b in combinations(profiled, 2):
        if a.model != b.model and (a.kind, a.stack) == (b.kind, b.stack):
            yield _Pair(a, b, _difference_of_means(a, b, statistic))


def _difference_of_means(a: MeasuredStack, b: MeasuredStack, statistic: str) -> np.ndarray | str:
    """Return the differences of the means over layers, batch by batch, or why the two cannot be compared."""
    try:
        if statistic == EXCESS:
            return _mean_differences(a, b, ANISOTROPY) - _mean_differences(a, b, FREQUENCY_NULL)
        return _mean_differences(a, b, statistic)
    except GapError as reason:
        return str(reason)


def _mean_differences(a: MeasuredStack, b: MeasuredStack, statistic: str) -> np.ndarray:
    check_pairs(a, b, statistic)
    return a.layer_means(statistic) - b.layer_means(statistic)


def _tested(comparison: str, statistic: str, pairs: Sequence[_Pair]) -> list[dict[str, Any]]:
    """Return the rows of one family of pairs."""
    rows = [_row(comparison, statistic, pair) for pair in pairs]
    tested = [row for row in rows if row["status"] == OK]
    for row, p_holm in zip(tested, holm(np.array([row["p"] for row in tested])), strict=True):
        row["p_holm"] = p_holm
    return rows


def _row(comparison: str, statistic: str, pair: _Pair) -> dict[str, Any]:
    known = {
        "comparison": comparison,
        "stack": pair.a.stack,
        "statistic": statistic,
        "model_a": pair.a.model,
        "revision_a": pair.a.revision,
        "layer_a": pair.layer_a,
        "model_b": pair.b.model,
        "revision_b": pair.b.revision,
        "layer_b": pair.layer_b,
    }
    if isinstance(pair.found, str):
        return {**known, "n_batches": 0, "status": pair.found}
    test = paired_t(pair.found)
    return {
        **known,
        "difference": test.mean[0],
        "ci_low": test.low[0],
        "ci_high": test.high[0],
        "p": test.p[0],
        "n_batches": len(pair.found),
        "status": OK,
    }
