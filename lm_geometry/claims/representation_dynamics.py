"""What the study of hidden states claims, tested on the layers, models and checkpoints of a run.

Source: A. Razzhigaev et al., "The Shape of Learning: Anisotropy and Intrinsic Dimensions in Transformer-Based Models",
EACL 2024. The units of all tests are the batches, disjoint groups of chunks that are alike in every layer, checkpoint
and model, so that what is compared is paired. Tests are Student's t over them: eight batches have too few patterns of
signs for a sign-flip test. What is told of a training run is told of this run, not of others with another seed.

A claim counts only if all statistics that it is tested in agree: all rows, those without sinks, on unit rows,
type-matched, and both fits of a dimension. Layers are those of ``measured_stacks``. Claims about decoders and encoders
are about models of that kind; the stacks of encoder-decoder models are neither. Claims about training are about every
stack of each model that is followed, over its distinct checkpoints.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from lm_geometry.claims.dynamics_evidence import SETTLED_CHANGE, bell, flatness, growth, rise_and_fall, settling
from lm_geometry.claims.evaluation import NotTestableError
from lm_geometry.claims.evidence import Evidence, true_of_most
from lm_geometry.claims.verdict import Claim, Finding, Outcome, judge
from lm_geometry.measured_stacks import GapError, MeasuredStack, MeasuredStacks, check_pairs
from lm_geometry.tables.geometry_statistics import (
    ANISOTROPY,
    MATCHED,
    TWONN_020,
    TWONN_090,
    UNIT_ROWS,
    WITHOUT_FIRST,
)
from lm_geometry.wording import counted, listing

STUDY = "representation_dynamics"

BELL_STATISTICS = (ANISOTROPY, WITHOUT_FIRST, UNIT_ROWS, ANISOTROPY + MATCHED)
ANISOTROPIES = (ANISOTROPY, ANISOTROPY + MATCHED)
DIMENSIONS = (TWONN_090, TWONN_020, TWONN_090 + MATCHED, TWONN_020 + MATCHED)
NEEDED = (*BELL_STATISTICS, *DIMENSIONS)
"""The statistics that the tests read."""

MOST = 0.8
"""Share of the decoders that must have a bell for decoders to have one."""

MIN_STEPS = 5
"""Fewer checkpoints have too few orders for a rank correlation."""

# A first checkpoint later than this share of training says nothing of its beginning.
_BEGINNING = 0.1

BELL = Claim(
    "bell_in_decoder",
    "Over the layers of a decoder anisotropy is a bell: larger in the middle third than in the first and the last.",
    in_every_metric=True,
)
BELL_IN_MOST = Claim(
    "bell_in_decoders", f"Anisotropy is a bell in at least {MOST:.0%} of decoders.", in_every_metric=True
)
FLAT = Claim(
    "encoders_flat",
    "An encoder's anisotropy differs over its layers by less than half of what the median decoder's does.",
    in_every_metric=True,
)
GROWS = Claim(
    "anisotropy_grows",
    "Anisotropy grows over training: its mean over layers rises with the step.",
    in_every_metric=True,
)
SETTLES = Claim(
    "anisotropy_settles",
    f"In the last fifth of training anisotropy has settled: it changes by less than {SETTLED_CHANGE:.0%} of its range.",
    in_every_metric=True,
)
PEAKS = Claim(
    "dimension_rises_then_falls",
    "Over training the dimension rises, then falls: a checkpoint between has a larger one than the first and the last.",
    in_every_metric=True,
)


def dynamics_claims(
    *,
    stacks: MeasuredStacks,
    profiles: Sequence[tuple[str, str]],
    training: Mapping[str, Sequence[str]],
    corpus: str,
) -> pd.DataFrame:
    """Return the study's claims with their verdicts, as rows of the table ``claims``.

    Parameters
    ----------
    stacks : MeasuredStacks
        The statistics ``NEEDED``.
    profiles : sequence of (str, str)
        Model and revision of each profiled run; copies of other revisions are left out.
    training : mapping
        The revisions over which each model is followed.
    corpus : str
        The corpus' name.

    Raises
    ------
    ValueError
        If a run is not in the table, or checkpoints have no steps of their own.
    """
    profiled = stacks.of_runs(profiles)
    decoders, encoders = ([stack for stack in profiled if stack.kind == kind] for kind in ("decoder", "encoder"))
    followed = [
        checkpoints for model, revisions in training.items() for checkpoints in _followed(stacks, model, revisions)
    ]
    found = [
        *_bells(decoders),
        *_flat_encoders(encoders, decoders),
        *_over_training(GROWS, ANISOTROPIES, followed, growth),
        *_over_training(SETTLES, ANISOTROPIES, followed, settling),
        *_over_training(PEAKS, DIMENSIONS, followed, rise_and_fall),
    ]
    return judge([Finding(claim, about, corpus, metric, test) for claim, about, metric, test in found], study=STUDY)


_Row = tuple[Claim, str, str, Outcome | str]


def _outcome(test: Callable[[], Outcome]) -> Outcome | str:
    """Return a test's outcome, or what it lacks."""
    try:
        return test()
    except (GapError, NotTestableError) as reason:
        return str(reason)


# -- over layers -------------------------------------------------------------------------------------------------------


def _bells(decoders: Sequence[MeasuredStack]) -> Iterator[_Row]:
    """Yield the bell of each decoder, and that of most of them."""
    if not decoders:
        for claim in (BELL, BELL_IN_MOST):
            yield from ((claim, "decoders", statistic, "no decoder is profiled here") for statistic in BELL_STATISTICS)
        return
    tested = {
        name: [_outcome(lambda stack=stack, name=name: Outcome(*bell(stack.complete(name)))) for stack in decoders]
        for name in BELL_STATISTICS
    }
    for place, stack in enumerate(decoders):
        yield from ((BELL, stack.model, name, found[place]) for name, found in tested.items())
    for name, found in tested.items():
        yield BELL_IN_MOST, counted([len(decoders)], "decoder"), name, _most(decoders, found)


def _most(decoders: Sequence[MeasuredStack], found: Sequence[Outcome | str]) -> Outcome | str:
    """Test whether enough of the decoders have a bell."""
    missing = [one for one in found if isinstance(one, str)]
    if len(missing) == len(found):
        return missing[0]
    evidence = [None if isinstance(one, str) else one.evidence for one in found]
    bells = [stack.model for stack, one in zip(decoders, evidence, strict=True) if one and one.supports]
    detail = (
        f"the share of {counted([len(found)], 'decoder')} whose least difference is above zero"
        + (f", {listing(bells)}" if bells else "")
        + f"; at least {MOST:.0%} are tested, from the decoders' own p"
        + (f"; without a test, which speaks for neither: {'; '.join(missing)}" if missing else "")
    )
    return Outcome(true_of_most(evidence, share=MOST), detail)


def _flat_encoders(encoders: Sequence[MeasuredStack], decoders: Sequence[MeasuredStack]) -> Iterator[_Row]:
    if not encoders:
        yield from ((FLAT, "encoders", name, "no encoder is profiled here") for name in ANISOTROPIES)
    for encoder in encoders:
        for name in ANISOTROPIES:
            yield FLAT, encoder.model, name, _outcome(lambda encoder=encoder, name=name: _flat(encoder, decoders, name))


def _flat(encoder: MeasuredStack, decoders: Sequence[MeasuredStack], statistic: str) -> Outcome:
    """Test an encoder's range over layers against half the decoders' median."""
    if not decoders:
        raise NotTestableError("no decoder is profiled here, whose range would be the measure")
    for decoder in decoders:
        # A range over layers is a difference at each model's own number of rows.
        check_pairs(encoder, decoder, statistic, equal_rows=False)
    return Outcome(*flatness(encoder.complete(statistic), [decoder.complete(statistic) for decoder in decoders]))


# -- over training -----------------------------------------------------------------------------------------------------

_Checkpoints = tuple[str, Sequence[MeasuredStack]]


def _followed(stacks: MeasuredStacks, model: str, revisions: Sequence[str]) -> Iterator[_Checkpoints]:
    """Yield each stack of a model that is followed, as texts name it, with its distinct checkpoints."""
    by_stack = stacks.checkpoints(model, revisions)
    if not by_stack:
        yield model, []
    for stack, checkpoints in by_stack.items():
        yield (model if len(by_stack) == 1 else f"{model}, {stack}"), checkpoints


def _over_training(
    claim: Claim,
    statistics: Sequence[str],
    followed: Sequence[_Checkpoints],
    test: Callable[[np.ndarray, np.ndarray], tuple[Evidence, str]],
) -> Iterator[_Row]:
    """Yield a claim about every stack that is followed."""
    if not followed:
        yield from ((claim, "training", name, "no model is followed over training here") for name in statistics)
    for about, checkpoints in followed:
        for name in statistics:
            yield claim, about, name, _outcome(lambda c=checkpoints, name=name: _on_checkpoints(c, name, test))


def _on_checkpoints(
    checkpoints: Sequence[MeasuredStack],
    statistic: str,
    test: Callable[[np.ndarray, np.ndarray], tuple[Evidence, str]],
) -> Outcome:
    """Test the means over layers, shape (batches, steps), against the steps."""
    if len(checkpoints) < MIN_STEPS:
        raise NotTestableError(
            f"{counted([len(checkpoints)], 'distinct checkpoint')} here; a test needs {MIN_STEPS} or more"
        )
    for checkpoint in checkpoints[1:]:
        check_pairs(checkpoints[0], checkpoint, statistic)
    steps = np.array([checkpoint.step for checkpoint in checkpoints], dtype=np.float64)
    evidence, detail = test(steps, np.column_stack([checkpoint.layer_means(statistic) for checkpoint in checkpoints]))
    late = steps[0] > _BEGINNING * steps[-1]
    lacking = f"the first checkpoint here is of step {steps[0]:.0f} of {steps[-1]:.0f}: the beginning is missing"
    obstacle = lacking if late else ""
    return Outcome(evidence, detail, cannot_hold=obstacle, cannot_refute=obstacle)
