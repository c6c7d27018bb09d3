"""The statistics of a model's layers, batch by batch: every layer is measured on the same rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lm_geometry.geometry.batches import draw_batches, type_matched_rows
from lm_geometry.geometry.statistic import Statistic

Statistics = Callable[[np.ndarray, np.ndarray, np.ndarray], Mapping[str, Statistic]]


class Layer(Protocol):
    """One layer's vectors, shape (n, d), and the tokens they stand for; tokens are alike in all layers of a stack."""

    stack: str
    layer: int
    after_final_norm: bool
    context_free: bool
    chunk: np.ndarray
    position: np.ndarray
    token_id: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True)
class Draw:
    """The rows of a layer that are measured, per batch: drawn at random, and one per token type."""

    batches: Sequence[np.ndarray]
    type_matched: Sequence[np.ndarray]
    n_dropped: int


@dataclass(frozen=True)
class LayerMeasures:
    """One record per layer, batch and statistic, and how many tokens of each stack no batch drew."""

    records: Sequence[Mapping[str, Any]]
    n_dropped: Mapping[str, int]


def measure_layers(
    layers: Iterable[Layer], statistics: Statistics, *, n_batches: int, batch_size: int, seed: int
) -> LayerMeasures:
    """Measure every layer on the same batches, held one at a time.

    Parameters
    ----------
    layers : iterable of Layer
        The layers, in any order.
    statistics : callable
        Takes a batch's vectors, shape (n, d), the mask of those that stand first in their chunk and their token ids,
        shape (n,); returns statistics by name.
    n_batches, batch_size, seed : int
        See ``draw_batches``.

    Raises
    ------
    ValueError
        If a stack has too few chunks, tokens or token types for the batches.
    """
    draws: dict[str, Draw] = {}
    records = []
    for layer in layers:
        if layer.stack not in draws:
            draws[layer.stack] = draw_rows(
                layer.chunk, layer.token_id, n_batches=n_batches, batch_size=batch_size, seed=seed
            )
        place = {
            "stack": layer.stack,
            "layer": layer.layer,
            "after_final_norm": layer.after_final_norm,
            "context_free": layer.context_free,
            "width": layer.vectors.shape[1],
        }
        for record in measure_batches(layer, draws[layer.stack], statistics):
            records.append({**place, **record})
    return LayerMeasures(records, {stack: draw.n_dropped for stack, draw in draws.items()})


def draw_rows(chunk: np.ndarray, token_id: np.ndarray, *, n_batches: int, batch_size: int, seed: int) -> Draw:
    """Return the batches that all layers with these rows share; see ``draw_batches`` and ``type_matched_rows``."""
    return Draw(
        batches=draw_batches(chunk, n_batches=n_batches, batch_size=batch_size, seed=seed),
        type_matched=type_matched_rows(chunk, token_id, n_batches=n_batches, seed=seed),
        n_dropped=len(chunk) - n_batches * batch_size,
    )


def measure_batches(layer: Layer, draw: Draw, statistics: Statistics) -> Iterator[dict[str, Any]]:
    """Yield one record per batch and statistic: batch, statistic, value, n_vectors, n_distinct, problem.

    Parameters
    ----------
    layer : Layer
        The layer to measure.
    draw : Draw
        Its rows that are measured.
    statistics : callable
        See ``measure_layers``.
    """
    first = layer.position == 0
    for suffix, batches in (("", draw.batches), ("_type_matched", draw.type_matched)):
        for batch, rows in enumerate(batches):
            for name, statistic in statistics(layer.vectors[rows], first[rows], layer.token_id[rows]).items():
                yield {"batch": batch, "statistic": name + suffix, **statistic._asdict()}
