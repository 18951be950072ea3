"""Objects on S3: an emulator on this machine, and a server that lets only those read who pay."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.credentials import RefreshableCredentials
from moto.server import ThreadedMotoServer
from raw_server import range_head, raw_server, wanted_range

from pipeline.files import remote_store
from pipeline.files.remote_error import RemoteError
from pipeline.files.remote_store import Transport
from pipeline.files.s3_range import get_s3_range

CONTENT = bytes(range(256)) * 8
TRANSPORT = Transport(
    retries=0, retry_delay_s=0.01, connect_timeout_s=5, timeout_s=5, stall_s=5, stall_bytes_s=1
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AWS_PROFILE",
        "AWS_NO_SIGN_REQUEST",
        "AWS_S3_ENDPOINT",
        "AWS_ENDPOINT_URL",
        "AWS_REQUEST_PAYER",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for cached in (remote_store._aws_session, remote_store._s3_store, remote_store.s3_region):
        cached.cache_clear()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="imagery")
    client.put_object(Bucket="imagery", Key="a b/#1?.tif", Body=CONTENT)
    yield "imagery"
    server.stop()


def test_a_range_of_an_object(bucket: str) -> None:
    answer = get_s3_range(f"s3://{bucket}/a b/#1?.tif", TRANSPORT, 5, 300)
    assert (answer.body, answer.size) == (CONTENT[5:300], len(CONTENT))
    assert answer.etag
    assert answer.last_modified.endswith("GMT")
    assert get_s3_range(f"s3://{bucket}/a b/#1?.tif", TRANSPORT, 2000, 9000).body == CONTENT[2000:]
    with pytest.raises(RemoteError, match="no such object") as caught:
        get_s3_range(f"s3://{bucket}/none.tif", TRANSPORT, 0, 5)
    assert caught.value.status == 404


def for_those_who_pay(request: str) -> Iterable[bytes]:
    if "x-amz-request-payer: requester" not in request.lower():
        return [b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"]
    if request.startswith("HEAD"):
        return [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
    first, last = wanted_range(request)
    modified = "Tue, 01 Sep 2026 10:00:00 GMT"
    return [range_head(first, last, len(CONTENT), Last_Modified=modified) + CONTENT[first : last + 1]]


def test_a_bucket_whose_readers_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the user's own word makes the user pay; the refusal says which."""
    with raw_server(for_those_who_pay) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        with pytest.raises(RemoteError, match="AWS_REQUEST_PAYER=requester") as caught:
            get_s3_range("s3://imagery/a.tif", TRANSPORT, 0, 9)
        assert caught.value.status == 403
        monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
        remote_store._s3_store.cache_clear()
        assert get_s3_range("s3://imagery/a.tif", TRANSPORT, 0, 9).body == CONTENT[:9]


def test_credentials_that_expire_are_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's credentials last for some seconds, and there are others each time."""
    keys: list[str] = []

    def answer(request: str) -> Iterable[bytes]:
        keys.append(request.partition("Credential=")[2].partition("/")[0])
        if request.startswith("HEAD"):
            return [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
        first, last = wanted_range(request)
        modified = "Tue, 01 Sep 2026 10:00:00 GMT"
        return [range_head(first, last, len(CONTENT), Last_Modified=modified) + CONTENT[first : last + 1]]

    session = boto3.Session()
    number = iter(range(1, 99))

    def fresh() -> dict[str, str]:
        expiry = datetime.now(UTC) + timedelta(seconds=5)  # less than the margin in which boto renews
        return {
            "access_key": f"KEY{next(number)}",
            "secret_key": "secret",
            "token": "token",
            "expiry_time": expiry.isoformat(),
        }

    session._session._credentials = RefreshableCredentials.create_from_metadata(
        metadata=fresh(), refresh_using=fresh, method="test"
    )
    monkeypatch.setattr(remote_store, "_aws_session", lambda: session)
    monkeypatch.setattr(remote_store, "CREDENTIALS_TTL_S", 0.0)
    with raw_server(answer) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        for _ in range(2):
            time.sleep(0.2)  # obstore does not ask more often
            assert get_s3_range("s3://imagery/a.tif", TRANSPORT, 0, 9).body == CONTENT[:9]
    assert len(set(keys)) == 2


def test_missing_credentials_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    remote_store._aws_session.cache_clear()
    with pytest.raises(RemoteError, match="AWS_NO_SIGN_REQUEST"):
        get_s3_range("s3://bucket/key.tif", TRANSPORT, 0, 9)


def test_an_endpoint_that_is_away_is_retryable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(RemoteError, match="cannot be reached") as caught:
        get_s3_range("s3://bucket/key.tif", TRANSPORT, 0, 9)
    assert caught.value.retryable
