"""Fetch the corpus: a local file, packed or not, or enwik8 from its public home."""

from collections.abc import Sequence
from pathlib import Path

from lm_geometry.corpus.enwik8 import copy_unpacked, fetch_published_enwik8
from lm_geometry.job import run_job
from lm_geometry.tables.files import file_sha256
from lm_geometry.tables.written_files import write_listing


def fetch_enwik8(
    *,
    files: list[Path],
    raw: Path,
    listing: Path,
    path: str | None,
    cache_dir: str,
    origins: Sequence[Path] = (),
) -> None:
    """Write the unpacked corpus, and its digest.

    Parameters
    ----------
    files : list of Path
        What ``path`` names, for Snakemake to see; not read.
    raw, listing : Path
        Where the unpacked bytes go, and the table that says what they are.
    path : str or None
        A raw dump or plain text, as it is or as .zip, .xz, .gz or .bz2; None for enwik8 from its public home.
    cache_dir : str
        Where the downloaded archive is kept.
    origins : sequence of Path
        The table beside the file, if the pipeline made it.

    Raises
    ------
    ValueError
        If the file is missing, empty, truncated or damaged, or the download fails or is not enwik8.
    """
    del files
    if path is None:
        fetch_published_enwik8(Path(cache_dir).expanduser(), raw)
    else:
        source = Path(path).expanduser()
        if not source.is_file():
            raise ValueError(f"corpus path: {source} is no file; give a text or a MediaWiki XML dump")
        copy_unpacked(source, raw)
    write_listing(listing, [raw], inputs=origins, origin={"corpus_sha256": file_sha256(raw)})


if __name__ == "__main__":
    run_job(snakemake, fetch_enwik8)
