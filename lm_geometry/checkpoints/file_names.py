"""File names as a list of files gives them: which are refused, since a list may come from anywhere."""

import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from lm_geometry.checkpoints.listed_file import ListedFile

# Control characters, halves of surrogate pairs, and separators that would break an error's one line.
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})


def checked_path(path: str) -> str:
    """Return ``path`` if it stays inside its folder and is written the plain way.

    Raises
    ------
    ValueError
        If it is empty, absolute, holds '..', '.', '//', a backslash or a control character.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError(f"file name {path!r} is refused: it is absolute, empty or leads out of its folder")
    if any(unicodedata.category(character) in _UNPRINTABLE for character in path):
        raise ValueError(f"file name {path!r} is refused: it holds a control character")
    if str(PurePosixPath(path)) != path:
        raise ValueError(f"file name {path!r} is refused: plainly written it is {str(PurePosixPath(path))!r}")
    return path


def checked_listing(source: str, files: Iterable[ListedFile]) -> list[ListedFile]:
    """Return the files sorted by path, if they can lie side by side in one folder.

    Parameters
    ----------
    source : str
        Whose files they are; errors begin with it.
    files : iterable of ListedFile
        The list as it came.

    Raises
    ------
    ValueError
        If a name is refused (``checked_path``) or given twice, a file is also a folder of another, a size is absent or
        negative, or two names that differ in case alone would be one file on some disks and at least one is needed.
    """
    found = sorted(files, key=lambda file: file.path)
    for problem in _problems(found):
        raise ValueError(f"{source}: its list of files is refused: {problem}; take the model from another source")
    return found


def _problems(files: list[ListedFile]) -> Iterator[str]:
    seen: dict[str, ListedFile] = {}
    for file in files:
        try:
            checked_path(file.path)
        except ValueError as error:
            yield str(error)
        if type(file.size) is not int or file.size < 0:
            yield f"{file.path} has the size {file.size!r}"
        folded = unicodedata.normalize("NFC", file.path).casefold()
        twin = seen.setdefault(folded, file)
        if twin is not file and twin.path == file.path:
            yield f"{file.path} is listed twice"
        # A readme beside a README harms nobody; of two weight files one would overwrite the other.
        if twin is not file and (twin.role, file.role) != ("other", "other"):
            yield f"{twin.path} and {file.path} are one file where a disk ignores case"
    paths = {file.path for file in files}
    for file in files:
        for folder in PurePosixPath(file.path).parents:
            if str(folder) in paths:
                yield f"{folder} is a file and the folder of {file.path}"
