"""Count the tokens of all texts of a collection."""

import hashlib
from pathlib import Path

import pyarrow as pa

from lm_geometry.job import run_job
from lm_geometry.retrieval.tokenization import count_tokens, counts_to_table, load_tokenizer
from lm_geometry.tables.files import read_table, write_table
from lm_geometry.tables.token_counts import SCHEMA
from lm_geometry.tokenizer_file import encoding_errors


def tokenize_collection(
    *, corpus: Path, queries: Path, tokenizer: Path, tokenizer_listing: Path, counts: Path, max_length: int
) -> None:
    """Write the token counts of ``corpus`` and ``queries`` under ``tokenizer``, a ``tokenizer.json``.

    Raises
    ------
    ValueError
        If the tokenizer cannot be read, cannot encode a text, or makes no token of any text of a side.
    """
    loaded = load_tokenizer(tokenizer, max_length=max_length)
    with encoding_errors(tokenizer):
        sides = [
            counts_to_table(count_tokens(read_table(path, ["text"])["text"].to_pylist(), loaded), side)
            for side, path in (("corpus", corpus), ("queries", queries))
        ]
    for side, path in zip(sides, (corpus, queries), strict=True):
        if not side.num_rows:
            raise ValueError(f"{tokenizer}: it makes no token of any text in {path}; set `tokenizer` to another source")
    write_table(
        counts,
        pa.concat_tables(sides),
        SCHEMA,
        inputs=[corpus, queries, tokenizer_listing],
        settings={"max_length": max_length},
        origin={"tokenizer_sha256": hashlib.sha256(tokenizer.read_bytes()).hexdigest()},
    )


if __name__ == "__main__":
    run_job(snakemake, tokenize_collection)
