"""Have the files of one model revision on this machine that a forward pass needs."""

from pathlib import Path

from lm_geometry import provenance
from lm_geometry.checkpoints.hub.whole_files import CachedRevision
from lm_geometry.checkpoints.ledger import listing_table, read_listing
from lm_geometry.checkpoints.model_config import read_config
from lm_geometry.checkpoints.source import open_revision, parse_source
from lm_geometry.checkpoints.weight_files import checkpoint_files
from lm_geometry.hidden_states import check_can_be_built
from lm_geometry.job import run_job
from lm_geometry.tables.files import write_table
from lm_geometry.tables.listing import SCHEMA


def fetch_checkpoint(
    *,
    listing: Path,
    config: Path,
    checkpoint: Path,
    source: str,
    revision: str,
    cache_dir: str,
    trust_remote_code: bool = False,
    keep_checkpoint: bool = True,
) -> None:
    """Write which files a forward pass needs and, as the setting ``folder``, where they lie; None for the hub's cache.

    A folder's files stay where they are. From the hub, the settings and one weight format are downloaded into
    ``cache_dir``: safetensors where there are any, else ``.bin``; the repository's Python files only if they are
    trusted. A checkpoint that is not kept is downloaded by the job that needs it, right before: jobs of this kind run
    ahead, and the disk would fill.

    Raises
    ------
    ValueError
        If the hub refuses or a file is not the one that was listed, or the model cannot be run: it has no config.json
        or one of a type that transformers does not know, or is Python code that is not trusted; or if the disk has
        too little room for the files.
    """
    parsed = parse_source(source)
    facts = provenance.read(listing)["origin"]
    is_hub = parsed.kind == "hub"
    found = open_revision(parsed, facts["commit"] if is_hub else revision, cache_dir)
    try:
        needed = checkpoint_files(read_listing(listing), found.local_file, with_code=trust_remote_code)
        check_can_be_built(read_config(config), trust_remote_code)
    except ValueError as error:
        raise ValueError(f"{source} ({revision}): {error}") from error
    if is_hub and keep_checkpoint:
        CachedRevision(parsed.location, facts["commit"], cache_dir).fetch(needed)
    write_table(
        checkpoint,
        listing_table(needed),
        SCHEMA,
        inputs=[listing],
        settings={"folder": None if is_hub else found.location, "revision": revision},
    )


if __name__ == "__main__":
    run_job(snakemake, fetch_checkpoint)
