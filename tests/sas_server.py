"""A storage service and its token endpoint on this machine, as the Planetary Computer has them."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

SECRET = "SECRETSIG"
"""What no output may hold; part of every token."""


@dataclass(kw_only=True)
class SasServer:
    """What a test sees and steers."""

    url: str = ""
    life_s: float = 3600.0
    """Seconds that a new token is valid. Negative: it has expired when it comes."""
    said_s: float | None = None
    """Seconds that the endpoint says; None: the truth."""
    failures: list[int] = field(default_factory=list)
    """Statuses of the next answers of the endpoint, before it gives tokens again."""
    unknown: bool = False
    """Whether the endpoint knows no container."""
    open: bool = False
    """Whether files are given without a token."""
    revoked: set[int] = field(default_factory=set)
    """Numbers of tokens that the storage refuses before they expire."""
    refuses_from: int | None = None
    """Number of the request for a file from which on all are refused; None: none is for this reason."""
    leads_away: dict[str, str] = field(default_factory=dict)
    """Path -> URL to which the storage redirects every token but the first."""
    tokens: list[float] = field(default_factory=list)
    """When each token expires."""
    keys: list[str] = field(default_factory=list)
    """Subscription keys that came with requests for tokens."""
    reads: list[tuple[str, int]] = field(default_factory=list)
    """(path, status) of every request for a file."""

    def token_url(self) -> str:
        return f"{self.url}/api/sas/v1/token"

    def allows(self, query: str) -> bool:
        """Whether a query string holds a token that is valid now."""
        found = parse_qs(query)
        number = re.fullmatch(rf"{SECRET}(\d+)", found.get("sig", [""])[0])
        if number is None:
            return self.open
        index = int(number[1])
        return index < len(self.tokens) and index not in self.revoked and time.time() < self.tokens[index]

    def leads_to(self, path: str, query: str) -> str:
        """Where the storage sends whoever asks for a path. Empty: nowhere."""
        return "" if f"sig={SECRET}0" in query.split("&") else self.leads_away.get(path, "")


@contextmanager
def sas_server(folder: Path) -> Iterator[SasServer]:
    """Serve `folder/container/...` under /container/... on a port of this machine.

    It answers a proxy's requests as well, whatever their host: hrefs with real host names can lead here.
    """
    server = SasServer()
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_SasHandler, folder=folder, told=server))
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _SasHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def __init__(self, *args: object, folder: Path, told: SasServer, **kwargs: object) -> None:
        self._folder = folder
        self._told = told
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if "/sas/v1/token/" in parts.path:
            self._token()
        else:
            self._file(unquote(parts.path), parts.query)

    def _token(self) -> None:
        told = self._told
        told.keys.append(self.headers.get("Ocp-Apim-Subscription-Key", ""))
        if told.failures:
            self._answer(told.failures.pop(0), b"{}", {})
        elif told.unknown:
            self._answer(404, b'{"detail": "no such container"}', {})
        else:
            told.tokens.append(time.time() + told.life_s)
            said = told.tokens[-1] if told.said_s is None else time.time() + told.said_s
            token = f"sv=2024&sp=rl&sig={SECRET}{len(told.tokens) - 1}"
            expiry = datetime.fromtimestamp(said, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._answer(200, json.dumps({"msft:expiry": expiry, "token": token}).encode(), {})

    def _file(self, path: str, query: str) -> None:
        file = self._folder / path.lstrip("/")
        broken = self._told.refuses_from is not None and len(self._told.reads) >= self._told.refuses_from
        status = 206 if self._told.allows(query) and not broken else 403
        if status == 206 and not file.is_file():
            status = 404
        target = self._told.leads_to(path, query) if status == 206 else ""
        status = 302 if target else status
        self._told.reads.append((path, status))
        if target:
            self._answer(status, b"", {"Location": target})
            return
        if status != 206:
            self._answer(status, f"<Error>{self.path}</Error>".encode(), {})
            return
        content = file.read_bytes()
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        assert found is not None, "a client that wants a whole file"
        body = content[int(found[1]) : int(found[2]) + 1]
        last = int(found[1]) + len(body) - 1
        self._answer(206, body, {"Content-Range": f"bytes {found[1]}-{last}/{len(content)}", "ETag": '"1"'})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
