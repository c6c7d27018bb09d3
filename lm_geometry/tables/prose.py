"""English prose read from the standard library of the running Python."""

import pyarrow as pa

from lm_geometry.tables.schema import column

SCHEMA = pa.schema(
    [
        column("source", pa.string(), "module the text was found in, or 'pydoc_data.topics'"),
        column("name", pa.string(), "qualified name of the documented object, or the topic"),
        column("text", pa.string(), "the docstring, indentation cleaned, or the topic's text"),
    ]
)
