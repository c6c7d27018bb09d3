"""Batches of measured layers into means: layer by layer, and over the layers of each stack."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lm_geometry.measured_stacks import layer_values
from lm_geometry.statistics.intervals import t_interval
from lm_geometry.tables.geometry_batches import OK
from lm_geometry.tables.geometry_statistics import (
    DECIMATED,
    FIT_GAP,
    LOG_MU_VARIATION,
    MATCHED,
    NO_SINGLE_DIMENSION,
    ONE_DIMENSION,
    SINGLE_DIMENSION,
    TWONN_020,
    TWONN_090,
    TWONN_MLE,
)

PLACE = ("stack", "layer", "after_final_norm", "context_free", "width")
"""The columns that name a layer."""

LABELLED = (TWONN_090, TWONN_020, TWONN_MLE, *DECIMATED.values(), FIT_GAP, LOG_MU_VARIATION)
"""The statistics of a cloud's own dimension, which are labelled; each with the ending ``MATCHED`` too."""

_Row = Mapping[str, Any]


def summarize_layers(batches: Sequence[_Row], all_tokens: Sequence[_Row]) -> list[dict[str, Any]]:
    """Return one record per layer and statistic of a run, layer by layer.

    Parameters
    ----------
    batches, all_tokens : sequences of mappings
        Rows of ``BATCHES`` and of ``ALL_TOKENS``.

    Returns
    -------
    list of dict
        The columns of ``SUMMARY`` that follow from the rows. ``label`` is by the layer's mean ``fit_gap`` and
        ``log_mu_variation`` of the same rows, all or type-matched, and None where either has no value.

    Raises
    ------
    ValueError
        If a statistic of all tokens has no batches.
    """
    groups: dict[tuple, list[_Row]] = {}
    for row in batches:
        groups.setdefault(_key(row), []).append(row)
    whole = {_key(row): row for row in all_tokens}
    orphans = [key for key in whole if key not in groups]
    if orphans:
        raise ValueError(f"{len(orphans)} statistics of all tokens have no batches, the first is {orphans[0]}")
    # A stable sort: the statistics of a layer keep the order in which they were measured.
    records = {
        key: {
            **dict(zip((*PLACE, "statistic"), key, strict=True)),
            **summarize(groups[key]),
            "value_all_tokens": whole[key]["value"] if key in whole else None,
            "n_all_tokens": whole[key]["n_vectors"] if key in whole else None,
        }
        for key in sorted(groups, key=lambda group: group[: len(PLACE)])
    }
    for (*place, statistic), record in records.items():
        record["label"] = _label(records, tuple(place), statistic)
    return list(records.values())


def _key(row: _Row) -> tuple:
    return (*(row[name] for name in PLACE), row["statistic"])


def _label(records: Mapping[tuple, _Row], place: tuple, statistic: str) -> str | None:
    """Return whether one dimension describes the cloud of a statistic; None for other statistics than dimensions."""
    ending = MATCHED if statistic.endswith(MATCHED) else ""
    if statistic.removesuffix(MATCHED) not in LABELLED:
        return None
    found = (records.get((*place, name + ending), {}) for name in (FIT_GAP, LOG_MU_VARIATION))
    values = [record.get("value") for record in found]
    if None in values:
        return None
    low, high = SINGLE_DIMENSION
    return ONE_DIMENSION if all(low <= value <= high for value in values) else NO_SINGLE_DIMENSION


def summarize(batches: Sequence[_Row]) -> dict[str, Any]:
    """Return mean, deviation and 95 % interval over the batches of one statistic.

    Parameters
    ----------
    batches : sequence of mappings
        Rows of ``BATCHES`` that differ in batch only. If any has no value there is no mean: leaving it out would
        compare different text.
    """
    missing = [f"batch {row['batch']}: {row['status']}" for row in batches if row["value"] is None]
    status = f"{len(missing)} of {len(batches)} batches have no value: {'; '.join(missing)}" if missing else OK
    used = [row["n_used"] for row in batches if row["n_used"] is not None]
    return {
        **({} if missing else summarize_values(np.array([row["value"] for row in batches]))),
        "n_batches": len(batches),
        "n_vectors": min(row["n_vectors"] for row in batches),
        "n_distinct": min(row["n_distinct"] for row in batches),
        "n_used": min(used, default=None),
        "status": status,
    }


def summarize_values(values: np.ndarray) -> dict[str, float]:
    """Return mean, deviation and 95 % t interval of independent values, shape (n,); the mean only of one value."""
    summary = {"value": float(values.mean())}
    if values.size > 1:
        summary["std"] = float(values.std(ddof=1))
        summary["ci_low"], summary["ci_high"] = t_interval(values)
    return summary


def average_layers(batches: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield one record per stack and statistic of a run: the mean over its layers, with the spread over batches.

    The mean over layers is each batch's own, so that the interval knows what layers of the same text have in common.

    Parameters
    ----------
    batches : DataFrame
        Rows of ``BATCHES`` of one run; see ``measured_stacks`` for the layers that count.

    Raises
    ------
    ValueError
        If a statistic was not measured in all layers of its stack.
    """
    for stack, of_stack in batches.groupby("stack", sort=False):
        found = {name: layer_values(rows) for name, rows in of_stack.groupby("statistic", sort=False)}
        layers = np.unique(np.concatenate([values.layers for values in found.values() if values]))
        for statistic, values in found.items():
            if values is None or values.layers.size < layers.size:
                n_layers = 0 if values is None else values.layers.size
                raise ValueError(f"{statistic} was measured in {n_layers} of {layers.size} layers of the {stack}")
            problem = values.problem()
            yield {
                "stack": stack,
                "statistic": statistic,
                **({} if problem else summarize_values(values.values.mean(axis=1))),
                "n_layers": layers.size,
                "n_batches": values.batches.size,
                "n_distinct": values.n_distinct,
                "status": problem or OK,
            }
