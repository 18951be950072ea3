"""Encrypted connections: real servers with certificates of a test's own authority, and redirects out of them.

The canary must never be asked.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import boto3
import pytest
from certificates import Authority
from moto.server import ThreadedMotoServer
from raw_server import Answer, RawServer, canary, range_head, raw_server, wanted_range

from pipeline.files import remote_store
from pipeline.files.http_range import WebRequest, get_range
from pipeline.files.paced_connection import _tls, connections
from pipeline.files.remote_error import RemoteError
from pipeline.files.remote_object import RemoteObject, Terms
from pipeline.files.remote_store import Transport, current_transport
from pipeline.files.s3_range import get_s3_range
from pipeline.schema.imagery import HrefGuard

CONTENT = bytes(range(256)) * 8
TRANSPORT = Transport(
    retries=0, retry_delay_s=0.01, connect_timeout_s=5, timeout_s=5, stall_s=5, stall_bytes_s=1
)

untouched = pytest.fixture(canary)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither proxies nor certificates nor keys of the machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "AWS_PROFILE", "AWS_NO_SIGN_REQUEST", "AWS_S3_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRETKEY")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    for cached in (
        _tls,
        connections,
        remote_store._aws_session,
        remote_store._s3_store,
        remote_store.s3_region,
    ):
        cached.cache_clear()


def honest(request: str) -> Iterable[bytes]:
    first, last = wanted_range(request)
    last = min(last, len(CONTENT) - 1)
    return [range_head(first, last, len(CONTENT)) + CONTENT[first : last + 1]]


def leading_to(url: str) -> Answer:
    return lambda _: [
        f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode()
    ]


def read(url: str, guard: HrefGuard | None = None) -> bytes:
    request = WebRequest(url=url, name=url, transport=current_transport(), guard=guard)
    return get_range(request, 0, 9).body


TRUSTED: dict[str, Callable[[pytest.MonkeyPatch, Path], None]] = {
    "as OpenSSL calls it": lambda patch, file: patch.setenv("SSL_CERT_FILE", str(file)),
    "as curl calls it": lambda patch, file: patch.setenv("CURL_CA_BUNDLE", str(file)),
    "not at all, as the user wants": lambda patch, _: patch.setenv("GDAL_HTTP_UNSAFESSL", "YES"),
}


@pytest.mark.parametrize("how", TRUSTED)
def test_a_server_of_an_authority_that_the_user_names_is_read(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    with raw_server(honest, authority.server(["127.0.0.1"])) as server:
        TRUSTED[how](monkeypatch, authority.file)
        assert read(f"{server.url}/a.tif") == CONTENT[:9]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another host": ({"names": ["other.example"]}, r"is not for 127\.0\.0\.1"),
    "another address": ({"names": ["127.0.0.2"]}, r"is not for 127\.0\.0\.1"),
    "expired": ({"days": (-9, -2)}, "not valid today"),
    "not valid yet": ({"days": (2, 9)}, "not valid today"),
    "signed by itself": ({"self_signed": True}, "not trusted.*SSL_CERT_FILE"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_certificate_that_proves_nothing_is_refused(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    how, said = REFUSED[what]
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with raw_server(honest, authority.server(**({"names": ["127.0.0.1"]} | how))) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        for href in (f"{server.url}/a.tif?sig=TOKEN", "s3://bucket/a.tif"):
            with pytest.raises(RemoteError, match=said) as caught:
                RemoteObject(href)
            assert not caught.value.retryable
            assert "TOKEN" not in str(caught.value)
        assert server.connections == 2
        assert server.requests == []  # no header, no token and no key went out


def test_an_authority_that_nobody_named_is_refused(authority: Authority) -> None:
    with (
        raw_server(honest, authority.server(["127.0.0.1"])) as server,
        pytest.raises(RemoteError, match="not trusted") as caught,
    ):
        read(f"{server.url}/a.tif?sig=TOKEN")
    assert server.requests == []
    assert not caught.value.retryable


def test_what_is_no_encrypted_server_may_be_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept()[0] as client:
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(RemoteError, match="no encrypted connection") as caught:
            read(f"https://127.0.0.1:{listener.getsockname()[1]}/a.tif")
    assert caught.value.retryable


@pytest.mark.parametrize("guard", [None, HrefGuard(hosts=("127.0.0.1",), private=True)])
def test_nobody_leads_from_https_to_http(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, untouched: RawServer, guard: HrefGuard | None
) -> None:
    """Not even to a host that is allowed, or for an href of the user's."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with raw_server(leading_to(f"{untouched.url}/a.tif"), authority.server(["127.0.0.1"])) as server:
        with pytest.raises(RemoteError, match="not encrypted"):
            RemoteObject(f"{server.url}/a.tif", terms=Terms(guard=guard))
        assert len(server.requests) == 1
    assert untouched.connections == 0


def test_from_https_to_https_is_followed_and_checked_again(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    guard = HrefGuard(hosts=("127.0.0.1",), private=True)
    with (
        raw_server(honest, authority.server(["127.0.0.1"])) as good,
        raw_server(honest, authority.server(["other.example"])) as impostor,
    ):
        with raw_server(leading_to(f"{good.url}/a.tif"), authority.server(["127.0.0.1"])) as first:
            assert read(f"{first.url}/a.tif", guard) == CONTENT[:9]
        with (
            raw_server(leading_to(f"{impostor.url}/a.tif"), authority.server(["127.0.0.1"])) as first,
            pytest.raises(RemoteError, match="is not for 127"),
        ):
            read(f"{first.url}/a.tif", guard)
        assert impostor.requests == []


def test_an_endpoint_of_s3_leads_nowhere_else(monkeypatch: pytest.MonkeyPatch, untouched: RawServer) -> None:
    """Whether a catalogue names the object or the user; the keys stay here as well."""
    for guard in (None, HrefGuard(hosts=("bucket.s3", "127.0.0.1"), private=True)):
        with raw_server(leading_to(f"{untouched.url}/a.tif")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
            with pytest.raises(RemoteError, match=r"redirected.*not allowed.*AWS_ENDPOINT_URL_S3"):
                RemoteObject("s3://bucket/a.tif", terms=Terms(guard=guard))
    assert untouched.connections == 0


def test_metadata_servers_are_no_endpoint_of_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://169.254.169.254")
    with pytest.raises(RemoteError, match="where a cloud keeps credentials"):
        get_s3_range("s3://bucket/a.tif", TRANSPORT, 0, 9)


def test_a_bucket_that_no_catalogue_lists_is_refused(
    monkeypatch: pytest.MonkeyPatch, untouched: RawServer
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", untouched.url)
    with pytest.raises(Exception, match="--allow-host s3://other"):
        RemoteObject("s3://other/a.tif", terms=Terms(guard=HrefGuard(hosts=("bucket.s3",))))
    assert untouched.connections == 0


def test_an_endpoint_in_a_private_network_serves_guarded_hrefs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user named the endpoint, so a catalogue's bucket may be read there, with the user's keys (moto)."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="imagery")
    client.put_object(Bucket="imagery", Key="a/b.tif", Body=CONTENT)
    try:
        found = RemoteObject("s3://imagery/a/b.tif", terms=Terms(guard=HrefGuard(hosts=("imagery.s3",))))
        assert found.read(5, 20) == CONTENT[5:20]
    finally:
        server.stop()
