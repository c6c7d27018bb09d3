"""Extract the token-embedding table of one model revision."""

import logging
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

from lm_geometry import provenance
from lm_geometry.checkpoints.ledger import read_listing, weights_read
from lm_geometry.checkpoints.model_config import check_config_not_quantized, read_config
from lm_geometry.checkpoints.source import open_revision, parse_source
from lm_geometry.checkpoints.tensors.weights import Weights
from lm_geometry.embeddings.blocks import block_rows
from lm_geometry.embeddings.extraction import (
    check_plain_values,
    check_shape,
    find_embedding,
    refuse_zeros,
    token_texts,
)
from lm_geometry.embeddings.table import write_embedding_table
from lm_geometry.job import run_job
from lm_geometry.tables.files import file_sha256

_VERIFIED = {
    "sha256": "verified by the sha256 of the whole file",
    "crc32": "verified by the crc32 of the tensor",
    "listed": "from a local file that was hashed when it was listed",
    "none": "unverified: only a range was read; set verify: full to check the file's sha256",
}


def extract_embedding_table(
    *,
    listing: Path,
    config: Path,
    tokenizer: Path,
    tokenizer_listing: Path,
    table: Path,
    model: str,
    source: str,
    revision: str,
    cache_dir: str,
    verify: Literal["ranges", "full"],
    embedding_tensor: str | None,
) -> None:
    """Write the input embeddings as stored, widened to float32, with the tokenizer's token of each row.

    Raises
    ------
    ValueError
        If the table cannot be found, is quantized, does not fit config.json or the tokenizer, holds NaN or infinity, or
        zeros alone.
    """
    sizes = read_config(config)
    check_config_not_quantized(sizes)
    parsed = parse_source(source)
    # A branch on the hub may have moved since it was listed; what was listed is what is read.
    at = provenance.read(listing)["origin"]["commit"] if parsed.kind == "hub" else revision
    files = read_listing(listing)
    opened = open_revision(parsed, at, cache_dir)
    weights = Weights(opened, files, verify=verify)
    name = find_embedding(weights, embedding_tensor)
    check_plain_values(weights, name)
    found = weights.info(name)
    check_shape(found, sizes)
    tokens = token_texts(tokenizer, found.shape[0])
    untrained = tokens.count(None)
    checked = weights.verified_by(name)
    # A local file was hashed when it was listed, a moment ago.
    verified = "listed" if checked == "none" and not opened.remote else checked
    blocks = _fetched(refuse_zeros(weights.blocks(name, block_rows(found.shape[1])), name))
    whole = sum(file.size for file in weights_read(files))
    logging.getLogger(__name__).info(
        "%s: %d x %d, %d rows beyond the tokenizer; read %d of the checkpoint's %d bytes, %s",
        *(name, *found.shape, untrained, weights.bytes_read, whole, _VERIFIED[verified]),
    )
    write_embedding_table(
        table,
        blocks,
        found.shape,
        tokens,
        inputs=[listing, tokenizer_listing],
        settings={
            "tensor": name,
            "file": weights.file_of(name),
            "stored_dtype": found.dtype,
            "model": model,
            "revision": revision,
            "rows_beyond_tokenizer": untrained,
            "bytes_read": weights.bytes_read,
            "verified": verified,
        },
        origin={"tokenizer_sha256": file_sha256(tokenizer)},
    )


def _fetched(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Return the same blocks with the first one taken: the tensor is here by then, and the bytes it cost are known."""
    return chain([next(blocks)], blocks)


if __name__ == "__main__":
    run_job(snakemake, extract_embedding_table)
