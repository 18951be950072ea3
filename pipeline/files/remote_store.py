"""How patiently remote objects are asked for, and an obstore store for those on S3, with the user's settings.

Variables that GDAL's users know keep their meaning: GDAL_HTTP_MAX_RETRY, GDAL_HTTP_RETRY_DELAY,
GDAL_HTTP_TIMEOUT, GDAL_HTTP_CONNECTTIMEOUT, GDAL_HTTP_LOW_SPEED_TIME, GDAL_HTTP_LOW_SPEED_LIMIT,
GDAL_HTTP_HEADERS, GDAL_HTTP_BEARER, GDAL_HTTP_UNSAFESSL and CURL_CA_BUNDLE; for S3 AWS_NO_SIGN_REQUEST,
AWS_REQUEST_PAYER, and the endpoint in GDAL's or boto3's words. S3 credentials come from boto3, which renews
them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from rasterio.env import getenv, hasenv

CREDENTIALS_TTL_S = 360.0
"""Seconds that S3 credentials count as valid; obstore asks boto3 for others 300 seconds earlier.
boto3 renews them 10 minutes before they expire, so none is used that has expired."""

NO_CREDENTIALS = "there are no AWS credentials; for a public bucket set AWS_NO_SIGN_REQUEST=YES"

_YES = frozenset({"YES", "TRUE", "ON", "1"})


@dataclass(frozen=True, kw_only=True)
class Transport:
    """How patiently and how openly requests are made."""

    retries: int
    retry_delay_s: float
    connect_timeout_s: float
    timeout_s: float
    stall_s: float
    """Seconds in which a server must send `stall_bytes_s` bytes a second, or be done."""
    stall_bytes_s: float
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    any_certificate: bool = False
    certificates: str = ""
    """File of further certificates to trust."""

    def client_options(self) -> dict[str, Any]:
        """Say it in obstore's words."""
        options: dict[str, Any] = {
            "allow_http": True,
            "allow_invalid_certificates": self.any_certificate,
            "connect_timeout": timedelta(seconds=self.connect_timeout_s),
            "timeout": timedelta(seconds=self.timeout_s),
            "read_timeout": timedelta(seconds=self.stall_s),
        }
        if self.headers:
            options["default_headers"] = dict(self.headers)
        if self.certificates:
            options["root_certificate"] = Path(self.certificates).read_bytes()
        return options

    def retry_config(self) -> dict[str, Any]:
        """Say it in obstore's words."""
        delay = timedelta(seconds=self.retry_delay_s)
        return {
            "max_retries": self.retries,
            "backoff": {"init_backoff": delay, "max_backoff": 8 * delay, "base": 2},
        }


@dataclass(frozen=True, kw_only=True)
class RangeAnswer:
    """Bytes of an object, and which version of it they are of."""

    body: bytes
    size: int
    """Bytes of the whole object."""
    etag: str = ""
    last_modified: str = ""
    """HTTP date. Empty: the server does not say it."""


def current_transport() -> Transport:
    """Read the settings of the current `rasterio.Env` and of the environment. Raises ValueError."""
    headers = [line.partition(":") for line in _setting("GDAL_HTTP_HEADERS").splitlines() if ":" in line]
    if bearer := _setting("GDAL_HTTP_BEARER"):
        headers.append(("Authorization", ":", f"Bearer {bearer}"))
    return Transport(
        retries=int(_setting("GDAL_HTTP_MAX_RETRY", "0")),
        retry_delay_s=float(_setting("GDAL_HTTP_RETRY_DELAY", "1")),
        connect_timeout_s=float(_setting("GDAL_HTTP_CONNECTTIMEOUT", "10")),
        timeout_s=float(_setting("GDAL_HTTP_TIMEOUT", "120")),
        stall_s=float(_setting("GDAL_HTTP_LOW_SPEED_TIME", "30")),
        stall_bytes_s=float(_setting("GDAL_HTTP_LOW_SPEED_LIMIT", "1000")),
        headers=tuple((name.strip(), value.strip()) for name, _, value in headers),
        any_certificate=_setting("GDAL_HTTP_UNSAFESSL").upper() in _YES,
        certificates=_setting("CURL_CA_BUNDLE"),
    )


def _setting(name: str, default: str = "") -> str:
    inside = getenv() if hasenv() else {}
    return str(inside.get(name, os.environ.get(name, default)))


def open_bucket(href: str, transport: Transport) -> tuple[Any, str]:
    """Give the obstore store of the bucket of an s3 href, and the key of the object in it.

    Raises ValueError for a malformed setting, and where credentials are missing.
    """
    bucket, _, key = href[len("s3://") :].partition("/")
    endpoint, virtual = s3_endpoint()
    return _s3_store(bucket, transport, endpoint, virtual=virtual, unsigned=s3_unsigned()), key


@lru_cache(maxsize=128)
def _s3_store(
    bucket: str, transport: Transport, endpoint: str | None, *, virtual: bool, unsigned: bool
) -> Any:
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store

    options: dict[str, Any] = {
        "region": s3_region(bucket, endpoint, unsigned=unsigned),
        "virtual_hosted_style_request": virtual,
        "skip_signature": unsigned,
        "request_payer": bool(os.environ.get("AWS_REQUEST_PAYER")),
    }
    if endpoint:
        scheme, _, host = endpoint.partition("://")
        options["endpoint"] = f"{scheme}://{bucket}.{host}" if virtual else endpoint
    if not unsigned:
        if _aws_session().get_credentials() is None:
            raise ValueError(NO_CREDENTIALS)
        provider = Boto3CredentialProvider(_aws_session(), ttl=timedelta(seconds=CREDENTIALS_TTL_S))
        options["credential_provider"] = provider
    return S3Store(
        bucket,
        client_options=transport.client_options(),
        retry_config=transport.retry_config(),
        **options,
    )


def s3_unsigned() -> bool:
    """Tell whether the user wants S3 to be asked without credentials."""
    return os.environ.get("AWS_NO_SIGN_REQUEST", "NO").upper() in _YES


def aws_credentials() -> Any:
    """Give credentials that are valid now, frozen. None: there are none."""
    found = _aws_session().get_credentials()
    return None if found is None else found.get_frozen_credentials()


def s3_endpoint() -> tuple[str | None, bool]:
    """Read the URL of the S3 endpoint that the user exported (None: Amazon's own), and whether the bucket is
    part of its host name.

    boto3 calls it AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL. GDAL says AWS_S3_ENDPOINT, AWS_HTTPS and
    AWS_VIRTUAL_HOSTING.
    """
    virtual = os.environ.get("AWS_VIRTUAL_HOSTING", "").upper()
    if url := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        return url.rstrip("/"), virtual in _YES
    if host := os.environ.get("AWS_S3_ENDPOINT"):
        scheme = "https" if os.environ.get("AWS_HTTPS", "YES").upper() in _YES else "http"
        return f"{scheme}://{host}", virtual in _YES or not virtual
    return None, virtual in _YES or not virtual


@lru_cache(maxsize=1)
def _aws_session() -> Any:
    """Make one boto3 session per process: it renews its own credentials, and making one may ask a metadata
    server."""
    import boto3

    return boto3.Session()


def s3_client() -> Any:
    """Give boto3's S3 client, with the user's endpoint and credentials."""
    return _s3_client(s3_endpoint()[0])


@lru_cache(maxsize=8)
def _s3_client(endpoint: str | None) -> Any:
    return _aws_session().client("s3", endpoint_url=endpoint)


@lru_cache(maxsize=256)
def s3_region(bucket: str, endpoint: str | None, *, unsigned: bool) -> str:
    """Ask Amazon in which region a bucket lies, because requests to another one fail. An endpoint of the
    user's has its own."""
    usual = _aws_session().region_name or os.environ.get("AWS_REGION") or "us-east-1"
    if endpoint:
        return usual
    from botocore import UNSIGNED  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    config = Config(
        signature_version=UNSIGNED if unsigned else None, retries={"max_attempts": 2}, connect_timeout=5
    )
    try:
        answer = _aws_session().client("s3", region_name=usual, config=config).head_bucket(Bucket=bucket)
    except ClientError as error:
        answer = error.response
    except BotoCoreError:
        return usual
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("x-amz-bucket-region", usual))
