"""Bounded HTTP against a server that misbehaves."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest
from odd_stac_server import odd_server

from pipeline.errors import InputError, SourceError
from pipeline.grid.catalog import catalog_web
from pipeline.grid.catalog.catalog_web import CatalogWeb


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
def test_a_busy_server_is_asked_again(status: int) -> None:
    with odd_server(files={"/a.json": {"a": 1}}, statuses=[status, status]) as server:
        web = CatalogWeb(server.url)
        assert json.loads(web.ask(f"{server.url}/a.json")) == {"a": 1}
        assert len(server.requests) == 3
        assert web.troubles == {f"status {status}": 2}


def test_it_is_not_asked_for_ever() -> None:
    with odd_server(statuses=[503] * 9) as server, pytest.raises(SourceError, match="status 503") as found:
        CatalogWeb(server.url).ask(f"{server.url}/a.json")
    assert len(server.requests) == 3
    assert found.value.retryable


@pytest.mark.parametrize("dated", [False, True])
def test_the_pause_that_a_server_wishes_is_kept(monkeypatch: pytest.MonkeyPatch, *, dated: bool) -> None:
    wish = formatdate(time.time() + 2, usegmt=True) if dated else "1"
    pauses: list[float] = []
    monkeypatch.setattr(catalog_web.time, "sleep", pauses.append)
    with odd_server(files={"/a.json": 1}, statuses=[429], headers={"Retry-After": wish}) as server:
        CatalogWeb(server.url).ask(f"{server.url}/a.json")
    (pause,) = [pause for pause in pauses if pause > 0.05]
    assert 0.5 <= pause <= 2


def test_a_pause_of_hours_is_not_kept() -> None:
    with (
        odd_server(statuses=[429], headers={"Retry-After": "7200"}) as server,
        pytest.raises(SourceError, match="7,200 s"),
    ):
        CatalogWeb(server.url).ask(f"{server.url}/a.json")


@pytest.mark.parametrize(
    ("status", "remedy"), [(400, "stac-filter"), (401, "BEARER"), (403, "BEARER"), (404, "URL")]
)
def test_a_refusal_is_final(status: int, remedy: str) -> None:
    with odd_server(statuses=[status]) as server, pytest.raises(InputError, match=remedy) as found:
        CatalogWeb(server.url).ask(f"{server.url}/a.json?token=secret")
    assert len(server.requests) == 1
    assert "as you wish" in str(found.value)
    assert "secret" not in str(found.value)


@pytest.mark.parametrize("fault", ["cut", "drip"])
def test_a_body_that_breaks_off_or_drips_is_asked_for_again(fault: str) -> None:
    with (
        odd_server(fault=fault) as server,
        pytest.raises(SourceError, match=r"does not answer: .*check the URL, or try"),
    ):
        CatalogWeb(server.url).ask(f"{server.url}/search")
    assert len(server.requests) == 3


def test_a_huge_body_is_not_read_to_its_end() -> None:
    with odd_server(fault="huge") as server, pytest.raises(SourceError, match="more than 1,000,000 bytes"):
        CatalogWeb(server.url).ask(f"{server.url}/search", most_bytes=1_000_000)


def test_no_server_at_all() -> None:
    with odd_server() as server:
        pass
    with pytest.raises(SourceError, match="no connection"):
        CatalogWeb(server.url).ask(f"{server.url}/a.json")


def test_redirects_stay_on_the_server() -> None:
    with odd_server() as canary, odd_server(files={"/b.json": 2}) as server:
        server.statuses[:] = [307]
        server.headers["Location"] = "/b.json"
        assert CatalogWeb(server.url).ask(f"{server.url}/a.json", {}) == b"2"
        server.statuses[:] = [302]
        server.headers["Location"] = f"{canary.url}/b.json"
        with pytest.raises(SourceError, match="another host"):
            CatalogWeb(server.url).ask(f"{server.url}/a.json")
        assert canary.requests == []


def test_redirects_end() -> None:
    with odd_server(statuses=[301] * 20, headers={"Location": "/a.json"}) as server:
        with pytest.raises(SourceError, match="redirects more than"):
            CatalogWeb(server.url).ask(f"{server.url}/a.json")
        assert len(server.requests) == catalog_web.MOST_REDIRECTS + 1


@pytest.mark.parametrize(
    ("link", "asked"),
    [
        ("https://api.example/x?token=1", "https://api.example/x?token=1"),
        ("http://api.example/x", "https://api.example/x"),
        ("http://API.example:80/x", "https://api.example/x"),
        ("https://api.example:443/x", "https://api.example/x"),
        ("https://friend.example/x", "https://friend.example/x"),
        ("https://a.wild.example:8443/x", "https://a.wild.example:8443/x"),
    ],
)
def test_links_that_may_be_followed(link: str, asked: str) -> None:
    assert (
        CatalogWeb("https://api.example/v1", ("friend.example", "*.wild.example")).allowed(link)[0] == asked
    )


@pytest.mark.parametrize(
    "link",
    [
        "https://other.example/x",
        "https://api.example:8443/x",
        "https://api.example.evil.example/x",
        "https://api.example@evil.example/x",
        "https://user@api.example/x",
        "https://wild.example/x",
        "ftp://api.example/x",
        "file:///etc/passwd",
        "//",
        "https://[::1/x",
        "http://169.254.169.254/latest/meta-data",
    ],
)
def test_links_that_may_not(link: str) -> None:
    with pytest.raises(SourceError, match="link of the catalogue"):
        CatalogWeb("https://api.example/v1", ("friend.example", "*.wild.example")).allowed(link)


def test_a_host_that_nobody_named_alone_may_not_be_private() -> None:
    with odd_server(files={"/a.json": 1}) as canary, odd_server() as server:
        with pytest.raises(SourceError, match="a private address"):
            CatalogWeb(server.url, ("*",)).ask(canary.url.replace("127.0.0.1", "localhost") + "/a.json")
        assert canary.requests == []


def test_access_is_given_to_the_catalogue_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_BEARER", "secret")
    with odd_server(files={"/a.json": 1}) as friend, odd_server(files={"/a.json": 1}) as server:
        web = CatalogWeb(server.url, ("localhost",))
        web.ask(f"{server.url}/a.json")
        web.ask(f"{friend.url}/a.json".replace("127.0.0.1", "localhost"))
    assert server.headers_seen[0]["Authorization"] == "Bearer secret"
    assert "Authorization" not in friend.headers_seen[0]
