"""Made-up batches of measured layers, as files and as tables."""

import numpy as np
import pyarrow as pa

from lm_geometry.tables import duplicate_checkpoints
from lm_geometry.tables.files import write_table
from lm_geometry.tables.geometry_batches import ALL_BATCHES, ALL_TOKENS, BATCHES

SETTINGS = {
    "kind": "decoder", "dtype": "float32", "n_batches": 8, "batch_size": 4096, "duplicate_tolerance": 1e-5, "seed": 0,
    "chunks": {"seed": 0}, "hidden_states": "dump", "dropped_tokens": {"decoder": 7},
}  # fmt: skip


def batch_rows(statistic, values, *, stack="decoder", lookup=False, normed=None, n_vectors=4096, n_distinct=4000):
    """Return rows of ``BATCHES`` of one statistic.

    ``values`` has shape (batches, layers), NaN for a gap; ``lookup`` says whether layer 0 is context-free; ``normed``
    holds the values of the copy behind the final norm, shape (batches,).
    """
    values = np.asarray(values, dtype=float)
    columns = [(layer, False, column) for layer, column in enumerate(values.T)]
    if normed is not None:
        columns.append((values.shape[1] - 1, True, np.asarray(normed, dtype=float)))
    return [
        {
            "stack": stack, "layer": layer, "after_final_norm": after, "context_free": lookup and layer == 0,
            "width": 64, "batch": batch, "statistic": statistic, "value": None if np.isnan(value) else value,
            "n_vectors": n_vectors, "n_distinct": n_distinct - layer - batch, "n_used": None,
            "status": f"gap {layer}.{batch}" if np.isnan(value) else "ok",
        }
        for layer, after, column in columns
        for batch, value in enumerate(column)
    ]  # fmt: skip


def token_rows(statistic, values, *, stack="decoder", lookup=False, n_vectors=50_000):
    """Return rows of ``ALL_TOKENS`` of one statistic, a value per layer."""
    return [
        {
            "stack": stack, "layer": layer, "after_final_norm": False, "context_free": lookup and layer == 0,
            "width": 64, "statistic": statistic, "value": value, "n_vectors": n_vectors,
            "status": "ok" if value is not None else "gap",
        }
        for layer, value in enumerate(values)
    ]  # fmt: skip


def write_run(folder, rows, all_tokens=(), **settings):
    """Write the two files of one run and return their paths."""
    paths = folder / "batches.parquet", folder / "all_tokens.parquet"
    for path, found, schema in zip(paths, (rows, all_tokens), (BATCHES, ALL_TOKENS), strict=True):
        table = pa.Table.from_pylist(list(found), schema=schema)
        write_table(path, table, schema, settings={**SETTINGS, **settings}, origin={"commit": "abc"})
    return paths


def of_run(rows, model, *, revision="main", step=None, kind="decoder"):
    """Return rows of ``ALL_BATCHES``: those of one run with its name."""
    run = {"model": model, "suite": "A suite", "kind": kind, "revision": revision, "step": step}
    return [{**run, **row} for row in rows]


def write_batches(path, rows, *, differing=None):
    """Write the table ``geometry_batches``."""
    table = pa.Table.from_pylist(rows, schema=ALL_BATCHES)
    write_table(path, table, ALL_BATCHES, settings={"seed": 0, "differing": differing or {}}, origin={"commit": "abc"})
    return path


def write_duplicates(path, copies=()):
    """Write the table ``duplicate_checkpoints``; ``copies`` holds (model, revision, whose weights it carries)."""
    rows = [
        {"model": model, "source": "a/b", "revision": revision, "is_genuine": origin is None,
         "is_copy": origin is not None, "copy_of": origin, "status": "ok"}
        for model, revision, origin in copies
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=duplicate_checkpoints.SCHEMA)
    write_table(path, table, duplicate_checkpoints.SCHEMA, origin={"commit": "another model's"})
    return path
