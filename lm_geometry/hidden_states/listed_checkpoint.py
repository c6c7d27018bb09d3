"""A checkpoint as it was listed: checked and loaded, and removed from the cache when nobody needs it any more."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lm_geometry import provenance
from lm_geometry.checkpoints.hub.whole_files import CachedRevision
from lm_geometry.checkpoints.ledger import read_listing, verify_file
from lm_geometry.error_words import naming
from lm_geometry.hidden_states.layer_model import LayerModel


@contextmanager
def open_model(
    checkpoint: Path,
    *,
    cache_dir: str,
    device: str,
    dtype: str,
    max_memory: Mapping[str, str | int] | None,
    trust_remote_code: bool,
) -> Iterator[LayerModel]:
    """Load the model after checking sizes and digests of its files.

    Files from the hub that are not in the cache, since they are not to be kept or another job removed the same commit,
    are fetched; those that were hashed there and not written since are not hashed again. No other job removes them
    while they are read.

    Parameters
    ----------
    checkpoint : Path
        The checkpoint's listing.
    cache_dir : str
        Where files from the hub lie, and weights that are too many for memory.
    device, dtype, max_memory, trust_remote_code
        See ``LayerModel``.

    Raises
    ------
    ValueError
        If a file is not the one that was listed, or the model cannot be loaded; one that is raised while the model is
        open is raised again with its name.
    """
    files = read_listing(checkpoint)
    with ExitStack() as stack, ExitStack() as locked:
        cached = _cached(checkpoint, cache_dir)
        if cached:
            locked.enter_context(cached.lock())
            cached.fetch(files)
            folder = cached.folder
        else:
            folder = Path(provenance.read(checkpoint)["settings"]["folder"]).expanduser()
            for file in files:
                verify_file(folder / file.path, file)
        model = LayerModel(
            folder,
            files=[file.path for file in files],
            device=device,
            dtype=dtype,
            max_memory=max_memory,
            offload_dir=Path(cache_dir).expanduser(),
            safetensors=any(file.path.endswith(".safetensors") for file in files),
            trust_remote_code=trust_remote_code,
        )
        stack.enter_context(model)
        if not model.reads_files:
            locked.close()
        facts = provenance.read(checkpoint)
        with naming(f"{facts['origin']['model_id']} ({facts['settings']['revision']}):"):
            yield model


def remove_checkpoint(checkpoint: Path, cache_dir: str) -> None:
    """Remove a hub checkpoint's files; what cannot be removed is said, and costs no forward pass."""
    cached = _cached(checkpoint, cache_dir)
    if cached is None:
        return
    try:
        with cached.lock():
            cached.remove(read_listing(checkpoint))
    except (ValueError, OSError) as error:
        logging.getLogger(__name__).warning("the checkpoint was not removed: %s", error)


def _cached(checkpoint: Path, cache_dir: str) -> CachedRevision | None:
    """Return the place of a hub checkpoint's files in the cache; None for a folder."""
    facts = provenance.read(checkpoint)
    if facts["settings"]["folder"] is not None:
        return None
    return CachedRevision(facts["origin"]["model_id"], facts["origin"]["commit"], cache_dir)
