"""A file in a cache of huggingface_hub's layout: whether it is the listed one, and its removal."""

import hashlib
import re
from pathlib import Path

from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.tables.files import file_sha256


def difference(local: Path, file: ListedFile) -> str:
    """Return how a file differs from what is listed; '' where it does not.

    The hub lists no sha256 of small files; the cache keeps them under the name of git's digest, which stands in.
    """
    size = local.stat().st_size
    if size != file.size:
        return f"{size} bytes, but {file.size} are listed"
    listed = file.sha256 or local.resolve().name
    digest = DIGESTS.get(len(listed)) if re.fullmatch("[0-9a-f]+", listed) else None
    found = digest(local) if digest else listed
    return "" if found == listed else f"its digest is {found[:16]}…, but {listed[:16]}… is listed"


def remove(local: Path) -> None:
    """Remove a file from the cache, and the content it links to, which else would be linked to again."""
    if local.is_symlink():
        (local.parent / local.readlink()).unlink(missing_ok=True)
    local.unlink(missing_ok=True)


def _git_digest(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


# By their length in hexadecimal digits.
DIGESTS = {40: _git_digest, 64: file_sha256}
