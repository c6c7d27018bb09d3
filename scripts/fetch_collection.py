"""Fetch a judged retrieval collection: an MTEB task, or a folder in BEIR shape."""

import logging
from collections.abc import Sequence
from pathlib import Path

from lm_geometry.job import run_job
from lm_geometry.retrieval.collection import Collection, load_mteb_task, read_beir_folder
from lm_geometry.retrieval.collection_tables import judgements_table, texts_table
from lm_geometry.tables.collection import JUDGEMENTS, TEXTS
from lm_geometry.tables.files import write_table


def fetch_collection(
    *,
    files: list[Path],  # noqa: ARG001 - declares what the collection depends on
    corpus: Path,
    queries: Path,
    judgements: Path,
    collection: str,
    path: str | None,
    lowercase: bool,
    origins: Sequence[Path] = (),
) -> None:
    """Write the texts and judgements of ``collection``; ``path`` is a folder in BEIR shape, None for an MTEB task.

    ``origins`` are tables that the pipeline made the folder from; their facts are inherited.
    """
    found = load_mteb_task(collection) if path is None else read_beir_folder(Path(path).expanduser())
    if lowercase:
        found = found.lowercase()
    _report_unknown_ids(found, collection)
    facts = {
        "inputs": origins,
        "origin": {"collection_sha256": found.sha256(), **found.origin},
        "settings": {
            "collection": collection,
            "lowercase": lowercase,
            "ignore_identical_ids": found.ignore_identical_ids,
        },
    }
    write_table(corpus, texts_table(found.documents), TEXTS, **facts)
    write_table(queries, texts_table(found.queries), TEXTS, **facts)
    write_table(judgements, judgements_table(found), JUDGEMENTS, **facts)


def _report_unknown_ids(found: Collection, name: str) -> None:
    for kind, unknown in zip(("queries", "documents"), found.unknown_ids(), strict=True):
        if unknown:
            logging.getLogger(__name__).warning(
                "collection '%s': judgements name %d %s that it lacks, such as '%s'; unknown queries are left out, "
                "unknown relevant documents count as not found",
                *(name, len(unknown), kind, unknown[0]),
            )


if __name__ == "__main__":
    run_job(snakemake, fetch_collection)
