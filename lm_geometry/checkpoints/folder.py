"""Revisions that lie on this machine: a folder, a sub-folder of it, or one file."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from lm_geometry.checkpoints.byte_source import LocalFile
from lm_geometry.checkpoints.file_names import checked_listing, checked_path
from lm_geometry.checkpoints.listed_file import CONFIG, ListedFile, role_of
from lm_geometry.checkpoints.revision import MAIN, unknown_revision
from lm_geometry.tables.files import file_sha256


class FolderRevision:
    """One revision of a folder: the folder itself ('main') where it holds a model, else one of its sub-folders.

    Parameters
    ----------
    location : str
        The folder, as the user wrote it.
    revision : str
        'main', or the name of a sub-folder.
    is_revision : callable
        Whether a folder directly holds a model (or a tokenizer).

    Raises
    ------
    ValueError
        If there is no such folder or revision; the message offers the nearest names.
    """

    remote = False

    def __init__(self, location: str, revision: str, is_revision: Callable[[Path], bool]) -> None:
        root = Path(location).expanduser()
        if not root.is_dir():
            found = "is a file, where a folder is needed" if root.is_file() else "no such folder; correct the path"
            raise ValueError(f"{location}: {found}")
        self.model_id = root.resolve().name
        self._root = root
        self.folder = root / _sub_folder(root, location, revision, is_revision)
        # As the user wrote it, so that a result does not depend on where the working directory lies.
        self.location = str(PurePosixPath(location) / self.folder.relative_to(root).as_posix())

    def commit(self) -> None:
        """Return None: a folder has no commit; its files' digests say what it holds."""

    def files(self) -> list[Path]:
        """Return the folder's own files but hidden ones, sorted; sub-folders are other revisions or training states.

        Raises
        ------
        ValueError
            If a symbolic link leads out of the folder.
        """
        found = sorted(path for path in self.folder.iterdir() if path.is_file() and not path.name.startswith("."))
        for path in found:
            self._refuse_way_out(path)
        return found

    def listing(self) -> list[ListedFile]:
        """Return ``files``, with sizes and digests.

        Raises
        ------
        ValueError
            If their names are refused (``checked_listing``), or there are no weights but a link that leads to none.
        """
        found = self.files()
        if not any(role_of(path.name) == "weights" for path in found):
            self._refuse_broken_link()
        return checked_listing(self.location, [_listed(path, role_of(path.name)) for path in found])

    def local_file(self, path: str) -> Path:
        """Return the file's path; ValueError if it leads out of the folder or does not exist."""
        file = self.folder / checked_path(path)
        self._refuse_way_out(file)
        if not file.is_file():
            raise ValueError(f"{self.location}: no file {path}")
        return file

    def open(self, file: ListedFile) -> LocalFile:
        """Return the file to be read by ranges; ValueError if its size is not the listed one."""
        return _opened(self.local_file(file.path), file)

    def _refuse_broken_link(self) -> None:
        for path in sorted(self.folder.iterdir()):
            if path.is_symlink() and not path.exists() and role_of(path.name) in ("weights", "index"):
                raise ValueError(f"{path}: is a link to {path.readlink()}, where no file is; put the file there")

    def _refuse_way_out(self, path: Path) -> None:
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise ValueError(f"{path}: is a link that leads out of {self._root}; put a copy of the file there")


class FileRevision:
    """A model that is one file of weights: its one revision is 'main', and it has no config.json.

    Parameters
    ----------
    location : str
        The file, as the user wrote it.
    revision : str
        'main'.

    Raises
    ------
    ValueError
        If there is no such file, or another revision is asked for.
    """

    remote = False

    def __init__(self, location: str, revision: str) -> None:
        self.location = location
        self._path = Path(location).expanduser()
        if not self._path.is_file():
            raise ValueError(f"{location}: no such file")
        if revision != MAIN:
            raise ValueError(f"{location}: no revision {revision!r}; a file's one revision is {MAIN!r}")
        self.model_id = self._path.name

    def commit(self) -> None:
        """Return None: a file has no commit; its digest says what it holds."""

    def files(self) -> list[Path]:
        """Return the one file."""
        return [self._path]

    def listing(self) -> list[ListedFile]:
        """Return the one file, as weights."""
        return checked_listing(self.location, [_listed(self._path, "weights")])

    def local_file(self, path: str) -> Path:
        """Return the file's path; ValueError if any other file is asked for."""
        if path != self._path.name:
            raise ValueError(f"{self.location}: no file {path}; the source is this one file")
        return self._path

    def open(self, file: ListedFile) -> LocalFile:
        """Return the file to be read by ranges; ValueError if its size is not the listed one."""
        return _opened(self.local_file(file.path), file)


def _listed(path: Path, role: str) -> ListedFile:
    return ListedFile(path.name, role, path.stat().st_size, file_sha256(path))


def _opened(path: Path, listed: ListedFile) -> LocalFile:
    opened = LocalFile(path, listed.path)
    if opened.size != listed.size:
        raise ValueError(
            f"{path}: {opened.size} bytes, but {listed.size} were listed; remove the listing and run again"
        )
    return opened


def _sub_folder(root: Path, location: str, revision: str, is_revision: Callable[[Path], bool]) -> str:
    if is_revision(root):
        if revision != MAIN:
            raise ValueError(f"{location}: no revision {revision!r}; the folder itself is the one revision, {MAIN!r}")
        return "."
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and is_revision(path))
    if not names:
        raise ValueError(
            f"{location}: neither the folder nor a sub-folder of it holds a {CONFIG}; add it, or name the "
            "file of weights itself"
        )
    if revision not in names:
        raise ValueError(unknown_revision(location, revision, names))
    return revision
