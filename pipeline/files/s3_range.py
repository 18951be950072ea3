"""Bytes [start, stop) of an object on S3, through obstore, which signs requests and asks again."""

from __future__ import annotations

import re
from email.utils import format_datetime

from pipeline.files.hrefs import public_href
from pipeline.files.remote_error import RemoteError, TimedOutError, no_ranges_error, status_error
from pipeline.files.remote_store import RangeAnswer, Transport, open_bucket

_STATUS = re.compile(r"status code: (\d{3})")

_REFUSAL = (
    "check the AWS credentials; for a public bucket set AWS_NO_SIGN_REQUEST=YES, for one whose readers pay "
    "AWS_REQUEST_PAYER=requester"
)


def get_s3_range(href: str, transport: Transport, start: int, stop: int) -> RangeAnswer:
    """Fetch bytes [start, stop) of an object, fewer at its end. Raises RemoteError."""
    import obstore
    from obstore.exceptions import BaseError

    name = public_href(href)
    try:
        store, key = open_bucket(href, transport)
    except ValueError as error:
        raise RemoteError(name, f"it cannot be reached: {public_href(str(error))}") from None
    failure: RemoteError | None = None
    try:
        answer = obstore.get(store, key, options={"range": (start, stop)})
        body = bytes(answer.bytes())
        first, last = answer.range
        meta = answer.meta
    except (BaseError, OSError, ValueError) as error:
        failure = _failure(name, error)
    if failure is not None:
        raise failure  # not from within: obstore's error holds the request
    size = int(meta["size"])
    if first != start or last != min(stop, size) or len(body) != last - first:
        came = f"{len(body)} bytes of [{first}, {last}) where [{start}, {stop}) was asked for"
        raise RemoteError(name, f"the server sent {came}", retryable=True)
    modified = meta["last_modified"]
    return RangeAnswer(
        body=body,
        size=size,
        etag=meta["e_tag"] or "",
        last_modified="" if modified is None else format_datetime(modified, usegmt=True),
    )


def _failure(name: str, error: Exception) -> RemoteError:
    """Say in our words why a request failed. obstore tells the status by its exception or in its text."""
    text = str(error)
    found = _STATUS.search(text)
    kind = type(error).__name__
    status = int(found[1]) if found else _STATUS_OF.get(kind, 0)
    if kind == "NotSupportedError":
        return no_ranges_error(name)
    if status:
        return status_error(name, status, _REFUSAL, signed=False)
    for words, reason in _TROUBLES:
        if words in text:
            error_class = TimedOutError if "Timeout" in words else RemoteError
            return error_class(name, reason, retryable=True)
    return RemoteError(name, f"the request failed ({kind})", retryable=True)


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
