"""Write the prose as a dump in enwik8's shape, so that the cleaning rule has real work."""

from pathlib import Path

from lm_geometry.demo.dump import write_dump
from lm_geometry.demo.prose import Passage
from lm_geometry.job import run_job
from lm_geometry.tables.files import atomic_path, read_table
from lm_geometry.tables.written_files import write_listing


def make_dump(*, prose: Path, dump: Path, listing: Path) -> None:
    """Write a MediaWiki XML dump with a page per module and per topic, and what made it."""
    passages = [Passage(**row) for row in read_table(prose).to_pylist()]
    with atomic_path(dump) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as output:
        write_dump(passages, output)
    write_listing(listing, [dump], inputs=[prose])


if __name__ == "__main__":
    run_job(snakemake, make_dump)
