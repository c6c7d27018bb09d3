"""The ledger of all models and revisions: what they weigh, and what had to be read of them. A contract with users."""

import pyarrow as pa

from lm_geometry.tables.schema import column

SCHEMA = pa.schema(
    [
        column("model", pa.string(), "the user's name of the model"),
        column("suite", pa.string(), "suite of the model"),
        column("source", pa.string(), "where the model comes from, as the config names it"),
        column("revision", pa.string(), "revision of the model"),
        column("step", pa.int64(), "training step read from the revision's name", unit="steps", nullable=True),
        column("commit", pa.string(), "commit of the revision; of a folder, a digest over its files"),
        column("weight_format", pa.string(), "safetensors, or bin for torch's own formats: the one that is read"),
        column("n_weight_files", pa.int32(), "weight files of that format", unit="files"),
        column("checkpoint_bytes", pa.int64(), "size of these files", unit="bytes"),
        column(
            "embedding_bytes_read",
            pa.int64(),
            "bytes of the weight files and their index that were read for the embedding table; null, as are the next "
            "six columns, where none was extracted",
            unit="bytes",
            nullable=True,
        ),
        column("embedding_file", pa.string(), "weight file that holds the embedding table", nullable=True),
        column("embedding_tensor", pa.string(), "name of the embedding table in it", nullable=True),
        column("vocab_rows", pa.int32(), "rows of the embedding table", unit="rows", nullable=True),
        column("width", pa.int32(), "columns of the embedding table", unit="components", nullable=True),
        column(
            "rows_beyond_tokenizer",
            pa.int32(),
            "rows that no text can reach; they were never trained",
            unit="rows",
            nullable=True,
        ),
        column(
            "verified",
            pa.string(),
            "what the bytes read were checked against: sha256 (of the whole file), crc32 (of the tensor), listed (a "
            "local file, hashed when it was listed), or none",
            nullable=True,
        ),
        column(
            "duplicate_of",
            pa.string(),
            "revisions whose weights, or a file of them, this one carries; null for a revision that is no copy",
            nullable=True,
        ),
        column(
            "published_defect",
            pa.string(),
            "of a revision that was published to be a copy: confirmed (by the digests), not confirmed, not in this run "
            "(what it equals), or cannot be compared",
            nullable=True,
        ),
    ]
)
