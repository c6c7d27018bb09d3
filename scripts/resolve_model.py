"""List the files of one model revision, with sizes and digests, before a weight is read."""

from pathlib import Path

from lm_geometry.checkpoints.ledger import listing_digest, listing_table
from lm_geometry.checkpoints.source import open_revision, parse_source
from lm_geometry.job import run_job
from lm_geometry.tables.files import write_table
from lm_geometry.tables.listing import SCHEMA


def resolve_model(*, files: list[Path], listing: Path, source: str, revision: str) -> None:  # noqa: ARG001
    """Write the listing of one revision of a folder or hub repository.

    ``files`` are the folder's files; they are declared so that a change of theirs lists it again.
    """
    found = open_revision(parse_source(source), revision)
    listed = found.listing()
    commit = found.commit() or f"sha256:{listing_digest(listed)}"
    write_table(
        listing,
        listing_table(listed),
        SCHEMA,
        settings={"revision": revision},
        origin={"model_id": found.model_id, "commit": commit},
    )


if __name__ == "__main__":
    run_job(snakemake, resolve_model)
