"""Fetch the corpus: a local file, packed or not, or enwik8 from its public home."""

from pathlib import Path

from lm_geometry.corpus.enwik8 import copy_unpacked, fetch_published_enwik8
from lm_geometry.job import run_job


def fetch_enwik8(*, files: list[Path], raw: Path, path: str | None, cache_dir: str) -> None:
    """Write the unpacked corpus.

    Parameters
    ----------
    files : list of Path
        What ``path`` names, for Snakemake to see; not read.
    raw : Path
        Where the unpacked bytes go.
    path : str or None
        A raw dump or plain text, as it is or as .zip, .xz, .gz or .bz2; None for enwik8 from its public home.
    cache_dir : str
        Where the downloaded archive is kept.

    Raises
    ------
    ValueError
        If the file is missing, empty, truncated or damaged, or the download fails or is not enwik8.
    """
    del files
    if path is None:
        fetch_published_enwik8(Path(cache_dir).expanduser(), raw)
        return
    source = Path(path).expanduser()
    if not source.is_file():
        raise ValueError(f"corpus path: {source} is no file; give a text or a MediaWiki XML dump")
    copy_unpacked(source, raw)


if __name__ == "__main__":
    run_job(snakemake, fetch_enwik8)
