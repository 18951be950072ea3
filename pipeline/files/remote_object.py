"""Bytes of one remote object, by ranges, from one version of it only.

1. `RemoteObject` asks for the first bytes. The answer says which version it is: size, ETag, Last-Modified.
2. `read` and `read_many` fetch ranges. Every answer must be the range that was asked for, whole, and of the
   same version. obstore asks again where a server is busy or a connection breaks.
3. Whatever goes wrong becomes a `RemoteError` in words of our own. Texts of servers and libraries are not
   repeated, because they hold signed URLs.
"""

from __future__ import annotations

import re
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import format_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pipeline.errors import SourceError
from pipeline.files.hrefs import public_href
from pipeline.files.remote_store import current_transport, open_store

if TYPE_CHECKING:
    from obstore import ObjectMeta

HEAD_BYTES = 32 * 1024
"""Bytes of the first request: the whole header of most COGs."""

GAP_BYTES = 16 * 1024
"""Unwanted bytes between two ranges that cost less than another request."""

MOST_BYTES = 8 * 1024 * 1024
"""Bytes of one request; longer ranges are fetched in parts, side by side."""

SECOND_TRY_S = 1.0
"""Pause before a range is asked for again that failed for a reason that obstore does not retry."""

PARALLEL = 8
"""Requests of one process at the same time."""

_STATUS = re.compile(r"status code: (\d{3})")


class RemoteError(SourceError):
    """A remote object could not be read, or is not the planned one. `retryable`: another try may help."""

    def __init__(self, name: str, reason: str, *, remedy: str = "", retryable: bool = False) -> None:
        """`name`: the object's public href."""
        super().__init__(f"{name}: {reason}" + (f". To fix: {remedy}" if remedy else ""), retryable=retryable)
        self.reason = reason
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return SourceError, (str(self),), {"retryable": self.retryable}


class RemoteObject:
    """One object behind an http(s) or s3 href. Threads may share it."""

    def __init__(self, href: str, planned: Mapping[str, str] | None = None) -> None:
        """Ask for the object's first bytes, as patiently as `current_transport` says here and now.

        `planned`: the identity that it must have; None: any. Raises RemoteError.
        """
        self.name = public_href(href)
        self._signed = href != self.name
        self._patient = current_transport().retries > 0
        _require_host(href, self.name)
        try:
            self._store, self._path = open_store(href)
        except ValueError as error:
            raise RemoteError(self.name, f"it cannot be reached: {public_href(str(error))}") from None
        get = self._get_twice if planned else self._get
        meta, self.head = get(0, HEAD_BYTES)
        self.size = int(meta["size"])
        self.identity = _identity(meta)
        if planned:
            self._require(self.identity, planned)

    def read(self, start: int, stop: int) -> bytes:
        """Fetch bytes [start, stop), which must lie within the object. Raises RemoteError."""
        return self.read_many([(start, stop)])[0]

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Fetch ranges [start, stop), which may overlap; the answers come in their order.

        Neighbours are fetched by one request, and several requests side by side. Raises RemoteError.
        """
        for start, stop in ranges:
            if not 0 <= start <= stop <= self.size:
                raise RemoteError(
                    self.name, f"it ends at byte {self.size}, before byte {stop}", remedy="check the file"
                )
        requests = merged_ranges(ranges)
        if len(requests) == 1:
            bodies = [self._fetch(requests[0])]
        else:
            bodies = list(_pool().map(self._fetch, requests))
        return [_cut(requests, bodies, start, stop) for start, stop in ranges]

    def _fetch(self, wanted: tuple[int, int]) -> bytes:
        start, stop = wanted
        if stop <= len(self.head):
            return self.head[start:stop]
        meta, body = self._get_twice(start, stop)
        self._require(_identity(meta), self.identity)
        return body

    def _get_twice(self, start: int, stop: int) -> tuple[ObjectMeta, bytes]:
        """Ask again for what could be read before, whatever the reason was that it cannot be read now."""
        try:
            return self._get(start, stop)
        except RemoteError:
            if not self._patient:
                raise
        time.sleep(SECOND_TRY_S)
        return self._get(start, stop)

    def _get(self, start: int, stop: int) -> tuple[ObjectMeta, bytes]:
        import obstore
        from obstore.exceptions import BaseError

        failure: RemoteError | None = None
        try:
            answer = obstore.get(self._store, self._path, options={"range": (start, stop)})
            body = bytes(answer.bytes())
            first, last = answer.range
            meta = answer.meta
        except (BaseError, OSError, ValueError) as error:
            failure = self._failure(error)
        if failure is not None:
            raise failure  # not from within: obstore's error, with the signed URL, would travel along
        if first != start or last != min(stop, int(meta["size"])) or len(body) != last - first:
            came = f"{len(body)} bytes of [{first}, {last}) where [{start}, {stop}) was asked for"
            raise RemoteError(self.name, f"the server sent {came}", retryable=True)
        return meta, body

    def _require(self, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        """Refuse another version, told by its ETag, else by Last-Modified, and always by its size."""
        keys = ["size_bytes", *[key for key in ("etag", "last_modified") if key in wanted][:1]]
        differing = [
            f"{key} {wanted[key]} -> {found.get(key)}" for key in keys if found.get(key) != wanted[key]
        ]
        if differing:
            raise RemoteError(
                self.name,
                f"it is not the object that the run was planned with ({', '.join(differing)})",
                remedy="put the earlier object back, or start a new run",
            )

    def _failure(self, error: Exception) -> RemoteError:
        """Say in our words why a request failed."""
        text = str(error)
        found = _STATUS.search(text)
        kind = type(error).__name__
        status = int(found[1]) if found else _STATUS_OF.get(kind, 0)
        if kind == "NotSupportedError":
            return RemoteError(
                self.name,
                "its server does not answer range requests, so no part of it can be read alone",
                remedy="download the file and give its path",
            )
        if status in (401, 403) or (status == 400 and self._signed):
            return RemoteError(self.name, f"the server refuses access ({status})", remedy=self._access())
        if status in _REFUSED:
            reason, remedy = _REFUSED[status]
            return RemoteError(self.name, reason, remedy=remedy)
        if status:
            retryable = status >= 500 or status in (408, 429)
            reason = (
                f"the server is busy or broken ({status})" if retryable else f"the server answers {status}"
            )
            return RemoteError(
                self.name, reason, remedy="" if retryable else "check the URL", retryable=retryable
            )
        for words, reason in _TROUBLES:
            if words in text:
                return RemoteError(self.name, reason, retryable=True)
        return RemoteError(self.name, f"the request failed ({kind})", retryable=True)

    def _access(self) -> str:
        if self.name.startswith("s3://"):
            return "check the AWS credentials; for a public bucket set AWS_NO_SIGN_REQUEST=YES"
        if self._signed:
            return (
                "the token in the URL may have expired: sign the URL again, and give the same command with it"
            )
        return "give a signed URL, or download the file and give its path"


def merged_ranges(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ranges [start, stop) less than `GAP_BYTES` apart, and cut the results into parts of `MOST_BYTES`.

    The result is sorted, and every range lies in consecutive parts of it.
    """
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if joined and start - joined[-1][1] < GAP_BYTES:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return [
        (at, min(at + MOST_BYTES, stop)) for start, stop in joined for at in range(start, stop, MOST_BYTES)
    ]


def _cut(requests: Sequence[tuple[int, int]], bodies: Sequence[bytes], start: int, stop: int) -> bytes:
    """Take bytes [start, stop) out of fetched parts, which are sorted and do not overlap."""
    return b"".join(
        body[max(start, first) - first : min(stop, last) - first]
        for (first, last), body in zip(requests, bodies, strict=True)
        if first < stop and last > start
    )


_REFUSED = {
    404: ("there is no such object (404)", "check the URL"),
    410: ("the object is gone (410)", "check the URL"),
    412: ("it was replaced (412)", "put the earlier object back, or start a new run"),
    416: ("it holds no bytes (416)", "check the file"),
}
"""Reason and remedy by HTTP status."""

_STATUS_OF = {
    "PermissionDeniedError": 403,
    "UnauthenticatedError": 401,
    "FileNotFoundError": 404,
    "NotFoundError": 404,
    "PreconditionError": 412,
}
"""HTTP status that obstore means by an exception."""

_TROUBLES = (
    ("UnexpectedRange", "the server sent another range than the one asked for"),
    ("peer certificate", "the certificate of its server is not trusted (CURL_CA_BUNDLE names further ones)"),
    ("kind: Timeout", "the server did not answer in time"),
    ("kind: Connect", "the server cannot be reached"),
    ("kind: Interrupted", "the connection broke before the answer was whole"),
    ("kind: Body", "the connection broke before the answer was whole"),
)
"""Reasons by words in obstore's messages, where no status came."""


def _identity(meta: ObjectMeta) -> dict[str, str]:
    """Read what pins an object from an answer's headers; what it does not say is left out."""
    found = {"size_bytes": str(meta["size"])}
    if meta["e_tag"]:
        found["etag"] = meta["e_tag"]
    if meta["last_modified"] is not None and meta["last_modified"].timestamp() > 0:
        found["last_modified"] = format_datetime(meta["last_modified"], usegmt=True)
    return found


def _require_host(href: str, name: str) -> None:
    """Refuse a host name that does not exist, which no second try mends. Raises RemoteError.

    Behind a proxy, only the proxy knows the names.
    """
    parts = urllib.parse.urlsplit(href)
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        return
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return
    try:
        socket.getaddrinfo(host, None)
    except (socket.gaierror, UnicodeError) as error:
        if isinstance(error, UnicodeError) or error.errno == socket.EAI_NONAME:
            raise RemoteError(name, f"there is no host {host}", remedy="check the URL") from None


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=PARALLEL, thread_name_prefix="ranges")
