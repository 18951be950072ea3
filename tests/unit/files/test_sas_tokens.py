from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from raw_server import raw_server
from sas_server import SECRET, SasServer, sas_server

from pipeline.files import sas_tokens
from pipeline.files.remote_error import RemoteError
from pipeline.files.sas_tokens import EARLY_S, RENEWAL_PAUSE_S, PlanetaryComputerSigner

HREF = "https://naipeuwest.blob.core.windows.net/naip/v002/a.tif"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SasServer]:
    monkeypatch.delenv("PC_SDK_SUBSCRIPTION_KEY", raising=False)
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    with sas_server(tmp_path) as server:
        monkeypatch.setenv("PC_SDK_SAS_URL", server.token_url() + "/")
        yield server


def test_a_container_is_asked_for_once(server: SasServer) -> None:
    signer = PlanetaryComputerSigner()
    assert signer.sign(HREF) == f"{HREF}?sv=2024&sp=rl&sig={SECRET}0"
    assert signer.sign(HREF.replace("a.tif", "b.tif")).endswith(f"b.tif?sv=2024&sp=rl&sig={SECRET}0")
    assert signer.sign(HREF.replace("/naip/", "/other/")).endswith(f"{SECRET}1")
    assert len(server.tokens) == 2


def test_many_threads_ask_once(server: SasServer) -> None:
    signer = PlanetaryComputerSigner()
    threads = [threading.Thread(target=signer.sign, args=(HREF,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.tokens) == 1


def test_a_token_is_replaced_before_it_expires(server: SasServer, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = PlanetaryComputerSigner()
    first = signer.sign(HREF)
    real = sas_tokens.time.time()
    monkeypatch.setattr(sas_tokens.time, "time", lambda: real + server.life_s - EARLY_S - 10)
    assert signer.sign(HREF) == first
    monkeypatch.setattr(sas_tokens.time, "time", lambda: real + server.life_s - EARLY_S + 1)
    assert signer.sign(HREF) != first


def test_a_token_that_was_refused_is_replaced_but_not_every_second(
    server: SasServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = PlanetaryComputerSigner()
    found = [signer.sign(HREF)]
    for _ in range(3):
        signer.renew(HREF)
        found.append(signer.sign(HREF))
    assert found[0] != found[1] == found[2] == found[3]
    now = sas_tokens.time.time()
    monkeypatch.setattr(sas_tokens.time, "time", lambda: now + RENEWAL_PAUSE_S)
    signer.renew(HREF)
    assert signer.sign(HREF) not in found


def test_a_token_that_has_expired_when_it_comes_is_asked_for_once_more(server: SasServer) -> None:
    """As the endpoint did for a day; or the clock of this machine is wrong, so it is tried all the same."""
    server.life_s = -86_400
    signer = PlanetaryComputerSigner()
    assert signer.sign(HREF).endswith(f"{SECRET}1")
    signer.sign(HREF)  # not at every request
    assert len(server.tokens) == 2
    server.life_s = 3600
    signer.renew(HREF)
    assert signer.sign(HREF).endswith(f"{SECRET}2")


def test_the_subscription_key_goes_to_the_endpoint(
    server: SasServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    PlanetaryComputerSigner().sign(HREF)
    monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "MYKEY")
    PlanetaryComputerSigner().sign(HREF)
    assert server.keys == ["", "MYKEY"]


def test_an_href_with_a_token_and_an_open_container_stay_as_they_are(server: SasServer) -> None:
    assert PlanetaryComputerSigner().sign(f"{HREF}?sig=mine") == f"{HREF}?sig=mine"
    server.unknown = True
    signer = PlanetaryComputerSigner()
    assert [signer.sign(HREF), signer.sign(HREF)] == [HREF, HREF]
    assert len(server.keys) == 1


def test_a_busy_endpoint_is_asked_again(server: SasServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "2")
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    server.failures = [503, 429]
    assert SECRET in PlanetaryComputerSigner().sign(HREF)
    assert len(server.keys) == 3


@pytest.mark.parametrize(("status", "retryable"), [(401, False), (500, True)])
def test_an_endpoint_that_refuses(server: SasServer, status: int, retryable: bool) -> None:
    server.failures = [status]
    with pytest.raises(RemoteError, match=f"{status}") as caught:
        PlanetaryComputerSigner().sign(HREF)
    assert caught.value.retryable == retryable
    assert ("PC_SDK_SUBSCRIPTION_KEY" in str(caught.value)) == (status == 401)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"token": "a=b"}',
     b'{"token": "a b", "msft:expiry": "2030-01-01T00:00:00Z"}',
     b'{"token": "a=b#c", "msft:expiry": "2030-01-01T00:00:00Z"}', b'{"token": "a=b", "msft:expiry": "soon"}',
     b'{"token": "a=b", "msft:expiry": 5}', b'{"token": "", "msft:expiry": "2030-01-01T00:00:00Z"}',
     b"x" * 70_000, b"[" * 60_000],
)  # fmt: skip
def test_answers_that_hold_no_token(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_: str) -> Iterable[bytes]:
        return [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body]

    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    with raw_server(answer) as server:
        monkeypatch.setenv("PC_SDK_SAS_URL", server.url)
        with pytest.raises(RemoteError, match=r"no token|more than"):
            PlanetaryComputerSigner().sign(HREF)


def test_an_href_without_a_container_cannot_be_signed(server: SasServer) -> None:
    with pytest.raises(RemoteError, match="no storage account"):
        PlanetaryComputerSigner().sign("https://naipeuwest.blob.core.windows.net/")
