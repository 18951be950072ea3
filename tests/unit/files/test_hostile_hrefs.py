"""Hrefs that strangers can put into a catalogue, and redirects of their servers, which want elsewhere.

Every case goes the way of a run: a scene with a guard comes out of a pickle, is opened and read. A canary on
this machine must never be asked; most hrefs lead there in one disguise or another.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path

import pytest
from guarded_scenes import GOOD, guarded_scene, read_scene
from raw_server import RawServer, canary, raw_server, wanted_range

from pipeline.errors import InputError, SourceError
from pipeline.files import remote_object
from pipeline.files.href_guard import guard_for
from pipeline.files.paced_connection import patience
from pipeline.files.raster_access import open_raster, raster_environment
from pipeline.schema.imagery import HrefGuard, SceneFile

untouched = pytest.fixture(canary)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_object, "SECOND_TRY_S", 0.0)
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    patience.was_in_time("127.0.0.1")


DISGUISES = {
    "the address itself": "http://127.0.0.1:{port}/a.tif",
    "its name": "http://localhost:{port}/a.tif",
    "its name in capitals": "HTTP://LOCALHOST:{port}/a.tif",
    "a name below localhost": "http://a.localhost:{port}/a.tif",
    "two numbers": "http://127.1:{port}/a.tif",
    "one number": "http://2130706433:{port}/a.tif",
    "a hexadecimal number": "http://0x7f000001:{port}/a.tif",
    "an octal number": "http://0177.0.0.1:{port}/a.tif",
    "hexadecimal parts": "http://0x7f.0x0.0x0.0x1:{port}/a.tif",
    "leading zeros": "http://127.000.000.001:{port}/a.tif",
    "a dot at the end": "http://127.0.0.1.:{port}/a.tif",
    "zero": "http://0:{port}/a.tif",
    "the unspecified address": "http://0.0.0.0:{port}/a.tif",
    "IPv6": "http://[::1]:{port}/a.tif",
    "IPv6, written out": "http://[0:0:0:0:0:0:0:1]:{port}/a.tif",
    "IPv4 in IPv6": "http://[::ffff:127.0.0.1]:{port}/a.tif",
    "IPv4 in IPv6 in hexadecimal": "http://[::ffff:7f00:1]:{port}/a.tif",
    "IPv6 with a zone": "http://[fe80::1%25lo]:{port}/a.tif",
    "IPv6 that does not end": "http://[::1:{port}/a.tif",
    "circled digits": "http://①②⑦.⓪.⓪.①:{port}/a.tif",
    "an ideographic full stop": "http://127。0。0。1:{port}/a.tif",
    "full-width letters": "http://ｌｏｃａｌｈｏｓｔ:{port}/a.tif",
    "a soft hyphen": "http://local\u00adhost:{port}/a.tif",
    "an allowed host as user name": "http://data.example.org@127.0.0.1:{port}/a.tif",
    "an allowed host as user name, escaped": "http://data.example.org%40127.0.0.1:{port}/a.tif",
    "an allowed host in the fragment": "http://127.0.0.1:{port}/a.tif#@data.example.org/",
    "an allowed host in the query": "http://127.0.0.1:{port}/a.tif?@data.example.org/",
    "a backslash before an allowed host": "http://127.0.0.1:{port}\\@data.example.org/a.tif",
    "a backslash after an allowed host": "http://data.example.org\\@127.0.0.1:{port}/a.tif",
    "a null byte": "http://data.example.org\x00@127.0.0.1:{port}/a.tif",
    "an escaped null byte": "http://127.0.0.1:{port}%00.data.example.org/a.tif",
    "a line break": "http://data.example.org/a.tif\r\nHost: 127.0.0.1:{port}",
    "a tab in the scheme": "ht\ttp://127.0.0.1:{port}/a.tif",
    "a blank at the beginning": " http://127.0.0.1:{port}/a.tif",
    "no authority": "http:///127.0.0.1:{port}/a.tif",
    "one slash": "http:/127.0.0.1:{port}/a.tif",
    "no scheme": "//127.0.0.1:{port}/a.tif",
    "two ports": "http://data.example.org:80@127.0.0.1:{port}/a.tif",
    "a port that is none": "http://data.example.org:{port}x/a.tif",
    "a port of mail": "http://data.example.org:25/a.tif",
    "a Cyrillic letter": "https://d\u0430ta.example.org/a.tif",
    "a Cyrillic letter in Punycode": "https://xn--dta-8cd.example.org/a.tif",
    "an allowed host as prefix": "https://data.example.org.evil.net/a.tif",
    "an allowed host as suffix": "https://evildata.example.org/a.tif",
    "a parent of an allowed host": "https://example.org/a.tif",
    "the metadata server of a cloud": "http://169.254.169.254/latest/meta-data/iam/a.tif",
    "its name in the DNS": "http://metadata.google.internal/computeMetadata/v1/a.tif",
    "a private address": "http://10.0.0.1/a.tif",
    "gopher": "gopher://127.0.0.1:{port}/_GET",
    "ftp": "ftp://127.0.0.1:{port}/a.tif",
    "a data URL": "data://image/tiff;base64,SUkqAA==",
    "a file URL": "file:///etc/passwd",
    "a file URL with a host": "file://127.0.0.1:{port}/a.tif",
    "another cloud": "gs://bucket/a.tif",
    "another bucket": "s3://other/a.tif",
    "a bucket that becomes a host": "s3://127.0.0.1:{port}#/a.tif",
    "a bucket with a query": "s3://127.0.0.1:{port}?/a.tif",
    "a bucket with a user name": "s3://bucket@127.0.0.1:{port}/a.tif",
    "another bucket on the shared host": "https://s3.us-west-2.amazonaws.com/other/a.tif",
    "another bucket by a detour": "https://s3.us-west-2.amazonaws.com/bucket/../other/a.tif",
    "another bucket by an escaped detour": "https://s3.us-west-2.amazonaws.com/bucket/%2E%2e/other/a.tif",
    "another bucket by escaped slashes": "https://s3.us-west-2.amazonaws.com/bucket%2f..%2fother/a.tif",
    "GDAL's way to the web": "/vsicurl/http://127.0.0.1:{port}/a.tif",
    "GDAL's way, in capitals": "/VSICURL/http://127.0.0.1:{port}/a.tif",
    "GDAL's way by a detour": "/./vsicurl/http://127.0.0.1:{port}/a.tif",
    "GDAL's way with two slashes": "//vsicurl/http://127.0.0.1:{port}/a.tif",
    "GDAL's way with options": "/vsicurl?max_retry=9&url=http://127.0.0.1:{port}/a.tif",
    "GDAL's way into an archive": "/vsizip//vsicurl/http://127.0.0.1:{port}/a.zip/a.tif",
    "GDAL's standard input": "/vsistdin/",
    "a VRT as text": "<VRTDataset rasterXSize='1'><SourceFilename>/vsicurl/http://127.0.0.1:{port}/a.tif",
    "a VRT as URL": "vrt:///vsicurl/http://127.0.0.1:{port}/a.tif?bands=1",
    "rasterio's archives": "zip+http://127.0.0.1:{port}/a.zip!a.tif",
    "a directory of a TIFF": "GTIFF_DIR:1:/vsicurl/http://127.0.0.1:{port}/a.tif",
    "a raw TIFF": "GTIFF_RAW:/etc/passwd",
    "another driver": 'NETCDF:"http://127.0.0.1:{port}/a.nc":v',
    "a tile index": "GTI:/vsicurl/http://127.0.0.1:{port}/a.gpkg",
    "a web service": "WMS:http://127.0.0.1:{port}/",
    "memory": "MEM:::DATAPOINTER=1,PIXELS=9,LINES=9",
    "nothing": "",
    "a blank": " ",
}


GUARD = HrefGuard(hosts=("data.example.org", "bucket.s3"))


@pytest.mark.parametrize("what", DISGUISES)
def test_an_href_that_wants_elsewhere_is_refused(untouched: RawServer, what: str) -> None:
    href = DISGUISES[what].replace("{port}", str(untouched.port))
    for source in (
        guarded_scene(href, GUARD),
        guarded_scene("https://data.example.org/a.tif", GUARD, band_files=(SceneFile(href=href),) * 3),
    ):
        with pytest.raises((SourceError, InputError)), raster_environment(source):
            open_raster(source)
    assert untouched.connections == 0


LOCAL = {
    "an absolute path": "/etc/passwd",
    "the environment of the process": "/proc/self/environ",
    "the memory of the process": "/proc/self/mem",
    "a way up": "{root}/../outside/b.tif",
    "a long way up": "{root}/a/../../../../../../../../etc/passwd",
    "a link to a file": "{root}/link.tif",
    "a link to a folder": "{root}/folder/b.tif",
    "a folder with the same beginning": "{root}2/b.tif",
    "a home folder": "~/.aws/credentials",
    "the folder itself": "{root}",
    "a pipe": "{root}/pipe.tif",
    "a device": "/dev/zero",
    "standard input": "/dev/stdin",
    "a file that is not there": "{root}/none.tif",
}


@pytest.mark.parametrize("what", LOCAL)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, what: str) -> None:
    root = tmp_path / "catalogue"
    for folder in (root, tmp_path / "outside", tmp_path / "catalogue2"):
        folder.mkdir()
        (folder / "b.tif").write_bytes(GOOD)
    (root / "link.tif").symlink_to(tmp_path / "outside" / "b.tif")
    (root / "folder").symlink_to(tmp_path / "outside")
    os.mkfifo(root / "pipe.tif")
    guard = guard_for((), str(root))
    assert read_scene(guarded_scene(str(root / "b.tif"), guard)).shape == (3, 64, 64)
    with pytest.raises(SourceError):
        read_scene(guarded_scene(LOCAL[what].replace("{root}", str(root)), guard))


def test_a_catalogue_of_the_web_names_no_local_file(tmp_path: Path) -> None:
    (tmp_path / "b.tif").write_bytes(GOOD)
    with pytest.raises(SourceError, match="--allow-root"):
        read_scene(guarded_scene(str(tmp_path / "b.tif"), GUARD))


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:127.0.0.1"])
def test_an_allowed_name_that_leads_inside_is_refused(
    untouched: RawServer, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    place = (address, untouched.port)
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(kind, socket.SOCK_STREAM, 6, "", place)])
    with pytest.raises(SourceError, match="leads to"):
        read_scene(guarded_scene(f"http://data.example.org:{untouched.port}/a.tif", GUARD))
    assert untouched.connections == 0


def honest(request: str) -> Iterable[bytes]:
    first, last = wanted_range(request)
    last = min(last, len(GOOD) - 1)
    head = f"HTTP/1.1 206 OK\r\nContent-Range: bytes {first}-{last}/{len(GOOD)}\r\n"
    return [f"{head}Content-Length: {last + 1 - first}\r\n\r\n".encode() + GOOD[first : last + 1]]


def moved(target: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()


REDIRECTS = {
    "301": ("http://localhost:{port}/a.tif", 301),
    "302": ("http://127.0.0.1:{port}/a.tif", 302),
    "303": ("http://127.0.0.1:{port}/a.tif", 303),
    "307": ("http://127.0.0.1:{port}/a.tif", 307),
    "308": ("http://127.0.0.1:{port}/a.tif", 308),
    "without a scheme": ("//127.0.0.1:{port}/a.tif", 302),
    "with a user name": ("http://127.0.0.1:{own}@127.0.0.1:{port}/a.tif", 302),
    "to a number": ("http://2130706433:{port}/a.tif", 302),
    "to IPv6": ("http://[::1]:{port}/a.tif", 302),
    "with a backslash": ("http:\\\\127.0.0.1:{port}\\a.tif", 302),
    "to a metadata server": ("http://169.254.169.254/latest/", 302),
    "to a file": ("file:///etc/passwd", 302),
    "to gopher": ("gopher://127.0.0.1:{port}/_GET", 302),
    "to nowhere": ("http://", 302),
    "to nonsense": ("http://[:{port}/a.tif", 302),
}


@pytest.mark.parametrize("first", [True, False], ids=["at once", "after the header"])
@pytest.mark.parametrize("what", REDIRECTS)
def test_a_redirect_that_leads_elsewhere_is_not_followed(
    untouched: RawServer, monkeypatch: pytest.MonkeyPatch, what: str, first: bool
) -> None:
    """The server itself may be asked, on its own port alone."""
    monkeypatch.setattr(remote_object, "HEAD_BYTES", 256)
    target, status = REDIRECTS[what]
    answered: list[str] = []

    def answer(request: str) -> Iterable[bytes]:
        answered.append(request)
        if first or len(answered) > 1:
            place = target.replace("{port}", str(untouched.port)).replace("{own}", str(server.port))
            return [moved(place, status)]
        return honest(request)

    with raw_server(answer) as server:
        guard = HrefGuard(hosts=(f"127.0.0.1:{server.port}",), private=True)
        with pytest.raises(SourceError):
            read_scene(guarded_scene(f"{server.url}/a.tif", guard))
    assert answered
    assert untouched.connections == 0


def test_a_redirect_within_the_allowed_host_is_followed() -> None:
    def answer(request: str) -> Iterable[bytes]:
        return [moved("/b.tif?sig=SECRET")] if request.startswith("GET /a.tif") else honest(request)

    with raw_server(answer) as server:
        guard = HrefGuard(hosts=(f"127.0.0.1:{server.port}",), private=True)
        assert read_scene(guarded_scene(f"{server.url}/a.tif", guard)).shape == (3, 64, 64)
