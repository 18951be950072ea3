"""Bounded HTTP for catalogues: what a server sends is limited in size, time, and in where it leads.

1. `CatalogWeb.ask` sends one request, to the catalogue's own server or to a host that the user allows.
   Redirects are followed by the same rule.
2. A server that is busy (429), broken (5xx), slow, or that breaks off is asked again, after the pause that it
   wishes (`Retry-After`) or after growing pauses.
3. The status decides the class of an error. What the server says of a refused search is shown, without URLs'
   query strings.

requests is used, because pystac-client brings it, and it lets us see every redirect and every piece of a
body before the next one is asked for.
"""

from __future__ import annotations

import fnmatch
import time
import urllib.parse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import requests
import urllib3

from pipeline.errors import InputError, SourceError, TerraqueryError
from pipeline.files.hrefs import public_href, public_text
from pipeline.files.remote_store import current_transport

MOST_BYTES = 64 * 1024 * 1024
"""Bytes of one document, unpacked. A page of 1,000 large items has about 30 MB."""

MOST_REDIRECTS = 5
_PIECE_BYTES = 256 * 1024
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
_USUAL_PORTS = {"http": 80, "https": 443}


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
        """`url`: the catalogue as the user named it; empty: only `allow_hosts` may be asked."""
        self._own = urllib.parse.urlsplit(url)
        self._allow_hosts = allow_hosts
        self._transport = current_transport()
        self.troubles: Counter[str] = Counter()
        """What made a request be asked again -> how often."""

    @cached_property
    def _session(self) -> requests.Session:
        session = requests.Session()
        session.headers["User-Agent"] = "terraquery"
        if self._transport.certificates:
            session.verify = self._transport.certificates
        if self._transport.any_certificate:
            session.verify = False
        return session

    def ask(self, url: str, body: Mapping[str, Any] | None = None) -> bytes:
        """Fetch a document by GET, or by POST with a JSON body. Raises InputError and SourceError."""
        wish = ""
        for number in range(PATIENCE.tries):
            try:
                return self._followed(url, body)
            except _BusyError as error:
                wish = str(error)
                pause = error.wait_s if error.wait_s is not None else PATIENCE.pause_s * 2**number
                if pause > PATIENCE.longest_pause_s:
                    wish += f", and wants {pause:,.0f} s of rest"
                    break
                self.troubles[str(error)] += 1
                if number + 1 < PATIENCE.tries:
                    time.sleep(pause)
        raise SourceError(
            f"The catalogue {public_href(url)} does not answer: {wish}. To fix: try again later",
            retryable=True,
        )

    def allowed(self, url: str) -> str:
        """Give the URL to ask for a link of the catalogue. Raises SourceError for hosts that nobody named.

        Links to the catalogue's own host keep its scheme and port: behind a proxy it may not know them.
        """
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError:
            raise SourceError(f"A link of the catalogue is no URL: {public_href(url)[:200]}") from None
        name = (parts.hostname or "").lower()
        if parts.scheme in _USUAL_PORTS and name and parts.username is None:
            usual = (None, *_USUAL_PORTS.values())
            if name == self._own.hostname and (port == self._own.port or port in usual):
                return urllib.parse.urlunsplit(
                    parts._replace(scheme=self._own.scheme, netloc=self._own.netloc)
                )
            if any(fnmatch.fnmatchcase(name, pattern.lower()) for pattern in self._allow_hosts):
                return url
        raise SourceError(
            f"A link of the catalogue leads to another host: {public_href(url)[:200]}. To fix: if you trust "
            f"it, give --allow-host {name or 'HOST'}"
        )

    def _followed(self, url: str, body: Mapping[str, Any] | None) -> bytes:
        """Ask, and follow redirects. Raises _BusyError where another try may help."""
        for _ in range(MOST_REDIRECTS + 1):
            url = self.allowed(url)
            with self._sent(url, body) as answer:
                if answer.status_code in _REDIRECTS and "Location" in answer.headers:
                    url = urllib.parse.urljoin(url, answer.headers["Location"])
                    body = None if answer.status_code == 303 else body
                    continue
                content = _content(answer, public_href(url))
            self._require_success(answer, content, public_href(url))
            return content
        raise SourceError(f"The catalogue {public_href(url)} redirects more than {MOST_REDIRECTS} times")

    def _sent(self, url: str, body: Mapping[str, Any] | None) -> requests.Response:
        own = urllib.parse.urlsplit(url).netloc == self._own.netloc
        headers = {"Accept": "application/geo+json, application/json"}
        if own:
            headers |= dict(self._transport.headers)
        try:
            return self._session.request(
                "GET" if body is None else "POST",
                url,
                json=body,
                headers=headers,
                timeout=(PATIENCE.connect_s, PATIENCE.stall_s),
                allow_redirects=False,
                stream=True,
            )
        except requests.exceptions.SSLError:
            raise SourceError(
                f"The certificate of {public_href(url)} is not trusted. To fix: name further ones in "
                "CURL_CA_BUNDLE"
            ) from None
        except requests.exceptions.Timeout:
            raise _BusyError("no answer in time") from None
        except requests.exceptions.ConnectionError:
            raise _BusyError("no connection") from None
        except (requests.exceptions.RequestException, ValueError):
            raise SourceError(f"A link of the catalogue is no URL: {public_href(url)[:200]}") from None

    def _require_success(self, answer: requests.Response, content: bytes, name: str) -> None:
        status = answer.status_code
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


def _content(answer: requests.Response, name: str) -> bytes:
    """Read a body within the limits of size and time. Raises _BusyError where it breaks off."""
    stop = time.monotonic() + PATIENCE.document_s
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := answer.raw.read1(_PIECE_BYTES, decode_content=True):
            pieces.append(piece)
            size += len(piece)
            if size > MOST_BYTES:
                raise SourceError(
                    f"The catalogue {name} sends a document of more than {MOST_BYTES:,} bytes. To fix: give "
                    "it as stac-geoparquet, or in parts"
                )
            if time.monotonic() > stop:
                raise _BusyError("no whole answer in time")
    except urllib3.exceptions.HTTPError:
        raise _BusyError("an answer that breaks off") from None
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
