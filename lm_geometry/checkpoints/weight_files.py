"""Which files hold a revision's weights: one file, or the shards that an index names; and what a forward pass needs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from lm_geometry.checkpoints.file_names import checked_path
from lm_geometry.checkpoints.ledger import find_listed
from lm_geometry.checkpoints.listed_file import CONFIG, ListedFile

# In the order in which transformers looks for them; safetensors before .bin where a revision has both.
ENTRIES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
INDEX_SUFFIX = ".index.json"
_GENERATION_CONFIG = "generation_config.json"
_SMALL_FILE = 1_000_000  # bytes; settings are smaller


def choose_entry(files: Sequence[ListedFile], order: Sequence[str]) -> list[ListedFile]:
    """Return the files with the first of ``order`` that is there as their one entry; other entries become 'other'.

    Parameters
    ----------
    files : sequence of ListedFile
        All files of a revision.
    order : sequence of str
        Some of ``ENTRIES``, the best first.

    Raises
    ------
    ValueError
        If none of them is there.
    """
    names = {file.path for file in files}
    chosen = next((entry for entry in order if entry in names), None)
    if chosen is None:
        there = ", ".join(entry for entry in ENTRIES if entry in names) or "no weights"
        raise ValueError(f"weight_files: {', '.join(order)}: none of them is in the revision, which has {there}")
    return [replace(file, role="other") if file.path in ENTRIES and file.path != chosen else file for file in files]


def entry_file(files: Sequence[ListedFile]) -> str:
    """Return the file through which the weights are found: the one weight file, or the index of its shards.

    A source that is one single file of weights may call it as it likes. Files that ``choose_entry`` set aside do not
    count.

    Raises
    ------
    ValueError
        If the revision has none of the names that transformers loads.
    """
    names = {file.path for file in files if file.role != "other"}
    for entry in ENTRIES:
        if entry in names:
            return entry
    if len(files) == 1 and files[0].role == "weights":
        return files[0].path
    there = ", ".join(sorted(names)) or "nothing"
    raise ValueError(f"no weights: looked for {', '.join(ENTRIES)} in one folder that holds {there}; put them there")


def weight_map(index: Path) -> dict[str, str]:
    """Return the shard of each tensor from an index file, in the index's order.

    Raises
    ------
    ValueError
        If the file is no index, or names a shard that does not lie beside it.
    """
    try:
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(f"{index}: not an index of shards with a 'weight_map' ({error!r}); fetch it again") from error
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise ValueError(f"{index}: not an index of shards: 'weight_map' does not map names to files; fetch it again")
    for shard in set(shards.values()):
        try:
            checked_path(shard)
        except ValueError as error:
            raise ValueError(f"{index}: a shard's {error}") from error
        if PurePosixPath(shard).name != shard:
            raise ValueError(f"{index}: shard {shard!r} does not lie beside the index; put them into one folder")
    return shards


def weight_files(files: Sequence[ListedFile], local_file: Callable[[str], Path]) -> list[str]:
    """Return the files of one weight format, the index first where there is one; reads nothing but the index.

    Raises
    ------
    ValueError
        If there are no weights, or a shard that the index names is not listed.
    """
    entry = entry_file(files)
    if not entry.endswith(INDEX_SUFFIX):
        return [entry]
    shards = sorted(set(weight_map(local_file(entry)).values()))
    for shard in shards:
        find_listed(files, shard)
    return [entry, *shards]


def checkpoint_files(
    files: Sequence[ListedFile], local_file: Callable[[str], Path], *, with_code: bool = False
) -> list[ListedFile]:
    """Return the files that a forward pass needs: the settings, and the weights of one format.

    Parameters
    ----------
    files : sequence of ListedFile
        All files of the revision.
    local_file : callable
        Returns where a file lies on this machine; it is asked for the index of a sharded checkpoint alone.
    with_code : bool
        Whether the repository's own Python files are needed too.

    Raises
    ------
    ValueError
        If there is no config.json or no weights, or a shard that the index names is not listed.
    """
    if CONFIG not in {file.path for file in files}:
        raise ValueError(f"no {CONFIG} beside the weights: no model can be built from them for a forward pass; add it")
    settings = [file for file in files if file.path == _GENERATION_CONFIG and file.size <= _SMALL_FILE]
    code = [file for file in files if with_code and file.role == "code"]
    weights = [find_listed(files, path) for path in weight_files(files, local_file)]
    return [find_listed(files, CONFIG), *settings, *code, *weights]
