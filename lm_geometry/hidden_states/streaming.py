"""The statistics of a model's layers, taken while it runs: of each layer one batch's rows are held, and no dump."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from tqdm import tqdm

from lm_geometry.error_words import first_line
from lm_geometry.geometry.layers import (
    Draw,
    LayerMeasures,
    Settings,
    Tokens,
    all_token_records,
    batch_records,
    draw_rows,
)
from lm_geometry.geometry.moments import Moments
from lm_geometry.geometry.nulls import FrequencyNulls
from lm_geometry.hidden_states.context_free import ContextFree
from lm_geometry.hidden_states.holding import Holding
from lm_geometry.hidden_states.layer_model import LayerKey
from lm_geometry.hidden_states.passes import ForwardPasses, Pass
from lm_geometry.hidden_states.sequences import TokenSequence, equal_length_batches


def measure_while_running(
    passes: ForwardPasses, sequences: Sequence[TokenSequence], settings: Settings
) -> LayerMeasures:
    """Measure every layer on the rows that would be drawn from a dump, and over all tokens by their moments.

    The model runs over one disjoint group of chunks after the other. Of every layer the rows of that group's batch are
    held, and measured when the group is done.

    Parameters
    ----------
    passes : ForwardPasses
        Runs the model.
    sequences : sequence of TokenSequence
        The tokens of all chunks.
    settings : Settings
        Batches, their size, the duplicate tolerance and the seed.

    Raises
    ------
    ValueError
        If there are too few chunks, tokens or token types for the batches, a state is NaN or infinite, or GPU memory
        does not hold what is measured.
    """
    ordered = [sequence for batch in equal_length_batches(sequences, passes.batch_tokens) for sequence in batch]
    corpus = CorpusRows(ordered)
    draw = draw_rows(corpus.tokens, settings)
    totals, nulls = LayerTotals(), FrequencyNulls(seed=settings.seed)
    holding = Holding(len(ordered), settings.batch_size)
    records: list[dict[str, Any]] = []
    with _gpu_memory_named(), tqdm(total=len(ordered), unit="chunk", mininterval=5) as progress:
        for batch, group in enumerate(_groups(ordered, corpus.tokens, draw)):
            drawn, matched = (DrawnRows(rows[batch], corpus.tokens) for rows in (draw.batches, draw.type_matched))
            for passed in passes.over(group):
                here = holding.moved(passed)
                rows = corpus.rows(here.batch)
                totals.add(here, corpus.tokens.take(rows))
                drawn.add(here, rows)
                matched.add(here, rows)
                progress.update(len(here.batch))
            for key, place in totals.places():
                records += batch_records(place, batch, drawn.cloud(key), matched.cloud(key), settings, nulls)
    return totals.measures(records, draw.n_dropped)


class CorpusRows:
    """The tokens of all sequences, one row each as in every layer's file of a dump."""

    def __init__(self, sequences: Sequence[TokenSequence]) -> None:
        lengths = [len(sequence.ids) for sequence in sequences]
        self._start = dict(zip((one.chunk for one in sequences), np.cumsum([0, *lengths[:-1]]), strict=True))
        self.tokens = Tokens(
            chunk=np.repeat(np.array([sequence.chunk for sequence in sequences], dtype=np.int32), lengths),
            position=np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
            token_id=np.concatenate([sequence.ids for sequence in sequences]),
            special=np.concatenate([sequence.special for sequence in sequences]),
        )

    def rows(self, batch: Sequence[TokenSequence]) -> np.ndarray:
        """Return the rows of a batch's tokens, in its order."""
        return np.concatenate([self._start[one.chunk] + np.arange(len(one.ids)) for one in batch])


class DrawnRows:
    """The vectors of every layer at some rows, gathered as passes go by.

    Parameters
    ----------
    rows : np.ndarray
        The rows, in the order in which they were drawn.
    tokens : Tokens
        The tokens of all rows.
    """

    def __init__(self, rows: np.ndarray, tokens: Tokens) -> None:
        self._tokens = tokens.take(rows)
        # Of every row its place among these, or -1.
        self._place = np.full(len(tokens), -1, dtype=np.int32)
        self._place[rows] = np.arange(len(rows))
        self._vectors: dict[LayerKey, Any] = {}

    def add(self, passed: Pass, rows: np.ndarray) -> None:
        """Keep what is wanted of a pass over ``rows``."""
        import torch

        place = self._place[rows]
        wanted = torch.from_numpy(np.flatnonzero(place >= 0))
        place = torch.from_numpy(place[place >= 0])
        for key, states in passed.states.items():
            vectors = states.reshape(-1, states.shape[2])
            if key not in self._vectors:
                # A row that never comes would be measured as NaN, which is refused.
                self._vectors[key] = vectors.new_full((len(self._tokens), vectors.shape[1]), torch.nan)
            self._vectors[key][place] = vectors[wanted]

    def cloud(self, key: LayerKey) -> tuple[Any, Tokens]:
        """Return one layer's vectors, an array where they lie in memory and a tensor on a GPU, and their tokens."""
        vectors = self._vectors[key]
        return vectors.numpy() if vectors.device.type == "cpu" else vectors, self._tokens


class LayerTotals:
    """What all tokens of every layer add up to."""

    def __init__(self) -> None:
        self._context_free = ContextFree()
        self._widths: dict[LayerKey, int] = {}
        self._moments: dict[LayerKey, Moments] = {}

    def add(self, passed: Pass, tokens: Tokens) -> None:
        """Add a pass over ``tokens``."""
        self._context_free.add(passed)
        for key, states in passed.states.items():
            width = self._widths.setdefault(key, states.shape[2])
            self._moments.setdefault(key, Moments(width)).add(states.reshape(-1, width), tokens.first, tokens.special)

    def places(self) -> Iterator[tuple[LayerKey, dict[str, Any]]]:
        """Yield each layer in the order of a dump's manifest, as its records name it."""
        for key in sorted(self._widths):
            yield key, {**key._asdict(), "context_free": self._context_free[key], "width": self._widths[key]}

    def measures(self, records: Sequence[Mapping[str, Any]], n_dropped: int) -> LayerMeasures:
        """Return the measurement of all batches and all tokens, in the order of a dump's."""
        places = dict(self.places())
        # That a layer is a look-up is known only when all passes were seen.
        told = [{**record, "context_free": places[_key(record)]["context_free"]} for record in records]
        return LayerMeasures(
            batch_records=sorted(told, key=lambda record: (_key(record), record["batch"])),
            all_token_records=[
                record for key, place in places.items() for record in all_token_records(place, self._moments[key])
            ],
            n_dropped={key.stack: n_dropped for key in places},
        )


@contextmanager
def _gpu_memory_named() -> Iterator[None]:
    """Say what to change where a GPU has no room; passes that do not fit were halved before."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"what is measured does not fit into GPU memory beside the model ({first_line(error)}); set a lower "
            "batch_tokens or batch_size, `hidden_states: dump`, or another device"
        ) from error


def _key(record: Mapping[str, Any]) -> LayerKey:
    return LayerKey(*(record[name] for name in LayerKey._fields))


def _groups(sequences: Sequence[TokenSequence], tokens: Tokens, draw: Draw) -> list[list[TokenSequence]]:
    """Return the sequences that each batch draws from; those that none draws from go with the first."""
    group: dict[int, int] = {}
    for drawn in (draw.batches, draw.type_matched):
        for batch, rows in enumerate(drawn):
            group.update(dict.fromkeys(tokens.chunk[rows].tolist(), batch))
    groups: list[list[TokenSequence]] = [[] for _ in draw.batches]
    for sequence in sequences:
        groups[group.get(sequence.chunk, 0)].append(sequence)
    return groups
