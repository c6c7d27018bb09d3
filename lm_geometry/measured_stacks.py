"""What was measured of each layer of each run, batch by batch, as arrays: what means, comparisons and claims stand on.

The layers are 0..L before the final norm. A context-free layer 0, the bare look-up of position-less models, is no layer
of a profile: its rows repeat once per occurrence of a token. It is left out for every statistic, so that all statistics
of a model stand on the same layers.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lm_geometry import provenance
from lm_geometry.checkpoints.duplicates import origins_of_copies
from lm_geometry.tables.files import read_table
from lm_geometry.tables.geometry_statistics import MATCHED

SAME_TEXT = ("chunks", "n_batches", "batch_size", "seed")
"""Settings that must be alike for the batches of two models to be pairs."""

_COLUMNS = (
    "model", "kind", "revision", "step", "stack", "layer", "after_final_norm", "context_free", "batch", "statistic",
    "value", "n_vectors", "n_distinct", "status",
)  # fmt: skip


class GapError(Exception):
    """A statistic has no value in some layer and batch, or no pair; the message says where and why."""


LIKE_SIZES = 0.95
"""Dimensions at numbers of distinct vectors that differ by more than this share are not compared."""


@dataclass(frozen=True)
class LayerValues:
    """One statistic in the layers of one stack, batch by batch.

    Parameters
    ----------
    layers, batches : np.ndarray
        Their numbers, ascending, shape (layers,) and (batches,).
    values : np.ndarray
        float64, shape (batches, layers); NaN where there is no value.
    status : np.ndarray
        Why each value is missing, or 'ok', shape (batches, layers).
    n_vectors, n_distinct : int
        Least of layers and batches.
    n_distinct_of_layers : np.ndarray
        Least of batches, shape (layers,).
    """

    layers: np.ndarray
    batches: np.ndarray
    values: np.ndarray
    status: np.ndarray
    n_vectors: int
    n_distinct: int
    n_distinct_of_layers: np.ndarray

    def problem(self, places: slice = slice(None)) -> str:
        """Return how many values of the layers at these places are missing, and why the first is; empty if none is."""
        gaps = np.argwhere(np.isnan(self.values[:, places]).T)
        if not len(gaps):
            return ""
        layer, batch = gaps[0]
        return (
            f"{len(gaps)} of {self.values[:, places].size} values are missing, the first in layer "
            f"{self.layers[places][layer]}, batch {self.batches[batch]}: {self.status[batch, places][layer]}"
        )


def layer_values(rows: pd.DataFrame, *, with_lookup: bool = False) -> LayerValues | None:
    """Arrange the rows of one statistic of one stack as an array.

    Parameters
    ----------
    rows : DataFrame
        Rows of ``BATCHES`` of one run, stack and statistic.
    with_lookup : bool
        Whether a context-free layer 0 is kept.

    Returns
    -------
    LayerValues or None
        None where no layer is left.

    Raises
    ------
    ValueError
        If a layer and batch has several rows.
    """
    kept = ~rows["after_final_norm"].to_numpy()
    if not with_lookup:
        kept &= ~rows["context_free"].to_numpy()
    rows = rows[kept]
    if rows.empty:
        return None
    layers, layer = np.unique(rows["layer"], return_inverse=True)
    batches, batch = np.unique(rows["batch"], return_inverse=True)
    n_rows = np.zeros((batches.size, layers.size), dtype=np.int64)
    np.add.at(n_rows, (batch, layer), 1)
    if n_rows.max() > 1:
        twice = np.argwhere(n_rows > 1)[0]
        raise ValueError(
            f"{rows['statistic'].iloc[0]}: {n_rows[*twice]} rows of layer {layers[twice[1]]}, batch {batches[twice[0]]}"
        )
    values = np.full(n_rows.shape, np.nan)
    values[batch, layer] = rows["value"].to_numpy(dtype=np.float64)
    status = np.full(n_rows.shape, "not measured", dtype=object)
    status[batch, layer] = rows["status"]
    counts = (int(rows[name].min()) for name in ("n_vectors", "n_distinct"))
    distinct = np.full(layers.size, np.iinfo(np.int64).max)
    np.minimum.at(distinct, layer, rows["n_distinct"].to_numpy())
    return LayerValues(layers, batches, values, status, *counts, distinct)


@dataclass(frozen=True)
class MeasuredStack:
    """The statistics of one stack of one run.

    Parameters
    ----------
    model, revision, kind, stack : str
        As in the table ``geometry_batches``.
    step : int or None
        The training step, None where the revision names none.
    rows : mapping of str to DataFrame
        Rows of the table by statistic.
    text : mapping
        Those of the settings ``SAME_TEXT`` that are not alike in all runs of the table.
    """

    model: str
    revision: str
    kind: str
    stack: str
    step: int | None
    rows: Mapping[str, pd.DataFrame] = field(repr=False)
    text: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Model, revision and stack, as messages have them."""
        return f"{self.model} {self.revision}, {self.stack}"

    def of(self, statistic: str, *, with_lookup: bool = False) -> LayerValues:
        """Return a statistic's values; with a context-free layer 0 if asked for.

        Raises
        ------
        GapError
            If it was not measured in any layer.
        """
        found = layer_values(self.rows[statistic], with_lookup=with_lookup) if statistic in self.rows else None
        if found is None:
            raise GapError(f"{self.name}: {statistic} was not measured")
        return found

    def complete(self, statistic: str) -> np.ndarray:
        """Return a statistic's values in all layers, shape (batches, layers).

        Raises
        ------
        GapError
            If any is missing.
        """
        found = self.of(statistic)
        problem = found.problem()
        if problem:
            raise GapError(f"{self.name}: {statistic}: {problem}")
        return found.values

    def layer_means(self, statistic: str) -> np.ndarray:
        """Return each batch's own mean over the layers, shape (batches,); raises like ``complete``."""
        return self.complete(statistic).mean(axis=1)


@dataclass(frozen=True)
class MeasuredStacks:
    """The stacks of all runs, and which of the runs are copies of another one's weights.

    Parameters
    ----------
    by_run : mapping
        The stacks of each (model, revision), in the table's order.
    copies : mapping
        Whose weights each copy carries, by (model, revision); these are in no result.
    """

    by_run: Mapping[tuple[str, str], Sequence[MeasuredStack]]
    copies: Mapping[tuple[str, str], str]

    def of_runs(self, runs: Sequence[tuple[str, str]]) -> list[MeasuredStack]:
        """Return the stacks of some runs, in their order, without the copies among them.

        Raises
        ------
        ValueError
            If a run is no copy and was not measured.
        """
        runs = [tuple(run) for run in runs if tuple(run) not in self.copies]
        absent = [f"{model} {revision}" for model, revision in runs if (model, revision) not in self.by_run]
        if absent:
            raise ValueError(f"the table of batches has no rows of {', '.join(absent)}")
        return [stack for run in runs for stack in self.by_run[run]]

    def checkpoints(self, model: str, revisions: Sequence[str]) -> dict[str, list[MeasuredStack]]:
        """Return the distinct checkpoints of a model by stack, the earliest first.

        Raises
        ------
        ValueError
            If a revision is no copy and was not measured, names no step, or names that of another one.
        """
        found: dict[str, list[MeasuredStack]] = {}
        for stack in self.of_runs([(model, revision) for revision in revisions]):
            found.setdefault(stack.stack, []).append(stack)
        for stacks in found.values():
            steps = [stack.step for stack in stacks]
            if None in steps or len(set(steps)) < len(steps):
                named = ", ".join(f"{stack.revision} ({stack.step})" for stack in stacks)
                raise ValueError(f"{model}: each checkpoint needs a step of its own: {named}")
            stacks.sort(key=lambda stack: stack.step)
        return found


def measured_stacks(
    batches: pd.DataFrame, copies: Mapping[tuple[str, str], str], differing: Mapping[str, Mapping[str, Any]]
) -> MeasuredStacks:
    """Group the rows of ``geometry_batches`` by run and stack.

    Parameters
    ----------
    batches : DataFrame
        Rows of ``geometry_batches``.
    copies : mapping
        As ``origins_of_copies`` returns it.
    differing : mapping
        The settings that are not alike in all runs, by model (``differing_settings``).
    """
    by_run: dict[tuple[str, str], list[MeasuredStack]] = {}
    for (model, revision, kind, stack), rows in batches.groupby(["model", "revision", "kind", "stack"], sort=False):
        step = rows["step"].iloc[0]
        by_run.setdefault((model, revision), []).append(
            MeasuredStack(
                model,
                revision,
                kind,
                stack,
                step=None if pd.isna(step) else int(step),
                rows=dict(iter(rows.groupby("statistic", sort=False))),
                text={key: value for key, value in differing.get(model, {}).items() if key in SAME_TEXT},
            )
        )
    return MeasuredStacks(by_run, copies)


def differing_settings(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the settings of each model that are not alike in all of them; nothing where all are.

    Parameters
    ----------
    settings : mapping
        The settings that each model was measured with.
    """
    found: dict[str, dict[str, Any]] = {}
    first = next(iter(settings.values()), {})
    for key in first:
        if any(of_model[key] != first[key] for of_model in settings.values()):
            for model, of_model in settings.items():
                found.setdefault(model, {})[key] = of_model[key]
    return found


def check_pairs(a: MeasuredStack, b: MeasuredStack, statistic: str, *, equal_rows: bool = True) -> None:
    """Check that the batches of two stacks are pairs: the same text, and as many rows.

    Batches of equal size have equally many rows; type-matched ones have as many as the poorest batch has token types.

    Parameters
    ----------
    a, b : MeasuredStack
        The stacks.
    statistic : str
        What is to be compared.
    equal_rows : bool
        Whether type-matched batches must have equally many rows, without which values of two stacks do not compare.

    Raises
    ------
    GapError
        If they are not; the message says what differs.
    """
    other = [key for key in SAME_TEXT if a.text.get(key) != b.text.get(key)]
    if other:
        raise GapError(f"{a.name} and {b.name} were measured with different {', '.join(other)}")
    values_a, values_b = a.of(statistic), b.of(statistic)
    if not np.array_equal(values_a.batches, values_b.batches):
        raise GapError(f"{a.name} has the batches {_numbers(values_a)}, {b.name} {_numbers(values_b)}")
    sizes = values_a.n_vectors, values_b.n_vectors
    if equal_rows and statistic.endswith(MATCHED) and sizes[0] != sizes[1]:
        raise GapError(f"{a.name} has {sizes[0]} token types in each batch, {b.name} {sizes[1]}")
    if is_dimension(statistic):
        check_distinct((a.name, values_a.n_distinct), (b.name, values_b.n_distinct))


def is_dimension(statistic: str) -> bool:
    """Return whether a statistic depends on the number of distinct vectors, as estimates of dimension do."""
    return statistic.startswith("twonn")


def check_distinct(a: tuple[str, int], b: tuple[str, int]) -> None:
    """Check that two dimensions stand on about as many distinct vectors.

    Parameters
    ----------
    a, b : pair of str and int
        What is compared, and its distinct vectors.

    Raises
    ------
    GapError
        If the smaller number is less than ``LIKE_SIZES`` of the larger one.
    """
    if min(a[1], b[1]) < LIKE_SIZES * max(a[1], b[1]):
        raise GapError(f"{a[0]} has {a[1]} distinct vectors, {b[0]} {b[1]}: dimensions compare at equal N only")


def _numbers(values: LayerValues) -> str:
    return ", ".join(map(str, values.batches))


def read_measured_stacks(batches: Path, duplicates: Path, statistics: Sequence[str]) -> MeasuredStacks:
    """Read some statistics of all runs; each copy, which is in no result, is named in the log.

    Parameters
    ----------
    batches, duplicates : Path
        The tables ``geometry_batches`` and ``duplicate_checkpoints``.
    statistics : sequence of str
        Names of the statistics.
    """
    copies = origins_of_copies(read_table(duplicates).to_pylist())
    table = read_table(batches, _COLUMNS)
    rows = table.filter(pc.is_in(table["statistic"], pa.array(statistics))).to_pandas()
    for model, revision in rows[["model", "revision"]].drop_duplicates().itertuples(index=False):
        if (model, revision) in copies:
            logging.getLogger(__name__).warning(
                "%s: %s is left out: it carries the weights of %s", model, revision, copies[model, revision]
            )
    return measured_stacks(rows, copies, provenance.read(batches)["settings"].get("differing", {}))
