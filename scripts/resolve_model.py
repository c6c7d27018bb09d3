"""List the files of one model revision, with sizes and digests, before a weight is read."""

from collections.abc import Sequence
from pathlib import Path

from lm_geometry.checkpoints.ledger import (
    embedding_in,
    find_listed,
    listing_digest,
    listing_table,
    mark_weights,
    read_listing,
    verify_file,
)
from lm_geometry.checkpoints.listed_file import CONFIG, ListedFile
from lm_geometry.checkpoints.model_config import check_config_not_quantized, read_config
from lm_geometry.checkpoints.source import Revision, open_revision, parse_source
from lm_geometry.checkpoints.weight_files import choose_entry, entry_file, weight_map
from lm_geometry.job import run_job
from lm_geometry.tables.files import write_table, write_text
from lm_geometry.tables.listing import SCHEMA


def resolve_model(
    *,
    files: list[Path],  # noqa: ARG001
    listing: Path,
    config: Path,
    source: str,
    revision: str,
    cache_dir: str,
    origins: Sequence[Path] = (),
    embedding_tensor: str | None = None,
    weight_files: Sequence[str] | None = None,
) -> None:
    """Write the listing and the config.json of one revision of a folder, file or hub repository.

    Of the revision's content it reads config.json and the index of the shards, where there are any; no weights.

    Parameters
    ----------
    files : list of Path
        The folder's files; they are declared so that a change of theirs lists it again.
    listing, config : Path
        Outputs; the config is an empty object where the source has none.
    source, revision : str
        The folder, file or hub id, and the revision of it.
    cache_dir : str
        Folder of the hub client's cache.
    origins : sequence of Path
        Manifests of the folder, if the pipeline made it: the files must be the ones that were written.
    embedding_tensor : str, optional
        Name of the token-embedding table, where it bears an unusual one.
    weight_files : sequence of str, optional
        Which weights to read where the revision has several, the best first; transformers' order by default. The
        listing gives the others the role 'other', and whoever reads it goes by that.

    Raises
    ------
    ValueError
        If the source or its revision cannot be read, a file is not what the manifest lists, there are no weights in a
        known format or they are quantized, or config.json or the index is damaged.
    """
    found = open_revision(parse_source(source), revision, cache_dir)
    listed = found.listing()
    for manifest in origins:
        _check_unchanged(listed, manifest, source, revision)
    commit = found.commit() or f"sha256:{listing_digest(listed)}"
    if weight_files:
        listed = choose_entry(listed, weight_files)
    marked = mark_weights(listed, _embedding_in(found, listed, embedding_tensor))
    write_text(config, _config_text(found, listed))
    write_table(
        listing,
        listing_table(marked),
        SCHEMA,
        inputs=origins,
        settings={"revision": revision},
        origin={"model_id": found.model_id, "commit": commit},
    )


def _embedding_in(found: Revision, listed: Sequence[ListedFile], tensor: str | None) -> dict[str, bool]:
    """Return the weight files that would be read, and which of them hold the token-embedding table."""
    entry = entry_file(listed)
    if not entry.endswith(".json"):
        return {entry: True}
    shard_of = weight_map(_small_file(found, listed, entry))
    if not shard_of:
        raise ValueError(f"{found.model_id}: {entry} names no tensor: it is damaged; fetch it again")
    absent = sorted(set(shard_of.values()) - {file.path for file in listed})
    if absent:
        raise ValueError(
            f"{found.model_id}: {entry} names {absent[0]}, which is not among the {len(listed)} listed files "
            f"({len(absent)} shards are absent); fetch the model whole"
        )
    return embedding_in(shard_of, tensor)


def _config_text(found: Revision, listed: Sequence[ListedFile]) -> str:
    """Return config.json as it stands, an empty object where there is none."""
    if CONFIG not in {file.path for file in listed}:
        return "{}\n"
    path = _small_file(found, listed, CONFIG)
    check_config_not_quantized(read_config(path))
    # Line ends as they are: the listing has the digest of these bytes.
    return path.read_bytes().decode("utf-8")


def _small_file(found: Revision, listed: Sequence[ListedFile], path: str) -> Path:
    local = found.local_file(path)
    verify_file(local, find_listed(listed, path))
    return local


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
