"""Sources of checkpoints and tokenizers: a folder or the hub, one revision of it, the files in it.

A revision gives ``listing()``, the files with sizes and digests, and ``local_file(path)``, one file on this machine.
Whoever reads a tensor asks for the file that holds it; how the bytes get here is this module's business alone.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from lm_geometry.checkpoints.listed_file import CONFIG, TOKENIZER_FILES, ListedFile, role_of
from lm_geometry.tables.files import file_sha256

MAIN = "main"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_EMBEDDED_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Source:
    """Where a model or tokenizer comes from: an embedded model's name, a folder as the user wrote it, or a hub id."""

    kind: Literal["embedded", "folder", "hub"]
    location: str


class Revision(Protocol):
    """One revision of a source.

    ``model_id`` is the hub id or the folder's last component; ``remote`` says that ``local_file`` may download.
    """

    model_id: str
    remote: bool

    def commit(self) -> str | None:
        """Return the commit, or None for a folder, which has none."""

    def listing(self) -> list[ListedFile]:
        """Return the files, sorted by path, without reading a weight."""

    def local_file(self, path: str) -> Path:
        """Return where the file lies on this machine, fetching it if need be."""


def parse_source(text: str) -> Source:
    """Read a source as it stands in a config: ``embedded:NAME``, a path that begins with . / or ~, else a hub id.

    A hub id has at most one slash, so that a text with more is a path too (a folder below the results).

    Raises
    ------
    ValueError
        If the text is none of these.
    """
    prefix, _, name = text.partition(":")
    if prefix == "embedded" and _EMBEDDED_NAME.fullmatch(name):
        return Source("embedded", name)
    if text.startswith((".", "/", "~")) or text.count("/") > 1:
        return Source("folder", text)
    if _HUB_ID.fullmatch(text) and "--" not in text and ".." not in text:
        return Source("hub", text)
    raise ValueError(
        f"{text!r} is no source: write embedded:NAME, a path that begins with ./ ../ / or ~, or a hub id (owner/name)"
    )


def checked_path(path: str) -> str:
    """Return ``path`` if it stays inside its folder.

    Raises
    ------
    ValueError
        If it is empty, absolute, holds '..' or a backslash: a list of files may come from anywhere.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError(f"file name {path!r} is refused: it is absolute, empty or leads out of its folder")
    return path


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def open_revision(source: Source, revision: str, cache_dir: str | None = None) -> Revision:
    """Return one revision of a model's folder or hub repository; nothing is fetched yet from the hub.

    Raises
    ------
    ValueError
        If the folder or its revision does not exist, or the source is an embedded model, which lies in a folder.
    """
    return _open(source, revision, cache_dir, lambda folder: (folder / CONFIG).is_file())


def open_tokenizer_revision(source: Source, revision: str, cache_dir: str | None = None) -> Revision:
    """Return one revision of a tokenizer's source, whose folder need not hold a config.json; see ``open_revision``."""
    names = sorted(TOKENIZER_FILES | {CONFIG})
    return _open(source, revision, cache_dir, lambda folder: any((folder / name).is_file() for name in names))


def _open(source: Source, revision: str, cache_dir: str | None, is_revision: Callable[[Path], bool]) -> Revision:
    if source.kind == "hub":
        return HubRevision(source.location, revision, cache_dir)
    if source.kind == "folder":
        return FolderRevision(source.location, revision, is_revision)
    raise ValueError(f"embedded:{source.location} is no folder yet: hand over the folder that the model was trained to")


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
            raise ValueError(f"{location}: no such folder")
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
        """Return ``files``, with sizes and digests."""
        return [
            ListedFile(path.name, role_of(path.name), path.stat().st_size, file_sha256(path)) for path in self.files()
        ]

    def local_file(self, path: str) -> Path:
        """Return the file's path; ValueError if it leads out of the folder or does not exist."""
        file = self.folder / checked_path(path)
        self._refuse_way_out(file)
        if not file.is_file():
            raise ValueError(f"{self.location}: no file {path}")
        return file

    def _refuse_way_out(self, path: Path) -> None:
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise ValueError(f"{path}: is a link that leads out of {self._root}; put a copy of the file there")


def _sub_folder(root: Path, location: str, revision: str, is_revision: Callable[[Path], bool]) -> str:
    if is_revision(root):
        if revision != MAIN:
            raise ValueError(f"{location}: no revision {revision!r}; the folder itself is the one revision, 'main'")
        return "."
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and is_revision(path))
    if not names:
        raise ValueError(f"{location}: neither the folder nor a sub-folder of it holds a {CONFIG}")
    if revision not in names:
        raise ValueError(_unknown_revision(location, revision, names))
    return revision


def _unknown_revision(location: str, revision: str, names: Iterable[str]) -> str:
    names = list(names)
    nearest = difflib.get_close_matches(revision, names, n=3, cutoff=0) if names else []
    return f"{location}: no revision {revision!r}; nearest of {len(names)}: {', '.join(nearest)}"


class HubRevision:
    """One revision of a repository on the hub, read through huggingface_hub; files land whole in ``cache_dir``.

    Parameters
    ----------
    repository : str
        The hub id.
    revision : str
        A branch, tag or commit; pass a listing's commit to read what was listed, should a branch have moved since.
    cache_dir : str or None
        Folder of the hub client's cache, keyed by commit; None = the client's own.
    """

    remote = True

    def __init__(self, repository: str, revision: str, cache_dir: str | None) -> None:
        self.model_id = repository
        self._revision = revision
        self._cache_dir = cache_dir and Path(cache_dir).expanduser()
        self._commit: str | None = None
        self._listing: list[ListedFile] = []

    def commit(self) -> str:
        """Return the commit that the revision points to.

        Raises
        ------
        ValueError
            If the repository or revision is unknown, gated, or the hub cannot be reached.
        """
        if self._commit is None:
            self._ask()
        return self._commit

    def listing(self) -> list[ListedFile]:
        """Return the files as the hub lists them; it knows a sha256 only for large (LFS) files."""
        if self._commit is None:
            self._ask()
        return self._listing

    def local_file(self, path: str) -> Path:
        """Return the file's path in the cache; it is downloaded once per commit."""
        from huggingface_hub import hf_hub_download

        with _hub_errors(self.model_id, self._revision):
            found = hf_hub_download(
                self.model_id, checked_path(path), revision=self._commit or self._revision, cache_dir=self._cache_dir
            )
        return Path(found)

    def _ask(self) -> None:
        from huggingface_hub import HfApi

        with _hub_errors(self.model_id, self._revision):
            info = HfApi().model_info(self.model_id, revision=self._revision, files_metadata=True)
        files = [
            ListedFile(checked_path(file.rfilename), role_of(file.rfilename), file.size, file.lfs and file.lfs.sha256)
            for file in info.siblings
        ]
        self._listing = sorted(files, key=lambda file: file.path)
        self._commit = info.sha


@contextmanager
def _hub_errors(repository: str, revision: str) -> Iterator[None]:
    """Turn the hub client's errors into one line that names the model and the fix."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise ValueError(
            f"{repository}: the model is gated; accept its licence on its page, then log in with `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ValueError(
            f"{repository}: the hub has no such model, or it is private (log in with `hf auth login`); "
            "a local folder begins with ./ ../ / or ~"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ValueError(_unknown_revision(repository, revision, _branches(repository))) from error
    except (errors.EntryNotFoundError, errors.OfflineModeIsEnabled, errors.HTTPError) as error:
        raise ValueError(f"{repository} ({revision}): could not be read from the hub: {first_line(error)}") from error


def _branches(repository: str) -> list[str]:
    from huggingface_hub import HfApi

    refs = HfApi().list_repo_refs(repository)
    return [ref.name for ref in [*refs.branches, *refs.tags]]
