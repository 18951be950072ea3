"""A model hub on this machine: the part of its interface that clients need to list and fetch files.

Written after the interface that huggingface_hub 2.4 calls: `/api/models/ID[/revision/REV]?blobs=true` and
`/api/models/ID/tree/REV` list files with their hashes. `/ID/resolve/REV/FILE` has one, with its ETag and the
commit in headers, whole or from a byte on (Range). Faults: a connection that breaks within a file, content
that is not what its hash says, a repository that is closed.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE_BYTES = 1000
"""Files from this size on are kept by LFS, as the real hub does from 10 MB."""


@dataclass
class Hub:
    """What the server has, what it does wrong, and what it was asked."""

    commits: dict[str, dict[str, Mapping[str, bytes]]] = field(default_factory=dict)
    """Repository -> commit -> file -> content."""
    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    """Repository -> branch or tag -> commit."""
    gated: set[str] = field(default_factory=set)
    breaks: dict[str, int] = field(default_factory=dict)
    """File -> byte before which the connection ends, as often as `n_breaks` says."""
    n_breaks: int = 1
    wrong: dict[str, bytes] = field(default_factory=dict)
    """File -> content that is sent in place of the right one."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """(method, path, Range) of every request."""
    url: str = ""

    def add(self, repo_id: str, files: Mapping[str, bytes], *, branch: str = "main") -> str:
        """Commit files to a branch; returns the commit."""
        content = b"".join(name.encode() + data for name, data in sorted(files.items()))
        commit = hashlib.sha1(content).hexdigest()
        self.commits.setdefault(repo_id, {})[commit] = dict(files)
        self.refs.setdefault(repo_id, {})[branch] = commit
        return commit

    def commit_of(self, repo_id: str, revision: str) -> str | None:
        known = self.commits.get(repo_id, {})
        return revision if revision in known else self.refs.get(repo_id, {}).get(revision)


def blob_id(data: bytes) -> str:
    """Git's name of a content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _sibling(name: str, data: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": blob_id(data)}
    if len(data) >= LARGE_BYTES:
        digest = hashlib.sha256(data).hexdigest()
        entry["blobId"] = blob_id(digest.encode())
        entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 134}
    return entry


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Range", "")))
        if listing := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._list(listing[1], listing[2] or "main")
        elif tree := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            self._tree(tree[1], tree[2])
        elif file := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._send_file(file[1], file[2], file[3], with_body=with_body)
        else:
            self._send(404, b"", {})

    def _refuse(self, repo_id: str, revision: str) -> bool:
        if repo_id not in self.hub.commits:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif repo_id in self.hub.gated:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        elif self.hub.commit_of(repo_id, revision) is None:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        else:
            return False
        return True

    def _list(self, repo_id: str, revision: str) -> None:
        if self._refuse(repo_id, revision):
            return
        commit = self.hub.commit_of(repo_id, revision)
        assert commit is not None
        files = self.hub.commits[repo_id][commit]
        siblings = [_sibling(name, data) for name, data in sorted(files.items())]
        document = {"id": repo_id, "sha": commit, "private": False, "tags": [], "siblings": siblings}
        self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _tree(self, repo_id: str, revision: str) -> None:
        if self._refuse(repo_id, revision):
            return
        files = self.hub.commits[repo_id][str(self.hub.commit_of(repo_id, revision))]
        entries = []
        for name, data in sorted(files.items()):
            sibling = _sibling(name, data)
            entry = {"type": "file", "path": name, "size": len(data), "oid": sibling["blobId"]}
            if isinstance(lfs := sibling.get("lfs"), dict):
                entry["lfs"] = {"oid": lfs["sha256"], "size": lfs["size"], "pointerSize": 134}
            entries.append(entry)
        self._send(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})

    def _send_file(self, repo_id: str, revision: str, name: str, *, with_body: bool) -> None:
        if self._refuse(repo_id, revision):
            return
        commit = self.hub.commit_of(repo_id, revision)
        assert commit is not None
        right = self.hub.commits[repo_id][commit].get(name)
        if right is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        data = self.hub.wrong.get(name, right)
        entry = _sibling(name, right)
        lfs = entry.get("lfs")
        headers = {
            "ETag": f'"{lfs["sha256"] if isinstance(lfs, dict) else entry["blobId"]}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        end = len(data)
        if with_body and self.hub.n_breaks > 0 and start < self.hub.breaks.get(name, 0):
            self.hub.n_breaks -= 1
            end = self.hub.breaks[name]
        self._send(206 if start else 200, data[start:end], headers, length=len(data) - start, body=with_body)
        if end < len(data):
            self.close_connection = True

    def _send(
        self,
        code: int,
        data: bytes,
        headers: Mapping[str, str],
        *,
        length: int | None = None,
        body: bool = True,
    ) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        if body:
            self.wfile.write(data)


@contextmanager
def serving_hub() -> Iterator[Hub]:
    """Serve an empty hub."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def use_hub(monkeypatch: object, hub: Hub | None, cache: object) -> None:
    """Let huggingface_hub, which reads its environment when it is imported, ask this hub and fill this cache.

    `hub`: None for one that does not answer.
    """
    from huggingface_hub import constants

    url = hub.url if hub is not None else "http://127.0.0.1:9"
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    set_attribute = monkeypatch.setattr  # type: ignore[attr-defined]
    set_attribute(constants, "ENDPOINT", url)
    set_attribute(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    set_attribute("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    set_attribute(constants, "HF_HUB_CACHE", str(cache))
    set_attribute(constants, "HF_HUB_OFFLINE", False)
