"""A judged retrieval collection: documents, queries and relevance judgements, one table each."""

import pyarrow as pa

from lm_geometry.tables.schema import column

TEXTS = pa.schema(
    [
        column("id", pa.string(), "id of the document or query, unique in its table"),
        column("text", pa.string(), "the text to embed: (title + ' ' + text).strip() of a document, a query as it is"),
    ]
)
JUDGEMENTS = pa.schema(
    [
        column("query_id", pa.string(), "id of the query"),
        column("document_id", pa.string(), "id of the judged document"),
        column("relevance", pa.int32(), "judged relevance; 0 = judged and not relevant"),
    ]
)
