"""Bounded HTTP for catalogues: what a server sends is limited in size, time, and in where it leads.

1. `CatalogWeb.ask` sends one request, to the catalogue's own server or to a host that the user allows.
   Redirects are followed by the same rule.
2. A server that is busy (429), broken (5xx), slow, or that breaks off is asked again, after the pause that it
   wishes (`Retry-After`) or after growing pauses.
3. The status decides the class of an error. What the server says of a refused search is shown, without URLs'
   query strings.

It stands on the connections of `files.paced_connection`, which go to checked addresses at a checked pace.
"""

from __future__ import annotations

import json
import socket
import time
import urllib.parse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from urllib3 import BaseHTTPResponse, Timeout
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as SlowError

from pipeline.errors import InputError, SourceError, TerraqueryError
from pipeline.files.href_guard import guard_for, require_allowed
from pipeline.files.hrefs import public_href
from pipeline.files.paced_connection import connections, proxy_for
from pipeline.files.public_text import public_text
from pipeline.files.remote_store import current_transport
from pipeline.files.traffic import traffic
from pipeline.schema.imagery import HrefGuard

MOST_BYTES = 64 * 1024 * 1024
"""Bytes of one document, unpacked. Recorded items of Sentinel-2 have 17 to 22 kB each."""

MOST_REDIRECTS = 5
_PIECE_BYTES = 256 * 1024
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_USUAL_PORTS = (None, 80, 443)
_HEADERS = {
    "Accept": "application/geo+json, application/json",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": "terraquery",
}


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a catalogue is waited for."""

    tries: int = 5
    pause_s: float = 1.0
    """Before the second try; it doubles with every further one."""
    longest_pause_s: float = 60.0
    """A server that wishes a longer one is not waited for."""
    connect_s: float = 10.0
    stall_s: float = 60.0
    """Longest silence of a server: some search for that long."""
    document_s: float = 180.0
    """For one whole document, however steadily it drips."""


PATIENCE = Patience()


class CatalogWeb:
    """The web as one search may use it. Threads may share it."""

    def __init__(self, url: str, allow_hosts: tuple[str, ...] = ()) -> None:
        """`url`: the catalogue as the user named it; empty: only `allow_hosts` may be asked.

        Raises InputError for hosts that are none.
        """
        self._own = urllib.parse.urlsplit(url)
        self._others = guard_for((), "", allow_hosts)
        self._transport = replace(
            current_transport(),
            connect_timeout_s=PATIENCE.connect_s,
            stall_s=PATIENCE.stall_s,
            stall_bytes_s=0.0,
            timeout_s=PATIENCE.document_s,
        )
        self.access: tuple[tuple[str, str], ...] = ()
        """What every request to the own server carries in its query string, such as a key."""
        self.troubles: Counter[str] = Counter()
        """What made a request be asked again -> how often."""

    def ask(self, url: str, body: Mapping[str, Any] | None = None, *, most_bytes: int = MOST_BYTES) -> bytes:
        """Fetch a document by GET, or by POST with a JSON body. Raises InputError and SourceError."""
        wish = ""
        for number in range(PATIENCE.tries):
            try:
                return self._followed(url, body, most_bytes)
            except _BusyError as error:
                wish = str(error)
                pause = error.wait_s if error.wait_s is not None else PATIENCE.pause_s * 2**number
                if pause > PATIENCE.longest_pause_s:
                    wish += f", and wants {pause:,.0f} s of rest"
                    break
                self.troubles[str(error)] += 1
                if number + 1 < PATIENCE.tries:
                    time.sleep(pause)
                    traffic.add("catalogue_retries")
        raise SourceError(
            f"The catalogue {public_href(url)} does not answer: {wish}. To fix: check the URL, or try "
            "again later",
            retryable=True,
        )

    def allowed(self, url: str) -> tuple[str, HrefGuard | None]:
        """Give the URL to ask for a link of the catalogue, and its guard (None: the catalogue's own server).

        Links to the own host keep the catalogue's scheme and port: behind a proxy it may not know them.
        Raises SourceError for hosts that nobody named.
        """
        shown = public_href(url)[:200]
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError:
            raise SourceError(f"A link of the catalogue is no URL: {shown}") from None
        if parts.scheme not in ("http", "https") or parts.username is not None:
            raise SourceError(f"A link of the catalogue must be a plain URL: {shown}")
        if parts.hostname == self._own.hostname and port in (self._own.port, *_USUAL_PORTS):
            place = {"scheme": self._own.scheme, "netloc": self._own.netloc}
            return urllib.parse.urlunsplit(parts._replace(**place, query=self._query(parts.query))), None
        try:
            require_allowed(url, self._others)
        except InputError:
            raise SourceError(
                f"A link of the catalogue leads to another host: {shown}. To fix: if you trust it, give "
                f"--allow-host {parts.hostname or 'HOST'}"
            ) from None
        return url, self._others

    def _query(self, query: str) -> str:
        """Add the access to a query string that lacks it."""
        known = {name for name, _ in urllib.parse.parse_qsl(query, keep_blank_values=True)}
        added = urllib.parse.urlencode([pair for pair in self.access if pair[0] not in known])
        return "&".join(part for part in (query, added) if part)

    def _followed(self, url: str, body: Mapping[str, Any] | None, most_bytes: int) -> bytes:
        """Ask, and follow redirects. Raises _BusyError where another try may help."""
        for _ in range(MOST_REDIRECTS + 1):
            url, guard = self.allowed(url)
            answer = self._sent(url, guard, body)
            try:
                target = answer.headers.get("Location") if answer.status in _REDIRECTS else None
                if target is None:
                    content = _content(answer, public_href(url), most_bytes)
                    self._require_success(answer, content, public_href(url))
                    return content
                body = None if answer.status == 303 else body
                url = urllib.parse.urljoin(url, target)
            finally:
                answer.close()
        raise SourceError(f"The catalogue {public_href(url)} redirects more than {MOST_REDIRECTS} times")

    def _sent(self, url: str, guard: HrefGuard | None, body: Mapping[str, Any] | None) -> BaseHTTPResponse:
        parts = urllib.parse.urlsplit(url)
        pool = connections(self._transport, guard, proxy_for(parts.scheme, parts.hostname or ""))
        headers = {**_HEADERS, **(dict(self._transport.headers) if guard is None else {})}
        traffic.add("catalogue_requests")
        try:
            return pool.request(
                "GET" if body is None else "POST",
                url,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers if body is None else {**headers, "Content-Type": "application/json"},
                timeout=Timeout(connect=PATIENCE.connect_s, read=PATIENCE.stall_s),
                redirect=False,
                retries=False,
                preload_content=False,
            )
        except (HTTPError, OSError, ValueError) as error:
            raise _trouble(error, public_href(url)) from None

    def _require_success(self, answer: BaseHTTPResponse, content: bytes, name: str) -> None:
        status = answer.status
        if 200 <= status < 300:
            return
        if status in _BUSY:
            raise _BusyError(f"status {status}", wait_s=_wish(answer.headers.get("Retry-After", "")))
        raise refusal(status, name, content)


class _BusyError(Exception):
    """Another try may help. `wait_s`: after so many seconds, if the server says so."""

    def __init__(self, reason: str, *, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class RefusedError(InputError):
    """A catalogue's server refuses a request for good."""

    def __init__(self, what: str, *, status: int, came: str = "", remedy: str = "") -> None:
        super().__init__(what, came=came, remedy=remedy)
        self.status = status


def refusal(status: int, name: str, content: bytes) -> TerraqueryError:
    """Say why a server refused a request. `name`: the public URL; `content`: what the server said."""
    said = " ".join(public_text(content[:400].decode("utf-8", "replace")).split())
    said = "".join(char for char in said if char.isprintable())
    remedy = {
        401: "export GDAL_HTTP_BEARER or GDAL_HTTP_HEADERS with your access",
        403: "export GDAL_HTTP_BEARER or GDAL_HTTP_HEADERS with your access",
        404: "check the URL and the collection's name",
        400: "check --stac-filter, --datetime and --aoi against what the catalogue understands",
    }.get(status, "check the URL")
    return RefusedError(
        f"The catalogue {name} must answer", status=status, came=f"status {status}: {said}", remedy=remedy
    )


def _trouble(error: Exception, name: str) -> Exception:
    """Say why no answer came, in words that hold no URL of the library's."""
    cause = error.__cause__
    if isinstance(error, NameResolutionError) and getattr(cause, "errno", 0) == socket.EAI_NONAME:
        return InputError("The catalogue's host must exist", came=name, remedy="check the URL")
    if isinstance(error, SSLError):
        remedy = "To fix: name further ones in CURL_CA_BUNDLE"
        return SourceError(f"The certificate of {name} is not trusted. {remedy}")
    if isinstance(error, NewConnectionError):
        return _BusyError("no connection")
    if isinstance(error, SlowError | TimeoutError):
        return _BusyError("no answer in time")
    if isinstance(error, ValueError):
        return SourceError(f"A link of the catalogue is no URL: {name[:200]}")
    return _BusyError("an answer that breaks off")


def _content(answer: BaseHTTPResponse, name: str, most_bytes: int) -> bytes:
    """Read a body within the limits of size and time. Raises _BusyError where it breaks off."""
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := answer.read(_PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            if size > most_bytes:
                raise SourceError(
                    f"The catalogue {name} sends a document of more than {most_bytes:,} bytes. To fix: give "
                    "it as stac-geoparquet, or in parts"
                )
    except (HTTPError, OSError) as error:
        raise _trouble(error, name) from None
    traffic.add("catalogue_bytes", size)
    return b"".join(pieces)


def _wish(text: str) -> float | None:
    """Read `Retry-After`: seconds, or a date. None: it says nothing of use."""
    try:
        return (
            max(float(text), 0.0) if text.strip().isdecimal() else _seconds_until(parsedate_to_datetime(text))
        )
    except (TypeError, ValueError, OverflowError):
        return None


def _seconds_until(moment: datetime) -> float:
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
