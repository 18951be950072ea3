"""Connections to web servers that are held to a pace, and that go to allowed addresses only.

1. `connections` makes urllib3's pool of connections for one transport and one guard.
2. `_new_conn` of a connection resolves the host, has its addresses checked, and connects to these.
3. `_PacedAnswer` reads an answer, header lines included, through a `_Pace`: a total time, and a least number
   of bytes in each stretch of time. A server that sends a byte a second is given up after one stretch.
4. `patience` halves the stretch of a host that was too slow before, until it answers in time again: a reader
   is not held for as long at every tile.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from functools import lru_cache, partial
from typing import Any, ClassVar

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NameResolutionError, NewConnectionError

from pipeline.files.href_guard import allowed_addresses
from pipeline.files.remote_store import Transport
from pipeline.schema.imagery import HrefGuard

LEAST_STALL_S = 2.0
"""Shortest stretch in which a slow server must send something."""

BUFFER_BYTES = 64 * 1024
"""Bytes that one call to the system may bring."""

MOST_CONNECTIONS = 64
"""Idle connections to one host that are kept."""


class _Patience:
    """How long hosts may send nothing, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._halvings: dict[str, int] = {}

    def stall_s(self, host: str, usual_s: float) -> float:
        """Seconds in which a host must send the least number of bytes."""
        return max(min(LEAST_STALL_S, usual_s), usual_s * 0.5 ** self._halvings.get(host, 0))

    def was_slow(self, host: str) -> None:
        with self._lock:
            self._halvings[host] = min(self._halvings.get(host, 0) + 1, 16)

    def was_in_time(self, host: str) -> None:
        if host in self._halvings:
            with self._lock:
                self._halvings.pop(host, None)


patience = _Patience()


class _Pace:
    """Times one answer."""

    def __init__(self, stall_s: float, least_bytes: float, total_s: float) -> None:
        self._stall_s = stall_s
        self._least_bytes = least_bytes
        self._stretch = time.monotonic()
        self._end = self._stretch + total_s
        self._bytes = 0

    def left_s(self) -> float:
        """Seconds that the next bytes may take. Raises TimeoutError."""
        left = min(self._stretch + self._stall_s, self._end) - time.monotonic()
        if left <= 0:
            raise TimeoutError("too slow")
        return left

    def count(self, n_bytes: int) -> None:
        self._bytes += n_bytes
        if self._bytes >= self._least_bytes:
            self._bytes = 0
            self._stretch = time.monotonic()


class _PacedFile(io.RawIOBase):
    """The receiving end of a socket."""

    def __init__(self, raw: Any, sock: socket.socket, pace: _Pace) -> None:
        self._raw = raw
        self._sock = sock
        self._pace = pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._pace.left_s())
        n_bytes: int | None = self._raw.readinto(buffer)
        self._pace.count(n_bytes or 0)
        return n_bytes

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PacedAnswer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, pace: _Pace, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_PacedFile(raw, sock, pace), BUFFER_BYTES)


class _Paced:
    """What connections to http and https URLs share. `guard` and `transport` are those of their pool."""

    guard: ClassVar[HrefGuard | None]
    transport: ClassVar[Transport]
    host: str
    port: int
    timeout: float
    socket_options: Any
    response_class: Any

    def _new_conn(self) -> socket.socket:
        """Connect to the first allowed address that answers."""
        try:
            found = allowed_addresses(self.host, self.host, self.port, self.guard)
        except (socket.gaierror, UnicodeError) as error:
            raise NameResolutionError(self.host, self, error) from error  # type: ignore[arg-type]
        trouble: OSError = OSError("no address")
        for family, kind, protocol, _, place in found:
            sock = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(self.transport.connect_timeout_s)
                sock.connect(place)
            except OSError as error:
                trouble = error
                sock.close()
            else:
                return sock
        raise NewConnectionError(self, "no address answers") from trouble  # type: ignore[arg-type]

    def getresponse(self) -> Any:
        stall_s = patience.stall_s(self.host, self.transport.stall_s)
        least_bytes = max(1.0, self.transport.stall_bytes_s * stall_s)
        pace = _Pace(stall_s, least_bytes, self.transport.timeout_s)
        self.response_class = partial(_PacedAnswer, pace=pace)
        return super().getresponse()  # type: ignore[misc]


class _PacedHttp(_Paced, HTTPConnection):  # type: ignore[misc]
    pass


class _PacedHttps(_Paced, HTTPSConnection):  # type: ignore[misc]
    pass


@lru_cache(maxsize=32)
def connections(transport: Transport, guard: HrefGuard | None, proxy: str) -> urllib3.PoolManager:
    """Make the connections for one transport and guard. `proxy`: URL of a proxy; empty: there is none.

    Only the proxy can check addresses behind it.
    """
    settings: dict[str, Any] = {"num_pools": 64, "maxsize": MOST_CONNECTIONS, "ssl_context": _tls(transport)}
    made: urllib3.PoolManager
    if proxy:
        parts = urllib.parse.urlsplit(proxy)
        user = urllib.parse.unquote(f"{parts.username}:{parts.password or ''}") if parts.username else None
        headers = urllib3.make_headers(proxy_basic_auth=user) if user else None
        made = urllib3.ProxyManager(proxy, proxy_headers=headers, **settings)
    else:
        made = urllib3.PoolManager(**settings)
    held = {"guard": None if proxy else guard, "transport": transport}
    http_connection = type("_Http", (_PacedHttp,), held)
    https_connection = type("_Https", (_PacedHttps,), held)
    made.pool_classes_by_scheme = {
        "http": type("_HttpPool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": http_connection}),
        "https": type("_HttpsPool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": https_connection}),
    }
    return made


def proxy_for(scheme: str, host: str) -> str:
    """Read the proxy that the environment names for a host (HTTPS_PROXY, NO_PROXY). Empty: none."""
    proxy = urllib.request.getproxies().get(scheme, "")
    if not proxy or urllib.request.proxy_bypass(host):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


@lru_cache(maxsize=8)
def _tls(transport: Transport) -> ssl.SSLContext:
    """Trust what the system trusts, certifi's list, and the user's own certificates."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    if transport.certificates:
        context.load_verify_locations(transport.certificates)
    if transport.any_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
