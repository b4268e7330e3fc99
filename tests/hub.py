"""A loopback stand-in of the Hugging Face hub: files of any repository, served from memory as the hub serves them.

::

    with Hub({"someone/model": {"model.bin": b"abc"}}) as hub:
        environment = hub.environment(folder)  # for a subprocess; or hub.patch(monkeypatch, folder) for this process
        hub.limit = 1  # from now on each download breaks off after 1 byte
        hub.status = 503  # from now on the hub is out of order
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any


class Hub:
    """Serve repositories under ``http://127.0.0.1:PORT``.

    Parameters
    ----------
    repos : mapping
        Repository id -> file name -> bytes, or -> the folder or file to read them from.

    Attributes
    ----------
    url : str
    requests : list of (str, str)
        Method and path of every request.
    limit : int or None
        Bytes after which a download breaks off.
    status : int or None
        Answer every request with this error.
    promised : dict of str to str
        File name -> SHA-256 to promise in place of the true one.
    """

    def __init__(self, repos: Mapping[str, Mapping[str, bytes | Path] | Path]) -> None:
        self.repos: dict[str, dict[str, bytes]] = {repo: _contents(files) for repo, files in repos.items()}
        self.requests: list[tuple[str, str]] = []
        self.limit: int | None = None
        self.status: int | None = None
        self.promised: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Go off: connections are refused from now on."""
        self._server.shutdown()
        self._server.server_close()

    def commit(self, repo: str) -> str:
        """The revision that the repository's present content has, 40 hexadecimal digits."""
        digest = hashlib.sha1(repo.encode())
        for name, content in sorted(self.repos[repo].items()):
            digest.update(name.encode() + content)
        return digest.hexdigest()

    def downloads(self) -> list[str]:
        """Paths that were fetched, not merely asked about."""
        return [path for method, path in self.requests if method == "GET" and "/resolve/" in path]

    def environment(self, folder: Path) -> dict[str, str]:
        """Environment variables that point a new process at this hub, with its caches under `folder`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(folder / "huggingface"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "2",
            "HF_HUB_ETAG_TIMEOUT": "2",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_DATA_HOME": str(folder / "data"),
        }

    def patch(self, monkeypatch: Any, folder: Path) -> None:
        """Point this process at this hub, for the duration of a test."""
        import huggingface_hub.constants as constants

        monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits longer before each retry

        for name, value in self.environment(folder).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", self.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "huggingface" / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 2)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2)


def _contents(files: Mapping[str, bytes | Path] | Path) -> dict[str, bytes]:
    if isinstance(files, Path):
        return {path.relative_to(files).as_posix(): path.read_bytes() for path in files.rglob("*") if path.is_file()}
    return {name: content if isinstance(content, bytes) else content.read_bytes() for name, content in files.items()}


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer("HEAD")

        def do_GET(self) -> None:
            self._answer("GET")

        def log_message(self, format: str, *args: object) -> None:
            """Stay quiet."""

        def _answer(self, method: str) -> None:
            path = self.path.partition("?")[0].strip("/")
            hub.requests.append((method, path))
            if hub.status is not None:
                return self._send(method, hub.status, {"X-Error-Message": "out of order"}, b"")
            if path.startswith("api/models/"):
                return self._info(method, path.removeprefix("api/models/"))
            repo, _, rest = path.partition("/resolve/")
            revision, _, name = rest.partition("/")
            if repo not in hub.repos:
                return self._send(method, 404, {"X-Error-Code": "RepoNotFound"}, b"")
            commit = hub.commit(repo)
            if revision not in ("main", commit):
                return self._send(method, 404, {"X-Error-Code": "RevisionNotFound"}, b"")
            if name not in hub.repos[repo]:
                return self._send(method, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b"")
            return self._file(method, hub.repos[repo][name], name, commit)

        def _info(self, method: str, rest: str) -> None:
            repo, _, _ = rest.partition("/revision/")
            if repo not in hub.repos:
                return self._send(method, 404, {"X-Error-Code": "RepoNotFound"}, b"")
            siblings = [{"rfilename": name} for name in sorted(hub.repos[repo])]
            info = {
                "id": repo,
                "modelId": repo,
                "sha": hub.commit(repo),
                "siblings": siblings,
                "tags": [],
                "private": False,
            }
            return self._send(method, 200, {"Content-Type": "application/json"}, json.dumps(info).encode())

        def _file(self, method: str, content: bytes, name: str, commit: str) -> None:
            digest = hub.promised.get(name, hashlib.sha256(content).hexdigest())
            headers = {"X-Repo-Commit": commit, "ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
            begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            if begin:
                headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            self._send(method, 206 if begin else 200, headers, content[begin:])

        def _send(self, method: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if method == "GET":
                self.wfile.write(body[: hub.limit] if hub.limit is not None else body)
                self.close_connection = hub.limit is not None and len(body) > hub.limit

    return Handler
