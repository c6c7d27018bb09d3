"""Hidden states: one file per layer, and a manifest that lists them."""

import pyarrow as pa

from lm_geometry.tables.schema import column, vector


def layer_schema(width: int) -> pa.Schema:
    """Return the schema of one layer's file, ``width`` components per vector; rows are alike in every layer."""
    return pa.schema(
        [
            column("chunk", pa.int32(), "chunk that the token stands in"),
            column("position", pa.int32(), "position in the chunk's token sequence, from 0, special tokens counted"),
            column("token_id", pa.int32(), "token id"),
            column("special", pa.bool_(), "true for special tokens that the tokenizer added"),
            vector(width, "hidden state, float32"),
        ]
    )


MANIFEST = pa.schema(
    [
        column("file", pa.string(), "file name in the dump's folder"),
        column("stack", pa.string(), "'encoder' or 'decoder'"),
        column("layer", pa.int32(), "0 = embeddings, L = output of the last block"),
        column("after_final_norm", pa.bool_(), "true for the copy of layer L behind the model's final norm"),
        column(
            "context_free",
            pa.bool_(),
            "true where vectors depend on their token only: no position in them",
        ),
        column("n_rows", pa.int64(), "vectors in the file", unit="vectors"),
        column("width", pa.int32(), "components per vector"),
        column("size", pa.int64(), "size of the file", unit="bytes"),
        column("sha256", pa.string(), "digest of the file"),
    ]
)
