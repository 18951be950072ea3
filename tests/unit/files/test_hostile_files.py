"""Files that strangers can put behind a catalogue, and answers of their servers, that are not what they seem.

A canary on this machine must never be asked. What could hurt is read in a process whose memory is limited and
measured.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import rasterio
from guarded_scenes import GOOD, guarded_scene, read_scene
from raw_server import Answer, RawServer, canary, raw_server, wanted_range
from tiff_bytes import ASCII, SHORT, RawDirectory, RawTag, image_tags, tag, tiff_bytes

from pipeline.errors import SourceError
from pipeline.files import remote_object
from pipeline.files.href_guard import guard_for
from pipeline.files.paced_connection import patience
from pipeline.schema.imagery import HrefGuard, Scene

untouched = pytest.fixture(canary)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_object, "SECOND_TRY_S", 0.0)
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    patience.was_in_time("127.0.0.1")


VRT = (
    '<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1">'
    '<SimpleSource><SourceFilename relativeToVRT="0">/vsicurl/{url}/x.tif</SourceFilename>'
    "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
)
FLAGS = '<Metadata><MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata>'
MASK_VRT = VRT.replace("<VRTRasterBand", f"{FLAGS}<VRTRasterBand")
OVERVIEW_FILE = '<MDI key="OVERVIEW_FILE">/vsicurl/{url}/x.tif</MDI>'
PAM = f'<PAMDataset><Metadata domain="OVERVIEWS">{OVERVIEW_FILE}</Metadata></PAMDataset>'
METADATA = (
    '<GDALMetadata><Item name="OVERVIEW_FILE" domain="OVERVIEWS">/vsicurl/http://127.0.0.1:9/x.tif'
    "</Item></GDALMetadata>"
)
HUGE = 29_952
HUGE_OVERVIEW = tiff_bytes(
    RawDirectory(tags=image_tags()),
    RawDirectory(tags=image_tags(t254=tag(1), t322=tag(HUGE), t323=tag(HUGE))),
)


def with_text(number: int, text: str) -> bytes:
    tags = dict(sorted((image_tags() | {number: RawTag(kind=ASCII, text=text.encode() + b"\0")}).items()))
    return tiff_bytes(RawDirectory(tags=tags))


FILES: dict[str, dict[str, bytes | str]] = {
    "a VRT named .tif": {"": VRT},
    "a mask beside it that is a VRT": {"": GOOD, ".msk": MASK_VRT},
    "a mask beside it in capitals": {"": GOOD, ".MSK": MASK_VRT},
    "overviews beside it that are a VRT": {"": GOOD, ".ovr": VRT.replace("64", "32")},
    "overviews elsewhere, in its metadata": {"": with_text(42112, METADATA)},
    "overviews elsewhere, in the metadata beside it": {"": GOOD, ".aux.xml": PAM},
    "huge overviews beside it": {"": GOOD, ".ovr": HUGE_OVERVIEW},
    "a page of a web site": {"": "<html>log in</html>"},
    "a tile index": {"": "<GDALTileIndexDataset>{url}"},
    "a web service": {"": '<GDAL_WMS><Service name="TMS"><ServerUrl>{url}</ServerUrl></Service></GDAL_WMS>'},
    "an empty file": {"": b""},
    "a header and nothing else": {"": GOOD[:8]},
    "a header that ends early": {"": GOOD[:60]},
}
"""What is written beside each other: ending behind a.tif -> content, in which {url} is the canary's."""


def write_all(folder: Path, what: str, url: str) -> str:
    for suffix, content in FILES[what].items():
        data = content if isinstance(content, bytes) else content.replace("{url}", url).encode()
        (folder / f"a.tif{suffix}").write_bytes(data)
    return str(folder / "a.tif")


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_leads_elsewhere_is_refused(untouched: RawServer, tmp_path: Path, what: str) -> None:
    path = write_all(tmp_path, what, untouched.url)
    with pytest.raises(SourceError):
        read_scene(guarded_scene(path, guard_for((), str(tmp_path))))
    assert untouched.connections == 0


def test_a_mask_beside_it_with_odd_letters_is_not_looked_for(untouched: RawServer, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(GOOD)
    Path(f"{path}.mSk").write_text(MASK_VRT.replace("{url}", untouched.url))
    read_scene(guarded_scene(str(path), guard_for((), str(tmp_path))))
    assert untouched.connections == 0


BOMBS: dict[str, bytes] = {
    "one huge tile": tiff_bytes(
        RawDirectory(tags=image_tags(t256=tag(HUGE), t257=tag(HUGE), t322=tag(HUGE), t323=tag(HUGE)))
    ),
    "one huge packed strip": tiff_bytes(
        RawDirectory(
            tags={
                number: value
                for number, value in image_tags(
                    t256=tag(HUGE), t257=tag(HUGE), t259=tag(8, kind=SHORT), t273=tag(8), t279=tag(100)
                ).items()
                if number not in (322, 323, 324, 325)
            }
        )
    ),
    "a trillion pixels": tiff_bytes(
        RawDirectory(tags=image_tags(t256=tag(10**6), t257=tag(10**6), t322=tag(512), t323=tag(512)))
    ),
    "sizes that overflow": tiff_bytes(
        RawDirectory(tags=image_tags(t256=tag(2**32 - 1), t257=tag(2**32 - 1)))
    ),
    "65,535 bands": tiff_bytes(RawDirectory(tags=image_tags(t277=tag(65_535, kind=SHORT)))),
    "no pixels": tiff_bytes(RawDirectory(tags=image_tags(t256=tag(0), t257=tag(0)))),
    "tiles of no size": tiff_bytes(RawDirectory(tags=image_tags(t322=tag(0), t323=tag(0)))),
    "4 billion tile offsets": tiff_bytes(
        RawDirectory(tags=image_tags(t324=tag(8, count=2**32 - 1, offset=8)))
    ),
    "a tile past the end": tiff_bytes(RawDirectory(tags=image_tags(t324=tag(2**31)))),
    "a tile of 4 GB when packed": tiff_bytes(
        RawDirectory(tags=image_tags(t259=tag(8, kind=SHORT), t325=tag(2**32 - 1)))
    ),
    "a description of 2 GB": tiff_bytes(
        RawDirectory(tags=image_tags(t270=RawTag(kind=ASCII, count=2**31, offset=8)))
    ),
    "a million directories in a chain": tiff_bytes(
        RawDirectory(tags=image_tags()), *[RawDirectory(tags=image_tags(t254=tag(1)))] * 1100
    ),
    "a huge overview": tiff_bytes(
        RawDirectory(tags=image_tags()),
        RawDirectory(tags=image_tags(t254=tag(1), t322=tag(HUGE), t323=tag(HUGE))),
    ),
    "a directory of 65,535 tags": tiff_bytes(RawDirectory(n_tags=65_535)),
    "an unknown compression": tiff_bytes(RawDirectory(tags=image_tags(t259=tag(60_000, kind=SHORT)))),
    "packed bytes that are none": tiff_bytes(RawDirectory(tags=image_tags(t259=tag(8, kind=SHORT)))),
}
"""What hurts when it is read, so it is read in a process whose memory is limited."""

CONTAINED = {
    "a circle of directories": tiff_bytes(RawDirectory(tags=image_tags(), following=8)),
    "a directory that is its own overview": tiff_bytes(
        RawDirectory(tags=image_tags()), RawDirectory(tags=image_tags(t254=tag(1)), following=8)
    ),
    "a directory after the end": tiff_bytes(RawDirectory(tags=image_tags(), following=2**31)),
    "bits per sample past the end": tiff_bytes(
        RawDirectory(tags=image_tags(t258=tag(8, 8, 8, kind=SHORT, offset=2**31)))
    ),
}
"""What is read to the end or refused; it must not hurt either way."""

SCRIPT = """
import pathlib, pickle, re, resource, sys
from pipeline.errors import TerraqueryError
from pipeline.files.raster_access import open_raster, raster_environment
import rasterio
sources = pickle.load(sys.stdin.buffer)
def memory_mb(key):
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(key + r":\\s+([0-9]+) kB", status)[1]) // 1024
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
found = {}
for name, source in sources.items():
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory_mb("VmRSS")
    try:
        with raster_environment(source), open_raster(source) as dataset:
            dataset.read(out_shape=(3, 16, 16)), dataset.dataset_mask(), dataset.read()
        came = "read"
    except (TerraqueryError, rasterio.errors.RasterioError) as error:
        came = type(error).__name__
    found[name] = came, memory_mb("VmHWM") - before
sys.stdout.buffer.write(pickle.dumps(found))
"""

MOST_GROWTH_MB = 80
"""Of the process that reads: a block may have 64 MB."""


def in_a_process(sources: dict[str, Scene]) -> dict[str, tuple[str, int]]:
    """Read scenes in one process; returns what came of each, and by how many MB the process grew."""
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, input=pickle.dumps(sources), capture_output=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found: dict[str, tuple[str, int]] = pickle.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, int]]:
    """An honest file first, so that what libraries take for themselves counts for nobody."""
    folder = tmp_path_factory.mktemp("bombs")
    contents = {"honest": GOOD, **BOMBS, **CONTAINED}
    guard = guard_for((), str(folder))
    for number, content in enumerate(contents.values()):
        (folder / f"{number}.tif").write_bytes(content)
    return in_a_process(
        {name: guarded_scene(str(folder / f"{number}.tif"), guard) for number, name in enumerate(contents)}
    )


@pytest.mark.parametrize("what", [*BOMBS, *CONTAINED])
def test_a_file_that_claims_too_much_costs_no_memory(outcomes: dict[str, tuple[str, int]], what: str) -> None:
    said, grown = outcomes[what]
    assert grown < MOST_GROWTH_MB
    assert said in ("SourceError", "RasterioIOError") or (said == "read" and what in CONTAINED)
    assert outcomes["honest"][0] == "read"


def test_a_server_that_feeds_such_files_costs_no_memory_either() -> None:
    """It claims sizes of a terabyte, and has bytes for every request."""
    cases = ["a tile of 4 GB when packed", "a description of 2 GB", "4 billion tile offsets"]
    asked: list[int] = []

    def answer(request: str) -> Iterator[bytes]:
        content = BOMBS[cases[int(request[5])]]
        first, last = wanted_range(request)
        asked.append(last + 1 - first)
        yield f"HTTP/1.1 206 OK\r\nContent-Range: bytes {first}-{last}/1000000000000\r\n".encode()
        yield f"Content-Length: {last + 1 - first}\r\n\r\n".encode()
        yield content[first : last + 1] + bytes(last + 1 - max(first, len(content)))

    with raw_server(answer) as server:
        guard = HrefGuard(hosts=("127.0.0.1",), private=True)
        found = in_a_process(
            {name: guarded_scene(f"{server.url}/{n}.tif", guard) for n, name in enumerate(cases)}
        )
    for said, grown in found.values():
        assert said != "read"
        assert grown < MOST_GROWTH_MB
    assert 0 < sum(asked) < 64 << 20


def answered_by(text: bytes, body: bytes = b"") -> Answer:
    return lambda _: [text + b"\r\n\r\n", body]


ANSWERS: dict[str, Answer] = {
    "a page to log in": answered_by(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6", b"<html>"
    ),
    "a refusal that looks like a TIFF": answered_by(b"HTTP/1.1 403 No\r\nContent-Length: 4", b"II*\0"),
    "not found": answered_by(b"HTTP/1.1 404 No\r\nContent-Length: 0"),
    "a teapot": answered_by(b"HTTP/1.1 418 No\r\nContent-Length: 0"),
    "nothing modified": answered_by(b"HTTP/1.1 304 Same"),
    "no content": answered_by(b"HTTP/1.1 204 None"),
    "a status of no kind": answered_by(b"HTTP/1.1 999 What\r\nContent-Length: 0"),
    "a status that is no number": answered_by(b"HTTP/1.1 abc What\r\nContent-Length: 0"),
    "a redirect without a place": answered_by(b"HTTP/1.1 302 Found\r\nContent-Length: 0"),
    "a list of choices": answered_by(
        b"HTTP/1.1 300 Many\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0"
    ),
    "a switch of protocols": answered_by(b"HTTP/1.1 101 Go\r\nUpgrade: h2c"),
    "HTTP of long ago": lambda _: [GOOD],
    "a size of two billion billion": lambda _: [
        b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-32767/999999999999999999\r\n",
        b"Content-Length: 32768\r\n\r\n" + bytes(32768),
    ],
}


@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_that_is_no_part_of_a_file_gives_no_pixels(what: str) -> None:
    with raw_server(ANSWERS[what]) as server:
        guard = HrefGuard(hosts=("127.0.0.1",), private=True)
        with pytest.raises((SourceError, rasterio.errors.RasterioIOError)):
            read_scene(guarded_scene(f"{server.url}/a.tif?sig=SECRET", guard))
