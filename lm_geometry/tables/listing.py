"""The ledger: the files of one model revision, with sizes and digests, before a weight is read."""

import pyarrow as pa

from lm_geometry.tables.schema import column

SCHEMA = pa.schema(
    [
        column("path", pa.string(), "path of the file inside the repository or folder, '/' between parts"),
        column("role", pa.string(), "config, tokenizer, weights, index, code or other"),
        column("size", pa.int64(), "size of the file", unit="bytes"),
        column("sha256", pa.string(), "digest of the file; null where the source lists none", nullable=True),
        column(
            "holds_embedding",
            pa.bool_(),
            "whether a weight file of the format that would be read holds the token-embedding table, by the names in "
            "the index; null for all other files",
            nullable=True,
        ),
    ]
)
