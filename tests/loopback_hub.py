"""A model hub on the loopback interface, as huggingface_hub expects it, with a byte counter and faults on demand.

::

    with serve({"tiny/neox": folder}) as hub:                       # one revision, main, the files of a folder
        ...
    repositories = {
        "tiny/neox": Repository({"main": folder, "step8": {"config.json": b"{}", "model.safetensors": b"..."}}),
        "meta/closed": Repository({"main": folder}, gated=True, token="hf_right"),
        "big/listed": Repository({"main": {"pytorch_model.bin": OnlyListed(6_000_000_000, sha256="ab" * 32)}}),
    }
    with serve(repositories, faults=[Fault("truncate", file="model.safetensors", after=100)], cdn=True) as hub:
        HubRevision("tiny/neox", "main", cache, endpoint=hub.url)   # in this process; or HF_ENDPOINT=hub.url in another
        hub.requests                                                # every Request: method, path, range, headers, port
        hub.bytes_sent["tiny/neox/model.safetensors"]               # body bytes, of all revisions, from either port
        hub.faults.append(Fault("status", status=503, times=None))  # from now on, always

A commit is ``Repository.commits[revision]``, or made from the names (``commit_of``), so that each revision has its own;
revisions given the same commit are aliases. Inside the block the hub client of this process is online, whatever
HF_HUB_OFFLINE says; ``hub.close()`` inside it is how the network fails.
"""

import gzip
import hashlib
import json
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".bin", ".pt", ".pth", ".h5")


@dataclass(frozen=True)
class OnlyListed:
    """A file that is listed with this size and digest, but whose bytes nobody has: a GET answers 404."""

    size: int
    sha256: str | None = None


Files = Path | Mapping[str, bytes | OnlyListed]


@dataclass(frozen=True)
class Repository:
    """What one repository holds.

    ``revisions`` maps a branch's name to a folder (sub-folders too) or to names and contents; ``gated`` lists the files
    to all but serves them to ``token`` alone; ``private`` hides the repository from all but ``token``; ``siblings``
    replaces the list of files as the API sends it, for lists that no honest hub would send.
    """

    revisions: Mapping[str, Files]
    commits: Mapping[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    token: str | None = None
    siblings: Sequence[Mapping] | None = None
    sha: str | None = None


@dataclass
class Fault:
    """What goes wrong with some answers.

    Parameters
    ----------
    kind : str
        For files: ``truncate`` (closes after ``after`` bytes of the body), ``reset`` (the same with a TCP reset),
        ``hang`` (sends ``after`` bytes, then nothing), ``trickle`` (``rate`` bytes per second), ``wrong_range``
        (Content-Range moved by ``shift``), ``other_bytes`` (range and bytes of another place, moved by ``shift``),
        ``wrong_total``, ``no_range`` (206 without Content-Range), ``wrong_length`` (Content-Length off by ``shift``),
        ``no_length`` (chunked), ``whole`` (200 with the whole file), ``multipart``, ``gzip``, ``deflate_header``,
        ``etag`` (``value``), ``no_etag``, ``commit`` (``value``), ``corrupt`` (one byte flipped), ``empty``, ``extra``
        (``after`` bytes more than said), ``longer`` (``after`` bytes more, and said so).
        For anything: ``status`` (``status``, ``retry_after``), ``drop`` (closes without an answer), ``page`` (200 with
        a page of HTML), ``loop`` (a redirect to this address under the hub's other name, 127.0.0.1 or localhost).
    file : str
        Part of the request's path that must match, as "model.safetensors" or "/api/".
    times : int or None
        How many matching requests it hits; None = all of them.
    skip : int
        How many matching requests pass first.
    method : str
        GET, or HEAD.
    """

    kind: str
    file: str = ""
    times: int | None = 1
    skip: int = 0
    method: str = "GET"
    after: int = 0
    shift: int = 1
    rate: float = 1.0
    value: str = "0" * 40
    status: int = 500
    retry_after: str | None = None

    def hits(self, method: str, path: str) -> bool:
        """Say whether the fault strikes this request, and count it."""
        if method != self.method or self.file not in path or self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass(frozen=True)
class Request:
    """One request as it came in; ``headers`` have lower-case names."""

    method: str
    path: str
    range: str | None
    headers: Mapping[str, str]
    port: int


def commit_of(repository: str, revision: str) -> str:
    """Return the commit that a revision has unless ``Repository.commits`` says otherwise."""
    return hashlib.sha1(f"{repository}@{revision}".encode()).hexdigest()


class _Server(ThreadingHTTPServer):
    """A server that can end the connections its clients keep alive."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._connections = []

    def get_request(self):
        connection, address = super().get_request()
        self._connections.append(connection)
        return connection, address

    def hang_up(self):
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_):
        """Stay silent about clients that hang up."""


class Hub:
    """A running hub: ``url``, ``cdn_url`` (or None), ``requests``, ``bytes_sent``, ``faults``."""

    def __init__(self, repositories: Mapping[str, Repository | Files], faults: Sequence[Fault], cdn: bool) -> None:
        self.repositories = {
            name: found if isinstance(found, Repository) else Repository({"main": found})
            for name, found in repositories.items()
        }
        self.faults = list(faults)
        self.requests: list[Request] = []
        self.bytes_sent: Counter[str] = Counter()
        self.lock = Lock()
        self.closing = Event()
        self._servers = [self._server(_Api), self._server(_Cdn)] if cdn else [self._server(_Api)]
        self.url, self.cdn_url = ([*(f"http://127.0.0.1:{server.server_port}" for server in self._servers), None])[:2]

    def _server(self, handler: type) -> "_Server":
        server = _Server(("127.0.0.1", 0), handler)
        server.hub = self
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    def close(self) -> None:
        """Stop answering, on connections that are open too; it may be called inside the block of ``serve``."""
        self.closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()
            server.hang_up()

    def commit(self, repository: str, revision: str = "main") -> str:
        """Return the commit of a revision."""
        return self.repositories[repository].commits.get(revision) or commit_of(repository, revision)

    def file_requests(self, name: str = "") -> list[Request]:
        """Return the GET requests for contents (not the listings) whose path holds ``name``."""
        return [
            request
            for request in self.requests
            if request.method == "GET" and "/api/" not in request.path and name in request.path
        ]

    def fault(self, method: str, path: str) -> Fault | None:
        """Return the first fault that strikes a request."""
        with self.lock:
            return next((fault for fault in self.faults if fault.hits(method, path)), None)

    def revision_of(self, repository: str, name: str) -> str | None:
        """Return the revision of that name or commit."""
        for revision in self.repositories[repository].revisions:
            if name in (revision, self.commit(repository, revision)):
                return revision
        return None


@contextmanager
def serve(
    repositories: Mapping[str, Repository | Files], *, faults: Sequence[Fault] = (), cdn: bool = False
) -> Iterator[Hub]:
    """Serve repositories until the block ends.

    Parameters
    ----------
    repositories : mapping
        Hub id to ``Repository``, or to a folder or a mapping of names to contents, which is then the one revision main.
    faults : sequence of Fault
        See ``Fault``; more may be appended to ``hub.faults`` while it runs.
    cdn : bool
        Send whoever asks for a large file on to a second port, as the real hub does (302, X-Linked-ETag). That port
        refuses requests that carry a token, and its ETag is another.
    """
    from huggingface_hub import constants

    hub = Hub(repositories, faults, cdn)
    offline, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, False
    try:
        yield hub
    finally:
        constants.HF_HUB_OFFLINE = offline
        hub.close()


def _names(files: Files) -> list[str]:
    if isinstance(files, Path):
        return sorted(path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file())
    return sorted(files)


def _entry(files: Files, name: str) -> Path | bytes | OnlyListed | None:
    if isinstance(files, Path):
        return files / name if (files / name).is_file() else None
    return files.get(name)


def _size(entry: Path | bytes | OnlyListed) -> int:
    if isinstance(entry, Path):
        return entry.stat().st_size
    return entry.size if isinstance(entry, OnlyListed) else len(entry)


def _sha256(entry: Path | bytes | OnlyListed) -> str:
    if isinstance(entry, OnlyListed):
        return entry.sha256 or hashlib.sha256(str(entry.size).encode()).hexdigest()
    if isinstance(entry, Path):
        return _path_sha256(entry, entry.stat().st_mtime_ns)
    return hashlib.sha256(entry).hexdigest()


def _oid(name: str, entry: Path | bytes | OnlyListed) -> str:
    """Return git's own digest of a file, which is the ETag of those that are not large; of large ones it is made up."""
    if name.endswith(LARGE) or isinstance(entry, OnlyListed):
        return hashlib.sha1(f"{name} {_size(entry)}".encode()).hexdigest()
    content = _slice(entry, 0, _size(entry))
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@lru_cache
def _path_sha256(path: Path, _changed: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _slice(entry: Path | bytes, start: int, end: int) -> bytes:
    if isinstance(entry, bytes):
        return entry[start:end]
    with entry.open("rb") as stream:
        stream.seek(start)
        return stream.read(end - start)


class _Handler(BaseHTTPRequestHandler):
    """What both ports share: the log of requests, faults, and sending a file."""

    protocol_version = "HTTP/1.1"
    # A header and its body leave in one packet each; with Nagle's algorithm the second would wait 40 ms.
    disable_nagle_algorithm = True

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        hub = self.server.hub
        path = unquote(self.path.split("?")[0])
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.requests.append(Request(self.command, path, headers.get("range"), headers, self.server.server_port))
        redirects = isinstance(self, _Api) and hub.cdn_url and "/resolve/" in path and path.endswith(LARGE)
        fault = None if redirects else hub.fault(self.command, path)
        if fault and fault.kind == "drop":
            self._cut(reset=False)
        elif fault and fault.kind == "status":
            extra = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
            self._send(fault.status, b"{}", {"Content-Type": "application/json", **extra})
        elif fault and fault.kind == "page":
            self._send(200, b"<!DOCTYPE html><title>Log in</title>", {"Content-Type": "text/html"})
        elif fault and fault.kind == "loop":
            other = "localhost" if headers["host"].startswith("127.") else "127.0.0.1"
            self._send(302, b"", {"Location": f"http://{other}:{self.server.server_port}{self.path}"})
        else:
            self.respond(path, fault)

    def json(self, value):
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def error(self, status, code, message=None):
        self._send(
            status, b"{}", {"X-Error-Code": code, "X-Error-Message": message or code, "Content-Type": "text/json"}
        )

    def _send(self, status, content, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _cut(self, *, reset):
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)

    def send_entry(self, key, entry, headers, fault):
        """Send a file or the range asked for, with the fault, if any."""
        size = _size(entry)
        kind = fault.kind if fault else None
        start, end, status = 0, size, 200
        wanted = self.headers.get("Range")
        if wanted is not None and kind != "whole":
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end, status = int(first), min(int(last) + 1 if last else size, size), 206
            if start >= size:
                self._send(416, b"", {"Content-Range": f"bytes */{size}"})
                return
        if kind == "other_bytes":
            start, end = start + fault.shift, end + fault.shift
        content = _slice(entry, start, end)
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        body = self._spoil(content, headers, fault, (start, end, size)) if fault else content
        headers.setdefault("Content-Length", str(len(body)))
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self._write(key, body, fault)

    def _spoil(self, content, headers, fault, place):
        """Change the headers in place, and return the body to send."""
        start, end, size = place
        moved = fault.shift
        changed = {
            "wrong_range": {"Content-Range": f"bytes {start + moved}-{end - 1 + moved}/{size}"},
            "wrong_total": {"Content-Range": f"bytes {start}-{end - 1}/{size + moved}"},
            "no_range": {"Content-Range": None},
            "wrong_length": {"Content-Length": str(len(content) + moved)},
            "no_length": {"Content-Length": None, "Transfer-Encoding": "chunked"},
            "multipart": {"Content-Range": None, "Content-Type": "multipart/byteranges; boundary=X"},
            "gzip": {"Content-Encoding": "gzip"},
            "deflate_header": {"Content-Encoding": "deflate"},
            "etag": {"ETag": f'"{fault.value}"'},
            "no_etag": {"ETag": None},
            "commit": {"X-Repo-Commit": fault.value},
            "extra": {"Content-Length": str(len(content))},
        }
        headers.update(changed.get(fault.kind, {}))
        bodies = {
            "no_length": lambda: b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content),
            "multipart": lambda: (
                f"--X\r\nContent-Range: bytes {start}-{end - 1}/{size}\r\n\r\n".encode() + content + b"\r\n--X--\r\n"
            ),
            "gzip": lambda: gzip.compress(content),
            "corrupt": lambda: bytes([content[0] ^ 1]) + content[1:],
            "empty": lambda: b"",
            "longer": lambda: content + bytes(fault.after),
            "extra": lambda: content + bytes(fault.after),
        }
        return bodies.get(fault.kind, lambda: content)()

    def _write(self, key, body, fault):
        kind = fault.kind if fault else None
        cut = fault.after if kind in ("truncate", "reset", "hang") else len(body)
        piece = max(1, int(fault.rate / 50)) if kind == "trickle" else 1 << 20
        try:
            for place in range(0, cut, piece):
                part = body[place : min(place + piece, cut)]
                self.wfile.write(part)
                with self.server.hub.lock:
                    self.server.hub.bytes_sent[key] += len(part)
                if kind == "trickle" and self.server.hub.closing.wait(0.02):
                    break
            if kind == "hang":
                self.server.hub.closing.wait(30)
        except (BrokenPipeError, ConnectionResetError):
            # Whoever asked has had enough.
            self.close_connection = True
            return
        if kind in ("truncate", "reset", "hang", "extra", "wrong_length", "empty"):
            if kind == "reset":
                time.sleep(0.02)  # a reset overtakes bytes that are still on their way
            self._cut(reset=kind == "reset")

    def log_message(self, *_):
        """Stay silent; requests are kept for the tests."""


class _Api(_Handler):
    """The hub itself."""

    def respond(self, path, fault):
        hub = self.server.hub
        api = path.startswith("/api/models/")
        rest = path.removeprefix("/api/models/") if api else path.removeprefix("/")
        name = next((name for name in hub.repositories if rest == name or rest.startswith(f"{name}/")), None)
        repository = hub.repositories.get(name)
        known = repository and self._token() == repository.token
        if repository is None or (repository.private and not known):
            self.error(401, "RepoNotFound")
        elif api:
            self._api(name, repository, rest.removeprefix(name).strip("/"))
        elif repository.gated and not known:
            self.error(403 if self._token() else 401, "GatedRepo", f"Access to model {name} is restricted")
        else:
            self._resolve(name, repository, rest.removeprefix(f"{name}/resolve/"), fault)

    def _token(self):
        return self.headers.get("Authorization", "").removeprefix("Bearer ") or None

    def _api(self, name, repository, rest):
        hub = self.server.hub
        if rest == "refs":
            refs = [
                {"name": branch, "ref": f"refs/heads/{branch}", "targetCommit": hub.commit(name, branch)}
                for branch in repository.revisions
            ]
            self.json({"branches": refs, "tags": [], "converts": []})
            return
        what, _, wanted = rest.partition("/")
        revision = hub.revision_of(name, (wanted or "main") if what in ("", "revision", "tree") else "")
        if revision is None:
            self.error(404, "RevisionNotFound")
        elif what == "tree":
            self.json(self._tree(repository.revisions[revision]))
        else:
            siblings = repository.siblings
            if siblings is None:
                siblings = self._siblings(repository.revisions[revision])
            self.json(
                {"_id": "0", "id": name, "sha": repository.sha or hub.commit(name, revision), "siblings": siblings}
            )

    def _siblings(self, files):
        siblings = []
        for name in _names(files):
            entry = _entry(files, name)
            sibling = {"rfilename": name}
            if "blobs=" in self.path:
                sibling.update(size=_size(entry), blobId=_oid(name, entry))
                if name.endswith(LARGE):
                    sibling["lfs"] = {"sha256": _sha256(entry), "size": _size(entry), "pointerSize": 135}
            siblings.append(sibling)
        return siblings

    def _tree(self, files):
        rows = []
        for name in _names(files):
            entry = _entry(files, name)
            row = {"type": "file", "path": name, "size": _size(entry), "oid": _oid(name, entry)}
            if name.endswith(LARGE):
                row["lfs"] = {"oid": _sha256(entry), "size": _size(entry), "pointerSize": 135}
            rows.append(row)
        return rows

    def _resolve(self, name, repository, rest, fault):
        hub = self.server.hub
        # A branch's name may hold a slash, which arrives unquoted here.
        revision = next(
            (
                revision
                for revision in repository.revisions
                if rest.startswith((f"{revision}/", f"{hub.commit(name, revision)}/"))
            ),
            None,
        )
        if revision is None:
            self.error(404, "RevisionNotFound")
            return
        commit = hub.commit(name, revision)
        file = rest.removeprefix(f"{revision}/").removeprefix(f"{commit}/")
        entry = _entry(repository.revisions[revision], file)
        if entry is None or isinstance(entry, OnlyListed):
            self.error(404, "EntryNotFound")
            return
        etag = _sha256(entry) if file.endswith(LARGE) else _oid(file, entry)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}
        if hub.cdn_url and file.endswith(LARGE):
            linked = {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(_size(entry))}
            location = f"{hub.cdn_url}/{name}/{revision}/{file}?Signature=secret"
            self._send(302, b"", {**headers, **linked, "Location": location})
        else:
            self.send_entry(f"{name}/{file}", entry, headers, fault)


class _Cdn(_Handler):
    """Where the hub sends whoever asks for a large file: another host, which must never see a token."""

    def respond(self, path, fault):
        hub = self.server.hub
        if "Authorization" in self.headers:
            self._send(400, b"only one authentication mechanism is allowed", {})
            return
        for name, repository in hub.repositories.items():
            for revision, files in repository.revisions.items():
                prefix = f"/{name}/{revision}/"
                if path.startswith(prefix):
                    file = path.removeprefix(prefix)
                    entry = _entry(files, file)
                    self.send_entry(f"{name}/{file}", entry, {"ETag": f'"cdn-{_sha256(entry)[:16]}"'}, fault)
                    return
        self._send(404, b"", {})
