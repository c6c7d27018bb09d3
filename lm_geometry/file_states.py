"""What tells that a user's file was replaced, whatever its time says, which ``cp -p``, ``mv`` and ``tar`` keep.

Snakemake takes an input for changed if it is newer than what was made of it. A model or corpus that was replaced by
older files would never be looked at.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

# Files up to so many bytes are read whole, which takes a fraction of a second; larger ones at places all over them. To
# read all weights of a suite whenever Snakemake starts would take minutes, and other weights differ everywhere. Texts
# and judgements do not: they may differ in one place only.
_WHOLE_BYTES = 1 << 27
_WHOLE_BYTES_OF_WEIGHTS = 1 << 20
_WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth"})
_BLOCKS, _BLOCK_BYTES = 64, 1 << 14


def states_of(files: Iterable[str], results: Path) -> list[str]:
    """Return the digests of files' sizes and contents, in their order; files that the run itself makes are left out.

    Of weights over 1 MiB, and of other files over 128 MiB, the content is that of 64 places.

    Parameters
    ----------
    files : iterable of str
        Paths, as a rule's inputs have them.
    results : Path
        The results folder.
    """
    return [_state(Path(file)) for file in files if not Path(file).is_relative_to(results)]


def _state(path: Path) -> str:
    if not path.is_file():
        return "absent"
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    whole = size <= (_WHOLE_BYTES_OF_WEIGHTS if path.suffix in _WEIGHTS else _WHOLE_BYTES)
    last = size - _BLOCK_BYTES
    with path.open("rb") as file:
        for start in [0] if whole else [last * block // (_BLOCKS - 1) for block in range(_BLOCKS)]:
            file.seek(start)
            digest.update(file.read(size if whole else _BLOCK_BYTES))
    return digest.hexdigest()
