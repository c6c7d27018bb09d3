"""From a collection to its tables of texts and judgements, and what they say of its settings."""

from pathlib import Path

import pyarrow as pa

from lm_geometry import provenance
from lm_geometry.retrieval.collection import Collection
from lm_geometry.tables import collection as tables


def texts_table(texts: dict[str, str]) -> pa.Table:
    """Return texts by id as a table of the ``TEXTS`` schema."""
    return pa.table({"id": list(texts), "text": list(texts.values())}, schema=tables.TEXTS)


def judgements_table(collection: Collection) -> pa.Table:
    """Return the judgements as a table of the ``JUDGEMENTS`` schema."""
    rows = [
        {"query_id": query, "document_id": document, "relevance": relevance}
        for query, relevances in collection.judgements.items()
        for document, relevance in relevances.items()
    ]
    return pa.Table.from_pylist(rows, schema=tables.JUDGEMENTS)


def ignores_identical_ids(judgements: Path, key: bool | None) -> bool:
    """Say whether a document with the query's own id is left out when a collection is scored.

    Parameters
    ----------
    judgements : Path
        The collection's table of judgements, which carries the MTEB task's own attribute in its provenance.
    key : bool or None
        What the user says; None where that attribute decides, which is false for a folder.
    """
    return provenance.read(judgements)["settings"]["ignore_identical_ids"] if key is None else key
