"""One revision of a repository on the hub."""

import json
import logging
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from lm_geometry.checkpoints.file_names import checked_listing, checked_path
from lm_geometry.checkpoints.hub import cached_file
from lm_geometry.checkpoints.hub.access import address, disk_errors, in_one_line, patiently, token, why_unreachable
from lm_geometry.checkpoints.hub.patience import Patience
from lm_geometry.checkpoints.hub.ranges import RemoteFile
from lm_geometry.checkpoints.listed_file import ListedFile, role_of
from lm_geometry.error_words import first_line, one_line
from lm_geometry.tables.files import write_text

log = logging.getLogger(__name__)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LISTING_SECONDS = 30.0


class HubRevision:
    """One revision of a repository on the hub, read through huggingface_hub.

    Parameters
    ----------
    repository : str
        The hub id.
    revision : str
        A branch, tag or commit; pass a listing's commit to read what was listed, should a branch have moved since.
    cache_dir : str or None
        Folder of whole files (as huggingface_hub keeps them), of ranges (``ranges/``) and of the last listings
        (``listings/``), all by commit; None = the hub client's own.
    endpoint : str, optional
        Address of the hub; the client's own (HF_ENDPOINT) by default.
    patience : Patience, optional
        When to give up.
    """

    remote = True

    def __init__(
        self,
        repository: str,
        revision: str,
        cache_dir: str | None,
        *,
        endpoint: str | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.model_id = repository
        self._revision = revision
        self._cache_dir = cache_dir and Path(cache_dir).expanduser()
        self._endpoint = endpoint and endpoint.rstrip("/")
        self._patience = patience or Patience()
        self._commit = revision if _COMMIT.fullmatch(revision) else None
        self._listing: list[ListedFile] | None = None
        self._offline = False

    def commit(self) -> str:
        """Return the commit that the revision points to.

        Raises
        ------
        ValueError
            If the repository or revision is unknown, gated, or the hub cannot be reached and was not asked before.
        """
        if self._commit is None:
            self.listing()
        return self._commit

    def listing(self) -> list[ListedFile]:
        """Return the files as the hub lists them; it knows a sha256 only for large (LFS) files.

        Where the hub cannot be reached, its last listing of this revision stands in, and a warning names the commit.

        Raises
        ------
        ValueError
            As ``commit``, or if the hub's list is one that no honest hub would send.
        """
        if self._listing is None:
            self._commit, self._listing = self._ask()
        return self._listing

    def local_file(self, path: str) -> Path:
        """Return the whole file's path in the cache; it is downloaded once per commit.

        Raises
        ------
        ValueError
            If the file cannot be had; the message names the reason.
        """
        from huggingface_hub import hf_hub_download

        listed = next((file for file in self._listing or [] if file.path == path), None)
        size = listed.size if listed else 0
        in_words = in_one_line(self.model_id, self._revision, self._endpoint, file=path)
        with disk_errors(self._cache(), size), in_words:
            found = hf_hub_download(
                self.model_id,
                checked_path(path),
                revision=self._commit or self._revision,
                cache_dir=self._cache_dir,
                endpoint=self._endpoint,
                token=token(),
                local_files_only=self._offline,
            )
        self._refuse_other(Path(found), listed)
        return Path(found)

    def _refuse_other(self, local: Path, listed: ListedFile | None) -> None:
        """Refuse and remove a file of another commit, or a small one that is damaged; large ones are checked later."""
        if self._commit is not None and self._commit not in local.parts:
            problem = f"{local} is of another commit than {self._commit}, which was asked for"
        elif listed is not None and listed.sha256 is None:
            problem = cached_file.difference(local, listed)
        else:
            problem = ""
        if problem:
            cached_file.remove(local)
            raise ValueError(f"{self.model_id}: {local.name}: {problem}; it was removed, run again to fetch it anew")

    def open(self, file: ListedFile) -> RemoteFile:
        """Return the file to be read by ranges; nothing is fetched yet."""
        return RemoteFile(
            self.model_id, self.commit(), file, self._cache(), endpoint=self._endpoint, patience=self._patience
        )

    def _cache(self) -> Path:
        from huggingface_hub import constants

        return self._cache_dir or Path(constants.HF_HUB_CACHE)

    def _kept(self) -> Path:
        name = f"{quote(self._revision, safe='')}.json"
        return self._cache() / "listings" / self.model_id.replace("/", "--") / name

    def _ask(self) -> tuple[str, list[ListedFile]]:
        from huggingface_hub import errors

        kept = self._kept()
        with in_one_line(self.model_id, self._revision, self._endpoint):
            try:
                commit, files = self._from_hub(kept.is_file())
            except (errors.HTTPError, errors.OfflineModeIsEnabled) as error:
                reason = why_unreachable(error)
                if reason is None or not kept.is_file():
                    raise
                return self._from_kept(kept, reason)
        rows = [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in files]
        write_text(kept, json.dumps({"commit": commit, "files": rows}, indent=1) + "\n")
        return commit, files

    def _from_hub(self, is_kept: bool) -> tuple[str, list[ListedFile]]:
        from huggingface_hub import HfApi

        # Whoever has a copy waits no half minute for a network that is not there.
        patience = replace(self._patience, attempts=min(2, self._patience.attempts)) if is_kept else self._patience
        api = HfApi(endpoint=self._endpoint, token=token())
        try:
            info = patiently(
                lambda: api.model_info(
                    self.model_id, revision=self._revision, files_metadata=True, timeout=_LISTING_SECONDS
                ),
                patience,
            )
            rows = [(file.rfilename, file.size, file.lfs and file.lfs.sha256) for file in info.siblings]
            return self._checked(info.sha, rows)
        except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{self.model_id}: the hub's listing cannot be read ({one_line(error)}): "
                f"{address(self._endpoint)} or a proxy before it answered something else; check HF_ENDPOINT"
            ) from error

    def _from_kept(self, kept: Path, reason: str) -> tuple[str, list[ListedFile]]:
        try:
            facts = json.loads(kept.read_text(encoding="utf-8"))
            rows = [(row["path"], row["size"], row["sha256"]) for row in facts["files"]]
            commit, files = self._checked(facts["commit"], rows)
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"{kept}: not a listing ({first_line(error)}); remove it and run again online") from error
        self._offline = True
        log.warning(
            "%s (%s): the hub cannot be reached (%s); going on with its last listing, commit %s",
            self.model_id, self._revision, reason, commit,
        )  # fmt: skip
        return commit, files

    def _checked(self, commit: str, rows: Iterable[tuple[str, int, str | None]]) -> tuple[str, list[ListedFile]]:
        if not _COMMIT.fullmatch(commit):
            raise ValueError(f"{self.model_id}: the hub names the commit {commit!r}, which is none; ask again")
        files = [ListedFile(path, role_of(path), size, sha256) for path, size, sha256 in rows]
        for file in files:
            if file.sha256 is not None and not _SHA256.fullmatch(file.sha256):
                raise ValueError(
                    f"{self.model_id}: its list of files is refused: {file.path!r} has no sha256 digest but "
                    f"{file.sha256!r}; take the model from another source"
                )
        return commit, checked_listing(self.model_id, files)
