"""A web server of one folder that knows ranges, and misbehaves at the requests that a test chooses."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

FAULTS = ("403", "404", "503", "short", "shifted", "whole", "etag", "resized")
"""Status codes; a body that breaks off; another range; the whole file; another ETag; another size in
Content-Range. Two more cost a reader its patience: "slow" pauses half-way, "stalled" stops for `stall_s`."""


@dataclass(kw_only=True)
class FaultServer:
    """What a test sees and steers. Faults are for GET requests, counted from 0 since `clear`."""

    url: str = ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """(method, path with query string, Range header) of every request."""
    faults: dict[int, str] = field(default_factory=dict)
    """Number of a request -> what it suffers."""
    always: str = ""
    """What all requests suffer that have no fault of their own."""
    validators: bool = True
    """Whether ETag and Last-Modified are sent."""
    delay_s: float = 0.0
    """Pause before every answer."""
    stall_s: float = 3.0
    """How long a body that stops lets a client wait, before the connection is closed."""
    token: str = ""
    """Query string without which every request is refused."""

    def clear(self) -> None:
        """Forget requests and faults."""
        del self.requests[:]
        self.faults.clear()
        self.always = ""

    def number(self) -> int:
        return len(self.requests)


@contextmanager
def fault_server(folder: Path) -> Iterator[FaultServer]:
    """Serve `folder` on a port of this machine."""
    server = FaultServer()
    http = _QuietServer(("127.0.0.1", 0), partial(_FaultHandler, folder=folder, server_=server))
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up on a wrong answer is what tests are about."""


class _FaultHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def __init__(self, *args: object, folder: Path, server_: FaultServer, **kwargs: object) -> None:
        self._folder = folder
        self._told = server_
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._told.requests.append((self.command, self.path, ""))
        time.sleep(self._told.delay_s)
        content = (self._folder / unquote(self.path.partition("?")[0]).lstrip("/")).read_bytes()
        self.send_response(200)
        for key, value in {"Accept-Ranges": "bytes", **self._validators(content, "")}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()

    def do_GET(self) -> None:
        told = self._told
        time.sleep(told.delay_s)
        wanted = self.headers.get("Range", "")
        fault = told.faults.get(told.number(), told.always)
        told.requests.append((self.command, self.path, wanted))
        name, _, query = self.path.partition("?")
        path = self._folder / unquote(name).lstrip("/")
        if told.token and query != told.token:
            fault = "403"
        if fault.isdecimal() or not path.is_file():
            self._answer(int(fault) if fault.isdecimal() else 404, b"no " + self.path.encode(), {})
            return
        content = path.read_bytes()
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        if found is None or fault == "whole":
            self._answer(200, content, self._validators(content, fault))
            return
        first = int(found[1]) + (fault == "shifted")
        last = min(int(found[2]) + (fault == "shifted"), len(content) - 1)
        total = len(content) + (fault == "resized")
        headers = {"Content-Range": f"bytes {first}-{last}/{total}", **self._validators(content, fault)}
        self._answer(206, content[first : last + 1], headers, fault=fault)

    def _validators(self, content: bytes, fault: str) -> dict[str, str]:
        if not self._told.validators:
            return {}
        digest = hashlib.sha256(content + (b"!" if fault == "etag" else b"")).hexdigest()[:16]
        return {"ETag": f'"{digest}"', "Last-Modified": "Tue, 01 Sep 2026 10:00:00 GMT"}

    def _answer(self, status: int, body: bytes, headers: dict[str, str], *, fault: str = "") -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        if fault == "slow":
            time.sleep(min(self._told.stall_s, 0.3))
        if fault == "stalled":
            time.sleep(self._told.stall_s)
        self.close_connection = fault in ("short", "stalled")
        if not self.close_connection:
            self.wfile.write(body[half:])
            self.wfile.flush()
