"""Tokenize the prose once for all models that share a tokenizer."""

from pathlib import Path

import pyarrow as pa

from lm_geometry.demo.token_streams import choose_heldout
from lm_geometry.job import run_job
from lm_geometry.tables.files import file_sha256, read_table, write_table
from lm_geometry.tables.prose_tokens import SCHEMA


def tokenize_prose(*, prose: Path, tokenizer: Path, tokenizer_listing: Path, tokens: Path) -> None:
    """Write the token ids of every text, and which texts are held out from training."""
    from tokenizers import Tokenizer

    texts = read_table(prose, columns=["text"])["text"].to_pylist()
    encoded = Tokenizer.from_file(str(tokenizer)).encode_batch(texts, add_special_tokens=False)
    rows = pa.table(
        {
            "text": pa.array(range(len(texts)), pa.int32()),
            "heldout": choose_heldout(texts),
            "token_ids": pa.array([encoding.ids for encoding in encoded], pa.list_(pa.int32())),
        }
    )
    digest = {"tokenizer_sha256": file_sha256(tokenizer)}
    write_table(tokens, rows, SCHEMA, inputs=[prose, tokenizer_listing], origin=digest)


if __name__ == "__main__":
    run_job(snakemake, tokenize_prose)
