"""A proxy in front of an S3 server that answers badly for a drawn share of requests.

| fault | what a client meets |
|---|---|
| 500, 503, 429 | this status; the request did not get through |
| reset | the connection is reset; the request did not get through |
| lost | the request went through, and the connection is reset instead of its answer |
| short | a body that breaks off half-way |
| slow | a pause in the middle of a body |
| stalled | a body that stops for longer than a client should wait |
| 403 | this status, from a chosen request on, for all |
"""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("500", "503", "429", "reset", "lost", "short", "slow")
"""What costs a client little; `stalled` costs it its patience, and 403 is for ever."""

_CODES = {"500": "InternalError", "503": "SlowDown", "429": "TooManyRequests", "403": "AccessDenied"}
_BODY_FAULTS = ("short", "slow", "stalled")
_OF_A_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@dataclass(kw_only=True)
class S3Proxy:
    """What a test steers and sees."""

    upstream: str
    """Host and port of the server."""
    url: str = ""
    share: float = 0.0
    """Share of requests that suffer something."""
    faults: tuple[str, ...] = FAULTS
    once: dict[int, str] = field(default_factory=dict)
    """Number of a request since `clear` -> what it suffers, in any case."""
    refused_from: int | None = None
    """Number of the request from which all are refused."""
    slow_s: float = 0.2
    stall_s: float = 4.0
    met: Counter[str] = field(default_factory=Counter)
    """Fault -> requests that suffered it since `clear`."""
    n_requests: int = 0
    rng: random.Random = field(default_factory=random.Random)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def clear(self, seed: int = 0) -> None:
        """Answer well from now on, and forget what was."""
        with self._lock:
            self.share, self.faults, self.refused_from, self.n_requests = 0.0, FAULTS, None, 0
            self.once.clear()
            self.met.clear()
            self.rng = random.Random(seed)

    def drawn(self) -> str:
        """What the next request suffers. Empty: nothing."""
        with self._lock:
            number = self.n_requests
            self.n_requests += 1
            if self.refused_from is not None and number >= self.refused_from:
                return "403"
            if number in self.once:
                return self.once[number]
            return self.rng.choice(self.faults) if self.rng.random() < self.share else ""

    def count(self, fault: str) -> None:
        """Note that a request suffered it."""
        with self._lock:
            self.met[fault] += 1


@contextmanager
def s3_proxy(endpoint: str) -> Iterator[S3Proxy]:
    """Stand in front of the server at `endpoint`, an http URL, on a port of this machine."""
    proxy = S3Proxy(upstream=urllib.parse.urlsplit(endpoint).netloc)
    server = _QuietServer(("127.0.0.1", 0), partial(_Handler, proxy=proxy))
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed or has lost its patience."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def __init__(self, *args: object, proxy: S3Proxy, **kwargs: object) -> None:
        self._proxy = proxy
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def log_message(self, *args: object) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self._proxy.drawn()
        if fault in _CODES:
            self._proxy.count(fault)
            self._answer(int(fault), f"<Error><Code>{_CODES[fault]}</Code></Error>".encode(), {})
            return
        if fault == "reset":
            self._proxy.count(fault)
            self._reset()
            return
        status, answer, headers = self._forwarded(body)
        if fault == "lost":
            self._proxy.count(fault)
            self._reset()
            return
        if fault in _BODY_FAULTS:
            if self.command != "GET" or len(answer) < 2:
                fault = ""  # there is no body that could break off
            else:
                self._proxy.count(fault)
        self._answer(status, answer, headers, fault=fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - the names of http.server

    def _forwarded(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection(self._proxy.upstream, timeout=60)
        try:
            connection.request(self.command, self.path, body=body, headers=dict(self.headers.items()))
            answer = connection.getresponse()
            headers = {k: v for k, v in answer.getheaders() if k.lower() not in _OF_A_CONNECTION}
            data = answer.read()
            if self.command == "HEAD":
                headers["Content-Length"] = answer.getheader("Content-Length", "0")
            return answer.status, data, headers
        finally:
            connection.close()

    def _answer(self, status: int, body: bytes, headers: dict[str, str], *, fault: str = "") -> None:
        self.send_response_only(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if "Content-Length" not in headers and status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        time.sleep({"slow": self._proxy.slow_s, "stalled": self._proxy.stall_s}.get(fault, 0.0))
        self.close_connection = fault in ("short", "stalled")
        if not self.close_connection:
            self.wfile.write(body[half:])

    def _reset(self) -> None:
        """Close the connection without a word: the client gets a TCP reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wfile.close()
        self.rfile.close()
        self.connection.close()
