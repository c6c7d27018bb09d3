"""Whole files of a hub repository, in a cache of huggingface_hub's layout, which may be the user's own."""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from threading import Event

from lm_geometry.checkpoints.hub.access import check_room, disk_errors, in_one_line, token
from lm_geometry.checkpoints.hub.cached_file import difference
from lm_geometry.checkpoints.hub.large_file import download, partial_path
from lm_geometry.checkpoints.hub.patience import Patience
from lm_geometry.checkpoints.hub.stream import Stream
from lm_geometry.checkpoints.listed_file import ListedFile
from lm_geometry.tables.files import write_text

_FILES_AT_ONCE = 4

log = logging.getLogger(__name__)


class CachedRevision:
    """The whole files of one commit of a hub repository, in a cache folder of huggingface_hub's layout.

    Parameters
    ----------
    repository, commit : str
        The hub id, and the commit that was listed.
    cache_dir : str
        The cache's folder; it may be the hub client's own, such as ~/.cache/huggingface/hub.
    endpoint : str, optional
        The hub's address; huggingface_hub's own (the environment variable HF_ENDPOINT) by default.
    patience : Patience, optional
        When to give up a download that breaks.

    Attributes
    ----------
    folder : Path
        Where the commit's files lie beside one another.
    """

    def __init__(
        self,
        repository: str,
        commit: str,
        cache_dir: str,
        *,
        endpoint: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._repository = repository
        self._commit = commit
        self._cache_dir = Path(cache_dir).expanduser()
        self._endpoint = endpoint
        self._patience = patience or Patience()
        self._home = self._cache_dir / f"models--{repository.replace('/', '--')}"
        self.folder = self._home / "snapshots" / commit

    def lock(self) -> AbstractContextManager:
        """Hold the repository's files in this cache: no other job removes a checkpoint while it is loaded."""
        return self._lock("lm-geometry")

    def fetch(self, files: Sequence[ListedFile]) -> None:
        """Have all of the files in ``folder``, each as listed; what lies there already costs no network.

        Raises
        ------
        ValueError
            If the hub refuses or cannot be reached, a file is not the one that is listed, which is removed then, or the
            disk has too little room; it is looked at before a byte is fetched.
        """
        missing = [file for file in files if not self._is_cached(file)]
        if missing:
            self._check_space(missing)
            self._download_all(missing)
        for file in files:
            self._verify(file)

    def remove(self, files: Iterable[ListedFile]) -> None:
        """Remove the files from the cache; content that another revision shares stays, and so do other files.

        Raises
        ------
        ValueError
            If the cache cannot be read; nothing was removed then.
        """
        from huggingface_hub import scan_cache_dir

        cache = scan_cache_dir(self._cache_dir)
        # A copy of a repository has its commits too: only this one is to be touched.
        own = [repo for repo in cache.repos if repo.repo_path.name == self._home.name]
        cache = replace(cache, repos=frozenset(own))
        revision = next((one for repo in own for one in repo.revisions if one.commit_hash == self._commit), None)
        if revision is None:
            raise ValueError(f"{self.folder}: is no snapshot that huggingface_hub can read; remove it by hand")
        paths = {self.folder.resolve() / file.path for file in files}
        ours = [file for file in revision.files if file.file_path in paths]
        everything = len(ours) == len(revision.files)
        strategy = cache.delete_revisions(self._commit) if everything else cache.delete_files(*ours)
        strategy.execute()
        for blob in strategy.blobs:
            self._stamp(blob.name).unlink(missing_ok=True)
        log.info("removed %s of %s", _in_words(strategy.expected_freed_size), self._repository)

    # -- what is there ---------------------------------------------------------------------------------------------

    def _is_cached(self, file: ListedFile) -> bool:
        """Return whether the file lies in the snapshot with its size; one of another size is removed."""
        local = self.folder / file.path
        if not local.exists():
            return False
        size = local.stat().st_size
        if size != file.size:
            log.warning("%s: %d bytes, but %d are listed; it is fetched anew", local, size, file.size)
            self._forget(local)
        return size == file.size

    def _verify(self, file: ListedFile) -> None:
        """Check a file against the listing; one that was hashed where it lies and not written since is not again."""
        local = self.folder / file.path
        if not local.exists():
            raise ValueError(f"{local}: another job removed the file; run again to fetch it anew")
        if file.sha256 is not None and self._is_stamped(file.sha256, local):
            return
        found = difference(local, file)
        if found:
            self._forget(local)
            raise ValueError(f"{self._repository}: {file.path}: {found}; it was removed, run again to fetch it anew")
        if file.sha256 is not None:
            self._put_stamp(file.sha256, local)

    def _stamp(self, sha256: str) -> Path:
        return self._home / "verified" / sha256

    def _is_stamped(self, sha256: str, local: Path) -> bool:
        stamp = self._stamp(sha256)
        return stamp.is_file() and stamp.read_text(encoding="utf-8") == _identity(local)

    def _put_stamp(self, sha256: str, local: Path) -> None:
        write_text(self._stamp(sha256), _identity(local))

    def _forget(self, local: Path) -> None:
        """Remove a file that is not what it should be, and the content behind it."""
        content = local.resolve()
        local.unlink(missing_ok=True)
        if content.is_relative_to(self._home.resolve()):
            content.unlink(missing_ok=True)

    # -- what is not -----------------------------------------------------------------------------------------------

    def _check_space(self, files: Sequence[ListedFile]) -> None:
        needed = sum({file.sha256 or file.path: file.size - self._bytes_there(file) for file in files}.values())
        check_room(self._cache_dir, needed, self._repository)

    def _bytes_there(self, file: ListedFile) -> int:
        if file.sha256 is None:
            return 0
        blob = self._blob(file.sha256)
        return next((path.stat().st_size for path in (blob, partial_path(blob)) if path.exists()), 0)

    def _download_all(self, files: Sequence[ListedFile]) -> None:
        total, done, stop = sum(file.size for file in files), 0, Event()
        log.info("%s: fetching %d files, %s", self._repository, len(files), _in_words(total))
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            jobs = {pool.submit(self._download, file, stop): file for file in files}
            try:
                for job in as_completed(jobs):
                    job.result()
                    done += jobs[job].size
                    log.info("%s: %s of %s: %s", self._repository, _in_words(done), _in_words(total), jobs[job].path)
            except BaseException:
                # Leaving the block waits for the other files, which end at their next piece.
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _download(self, file: ListedFile, stop: Event) -> None:
        from huggingface_hub import hf_hub_download

        in_words = in_one_line(self._repository, self._commit, self._endpoint, file=file.path)
        with in_words, disk_errors(self._cache_dir, file.size):
            if file.sha256 is not None:
                with self._lock(file.sha256):
                    self._download_content(file, file.sha256, stop)
            # What is in the cache by its digest is linked to, not downloaded.
            hf_hub_download(
                self._repository, file.path, revision=self._commit, cache_dir=self._cache_dir, token=token(),
                endpoint=self._endpoint,
            )  # fmt: skip

    def _download_content(self, file: ListedFile, sha256: str, stop: Event) -> None:
        blob = self._blob(sha256)
        if not blob.exists():
            stream = Stream(self._repository, self._commit, file.path, self._endpoint, self._patience)
            download(stream, blob, size=file.size, sha256=sha256, stop=stop)
            self._put_stamp(sha256, blob)

    def _blob(self, sha256: str) -> Path:
        return self._home / "blobs" / sha256

    def _lock(self, name: str) -> AbstractContextManager:
        from filelock import FileLock

        # Where the hub client has its own locks, of the same names for one blob.
        path = self._cache_dir / ".locks" / self._home.name / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)


def _identity(path: Path) -> str:
    """Return what changes whenever a file is written or replaced, whoever does it."""
    found = path.stat()
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _in_words(size: int) -> str:
    from tqdm import tqdm

    return f"{tqdm.format_sizeof(size, divisor=1000)}B"
