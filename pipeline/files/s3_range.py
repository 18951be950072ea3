"""Bytes [start, stop) of an object on S3: a signed request, sent as all others are.

1. `_place` finds where a bucket is asked: at the user's endpoint, or at Amazon's host of its region.
2. `_headers` signs the request with boto3's credentials, which renew themselves.
3. `get_range` sends it, so statuses, pauses and certificates mean what they mean elsewhere. Only the place
   itself may be asked, whatever an answer says; it may be private, for the user or Amazon named it.

obstore, which writes results, would follow a redirect anywhere.
"""

from __future__ import annotations

import os
import urllib.parse
from dataclasses import dataclass

from pipeline.files.href_guard import authority
from pipeline.files.hrefs import public_href
from pipeline.files.http_range import WebRequest, get_range
from pipeline.files.remote_error import RemoteError
from pipeline.files.remote_store import (
    NO_CREDENTIALS,
    RangeAnswer,
    Transport,
    aws_credentials,
    s3_endpoint,
    s3_region,
    s3_unsigned,
)
from pipeline.schema.imagery import HrefGuard

_REFUSAL = (
    "check the AWS credentials; for a public bucket set AWS_NO_SIGN_REQUEST=YES, for one whose readers pay "
    "AWS_REQUEST_PAYER=requester"
)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where the objects of a bucket are asked for."""

    url: str
    """What the key is appended to, `/` included."""
    region: str
    guard: HrefGuard


def get_s3_range(href: str, transport: Transport, start: int, stop: int) -> RangeAnswer:
    """Fetch bytes [start, stop) of an object, fewer at its end. Raises RemoteError."""
    name = public_href(href)
    bucket, _, key = href[len("s3://") :].partition("/")
    place = _place(bucket)
    url = place.url + urllib.parse.quote(key, safe="/~")
    request = WebRequest(
        url=url,
        name=name,
        transport=transport,
        guard=place.guard,
        headers=_headers(name, url, place.region),
        refusal_remedy=_REFUSAL,
    )
    return get_range(request, start, stop)


def _place(bucket: str) -> _Place:
    """Say where a bucket is asked. Over TLS, one with dots in its name cannot be part of a host name."""
    endpoint, virtual = s3_endpoint()
    region = s3_region(bucket, endpoint, unsigned=s3_unsigned())
    own = {f"{bucket}.s3"}
    if endpoint is None:
        endpoint = f"https://s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
        virtual = virtual and "." not in bucket
    elif not endpoint.endswith("amazonaws.com"):
        own = set()
    scheme, _, host = endpoint.partition("://")
    url = f"{scheme}://{bucket}.{host}/" if virtual else f"{endpoint}/{bucket}/"
    own.add(authority(url))
    return _Place(url=url, region=region, guard=HrefGuard(hosts=tuple(sorted(own)), private=True))


def _headers(name: str, url: str, region: str) -> dict[str, str]:
    """Sign a GET request (AWS Signature Version 4). Raises RemoteError where credentials are missing."""
    from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
    from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]

    headers = {"x-amz-request-payer": "requester"} if os.environ.get("AWS_REQUEST_PAYER") else {}
    if s3_unsigned():
        return headers
    credentials = aws_credentials()
    if credentials is None:
        raise RemoteError(name, f"it cannot be reached: {NO_CREDENTIALS}")
    request = AWSRequest(method="GET", url=url, headers=headers)
    S3SigV4Auth(credentials, "s3", region).add_auth(request)
    return dict(request.headers.items())
