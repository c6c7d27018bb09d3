"""From a collection to its tables of texts and judgements."""

import pyarrow as pa

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
