"""Draw chunks of equal length from the cleaned corpus."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lm_geometry.corpus import chunks as corpus_chunks
from lm_geometry.corpus.pages import read_pages
from lm_geometry.job import run_job
from lm_geometry.tables import chunks as chunks_table
from lm_geometry.tables.files import file_sha256, write_table
from lm_geometry.tokenizer_file import read_tokenizer


def sample_chunks(
    *,
    clean: Path,
    statistics: Path,
    chunks: Path,
    n_chunks: int,
    seed: int,
    chunk_characters: int | None = None,
    chunk_tokens: int | None = None,
    tokenizer: Sequence[Path] = (),
) -> None:
    """Write ``n_chunks`` chunks of ``chunk_characters`` characters, or of ``chunk_tokens`` tokens, each.

    Parameters
    ----------
    clean, statistics : Path
        The cleaned corpus, and its statistics, whose provenance the chunks inherit.
    chunks : Path
        Where the chunks go, in random order.
    n_chunks, seed : int
        Number, and the seed of the draw.
    chunk_characters, chunk_tokens : int or None
        Length: one of the two, the other is None.
    tokenizer : sequence of Path
        The ``tokenizer.json`` that counts tokens; empty where characters are counted.

    Raises
    ------
    ValueError
        If the corpus holds too few windows of this length; the message gives both numbers.
    """
    length = {"chunk_characters": chunk_characters, "chunk_tokens": chunk_tokens}
    given = {name: value for name, value in length.items() if value is not None}
    if len(given) != 1 or len(tokenizer) != ("chunk_tokens" in given):
        raise ValueError(
            f"give chunk_characters, or chunk_tokens and one tokenizer; got {given} and {len(tokenizer)} tokenizers"
        )
    settings: dict[str, Any] = {**given, "n_chunks": n_chunks, "seed": seed}
    pages = read_pages(clean)
    if chunk_tokens is None:
        drawn = corpus_chunks.sample_chunks(pages, **settings)
    else:
        drawn = corpus_chunks.sample_token_chunks(pages, tokenizer=read_tokenizer(tokenizer[0]), **settings)
        settings["tokenizer_sha256"] = file_sha256(tokenizer[0])
    rows = [{"chunk": number, "page": chunk.page, "text": chunk.text} for number, chunk in enumerate(drawn)]
    write_table(chunks, pa.Table.from_pylist(rows), chunks_table.SCHEMA, inputs=[statistics], settings=settings)


if __name__ == "__main__":
    run_job(snakemake, sample_chunks)
