from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.files.href_guard import allowed_addresses, guard_for, require_allowed
from pipeline.files.remote_error import RemoteError
from pipeline.schema.imagery import HrefGuard

GUARD = HrefGuard(
    hosts=("data.example.org", "*.tiles.example.org", "own.example.org:8443", "bucket.s3", "192.0.2.7")
)


def leads_to(*addresses: str) -> Callable[..., list[Any]]:
    """A resolver that gives these addresses for every name."""

    def getaddrinfo(host: str, port: int | None, **_: object) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in text else socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port or 0))
            for text in addresses
        ]

    return getaddrinfo


@pytest.mark.parametrize(
    "href",
    [
        "https://data.example.org/a.tif",
        "HTTPS://Data.Example.ORG/a.tif?sig=x",
        "http://data.example.org:8080/a.tif",
        "https://a.b.tiles.example.org/a.tif",
        "https://own.example.org:8443/a.tif",
        "s3://bucket/a/b.tif",
        "https://bucket.s3.us-west-2.amazonaws.com/a.tif",
        "https://bucket.s3.amazonaws.com/a.tif",
        "https://s3.us-west-2.amazonaws.com/bucket/a.tif",
        "http://192.0.2.7/a.tif",
    ],
)
def test_hosts_that_a_guard_lists_may_be_asked(href: str) -> None:
    require_allowed(href, GUARD)


def test_the_own_host_of_an_object_store_opens_no_bucket_in_a_path() -> None:
    guard = guard_for((), "stac:https://data.example.org", ("s3.amazonaws.com",))
    with pytest.raises(InputError, match="allow-host"):
        require_allowed("https://s3.amazonaws.com/other/a.tif", guard)


@pytest.mark.parametrize(
    "href",
    [
        "https://other.example.org/a.tif",
        "https://tiles.example.org/a.tif",
        "https://evil-tiles.example.org.evil.net/a.tif",
        "https://xdata.example.org/a.tif",
        "https://data.example.org.evil.net/a.tif",
        "https://own.example.org/a.tif",
        "s3://bucket2/a.tif",
        "https://bucket.s3.evil.com/a.tif",
        "https://s3.us-west-2.amazonaws.com/other/bucket/a.tif",
        "https://s3.amazonaws.com/a.tif",
        "https://s3.amazonaws.com/bucket.tif",
    ],
)
def test_other_hosts_may_not(href: str) -> None:
    with pytest.raises(InputError, match="--allow-host"):
        require_allowed(href, GUARD)


def test_a_users_own_href_is_never_refused() -> None:
    require_allowed("http://169.254.169.254/latest/meta-data", None)
    require_allowed("/etc/passwd", None)


@pytest.mark.parametrize(
    "path", ["bucket/../other/a.tif", "bucket/%2e%2E/other/a.tif", "bucket%2f..%2fo/a.tif", "./a"]
)
def test_a_way_up_in_a_url_is_refused(path: str) -> None:
    """Clients resolve it, and would ask for another bucket than the one that was checked."""
    with pytest.raises(InputError, match="a way up"):
        require_allowed(f"https://s3.amazonaws.com/{path}", GUARD)
    require_allowed("https://s3.amazonaws.com/bucket/a..b/.hidden/c.tif", GUARD)


def test_a_refusal_shows_no_token() -> None:
    with pytest.raises(InputError) as caught:
        require_allowed("https://other.example.org/a.tif?sig=SECRET", GUARD)
    assert "SECRET" not in str(caught.value)
    assert "--allow-host other.example.org" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "hosts", "allowed", "expected"),
    [
        ("stac:https://api.example.org/v1#naip", (), (), ("api.example.org",)),
        ("stac:http://127.0.0.1:8081#naip", ("127.0.0.1",), (), ("127.0.0.1",)),
        ("s3://bucket/items.parquet", (), (), ("bucket.s3",)),
        ("https://bucket.s3.eu-west-1.amazonaws.com/catalog.json", (), (), ("bucket.s3",)),
        ("https://s3.eu-west-1.amazonaws.com/bucket/catalog.json", (), (), ("bucket.s3",)),
        (
            "https://storage.googleapis.com/open/catalog.json",
            (),
            (),
            ("open.storage.googleapis.com",),
        ),
        (
            "stac:https://planetarycomputer.microsoft.com/api/stac/v1#naip",
            (),
            (),
            ("*.blob.core.windows.net", "planetarycomputer.microsoft.com"),
        ),
        (
            "https://api.example.org/item.json",
            ("api.example.org",),
            ("Data.example.org", "*.tiles.example.org", "h.example.org:8443", "s3://pictures", "*", "[::1]"),
            ("*", "*.tiles.example.org", "::1", "api.example.org", "data.example.org", "h.example.org:8443",
             "pictures.s3"),
        ),
    ],
)  # fmt: skip
def test_a_guard_knows_the_catalogues_own_hosts_and_what_the_user_adds(
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    hosts: tuple[str, ...],
    allowed: tuple[str, ...],
    expected: tuple[str, ...],
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", leads_to("93.184.216.34"))
    guard = guard_for(hosts, source, allowed)
    assert guard.hosts == tuple(sorted(expected))
    assert guard.roots == ()


@pytest.mark.parametrize("text", ["", "http://", "a b", "*.", "user@host", "/etc", "ho\\st", "host:x", "**"])
def test_a_host_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--allow-host must be"):
        guard_for((), "stac:https://192.0.2.1/v1#naip", (text,))


def test_private_addresses_are_for_catalogues_that_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert guard_for((), "stac:http://127.0.0.1:8081#naip").private
    assert guard_for((), "stac:https://192.88.1.1#naip", ("10.0.0.5",)).private
    assert not guard_for((), "stac:https://8.8.8.8#naip").private
    monkeypatch.setattr(socket, "getaddrinfo", leads_to("10.1.2.3"))
    assert guard_for((), "stac:https://stac.corp#naip").private


def test_a_local_catalogue_may_read_its_own_folder(tmp_path: Path) -> None:
    home = tmp_path / "catalogue"
    (home / "items").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for name in ("catalogue/item.json", "catalogue/items/a.tif", "other/b.tif"):
        (tmp_path / name).write_bytes(b"x")
    (home / "link.tif").symlink_to(tmp_path / "other" / "b.tif")
    guard = guard_for((), str(home / "item.json"))
    assert guard.roots == (str(home),)
    assert guard_for((), str(home)).roots == (str(home),)
    require_allowed(str(home / "items" / "a.tif"), guard)
    for href in ("other/b.tif", "catalogue/../other/b.tif", "catalogue/link.tif", "catalogue2/a.tif"):
        with pytest.raises(InputError, match="--allow-root"):
            require_allowed(str(tmp_path / href), guard)
    wider = guard_for((), str(home / "item.json"), (), (str(tmp_path / "other"),))
    require_allowed(str(home / "link.tif"), wider)
    with pytest.raises(InputError, match="must be a folder"):
        guard_for((), str(home), (), (str(tmp_path / "nowhere"),))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(InputError, match="no file"):
        require_allowed(str(tmp_path / "pipe.tif"), HrefGuard(roots=(str(tmp_path),)))


PUBLIC = HrefGuard(hosts=("data.example.org", "*.wild.org"))
PRIVATE = HrefGuard(hosts=("data.example.org", "*.wild.org"), private=True)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.7.7", "100.64.0.1", "198.18.0.1", "::1",
     "fe80::1", "fc00::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
     "::7f00:1", "2001:0:7f00:1:0:0:f5ff:fffe"],
)  # fmt: skip
def test_private_addresses_are_refused_after_resolution(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", leads_to("93.184.216.34", address))
    with pytest.raises(RemoteError, match="private"):
        allowed_addresses("n", "data.example.org", 443, PUBLIC)
    with pytest.raises(RemoteError, match="private"):
        allowed_addresses("n", "a.wild.org", 443, PRIVATE)  # a wildcard vouches for no private address
    assert len(allowed_addresses("n", "data.example.org", 443, PRIVATE)) == 2
    assert len(allowed_addresses("n", "data.example.org", 443, None)) == 2


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "169.254.170.2", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192",
     "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255",
     "ff02::1"],
)  # fmt: skip
def test_some_addresses_are_refused_whatever_the_guard_says(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", leads_to(address))
    with pytest.raises(RemoteError):
        allowed_addresses("n", "data.example.org", 443, PRIVATE)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111"])
def test_public_addresses_may_be_asked(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", leads_to(address))
    assert len(allowed_addresses("n", "data.example.org", 443, PUBLIC)) == 1


def test_a_connection_to_another_host_is_refused_before_it_is_resolved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("resolved"))
    with pytest.raises(RemoteError, match="not allowed"):
        allowed_addresses("n", "other.example.org", 443, PUBLIC)


@given(st.text(max_size=40))
def test_no_text_passes_an_empty_guard_or_breaks_it(text: str) -> None:
    for href in (text, f"https://{text}/a.tif", f"s3://{text}/a.tif"):
        with pytest.raises(InputError):
            require_allowed(href, HrefGuard())
