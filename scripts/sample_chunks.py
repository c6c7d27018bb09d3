"""Draw chunks of equal length from the cleaned corpus."""

from pathlib import Path

import pyarrow as pa

from lm_geometry.corpus import chunks as corpus_chunks
from lm_geometry.corpus.pages import read_pages
from lm_geometry.job import run_job
from lm_geometry.tables import chunks as chunks_table
from lm_geometry.tables.files import write_table


def sample_chunks(
    *, clean: Path, statistics: Path, chunks: Path, chunk_characters: int, n_chunks: int, seed: int
) -> None:
    """Write ``n_chunks`` chunks of ``chunk_characters`` characters each.

    Parameters
    ----------
    clean, statistics : Path
        The cleaned corpus, and its statistics, whose provenance the chunks inherit.
    chunks : Path
        Where the chunks go, in random order.
    chunk_characters, n_chunks, seed : int
        Length, number, and the seed of the draw.

    Raises
    ------
    ValueError
        If the corpus holds too few windows of this length; the message gives both numbers.
    """
    drawn = corpus_chunks.sample_chunks(
        read_pages(clean), chunk_characters=chunk_characters, n_chunks=n_chunks, seed=seed
    )
    rows = [{"chunk": number, "page": chunk.page, "text": chunk.text} for number, chunk in enumerate(drawn)]
    write_table(
        chunks,
        pa.Table.from_pylist(rows),
        chunks_table.SCHEMA,
        inputs=[statistics],
        settings={"chunk_characters": chunk_characters, "n_chunks": n_chunks, "seed": seed},
    )


if __name__ == "__main__":
    run_job(snakemake, sample_chunks)
