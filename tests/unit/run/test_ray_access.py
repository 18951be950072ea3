"""Tokens of our own Ray, and clusters that are open to anybody, with a dashboard that this process plays."""

from __future__ import annotations

import json
import logging
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipeline.errors import InputError
from pipeline.run import ray_access
from pipeline.run.ray_access import joining_refused, own_token, require_closed


@contextmanager
def dashboard(answer: bytes, status: int = 200) -> Iterator[str]:
    """A server that answers one path as a dashboard does; yields its host and port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/api/authentication_mode" else 404)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dashboards of this file listen on loopback; the check is told that they do not."""
    monkeypatch.setattr(ray_access, "_is_loopback", lambda host: False)


def said(mode: object) -> bytes:
    return json.dumps({"authentication_mode": mode}).encode()


@pytest.mark.usefixtures("on_the_network")
def test_a_dashboard_on_the_network_without_a_token_is_refused() -> None:
    with dashboard(said("disabled")) as address, pytest.raises(InputError) as caught:
        require_closed(address)
    assert caught.value.exit_code == 2
    assert address in str(caught.value)
    assert "--dashboard-host 127.0.0.1" in str(caught.value)
    assert "RAY_AUTH_MODE=token" in str(caught.value)


@pytest.mark.usefixtures("on_the_network")
@pytest.mark.parametrize(
    ("answer", "status"),
    [(said("token"), 200), (b"no JSON", 200), (b"[]", 200), (said(7), 200), (b"who are you?", 403)],
)
def test_a_token_is_enough_and_what_cannot_be_known_passes(answer: bytes, status: int) -> None:
    with dashboard(answer, status) as address:
        require_closed(address)


@pytest.mark.usefixtures("on_the_network")
def test_a_dashboard_that_does_not_answer_cannot_be_judged() -> None:
    with dashboard(said("disabled")) as address:
        pass
    require_closed(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]"])
def test_loopback_is_closed_to_the_network(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()
    monkeypatch.setattr(ray_access, "_asked_for_mode", asked.append)
    require_closed(f"{host}:8265")
    require_closed("")
    assert asked == []


@pytest.mark.parametrize("host", ["192.0.2.2", "0.0.0.0", "[::]", "[2001:db8::1]", "head.example"])
def test_other_hosts_are_asked(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_access, "_asked_for_mode", lambda address: "disabled")
    with pytest.raises(InputError):
        require_closed(f"{host}:8265")


def test_an_own_token_is_private_new_and_the_only_one() -> None:
    environ = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "of another cluster", "HOME": "/nowhere"}
    before = logging.getLogger("ray._private.authentication.authentication_token_setup").level
    try:
        first, second = own_token(environ), own_token(environ)
    finally:
        logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(before)
    assert environ == {"RAY_AUTH_TOKEN_PATH": str(second), "HOME": "/nowhere"}
    assert stat.S_IMODE(second.stat().st_mode) == 0o600
    assert stat.S_IMODE(second.parent.stat().st_mode) == 0o700
    assert len(second.read_text()) == 64
    assert first.read_text() != second.read_text()


def test_a_refused_driver_is_told_what_to_set_and_no_token() -> None:
    error = joining_refused({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "s3cret"})
    assert "Got: no connection, with RAY_AUTH_MODE=token." in str(error)
    assert "s3cret" not in str(error)
