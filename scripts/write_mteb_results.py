"""Write the scores as MTEB result files, in the layout that ``mteb.ResultCache`` reads."""

import logging
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm_geometry import provenance
from lm_geometry.job import run_job
from lm_geometry.retrieval.mteb_results import (
    ScoredTable,
    ScoredTask,
    model_meta,
    scored_tables,
    scored_task,
    task_result,
)
from lm_geometry.tables.files import atomic_folder, file_sha256, read_table, write_table
from lm_geometry.tables.mteb_results import SCHEMA


def write_mteb_results(*, scores: Path, folder: Path, manifest: Path, collection: str) -> None:
    """Write a result file for every scored table of ``scores``, and the list of them.

    ``mteb.ResultCache(folder).load_results()`` loads them. What has no scores, as its status says, has no file.
    """
    facts = provenance.read(scores)
    tables, without = scored_tables(read_table(scores).to_pylist())
    if without:
        logging.getLogger(__name__).info("%d of %d tables have no scores", without, without + len(tables))
    task = scored_task(collection, facts["origin"])
    with atomic_folder(folder) as temporary:
        rows = list(_write(tables, task, temporary, max_length=facts["settings"]["max_length"]))
    settings = {"collection": collection, "tables_without_scores": without}
    write_table(manifest, pa.Table.from_pylist(rows, schema=SCHEMA), SCHEMA, inputs=[scores], settings=settings)


def _write(tables: list[ScoredTable], task: ScoredTask, folder: Path, *, max_length: int) -> Iterator[dict[str, Any]]:
    """Write the files and yield their rows of the manifest."""
    from mteb.cache import ResultCache

    cache, version = ResultCache(folder), metadata.version("mteb")
    for table in tables:
        result, meta = task_result(table, task, version), model_meta(table, max_length=max_length)
        cache.save_to_cache(result, meta)
        path = cache.get_task_result_path(task.name, meta)
        yield {
            **{name: table.keys[name] for name in SCHEMA.names if name in table.keys},
            "path": path.relative_to(folder).as_posix(),
            "sha256": file_sha256(path),
            "task": task.name,
            "mteb_model": table.name,
        }


if __name__ == "__main__":
    run_job(snakemake, write_mteb_results)
