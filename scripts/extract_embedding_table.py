"""Extract the token-embedding table of one model revision."""

import logging
from pathlib import Path

from lm_geometry import provenance
from lm_geometry.checkpoints.ledger import read_listing
from lm_geometry.checkpoints.listed_file import CONFIG
from lm_geometry.checkpoints.source import open_revision, parse_source
from lm_geometry.checkpoints.weights import Weights
from lm_geometry.embeddings.table import (
    check_table,
    find_embedding,
    read_config,
    token_texts,
    write_embedding_table,
)
from lm_geometry.job import run_job
from lm_geometry.tables.files import file_sha256


def extract_embedding_table(
    *, listing: Path, tokenizer: Path, table: Path, source: str, revision: str, cache_dir: str
) -> None:
    """Write the input embeddings as stored, widened to float32, with the tokenizer's token of each row.

    Raises
    ------
    ValueError
        If the table cannot be found, does not fit config.json or the tokenizer, or holds NaN or infinity.
    """
    parsed = parse_source(source)
    # A branch on the hub may have moved since it was listed; what was listed is what is read.
    at = provenance.read(listing)["origin"]["commit"] if parsed.kind == "hub" else revision
    weights = Weights(open_revision(parsed, at, cache_dir), read_listing(listing))
    name, matrix = find_embedding(weights)
    check_table(matrix, read_config(weights.local_file(CONFIG)))
    tokens = token_texts(tokenizer, len(matrix))
    untrained = tokens.count(None)
    logging.getLogger(__name__).info("%s: %d x %d, %d rows beyond the tokenizer", name, *matrix.shape, untrained)
    write_embedding_table(
        table,
        matrix,
        tokens,
        inputs=[listing],
        settings={
            "tensor": name,
            "stored_dtype": weights.info(name).dtype,
            "revision": revision,
            "rows_beyond_tokenizer": untrained,
        },
        origin={"tokenizer_sha256": file_sha256(tokenizer)},
    )


if __name__ == "__main__":
    run_job(snakemake, extract_embedding_table)
