"""The statistics of a model's layers, batch by batch and of all tokens: every layer is measured on the same rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lm_geometry.geometry.batches import draw_batches, type_matched_rows
from lm_geometry.geometry.measures import batch_statistics
from lm_geometry.geometry.moments import Moments
from lm_geometry.geometry.nulls import FrequencyNulls
from lm_geometry.geometry.tokens import Tokens
from lm_geometry.tables.geometry_statistics import MATCHED

__all__ = [
    "Draw",
    "Layer",
    "LayerMeasures",
    "Settings",
    "Tokens",
    "all_token_records",
    "batch_records",
    "draw_rows",
    "measure_layers",
]

_BLOCK_ROWS = 4096


class Layer(Protocol):
    """One layer's vectors, shape (n, d), and the tokens they stand for; tokens are alike in all layers of a stack."""

    stack: str
    layer: int
    after_final_norm: bool
    context_free: bool
    chunk: np.ndarray
    position: np.ndarray
    token_id: np.ndarray
    special: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True)
class Settings:
    """The settings of a measurement.

    Parameters
    ----------
    n_batches, batch_size : int
        Disjoint groups of chunks, and tokens drawn from each.
    duplicate_tolerance : float
        Distance, as a share of the mean centred norm, under which rows count as equal.
    seed : int
        Seed of all that is drawn, from 0 up.
    """

    n_batches: int
    batch_size: int
    duplicate_tolerance: float
    seed: int


@dataclass(frozen=True)
class Draw:
    """The rows of a layer that are measured, per batch: drawn at random, and one per token type."""

    batches: Sequence[np.ndarray]
    type_matched: Sequence[np.ndarray]
    n_dropped: int


@dataclass(frozen=True)
class LayerMeasures:
    """One record per layer, batch and statistic, one per layer and statistic, and each stack's tokens in no batch."""

    batch_records: Sequence[Mapping[str, Any]]
    all_token_records: Sequence[Mapping[str, Any]]
    n_dropped: Mapping[str, int]


def measure_layers(layers: Iterable[Layer], settings: Settings) -> LayerMeasures:
    """Measure every layer on the same batches, and on all tokens, held one at a time.

    Parameters
    ----------
    layers : iterable of Layer
        The layers, in the order of the records.
    settings : Settings
        Of the measurement.

    Raises
    ------
    ValueError
        If a stack has too few chunks, tokens or token types for the batches.
    """
    draws: dict[str, Draw] = {}
    nulls = FrequencyNulls(seed=settings.seed)
    of_batches: list[dict[str, Any]] = []
    of_all_tokens: list[dict[str, Any]] = []
    for layer in layers:
        tokens = Tokens(layer.chunk, layer.position, layer.token_id, layer.special)
        if layer.stack not in draws:
            draws[layer.stack] = draw_rows(tokens, settings)
        place = {
            "stack": layer.stack,
            "layer": layer.layer,
            "after_final_norm": layer.after_final_norm,
            "context_free": layer.context_free,
            "width": layer.vectors.shape[1],
        }
        draw = draws[layer.stack]
        for batch, rows in enumerate(zip(draw.batches, draw.type_matched, strict=True)):
            drawn, matched = ((layer.vectors[of_batch], tokens.take(of_batch)) for of_batch in rows)
            of_batches += batch_records(place, batch, drawn, matched, settings, nulls)
        of_all_tokens += all_token_records(place, _moments(layer.vectors, tokens))
    return LayerMeasures(of_batches, of_all_tokens, {stack: draw.n_dropped for stack, draw in draws.items()})


def draw_rows(tokens: Tokens, settings: Settings) -> Draw:
    """Return the batches that all layers with these rows share; see ``draw_batches`` and ``type_matched_rows``."""
    shared = {"n_batches": settings.n_batches, "seed": settings.seed}
    return Draw(
        batches=draw_batches(tokens.chunk, batch_size=settings.batch_size, **shared),
        type_matched=type_matched_rows(tokens.chunk, tokens.token_id, **shared),
        n_dropped=len(tokens) - settings.n_batches * settings.batch_size,
    )


def batch_records(
    place: Mapping[str, Any],
    batch: int,
    drawn: tuple[Any, Tokens],
    matched: tuple[Any, Tokens],
    settings: Settings,
    nulls: FrequencyNulls,
) -> list[dict[str, Any]]:
    """Return one record per statistic of one batch of one layer: place, batch, statistic and what was found.

    Parameters
    ----------
    place : mapping
        stack, layer, after_final_norm, context_free and width.
    batch : int
        Number of the batch, from 0 up.
    drawn, matched : tuple of vectors and Tokens
        The batch's rows, and those of one occurrence per token type: np.ndarray or torch.Tensor of shape (n, d) on any
        device, and what they stand for. Both are ``draw_rows``'s, in its order.
    settings : Settings
        Of the measurement.
    nulls : FrequencyNulls
        One for all batches and layers.

    Raises
    ------
    DegenerateError
        If values are not finite. Other degenerate rows give records without a value.
    """
    shared = {"duplicate_tolerance": settings.duplicate_tolerance, "seed": settings.seed, "batch": batch}
    found = batch_statistics(*drawn, **shared, frequency_null=nulls)
    found |= {name + MATCHED: statistic for name, statistic in batch_statistics(*matched, **shared).items()}
    return [{**place, "batch": batch, "statistic": name, **found[name]._asdict()} for name in found]


def all_token_records(place: Mapping[str, Any], moments: Moments) -> list[dict[str, Any]]:
    """Return one record per statistic of all tokens of one layer; ``place`` as in ``batch_records``."""
    return [{**place, "statistic": name, **found._asdict()} for name, found in moments.statistics().items()]


def _moments(vectors: np.ndarray, tokens: Tokens) -> Moments:
    moments = Moments(vectors.shape[1])
    for start in range(0, len(vectors), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        moments.add(vectors[block], tokens.first[block], tokens.special[block])
    return moments
