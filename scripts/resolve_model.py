"""List the files of one model revision, with sizes and digests, before a weight is read."""

from collections.abc import Sequence
from pathlib import Path

from lm_geometry.checkpoints.ledger import listing_digest, listing_table, read_listing
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.checkpoints.source import open_revision, parse_source
from lm_geometry.job import run_job
from lm_geometry.tables.files import write_table
from lm_geometry.tables.listing import SCHEMA


def resolve_model(
    *,
    files: list[Path],  # noqa: ARG001
    listing: Path,
    source: str,
    revision: str,
    origins: Sequence[Path] = (),
) -> None:
    """Write the listing of one revision of a folder or hub repository.

    Parameters
    ----------
    files : list of Path
        The folder's files; they are declared so that a change of theirs lists it again.
    listing : Path
        Output.
    source, revision : str
        The folder or hub id, and the revision of it.
    origins : sequence of Path
        Manifests of the folder, if the pipeline made it: the files must be the ones that were written.

    Raises
    ------
    ValueError
        If the source or its revision cannot be read, or a file is not what the manifest lists.
    """
    found = open_revision(parse_source(source), revision)
    listed = found.listing()
    for manifest in origins:
        _check_unchanged(listed, manifest, source, revision)
    commit = found.commit() or f"sha256:{listing_digest(listed)}"
    write_table(
        listing,
        listing_table(listed),
        SCHEMA,
        inputs=origins,
        settings={"revision": revision},
        origin={"model_id": found.model_id, "commit": commit},
    )


def _check_unchanged(listed: Sequence[ListedFile], manifest: Path, source: str, revision: str) -> None:
    written = {file.path: file.sha256 for file in read_listing(manifest) if file.path.startswith(f"{revision}/")}
    present = {f"{revision}/{file.path}": file.sha256 for file in listed}
    changed = sorted(path for path in written.keys() | present.keys() if written.get(path) != present.get(path))
    if changed:
        raise ValueError(
            f"{source}: {', '.join(changed)}: not what {manifest} lists; remove the manifest and run again to make the "
            "model anew"
        )


if __name__ == "__main__":
    run_job(snakemake, resolve_model)
