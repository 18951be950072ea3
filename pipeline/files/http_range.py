"""One answer of a web server: bytes [start, stop) of a URL, or a small document.

1. `get_range` asks for a range. The answer must be this range, whole, unencoded, and say the size of all.
   `get_document` asks for a whole document of a bounded size.
2. `_exchange` follows redirects itself, a few at most. Every hop must be allowed by the guard, and headers
   that may hold credentials stay with the host that they were meant for.
3. Busy servers and broken connections are asked again, with growing pauses that chance makes longer: readers
   that were refused together do not come back together. A server that was too slow is asked once more only.
"""

from __future__ import annotations

import random
import re
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from urllib3 import BaseHTTPResponse, Timeout
from urllib3.exceptions import (
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as SlowError

from pipeline.errors import InputError
from pipeline.files.href_guard import require_allowed
from pipeline.files.hrefs import public_href
from pipeline.files.paced_connection import connections, patience, proxy_for
from pipeline.files.remote_error import RemoteError, TimedOutError, no_ranges_error, status_error
from pipeline.files.remote_store import RangeAnswer, Transport
from pipeline.files.traffic import traffic
from pipeline.schema.imagery import HrefGuard

MOST_REDIRECTS = 5
"""Hops that one request follows."""

MOST_PAUSE_S = 30.0
"""Longest pause that a busy server can ask for."""

LONGER_BY_CHANCE = 1.5
"""How much longer than it must be a pause may be."""

DRAINED_BYTES = 16 * 1024
"""Bytes of an answer without interest that are read, so that its connection can serve again."""

_REDIRECTS = (301, 302, 303, 307, 308)

_WRONG_TIME = (9, 10)
"""OpenSSL's numbers of certificates that are not valid yet, or no more (`X509_V_ERR_*` of x509_vfy.h)."""

_WRONG_NAME = (62, 64)
"""Its numbers of those that are for another host, or another address."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


@dataclass(frozen=True, kw_only=True)
class WebRequest:
    """What is asked, and under which conditions."""

    url: str = field(repr=False)
    """With its token."""
    name: str
    """The object's public href, for messages."""
    transport: Transport
    guard: HrefGuard | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    refusal_remedy: str = "give a signed URL, or download the file and give its path"
    """What to do when the server refuses access."""

    @property
    def signed(self) -> bool:
        """Whether the URL holds a token, or something else that must not be shown."""
        return self.url != self.name

    @property
    def source(self) -> str:
        """What its traffic is counted as."""
        return "s3" if self.name.startswith("s3://") else "http"


def get_range(request: WebRequest, start: int, stop: int) -> RangeAnswer:
    """Fetch bytes [start, stop) of an object, fewer at its end. Raises RemoteError."""

    def read(answer: BaseHTTPResponse) -> RangeAnswer:
        return _read_range(request, answer, start, stop)

    headers = {"Range": f"bytes={start}-{stop - 1}"}
    return _patiently(request, lambda: _exchange(request, headers, read))


def get_document(request: WebRequest, most_bytes: int) -> bytes:
    """Fetch a whole document. Raises RemoteError, also for a longer one."""

    def read(answer: BaseHTTPResponse) -> bytes:
        _require_status(request, answer, 200)
        body = answer.read(most_bytes + 1)
        if len(body) > most_bytes:
            raise RemoteError(request.name, f"the server sent more than {most_bytes:,} bytes")
        traffic.add(f"{request.source}_bytes", len(body))
        return body

    return _patiently(request, lambda: _exchange(request, {}, read))


def _patiently[T](request: WebRequest, once: Callable[[], T]) -> T:
    """Ask again while that may help, as often as the transport says."""
    transport = request.transport
    pause_s = transport.retry_delay_s
    was_slow = False
    for left in range(transport.retries, -1, -1):
        try:
            return once()
        except RemoteError as error:
            slow = isinstance(error, TimedOutError)
            if not error.retryable or not left or (slow and was_slow):
                raise
            was_slow |= slow
            asked_s = error.pause_s
        time.sleep(min(max(pause_s, asked_s), MOST_PAUSE_S) * random.uniform(1.0, LONGER_BY_CHANCE))
        pause_s = min(2 * pause_s, 8 * transport.retry_delay_s)
        traffic.add(f"{request.source}_retries")
    raise AssertionError("the last try returns or raises")


def _exchange[T](request: WebRequest, headers: Mapping[str, str], read: Callable[[BaseHTTPResponse], T]) -> T:
    """Send a GET request, follow redirects, and hand the answer to `read`. Raises RemoteError."""
    url = request.url
    own = dict(request.transport.headers) | dict(request.headers)
    for _ in range(MOST_REDIRECTS + 1):
        failure: RemoteError | None = None
        host = urllib.parse.urlsplit(url).hostname or ""
        try:
            answer = _send(request, url, {"Accept-Encoding": "identity", **own, **headers})
            try:
                target = answer.headers.get("Location") if answer.status in _REDIRECTS else None
                found = read(answer) if target is None else None
                if target is not None:
                    answer.read(DRAINED_BYTES)
            finally:
                answer.close()
        except (HTTPError, OSError, ValueError) as error:
            failure = _failure(request.name, host, error)
        if failure is not None:
            raise failure  # not from within: an error that holds the signed URL would travel along
        patience.was_in_time(host)
        if target is None:
            return found  # type: ignore[return-value]
        following = _redirected(request, url, target)
        if _origin(following) != _origin(url):
            own = {}
        url = following
    raise RemoteError(
        request.name, f"it is redirected more than {MOST_REDIRECTS} times", remedy="check the URL"
    )


def _send(request: WebRequest, url: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
    """Send one GET request; once more over a new connection, where the old one was closed meanwhile."""
    parts = urllib.parse.urlsplit(url)
    proxy = proxy_for(parts.scheme, parts.hostname or "")
    transport = request.transport
    pool = connections(transport, request.guard, proxy)
    how: dict[str, Any] = {
        "headers": headers,
        "redirect": False,
        "retries": False,
        "preload_content": False,
        "decode_content": False,
        "timeout": Timeout(connect=transport.connect_timeout_s, read=transport.stall_s),
    }
    traffic.add(f"{request.source}_requests")
    try:
        return pool.request("GET", url, **how)
    except ProtocolError as error:
        if not isinstance(error.args[-1], ConnectionResetError | BrokenPipeError):
            raise
    traffic.add(f"{request.source}_requests")
    traffic.add(f"{request.source}_retries")
    return pool.request("GET", url, **how)


def _read_range(request: WebRequest, answer: BaseHTTPResponse, start: int, stop: int) -> RangeAnswer:
    name = request.name
    if answer.status == 200:
        raise no_ranges_error(name)
    _require_status(request, answer, 206)
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise RemoteError(name, "the server sent encoded bytes, not those of the file")
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    if found is None:
        raise RemoteError(name, "the server does not say which bytes it sent, and of how many")
    first, last, size = (int(number) for number in found.groups())
    wanted = min(stop, size) - start
    if wanted <= 0 or first != start or last + 1 - first != wanted:
        raise RemoteError(name, "the server sent another range than the one asked for", retryable=True)
    body = answer.read(wanted)
    if len(body) != wanted:
        raise RemoteError(name, _BROKEN, retryable=True)
    if answer.read(1):
        raise RemoteError(name, "the server sent more bytes than asked for", retryable=True)
    traffic.add(f"{request.source}_bytes", len(body))
    return RangeAnswer(
        body=body,
        size=size,
        etag=answer.headers.get("ETag", ""),
        last_modified=answer.headers.get("Last-Modified", ""),
    )


def _require_status(request: WebRequest, answer: BaseHTTPResponse, wanted: int) -> None:
    if answer.status == wanted:
        return
    error = status_error(request.name, answer.status, request.refusal_remedy, signed=request.signed)
    asked = answer.headers.get("Retry-After", "").strip()
    error.pause_s = float(asked) if re.fullmatch(r"\d{1,5}", asked) else 0.0
    raise error


def _redirected(request: WebRequest, url: str, target: str) -> str:
    """Resolve where an answer leads, and refuse what may not be followed. Raises RemoteError."""
    try:
        following = urllib.parse.urljoin(url, target).partition("#")[0]
        parts = urllib.parse.urlsplit(following)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host = None
    if not host or parts.scheme.lower() not in ("http", "https"):
        raise RemoteError(request.name, "it is redirected to something that is no web page")
    shown = public_href(following)
    if url.lower().startswith("https:") and parts.scheme.lower() == "http":
        raise RemoteError(
            request.name,
            f"it is redirected to {shown}, which is not encrypted",
            remedy="give that URL itself if the network may see and change what is sent",
        )
    try:
        require_allowed(following, request.guard)
    except InputError:
        raise RemoteError(
            request.name,
            f"it is redirected to {shown}, which is not allowed",
            remedy="check the bucket, and the endpoint (AWS_ENDPOINT_URL_S3)"
            if request.name.startswith("s3://")
            else f"give --allow-host {host} if you trust it",
        ) from None
    return following


def _origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme.lower(), parts.netloc.lower()


_BROKEN = "the connection broke before the answer was whole"


def _failure(name: str, host: str, error: Exception) -> RemoteError:
    """Say in our words why no whole answer came."""
    cause = error.__cause__
    if isinstance(error, UnicodeError) or isinstance(cause, UnicodeError):
        return RemoteError(name, f"there is no host {host}", remedy="check the URL")
    if isinstance(error, NameResolutionError) and isinstance(cause, socket.gaierror):
        if cause.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
            return RemoteError(name, f"there is no host {host}", remedy="check the URL")
        return RemoteError(name, f"the name of its host {host} cannot be resolved now", retryable=True)
    if isinstance(error, ProxyError):
        return RemoteError(name, "the proxy cannot be reached, or does not let it pass", retryable=True)
    if isinstance(error, NewConnectionError):
        return RemoteError(name, "the server cannot be reached", retryable=True)
    if isinstance(error, SlowError):
        patience.was_slow(host)
        return TimedOutError(name, "the server did not answer in time", retryable=True)
    if isinstance(error, SSLError):
        return _insecure(name, host, error)
    if isinstance(error, ProtocolError):
        return RemoteError(name, _BROKEN, retryable=True)
    return RemoteError(name, f"the request failed ({type(error).__name__})", retryable=True)


def _insecure(name: str, host: str, error: SSLError) -> RemoteError:
    """Say why no encrypted connection came about. OpenSSL numbers what is wrong with a certificate."""
    found = error.args[0] if error.args else None
    if not isinstance(found, ssl.SSLCertVerificationError):
        return RemoteError(name, "no encrypted connection to its server came about", retryable=True)
    if found.verify_code in _WRONG_NAME:
        return RemoteError(
            name,
            f"the certificate of its server is not for {host}",
            remedy="check the URL: somebody else may be answering",
        )
    if found.verify_code in _WRONG_TIME:
        return RemoteError(
            name,
            "the certificate of its server is not valid today",
            remedy="check this machine's clock, or ask whoever keeps the server",
        )
    return RemoteError(
        name,
        "the certificate of its server is not trusted",
        remedy="if it is one of your own, CURL_CA_BUNDLE or SSL_CERT_FILE names the file of its authority",
    )
