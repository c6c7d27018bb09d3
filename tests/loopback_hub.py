"""A model hub on the loopback interface: enough of the protocol for huggingface_hub to list and download."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(BaseHTTPRequestHandler):
    """Serves ``server.folder`` as the one repository ``server.repository`` with the branches ``server.branches``."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, *, body):
        path = unquote(self.path.split("?")[0])
        self.server.requests.append((self.command, path))
        api = f"/api/models/{self.server.repository}"
        if path == f"{api}/refs":
            refs = [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": COMMIT} for name in self.server.branches
            ]
            self._json({"branches": refs, "tags": [], "converts": []}, body)
        elif path.startswith("/api/models/") and not path.startswith(api):
            self._error(401, "RepoNotFound", body)
        elif path == api or path.startswith(f"{api}/revision/"):
            self._model(path.removeprefix(api).removeprefix("/revision/") or "main", body)
        elif path.startswith(f"/{self.server.repository}/resolve/"):
            revision, _, name = path.removeprefix(f"/{self.server.repository}/resolve/").partition("/")
            self._file(revision, name, body)
        else:
            self._error(404, "RepoNotFound", body)

    def _known(self, revision):
        return revision == COMMIT or revision in self.server.branches

    def _model(self, revision, body):
        if not self._known(revision):
            self._error(404, "RevisionNotFound", body)
            return
        if self.server.gated:
            self._error(403, "GatedRepo", body)
            return
        siblings = []
        for file in sorted(self.server.folder.iterdir()):
            content = file.read_bytes()
            sibling = {"rfilename": file.name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
            if file.suffix in (".safetensors", ".bin"):
                sibling["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 1}
            siblings.append(sibling)
        self._json({"_id": "0", "id": self.server.repository, "sha": COMMIT, "siblings": siblings}, body)

    def _file(self, revision, name, body):
        file = self.server.folder / name
        if not self._known(revision) or not file.is_file():
            self._error(404, "RevisionNotFound" if file.is_file() else "EntryNotFound", body)
            return
        content = file.read_bytes()
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        wanted = self.headers.get("Range")
        if wanted is None:
            self._send(200, content, headers, body)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        end = int(last) + 1 if last else len(content)
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(content)}"
        self._send(206, content[int(first) : end], headers, body)

    def _json(self, value, body):
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, body)

    def _error(self, status, code, body):
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code, "Content-Type": "text/json"}, body)

    def _send(self, status, content, headers, body):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_):
        """Stay silent; requests are kept for the tests."""


@contextmanager
def serve(folder, repository, *, branches=("main",), gated=False) -> Iterator[ThreadingHTTPServer]:
    """Serve a folder as a repository; yields the server with ``url`` and the list ``requests``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.folder, server.repository, server.branches, server.gated = Path(folder), repository, branches, gated
    server.requests = []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
