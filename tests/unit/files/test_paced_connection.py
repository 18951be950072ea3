from __future__ import annotations

import io
import socket
import ssl
from dataclasses import replace
from typing import Any

import certifi
import pytest
from raw_server import RawServer, canary, raw_server
from urllib3 import ProxyManager
from urllib3.exceptions import NameResolutionError, NewConnectionError

from pipeline.files.paced_connection import (
    LEAST_STALL_S,
    _Pace,
    _PacedFile,
    _Patience,
    _tls,
    connections,
    proxy_for,
)
from pipeline.files.remote_error import RemoteError
from pipeline.files.remote_store import Transport
from pipeline.schema.imagery import HrefGuard

TRANSPORT = Transport(
    retries=0, retry_delay_s=0.01, connect_timeout_s=2, timeout_s=4, stall_s=1, stall_bytes_s=100
)

untouched = pytest.fixture(canary)


class FakeClock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("pipeline.files.paced_connection.time.monotonic", lambda: self.now)


def test_each_stretch_needs_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock(monkeypatch)
    pace = _Pace(stall_s=10, least_bytes=100, total_s=25)
    clock.now += 9
    pace.count(99)
    assert pace.left_s() == 1
    pace.count(1)  # the stretch is done, the next one begins
    assert pace.left_s() == 10
    clock.now += 9
    pace.count(100)
    assert pace.left_s() == 7  # the total time
    clock.now += 7
    with pytest.raises(TimeoutError):
        pace.left_s()


def test_too_few_bytes_in_a_stretch_are_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock(monkeypatch)
    pace = _Pace(stall_s=10, least_bytes=100, total_s=1000)
    for _ in range(10):
        pace.left_s()
        clock.now += 1
        pace.count(1)
    with pytest.raises(TimeoutError):
        pace.left_s()


def test_patience_falls_with_every_slow_answer_and_comes_back() -> None:
    patience = _Patience()
    assert patience.stall_s("h", 30) == 30
    for expected in (15, 7.5, 3.75, LEAST_STALL_S, LEAST_STALL_S):
        patience.was_slow("h")
        assert patience.stall_s("h", 30) == expected
    assert patience.stall_s("other", 30) == 30
    assert patience.stall_s("h", 1) == 1  # never more than the user wants
    patience.was_in_time("h")
    assert patience.stall_s("h", 30) == 30


def test_a_paced_file_reads_what_its_socket_brings() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"some bytes")
        raw = _PacedFile(ours.makefile("rb", buffering=0), ours, _Pace(5, 1, 5))
        assert raw.readable()
        assert io.BufferedReader(raw).read(10) == b"some bytes"
        assert 0 < (ours.gettimeout() or 0) <= 5


def test_a_name_that_leads_elsewhere_is_not_connected_to(
    untouched: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name was fine when it was checked by text; it leads to this machine when the connection is made."""
    place = ("127.0.0.1", untouched.port)
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place)]
    )
    guard = HrefGuard(hosts=("data.example.org",))
    with pytest.raises(RemoteError, match="private"):
        connections(TRANSPORT, guard, "").request(
            "GET", f"http://data.example.org:{untouched.port}/a", retries=False
        )
    assert untouched.connections == 0


def test_the_address_that_was_checked_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that answers otherwise the second time is not asked a second time."""
    answers: list[Any] = []

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[Any]:
        answers.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    body = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with raw_server(lambda _: [body]) as server:
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        guard = HrefGuard(hosts=("data.example.org",), private=True)
        url = f"http://data.example.org:{server.port}/a"
        assert connections(TRANSPORT, guard, "").request("GET", url, retries=False).data == b"ok"
        assert answers == ["data.example.org"]
        assert f"host: data.example.org:{server.port}" in server.requests[0].lower()


def test_names_that_do_not_exist_and_servers_that_are_away() -> None:
    with pytest.raises(NameResolutionError):
        connections(TRANSPORT, None, "").request("GET", "http://nohost.invalid/", retries=False)
    with pytest.raises(NewConnectionError):
        connections(TRANSPORT, None, "").request("GET", "http://127.0.0.1:9/", retries=False)


def test_guards_do_not_share_connections() -> None:
    one = HrefGuard(hosts=("a",))
    assert connections(TRANSPORT, one, "") is connections(TRANSPORT, HrefGuard(hosts=("a",)), "")
    assert connections(TRANSPORT, one, "") is not connections(TRANSPORT, None, "")
    assert connections(TRANSPORT, one, "") is not connections(replace(TRANSPORT, retries=1), one, "")


def test_a_proxy_of_the_users_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_for("http", "data.example.org") == ""
    monkeypatch.setenv("http_proxy", "127.0.0.1:3128")
    monkeypatch.setenv("no_proxy", "near.example.org")
    assert proxy_for("http", "data.example.org") == "http://127.0.0.1:3128"
    assert proxy_for("http", "near.example.org") == ""
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with raw_server(lambda _: [body]) as server:
        made = connections(
            TRANSPORT, HrefGuard(hosts=("data.example.org",)), f"http://u:p@127.0.0.1:{server.port}"
        )
        assert isinstance(made, ProxyManager)
        assert made.request("GET", "http://data.example.org/a.tif", retries=False).data == b"ok"
    assert server.requests[0].startswith("GET http://data.example.org/a.tif HTTP/1.1")
    assert "proxy-authorization: basic" in server.requests[0].lower()


def test_certificates_are_checked_unless_the_user_says_otherwise() -> None:
    assert _tls(TRANSPORT).verify_mode == ssl.CERT_REQUIRED
    assert _tls(TRANSPORT).check_hostname
    assert _tls(replace(TRANSPORT, certificates=certifi.where())).verify_mode == ssl.CERT_REQUIRED
    assert _tls(replace(TRANSPORT, any_certificate=True)).verify_mode == ssl.CERT_NONE
