"""Have the files of one model revision on this machine that a forward pass needs."""

from pathlib import Path, PurePosixPath

from lm_geometry import provenance
from lm_geometry.checkpoints.ledger import find_listed, listing_table, read_listing, verify_file
from lm_geometry.checkpoints.listed_file import CONFIG
from lm_geometry.checkpoints.source import FolderRevision, open_revision, parse_source
from lm_geometry.checkpoints.weights import weight_files
from lm_geometry.job import run_job
from lm_geometry.tables.files import write_table
from lm_geometry.tables.listing import SCHEMA


def fetch_checkpoint(*, listing: Path, checkpoint: Path, source: str, revision: str, cache_dir: str) -> None:
    """Write which files a forward pass needs and, as the setting ``folder``, where they lie.

    A folder's files stay where they are. From the hub, config.json and one weight format are downloaded into
    ``cache_dir``: safetensors where there are any, else ``.bin``.
    """
    parsed = parse_source(source)
    at = provenance.read(listing)["origin"]["commit"] if parsed.kind == "hub" else revision
    found = open_revision(parsed, at, cache_dir)
    files = read_listing(listing)
    needed = [find_listed(files, path) for path in [CONFIG, *weight_files(files, found.local_file)]]
    if isinstance(found, FolderRevision):
        folder = found.location
    else:
        for file in needed:
            verify_file(found.local_file(file.path), file)
        cached = found.local_file(CONFIG).parent
        folder = str(PurePosixPath(cache_dir) / cached.absolute().relative_to(Path(cache_dir).expanduser().absolute()))
    write_table(
        checkpoint,
        listing_table(needed),
        SCHEMA,
        inputs=[listing],
        settings={"folder": folder, "revision": revision},
    )


if __name__ == "__main__":
    run_job(snakemake, fetch_checkpoint)
