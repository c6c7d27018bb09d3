"""Which files hold a revision's weights, and which of them holds a tensor."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType

import numpy as np

from lm_geometry.checkpoints import safetensors_reader, torch_reader
from lm_geometry.checkpoints.ledger import find_listed, verify_file
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.checkpoints.source import Revision, checked_path
from lm_geometry.checkpoints.tensor import TensorInfo

# In the order in which transformers looks for them; safetensors before .bin where a revision has both.
ENTRIES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def entry_file(files: Sequence[ListedFile]) -> str:
    """Return the file through which the weights are found: the one weight file, or the index of its shards.

    Raises
    ------
    ValueError
        If the revision has none of the names that transformers loads.
    """
    names = {file.path for file in files}
    for entry in ENTRIES:
        if entry in names:
            return entry
    there = ", ".join(sorted(names)) or "nothing"
    raise ValueError(f"no weights: looked for {', '.join(ENTRIES)} in one folder that holds {there}")


def weight_map(index: Path) -> dict[str, str]:
    """Return the shard of each tensor from an index file, in the index's order.

    Raises
    ------
    ValueError
        If the file is no index, or names a shard that does not lie beside it.
    """
    try:
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{index}: not an index of shards with a 'weight_map' ({error!r})") from error
    for shard in shards.values():
        if PurePosixPath(checked_path(shard)).name != shard:
            raise ValueError(f"{index}: shard {shard!r} does not lie beside the index")
    return shards


def weight_files(files: Sequence[ListedFile], local_file: Callable[[str], Path]) -> list[str]:
    """Return the files of one weight format, the index first where there is one; reads nothing but the index.

    Raises
    ------
    ValueError
        If there are no weights, or a shard that the index names is not listed.
    """
    entry = entry_file(files)
    if not entry.endswith(".json"):
        return [entry]
    shards = sorted(set(weight_map(local_file(entry)).values()))
    for shard in shards:
        find_listed(files, shard)
    return [entry, *shards]


class Weights:
    """The tensors of one revision, in whichever file they lie; a file is fetched and checked when it is first read.

    Parameters
    ----------
    revision : Revision
        Where the files come from.
    files : sequence of ListedFile
        What was listed; each file read must still be as listed.
    """

    def __init__(self, revision: Revision, files: Sequence[ListedFile]) -> None:
        self._revision = revision
        self._files = files
        self._described: dict[str, dict[str, TensorInfo]] = {}
        entry = entry_file(files)
        if entry.endswith(".json"):
            self._file_of = weight_map(self.local_file(entry))
        else:
            self._file_of = dict.fromkeys(self._describe(entry), entry)

    @property
    def names(self) -> list[str]:
        """Names of all tensors, sorted."""
        return sorted(self._file_of)

    def info(self, name: str) -> TensorInfo:
        """Return shape and stored type of a tensor; ValueError if the index names a shard that lacks it."""
        file = self._file_of[name]
        found = self._describe(file)
        if name not in found:
            raise ValueError(f"{file}: the index says that it holds {name}, but it does not")
        return found[name]

    def read(self, name: str) -> np.ndarray:
        """Return a tensor as float32."""
        self.info(name)
        file = self._file_of[name]
        return _reader(file).read(self.local_file(file), name)

    def known_matrices(self) -> dict[str, tuple[int, ...]]:
        """Return names and shapes of the 2-D tensors, of files that need not be downloaded for it."""
        names = [name for name in self.names if not self._revision.remote or self._file_of[name] in self._described]
        return {name: self.info(name).shape for name in names if len(self.info(name).shape) == 2}

    def local_file(self, path: str) -> Path:
        """Return where a listed file lies on this machine, after checking it against the listing."""
        local = self._revision.local_file(path)
        if path not in self._described:
            verify_file(local, find_listed(self._files, path))
        return local

    def _describe(self, file: str) -> dict[str, TensorInfo]:
        if file not in self._described:
            self._described[file] = _reader(file).describe(self.local_file(file))
        return self._described[file]


def _reader(file: str) -> ModuleType:
    return safetensors_reader if file.endswith(".safetensors") else torch_reader
