"""Collect how each model's embedding table nears its final one over training."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lm_geometry import provenance
from lm_geometry.checkpoints.duplicates import groups_of_tables, origins_of_copies
from lm_geometry.job import run_job
from lm_geometry.statistics.paired import paired_t
from lm_geometry.tables.embedding_training import OK, SCHEMA
from lm_geometry.tables.files import read_table, write_csv, write_table

METRICS = ("ndcg_at_10", "map_at_100")
VARIANT = "as_is"
DROP = "drop"

_Row = dict[str, Any]


def collect_embedding_training(
    *,
    statistics: list[Path],
    scores: list[Path],
    query_scores: list[Path],
    final_query_scores: list[Path],
    duplicates: Path,
    table: Path,
    csv: Path,
    models: list[Mapping[str, Any]],
    on_duplicate_checkpoint: str,
) -> None:
    """Write one row per model, revision and statistic, as Parquet and CSV.

    Parameters
    ----------
    statistics : list of Path
        What ``compare_embedding_tables`` wrote of each entry of ``models``, in its order.
    scores, query_scores : list of Path
        Retrieval scores of each entry, and of single queries; of these the variant ``as_is``.
    final_query_scores : list of Path
        Scores of single queries of each entry's final revision.
    duplicates : Path
        The revisions that carry the same weights.
    table, csv : Path
        Outputs.
    models : list of mappings
        One entry per model and revision: model, suite, revision, step (None where the revision names none),
        final_revision.
    on_duplicate_checkpoint : str
        'drop' leaves the rows of copies out; else they are marked.

    Raises
    ------
    ValueError
        If the files are not one of each kind per entry, or hold other revisions' scores or other queries than the
        final revision's.
    """
    kinds = {
        "statistics": statistics,
        "scores": scores,
        "query_scores": query_scores,
        "final_query_scores": final_query_scores,
    }
    for name, paths in kinds.items():
        if len(paths) != len(models):
            raise ValueError(f"{len(models)} models and revisions need as many {name}, got {len(paths)}")
    copies = origins_of_copies(groups_of_tables(read_table(duplicates).to_pylist()))
    rows: list[_Row] = []
    for entry, *paths in zip(models, *kinds.values(), strict=True):
        duplicate_of = copies.get((entry["model"], entry["revision"]))
        if duplicate_of and on_duplicate_checkpoint == DROP:
            _say_left_out(entry, duplicate_of)
            continue
        facts = {key: entry[key] for key in ("model", "suite", "revision", "step", "final_revision")}
        rows += [{**facts, **row, "duplicate_of": duplicate_of} for row in _rows(entry, *paths)]
    collected = pa.Table.from_pylist(rows, schema=SCHEMA)
    settings = {**provenance.shared_settings(statistics), "on_duplicate_checkpoint": on_duplicate_checkpoint}
    # Without the duplicates' origin, which is every revision that was listed, followed or not.
    inputs = [path for paths in kinds.values() for path in paths]
    write_table(table, collected, SCHEMA, inputs=inputs, settings=settings)
    write_csv(csv, collected)


def _say_left_out(entry: Mapping[str, Any], duplicate_of: str) -> None:
    logging.getLogger(__name__).warning(
        "%s: %s is left out: it carries the weights of %s", entry["model"], entry["revision"], duplicate_of
    )


def _rows(
    entry: Mapping[str, Any], statistics: Path, scores: Path, queries: Path, final_queries: Path
) -> Iterator[_Row]:
    """Yield the rows of one model and revision: of its table, its scores, and their differences to the final ones."""
    found = _scores(scores, entry)
    collection = found[METRICS[0]]["collection"]
    for row in read_table(statistics).to_pylist():
        yield {"collection": collection, **{key: row[key] for key in ("statistic", "value", "n", "status")}}
    differences = _differences(
        _query_scores(queries, entry, "revision"), _query_scores(final_queries, entry, "final_revision"), queries
    )
    for metric in METRICS:
        row = found[metric]
        values = {key: row[key] for key in ("value", "ci_low", "ci_high", "status")}
        yield {"collection": collection, "statistic": metric, "n": row["n_queries"], **values}
        yield {"collection": collection, "statistic": f"{metric}_difference", **differences[metric]}


def _scores(path: Path, entry: Mapping[str, Any]) -> dict[str, _Row]:
    """Return the scores of the table as it is, by metric."""
    rows = read_table(path).to_pylist()
    _require_revision(path, {(row["model"], row["revision"]) for row in rows}, entry["model"], entry["revision"])
    found = {row["metric"]: row for row in rows if row["variant"] == VARIANT}
    missing = [metric for metric in METRICS if metric not in found]
    if missing:
        raise ValueError(f"{path}: holds no {', '.join(missing)} of the variant {VARIANT}")
    return found


def _query_scores(path: Path, entry: Mapping[str, Any], revision: str) -> dict[str, np.ndarray]:
    """Return the metrics of each query, shape (metrics,), of the table as it is, by query id."""
    rows = read_table(path, columns=["model", "revision", "variant", "query_id", *METRICS]).to_pylist()
    _require_revision(path, {(row["model"], row["revision"]) for row in rows}, entry["model"], entry[revision])
    chosen = [row for row in rows if row["variant"] == VARIANT]
    return {row["query_id"]: np.array([row[metric] for metric in METRICS]) for row in chosen}


def _require_revision(path: Path, found: set[tuple[str, str]], model: str, revision: str) -> None:
    if found != {(model, revision)}:
        raise ValueError(f"{path}: holds scores of {sorted(found)}, and not of {model} at {revision}")


def _differences(scores: Mapping[str, np.ndarray], final: Mapping[str, np.ndarray], path: Path) -> dict[str, _Row]:
    """Return each metric's mean difference to the final table's over the same queries, with its t interval."""
    if scores.keys() != final.keys() or not scores:
        raise ValueError(
            f"{path}: {len(scores)} queries are scored, and {len(final)} of the final revision; "
            f"{len(scores.keys() & final.keys())} are the same, and all are needed"
        )
    queries = sorted(scores)
    differences = np.array([scores[query] - final[query] for query in queries])
    if len(queries) < 2:
        return {metric: _row(value, None, None, 1) for metric, value in zip(METRICS, differences[0], strict=True)}
    test = paired_t(differences)
    return {
        metric: _row(*values, len(queries))
        for metric, *values in zip(METRICS, test.mean, test.low, test.high, strict=True)
    }


def _row(value: float, low: float | None, high: float | None, n: int) -> _Row:
    return {"value": value, "ci_low": low, "ci_high": high, "n": n, "status": OK}


if __name__ == "__main__":
    run_job(snakemake, collect_embedding_training)
