"""Bytes of one remote object, by ranges, from one version of it only.

1. `RemoteObject` asks for the first bytes. The answer says which version it is: size, ETag, Last-Modified.
2. `read` and `read_many` fetch ranges. Every answer must be the range that was asked for, whole, and of the
   same version. Where a server is busy or a connection breaks, it is asked again.
3. An href with a signer is signed for every request, so that a token is renewed before it expires; one that
   is refused all the same is renewed once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache

from pipeline.files.href_guard import require_allowed
from pipeline.files.hrefs import public_href
from pipeline.files.http_range import WebRequest, get_range
from pipeline.files.remote_error import RemoteError
from pipeline.files.remote_store import RangeAnswer, Transport, current_transport
from pipeline.files.s3_range import get_s3_range
from pipeline.files.signing import refusal_remedy, renewed, signed
from pipeline.files.traffic import traffic
from pipeline.schema.imagery import HrefGuard

HEAD_BYTES = 32 * 1024
"""Bytes of the first request: the whole header of most COGs."""

GAP_BYTES = 16 * 1024
"""Unwanted bytes between two ranges that cost less than another request."""

MOST_BYTES = 8 * 1024 * 1024
"""Bytes of one request; longer ranges are fetched in parts, side by side."""

SECOND_TRY_S = 1.0
"""Pause before a range is asked for again that failed for a reason that is not retried at once."""

PARALLEL = 8
"""Requests of one process at the same time."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """On which terms an href is read."""

    guard: HrefGuard | None = None
    """What it may reach. None: the user named it."""
    signer: str = ""
    """Who signs it (`files.signing`). Empty: nobody."""


THE_USERS = Terms()
"""Terms of an href that the user named."""


class RemoteObject:
    """One object behind an http(s) or s3 href. Threads may share it."""

    def __init__(self, href: str, planned: Mapping[str, str] | None = None, terms: Terms = THE_USERS) -> None:
        """Ask for the object's first bytes, as patiently as `current_transport` says here and now.

        `planned`: the identity that it must have; None: any. Raises RemoteError, and InputError for an href
        that its guard refuses.
        """
        require_allowed(href, terms.guard)
        self.name = public_href(href)
        self._href = href
        self._terms = terms
        self._transport = _transport(self.name)
        get = self._get_twice if planned else self._get
        answer = get(0, HEAD_BYTES)
        self.head = answer.body
        self.size = answer.size
        self.identity = _identity(answer)
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
        answer = self._get_twice(start, stop)
        self._require(_identity(answer), self.identity)
        return answer.body

    def _get_twice(self, start: int, stop: int) -> RangeAnswer:
        """Ask again for what could be read before, whatever the reason was that it cannot be read now."""
        try:
            return self._get(start, stop)
        except RemoteError:
            if not self._transport.retries:
                raise
        time.sleep(SECOND_TRY_S)
        self._ask_again()
        return self._get(start, stop)

    def _get(self, start: int, stop: int) -> RangeAnswer:
        if self.name.startswith("s3://"):
            return get_s3_range(self._href, self._transport, start, stop)
        signer = self._terms.signer
        url = signed(self._href, signer)
        try:
            return get_range(self._request(url), start, stop)
        except RemoteError as error:
            if not signer or error.status not in (400, 401, 403):
                raise
            another = renewed(self._href, signer, refused=url)
            if another == url:
                raise
        self._ask_again()
        return get_range(self._request(another), start, stop)

    def _ask_again(self) -> None:
        traffic.add("s3_retries" if self.name.startswith("s3://") else "http_retries")

    def _request(self, url: str) -> WebRequest:
        return WebRequest(
            url=url,
            name=self.name,
            transport=self._transport,
            guard=self._terms.guard,
            refusal_remedy=refusal_remedy(url, self._terms.signer),
        )

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


def _identity(answer: RangeAnswer) -> dict[str, str]:
    """Read what pins an object from an answer; what it does not say is left out."""
    found = {"size_bytes": str(answer.size)}
    if answer.etag:
        found["etag"] = answer.etag
    if date := _http_date(answer.last_modified):
        found["last_modified"] = date
    return found


def _http_date(text: str) -> str:
    """Write an HTTP date in its one form. Empty: it is none, or that of 1970 that stands for "unknown"."""
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return ""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return format_datetime(moment, usegmt=True) if moment.timestamp() > 0 else ""


def _transport(name: str) -> Transport:
    try:
        return current_transport()
    except ValueError as error:
        raise RemoteError(name, f"it cannot be reached: {public_href(str(error))}") from None


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=PARALLEL, thread_name_prefix="ranges")
