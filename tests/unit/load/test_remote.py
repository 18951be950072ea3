"""Reading over the network: a real HTTP range server and a real S3 API (moto), both on this machine."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import rasterio
from fault_server import FAULTS, FaultServer
from moto.server import ThreadedMotoServer

from pipeline.errors import InputError, SourceError
from pipeline.files import remote_file, remote_object, remote_store
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.grid.tiles import GridOptions
from pipeline.load.prepare_scenes import LoadOptions
from pipeline.load.reader import CogReader
from pipeline.load.source_breaker import SourceBreaker
from pipeline.write.scene_entry import scene_entry

MakeTif = Callable[..., str]
OpenRun = Callable[..., Any]


@pytest.fixture(autouse=True)
def quick_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between retries, no credentials of the machine."""
    for name in (
        "AWS_PROFILE",
        "AWS_NO_SIGN_REQUEST",
        "AWS_S3_ENDPOINT",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "2")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("pipeline.load.reader.RETRY_PAUSE_S", 0.0)
    monkeypatch.setattr(remote_object, "SECOND_TRY_S", 0.0)
    for cached in (remote_store._aws_session, remote_store._s3_store, remote_store.s3_region):
        cached.cache_clear()


def cog(make_tif: MakeTif, side: int = 1024) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 255, (3, side, side)).astype("uint8")
    make_tif("scene.tif", pixels, driver="COG", blocksize=256, overviews="AUTO")
    return pixels


def read_all(run: Any) -> np.ndarray:
    image = run.reader.read(next(run.plan.blocks()))
    assert image.unreadable == {}
    rgb: np.ndarray = image.rgb
    return rgb


def test_a_header_costs_few_requests_and_no_listing(make_tif: MakeTif, range_server: Any) -> None:
    cog(make_tif)
    (scene,) = open_scenes(SourceOptions(hrefs=(f"{range_server.url}/scene.tif?token=abc",)))
    assert (scene.width, scene.scene_id) == (1024, "scene")
    assert scene.identity["etag"].startswith('"')
    assert scene.identity["last_modified"].startswith("Tue, 01 Sep")
    assert int(scene.identity["size_bytes"]) > 3_000_000
    # no .ovr, .msk or .aux.xml, no folder, and never the whole file
    assert [(path, wanted) for _, path, wanted in range_server.requests] == [
        ("/scene.tif?token=abc", "bytes=0-32767")
    ]
    assert (scene.href, scene.access) == (f"{range_server.url}/scene.tif", "token=abc")
    assert "abc" not in f"{scene!r} {scene_entry(scene)}"


def test_a_block_costs_few_requests_and_its_neighbour_fewer(
    make_tif: MakeTif, range_server: Any, open_run: OpenRun
) -> None:
    """16 tiles of a block are one read: its 25 internal blocks come in a handful of range requests."""
    pixels = cog(make_tif)
    run = open_run(f"{range_server.url}/scene.tif", grid=GridOptions(tile_px=144, halo_px=8, block_tiles=4))
    blocks = list(run.plan.blocks())
    assert len(blocks[0].tiles) == 16
    range_server.requests.clear()
    for number, (block, limit) in enumerate([(blocks[0], 12), (blocks[1], 8)]):
        before = len(range_server.requests)
        image = run.reader.read(block)
        rows, cols = block.read.slices_in(run.plan.grid.window)
        assert (image.rgb == np.moveaxis(pixels, 0, -1)[rows, cols]).all()
        assert len(range_server.requests) - before <= limit, f"block {number}"
    spent = len(range_server.requests)
    run.reader.read(blocks[0])
    assert len(range_server.requests) == spent  # still in the cache of the open handle


_LEFT_OPEN = """
import pickle, sys
reader, block = pickle.loads(open(sys.argv[1], "rb").read())
print(int(reader.read(block).rgb.sum(dtype="int64")))
def keep(): return reader
sys.kept = keep  # only the last collection of garbage finds it
"""


def test_a_process_may_end_with_open_remote_files(
    make_tif: MakeTif, range_server: Any, open_run: OpenRun, tmp_path: Path
) -> None:
    """GDAL closes such a file by calling Python, which killed processes whose Python was gone."""
    pixels = cog(make_tif, side=256)
    grid = GridOptions(tile_px=256, halo_px=8, block_tiles=2)
    run = open_run(f"{range_server.url}/scene.tif", grid=grid)
    (tmp_path / "reader.pickle").write_bytes(pickle.dumps((run.reader, next(run.plan.blocks()))))
    done = subprocess.run(
        [sys.executable, "-c", _LEFT_OPEN, str(tmp_path / "reader.pickle")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(int(pixels.sum(dtype="int64")))), done.stderr


_FAILS = """
import pickle, sys
reader, block = pickle.loads(open(sys.argv[1], "rb").read())
print(sorted(reader.read(block).unreadable))
"""


def test_a_process_with_failed_reads_ends_in_silence(
    make_tif: MakeTif, range_server: Any, open_run: OpenRun, tmp_path: Path
) -> None:
    cog(make_tif, side=256)
    grid = GridOptions(tile_px=256, halo_px=8, block_tiles=2)
    run = open_run(f"{range_server.url}/scene.tif", grid=grid)
    (tmp_path / "reader.pickle").write_bytes(pickle.dumps((run.reader, next(run.plan.blocks()))))
    range_server.clear()
    range_server.faults |= dict.fromkeys(range(1, 50), "404")
    done = subprocess.run(
        [sys.executable, "-c", _FAILS, str(tmp_path / "reader.pickle")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "r00000c00000" in done.stdout
    assert "excepthook" not in done.stderr
    assert "ERROR" not in done.stderr


def test_a_busy_server_is_asked_again(make_tif: MakeTif, range_server: Any, open_run: OpenRun) -> None:
    pixels = cog(make_tif, side=256)
    run = open_run(
        f"{range_server.url}/scene.tif", grid=GridOptions(tile_px=256, halo_px=8, block_tiles=2), unseen=True
    )
    range_server.clear()
    range_server.faults |= {0: "503", 1: "429"}
    assert (read_all(run) == np.moveaxis(pixels, 0, -1)).all()
    assert len(range_server.requests) > 2


def test_a_server_that_stays_down_makes_tiles_unreadable(
    make_tif: MakeTif, range_server: Any, open_run: OpenRun
) -> None:
    cog(make_tif)
    run = open_run(
        f"{range_server.url}/scene.tif", grid=GridOptions(tile_px=512, halo_px=8, block_tiles=3), unseen=True
    )
    range_server.always = "503"
    before = len(range_server.requests)
    block = next(run.plan.blocks())
    image = run.reader.read(block)
    assert set(image.unreadable) == {tile.tile_id for tile in block.tiles}
    assert "scene.tif" in image.unreadable["r00000c00000"]
    assert "busy or broken (503)" in image.unreadable["r00000c00000"]
    # the block twice, asked for as often as `GDAL_HTTP_MAX_RETRY` says, then nine tiles once each
    assert len(range_server.requests) - before <= 2 * 2 * 3 + 9
    range_server.always = ""
    assert read_all(run).any()  # and when the server is back, so is the reader


def test_what_is_not_there_or_not_a_raster_is_refused(range_server: Any, tmp_path: Any) -> None:
    with pytest.raises(InputError, match=r"missing\.tif"):
        open_scenes(SourceOptions(hrefs=(f"{range_server.url}/missing.tif",)))
    (tmp_path / "page.tif").write_text("<html>log in first</html>")
    with pytest.raises(InputError, match=r"page\.tif"):
        open_scenes(SourceOptions(hrefs=(f"{range_server.url}/page.tif",)))


def test_a_server_that_does_not_answer_is_retryable() -> None:
    with pytest.raises(SourceError) as caught:
        open_scenes(SourceOptions(hrefs=("http://127.0.0.1:9/scene.tif",)))
    assert caught.value.retryable


SCENES: dict[str, dict[str, object]] = {
    "many small blocks": {"blockxsize": 16, "blockysize": 16, "interleave": "band"},
    "not compressed": {"blockxsize": 32, "blockysize": 32, "compress": None},
    "strips": {"tiled": False, "blockxsize": None, "blockysize": 1, "compress": None},
    "with overviews": {"driver": "COG", "blocksize": 128, "overviews": "AUTO"},
}
"""Offsets of 768 blocks need requests of their own; zeros in place of raw pixels look like pixels."""


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file takes as many requests as a large one."""
    monkeypatch.setattr(remote_object, "HEAD_BYTES", 2048)
    monkeypatch.setattr(remote_object, "GAP_BYTES", 512)
    monkeypatch.setattr(remote_file, "CHUNK_BYTES", 2048)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("patience", ["0", "1"])
@pytest.mark.parametrize("kind", SCENES)
def test_whatever_request_fails_no_pixel_is_faked(
    make_tif: MakeTif,
    range_server: FaultServer,
    open_run: OpenRun,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    patience: str,
) -> None:
    """For every fault and every k, the k-th request suffers it: the tiles are right, or they are failed."""
    pixels = np.random.default_rng(0).integers(1, 255, (3, 256, 256)).astype("uint8")
    make_tif("scene.tif", pixels, **SCENES[kind])
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", patience)
    grid = GridOptions(tile_px=144, halo_px=8, block_tiles=2)
    run = open_run(f"{range_server.url}/scene.tif?sig=SECRET", grid=grid)
    (block,) = run.plan.blocks()
    range_server.clear()
    assert (run.reader.read(block).rgb == np.moveaxis(pixels, 0, -1)).all()
    n_requests = len(range_server.requests)
    assert 2 <= n_requests < 40
    for fault in FAULTS:
        for number in range(n_requests):
            run.reader.close()
            range_server.clear()
            range_server.faults[number] = fault
            image = run.reader.read(block)
            assert not image.unreadable, "one failure costs a second try, and no tile"
            assert image.valid.all(), f"{fault} at {number}"
            assert (image.rgb == np.moveaxis(pixels, 0, -1)).all(), f"{fault} at {number}"


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("start", [0, 1, 4])
def test_what_fails_for_good_is_failed_and_never_a_pixel(
    make_tif: MakeTif, range_server: FaultServer, open_run: OpenRun, start: int, fault: str
) -> None:
    """From the k-th request on, all fail: as when a token expires or an object is replaced during a run."""
    pixels = np.random.default_rng(0).integers(1, 255, (3, 256, 256)).astype("uint8")
    make_tif("scene.tif", pixels, **SCENES["not compressed"])
    grid = GridOptions(tile_px=80, halo_px=8, block_tiles=2)
    run = open_run(f"{range_server.url}/scene.tif?sig=SECRET", grid=grid)
    range_server.clear()
    range_server.always = fault
    range_server.faults |= dict.fromkeys(range(start), "")
    failed = 0
    for block in run.plan.blocks():
        image = run.reader.read(block)
        for tile in block.tiles:
            if error := image.unreadable.get(tile.tile_id):
                failed += 1
                assert "scene.tif: " in error
                assert "SECRET" not in error
                continue
            mine = tile.read.slices_in(block.read)
            there = tile.read.slices_in(run.plan.grid.window)
            assert image.valid[mine].all()
            assert (image.rgb[mine] == np.moveaxis(pixels, 0, -1)[there]).all()
    assert failed > 0


def test_a_server_that_stalls_is_given_up_after_few_requests_and_heals(
    make_tif: MakeTif, range_server: FaultServer, open_run: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends half of every body and goes silent for a minute. 64 tiles need it."""
    pixels = cog(make_tif, side=512)
    grid = GridOptions(tile_px=80, halo_px=8, block_tiles=4)
    run = open_run(f"{range_server.url}/scene.tif", grid=grid, unseen=True)
    now = [0.0]
    breaker = SourceBreaker(3, 60.0, lambda: now[0])
    reader = CogReader(run.reader._sources, run.plan.grid, breaker=breaker)
    blocks = list(run.plan.blocks())
    range_server.clear()
    range_server.always, range_server.stall_s = "stalled", 60.0
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "0.4")
    told = [text for block in blocks for text in reader.read(block).unreadable.values()]
    assert len(told) == 64
    assert sum("given up after 3 failures in a row" in text for text in told) >= 63
    assert "did not answer in time" in told[-1]
    assert len(range_server.requests) <= 3 * 4, "three reads, and for no other tile a request"
    range_server.clear()
    monkeypatch.delenv("GDAL_HTTP_LOW_SPEED_TIME")
    now[0] += 61.0
    healed = reader.read(blocks[0])
    reader.close()
    assert not healed.unreadable
    rows, cols = blocks[0].read.slices_in(run.plan.grid.window)
    assert (healed.rgb == np.moveaxis(pixels, 0, -1)[rows, cols]).all()


def test_an_object_that_is_replaced_during_a_run_is_noticed(
    make_tif: MakeTif, range_server: FaultServer, open_run: OpenRun
) -> None:
    """The same URL and size, other pixels: what was read before stays, what comes after is unreadable."""
    pixels = cog(make_tif)
    run = open_run(f"{range_server.url}/scene.tif", grid=GridOptions(tile_px=144, halo_px=8, block_tiles=4))
    first, second = list(run.plan.blocks())[:2]
    image = run.reader.read(first)
    rows, cols = first.read.slices_in(run.plan.grid.window)
    assert (image.rgb == np.moveaxis(pixels, 0, -1)[rows, cols]).all()
    make_tif("scene.tif", 255 - pixels, driver="COG", blocksize=256, overviews="AUTO")
    image = run.reader.read(second)
    assert set(image.unreadable) == {tile.tile_id for tile in second.tiles}
    assert all("not the object that the run was planned with" in text for text in image.unreadable.values())
    assert not image.valid.any()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("whole", r"range requests.*To fix: download the file"),
        ("403", r"403.*To fix: the token .* sign the URL again"),
        ("404", r"404.*To fix: check the URL"),
    ],
)
def test_each_refusal_has_its_remedy_and_shows_no_token(
    range_server: FaultServer, make_tif: MakeTif, fault: str, said: str
) -> None:
    cog(make_tif, side=256)
    range_server.always = fault
    with pytest.raises(InputError, match=said) as caught:
        open_scenes(SourceOptions(hrefs=(f"{range_server.url}/scene.tif?sig=SECRET",)))
    assert "SECRET" not in str(caught.value)
    assert len(range_server.requests) == 1


def test_a_remote_scene_with_another_nodata_value_is_bound_as_well(
    make_tif: MakeTif, range_server: FaultServer, open_run: OpenRun
) -> None:
    """It is read through a VRT, which opens the file again by its path."""
    pixels = np.random.default_rng(0).integers(20, 255, (3, 256, 256)).astype("uint8")
    pixels[:, :50] = 7
    make_tif("scene.tif", pixels, compress=None)
    grid = GridOptions(tile_px=256, halo_px=8, block_tiles=2)
    run = open_run(f"{range_server.url}/scene.tif", grid=grid, load=LoadOptions(nodata="7"))
    (block,) = run.plan.blocks()
    image = run.reader.read(block)
    assert (image.rgb[50:] == np.moveaxis(pixels, 0, -1)[50:]).all()
    assert not image.valid[:50].any()
    assert image.valid[50:].all()
    run.reader.close()
    range_server.always = "404"
    assert len(run.reader.read(block).unreadable) == len(block.tiles)


@pytest.mark.parametrize("name", ["ort%20%C3%BC%231.tif", "ort ü%231.tif"])
def test_a_signed_url_with_a_blank_and_an_umlaut(
    make_tif: MakeTif, range_server: FaultServer, open_run: OpenRun, name: str
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 256, 256)).astype("uint8")
    make_tif("ort ü#1.tif", pixels)
    range_server.token = "sv=2020&sig=SECRET%2Fabc"
    run = open_run(
        f"{range_server.url}/{name}?{range_server.token}", grid=GridOptions(tile_px=256, halo_px=8)
    )
    assert (read_all(run) == np.moveaxis(pixels, 0, -1)).all()
    (scene,) = run.plan.scenes
    assert (scene.scene_id, scene.href) == ("ort ü#1", f"{range_server.url}/ort%20%C3%BC%231.tif")


@pytest.fixture
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.mark.parametrize("style", ["gdal", "boto3"])
def test_reads_from_s3(
    make_tif: MakeTif, open_run: OpenRun, s3_endpoint: str, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the endpoint given in GDAL's variables or in boto3's; credentials come through boto3."""
    pixels = cog(make_tif)
    path = make_tif("scene.tif", pixels, driver="COG", blocksize=256)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3", endpoint_url=f"http://{s3_endpoint}")
    client.create_bucket(Bucket=f"imagery-{style}")
    client.upload_file(path, f"imagery-{style}", "a/scene.tif")
    if style == "gdal":
        monkeypatch.setenv("AWS_S3_ENDPOINT", s3_endpoint)
        monkeypatch.setenv("AWS_HTTPS", "NO")
        monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{s3_endpoint}")
    run = open_run(
        f"s3://imagery-{style}/a/scene.tif", grid=GridOptions(tile_px=512, halo_px=8, block_tiles=3)
    )
    assert (read_all(run) == np.moveaxis(pixels, 0, -1)).all()
    head = client.head_object(Bucket=f"imagery-{style}", Key="a/scene.tif")
    assert run.plan.scenes[0].identity["etag"] == head["ETag"]
    assert run.plan.scenes[0].identity["size_bytes"] == str(head["ContentLength"])
    with pytest.raises(InputError, match="no such object"):
        open_scenes(SourceOptions(hrefs=(f"s3://imagery-{style}/missing.tif",)))


def test_remote_and_local_settings_do_not_mix(
    make_tif: MakeTif, range_server: Any, open_run: OpenRun
) -> None:
    """A local file keeps its sidecars (a .msk here) although a remote one was read in the same process."""
    pixels = cog(make_tif, side=256)
    local = make_tif("local.tif", pixels, transform=rasterio.Affine(0.5, 0, 450128, 0, -0.5, 40000))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO"), rasterio.open(local, "r+") as dataset:
        dataset.write_mask(np.tri(256, dtype=bool))
    run = open_run(
        f"{range_server.url}/scene.tif", local, grid=GridOptions(tile_px=600, halo_px=8, block_tiles=1)
    )
    image = run.reader.read(next(run.plan.blocks()))
    assert image.valid[:, :256].all()
    assert (image.valid[:, 256:] == np.tri(256, dtype=bool)).all()


def test_a_nodata_value_of_the_users_holds_over_the_network_too(
    make_tif: MakeTif, range_server: Any, open_run: OpenRun
) -> None:
    """The header is rewritten; the URL with its token has to survive that."""
    pixels = np.random.default_rng(0).integers(1, 255, (3, 200, 200)).astype("uint8")
    pixels[:, :50] = 7
    make_tif("scene.tif", pixels, nodata=0)
    url = f"{range_server.url}/scene.tif?sig=a%2Bb&se=<2027>"
    run = open_run(url, load=LoadOptions(nodata="7"), grid=GridOptions(tile_px=256, halo_px=8))
    image = run.reader.read(next(run.plan.blocks()))
    assert image.unreadable == {}
    assert (image.valid == (pixels != 7).any(axis=0)).all()
    assert run.reader._sources[0].unjudged == {"nodata": 0.25}
