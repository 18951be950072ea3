"""Tokens of the Planetary Computer: one per storage container, from its public endpoint.

`GET {PC_SDK_SAS_URL}/{account}/{container}` answers `{"token": ..., "msft:expiry": ...}`; the token is the
query string that Azure's storage wants. PC_SDK_SAS_URL and PC_SDK_SUBSCRIPTION_KEY mean what they mean to the
official client (microsoft/planetary-computer-sdk-for-python).

A token is kept until shortly before it expires. One that seems to have expired when it came is asked for once
more, and then tried all the same, but not for long: either the endpoint is wrong or the clock of this
machine. A container that the endpoint does not know is read without a token.
"""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

from pipeline.files.hrefs import public_href
from pipeline.files.http_range import WebRequest, get_document
from pipeline.files.remote_error import RemoteError
from pipeline.files.remote_store import current_transport

SAS_URL = "https://planetarycomputer.microsoft.com/api/sas/v1/token"

EARLY_S = 120.0
"""Seconds before it expires that a token is replaced: a request may take as long (`Transport.timeout_s`)."""

DOUBTFUL_S = 30.0
"""Seconds that a token is used which had expired when it came."""

OPEN_S = 3600.0
"""Seconds that a container without tokens counts as open."""

RENEWAL_PAUSE_S = 30.0
"""Seconds between two renewals for one container: storage that refuses every token must not make a process
flood the endpoint."""

MOST_BYTES = 64 * 1024
"""Bytes of an answer of the endpoint."""


@dataclass(frozen=True, kw_only=True)
class _Token:
    query: str = field(repr=False)
    """Empty: the container needs none."""
    until: float
    """`time.time` until which it is used."""


class PlanetaryComputerSigner:
    """Signs hrefs of Azure's storage with tokens of the Planetary Computer (`signing.HrefSigner`)."""

    name: ClassVar[str] = "planetary-computer"
    hosts: ClassVar[tuple[str, ...]] = ("*.blob.core.windows.net",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[tuple[str, str], _Token] = {}
        self._renewed: dict[tuple[str, str], float] = {}

    def sign(self, href: str) -> str:
        """Append the token of the href's container. Raises RemoteError."""
        if urllib.parse.urlsplit(href).query:
            return href
        place = _container(href)
        with self._lock:
            token = self._tokens.get(place)
            if token is None or time.time() >= token.until:
                token = self._tokens[place] = _fetch(*place)
        return f"{href}?{token.query}" if token.query else href

    def renew(self, href: str) -> None:
        """Forget the token of the href's container, but not more often than every `RENEWAL_PAUSE_S`."""
        place = _container(href)
        with self._lock:
            if time.time() - self._renewed.get(place, 0.0) >= RENEWAL_PAUSE_S:
                self._renewed[place] = time.time()
                self._tokens.pop(place, None)


def _container(href: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(href)
    account = (parts.hostname or "").partition(".")[0]
    container = parts.path.lstrip("/").partition("/")[0]
    if not account or not container:
        raise RemoteError(
            public_href(href), "it names no storage account and container", remedy="check the URL"
        )
    return account, container


def _fetch(account: str, container: str) -> _Token:
    """Ask for a token, and once more if it seems to have expired already. Raises RemoteError."""
    query, left_s = _asked(account, container)
    if query and left_s <= 0:
        query, left_s = _asked(account, container)
    if not query:
        return _Token(query="", until=time.time() + OPEN_S)
    kept_s = max(left_s - EARLY_S, min(left_s / 2, DOUBTFUL_S)) if left_s > 0 else DOUBTFUL_S
    return _Token(query=query, until=time.time() + kept_s)


def _asked(account: str, container: str) -> tuple[str, float]:
    """Ask the endpoint for a token, and the seconds that it is still valid. No token: none is needed."""
    base = os.environ.get("PC_SDK_SAS_URL") or SAS_URL
    url = f"{base.rstrip('/')}/{urllib.parse.quote(account)}/{urllib.parse.quote(container)}"
    key = os.environ.get("PC_SDK_SUBSCRIPTION_KEY")
    request = WebRequest(
        url=url,
        name=public_href(url),
        transport=current_transport(),
        headers={"Ocp-Apim-Subscription-Key": key} if key else {},
        refusal_remedy="check PC_SDK_SUBSCRIPTION_KEY, and whether you may read this collection",
    )
    try:
        body = get_document(request, MOST_BYTES)
    except RemoteError as error:
        if error.status == 404:
            return "", 0.0
        raise
    return _read(body, request.name)


def _read(body: bytes, name: str) -> tuple[str, float]:
    try:
        document = json.loads(body)
        token = str(document["token"]).removeprefix("?")
        expiry = datetime.fromisoformat(document["msft:expiry"])
    except (ValueError, KeyError, TypeError, RecursionError):
        token = ""
    if not token or not token.isascii() or any(char in token for char in " #\r\n\t"):
        raise RemoteError(name, "the answer holds no token", remedy="check PC_SDK_SAS_URL", retryable=True)
    expiry = expiry if expiry.tzinfo else expiry.replace(tzinfo=UTC)
    return token, expiry.timestamp() - time.time()
