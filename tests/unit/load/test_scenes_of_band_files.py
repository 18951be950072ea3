"""Scenes whose bands are files of their own, read as any other: local, remote, warped, and when one fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from fault_server import FaultServer
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from pipeline.errors import SourceError
from pipeline.files import remote_object
from pipeline.files.raster_access import open_raster, raster_environment
from pipeline.grid.band_files import band_source
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.grid.tiles import GridOptions, plan_tiles
from pipeline.load import first_look
from pipeline.load import prepare_scenes as prepare_module
from pipeline.load.overview import read_overview
from pipeline.load.prepare_scenes import LoadOptions, prepare_scenes
from pipeline.schema.imagery import HrefGuard, Scene

MakeTif = Callable[..., str]
OpenRun = Callable[..., Any]
Pixels = NDArray[Any]

WHOLE = GridOptions(tile_px=512, halo_px=8, block_tiles=1)
AS_STORED = LoadOptions(scale=(0.0, 255.0))


@pytest.fixture(autouse=True)
def quick_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "1")
    monkeypatch.setattr("pipeline.load.reader.RETRY_PAUSE_S", 0.0)
    monkeypatch.setattr(remote_object, "SECOND_TRY_S", 0.0)


def three_files(
    make_tif: MakeTif, pixels: Pixels, names: tuple[str, ...] = ("B04", "B03", "B02"), **profile: Any
) -> list[str]:
    return [make_tif(f"{name}.tif", pixels[i : i + 1], **profile) for i, name in enumerate(names)]


def noise(side: int = 300, *, low: int = 1, dtype: str = "uint16") -> Pixels:
    return np.random.default_rng(3).integers(low, 256, (3, side, side)).astype(dtype)


def read(run: Any) -> Any:
    image = run.reader.read(next(run.plan.blocks()))
    rows, cols = run.plan.grid.window.slices_in(image.block.read)
    return image, image.rgb[rows, cols], image.valid[rows, cols]


def test_it_reads_as_one_file_of_three_bands_does(make_tif: MakeTif, open_run: OpenRun) -> None:
    """Validity too: a pixel lacks imagery only where all three files have the nodata value."""
    pixels = noise()
    pixels[:, :40] = 0
    pixels[1, 40:80] = 0
    one = open_run(make_tif("one.tif", pixels, nodata=0), grid=WHOLE, load=AS_STORED)
    files = three_files(make_tif, pixels, nodata=0)
    three = open_run(band_source(files), grid=WHOLE, load=AS_STORED)
    image, rgb, valid = read(three)
    assert image.unreadable == {}
    assert (rgb == np.moveaxis(pixels, 0, -1)).all()
    assert (valid == (pixels != 0).any(axis=0)).all()
    _, one_rgb, one_valid = read(one)
    assert (one_rgb == rgb).all()
    assert (one_valid == valid).all()


def test_stretch_collar_and_shares_are_those_of_one_file(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise()
    pixels[:, :, :60] = 0  # an undeclared border
    entries = []
    for source in (make_tif("one.tif", pixels), band_source(three_files(make_tif, pixels))):
        (scene,) = open_scenes(SourceOptions(hrefs=(source,)))
        run = open_run(source)
        (prepared,) = prepare_scenes(
            (scene,), LoadOptions(), offsets=run.plan.offsets, windows=run.plan.scene_windows
        )
        entries.append(prepared.to_dict())
    for name in ("stretch", "validity", "collar_share", "unjudged", "notes"):
        assert entries[0][name] == entries[1][name], name
    assert entries[1]["collar_share"] == pytest.approx(0.2, abs=0.02)


def test_nodata_of_the_user_replaces_that_of_the_files(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise()
    pixels[:, :40] = 0
    files = three_files(make_tif, pixels, nodata=7)
    run = open_run(band_source(files), grid=WHOLE, load=LoadOptions(scale=(0.0, 255.0), nodata="0"))
    _, _, valid = read(run)
    assert (valid == (pixels != 0).any(axis=0)).all()


def test_masks_of_the_files_are_joined(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise()
    masks = np.random.default_rng(8).random((3, 300, 300)) < 0.5
    files = [
        make_tif(f"{name}.tif", pixels[i : i + 1], mask=masks[i]) for i, name in enumerate(("a4", "a3", "a2"))
    ]
    image, rgb, valid = read(open_run(band_source(files), grid=WHOLE, load=AS_STORED))
    assert (valid == masks.any(axis=0)).all()
    assert (rgb[valid] == np.moveaxis(pixels, 0, -1)[valid]).all()
    assert (rgb[~valid] == 0).all()
    assert image.unreadable == {}


def test_it_is_warped_as_one_file_is(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise()
    pixels[:, :40] = 0
    grid = GridOptions(tile_px=512, halo_px=8, block_tiles=1, crs="EPSG:32635", resolution=0.6)
    one = read(open_run(make_tif("one.tif", pixels, nodata=0), grid=grid, load=AS_STORED))
    three = read(open_run(band_source(three_files(make_tif, pixels, nodata=0)), grid=grid, load=AS_STORED))
    assert (one[1] == three[1]).all()
    assert (one[2] == three[2]).all()
    assert 0.2 < three[2].mean() < 0.95


def test_overviews_of_the_files_serve_the_picture(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise(1024, dtype="uint8")
    files = three_files(make_tif, pixels, driver="COG", blocksize=256, overviews="AUTO")
    (scene,) = open_scenes(SourceOptions(hrefs=(band_source(files),)))
    run = open_run(band_source(files))
    sources = prepare_scenes((scene,), AS_STORED, offsets=run.plan.offsets, windows=run.plan.scene_windows)
    picture = read_overview(sources, run.plan.grid, side_px=256).rgb
    with rasterio.open(files[0]) as red:
        wanted = red.read(1, out_shape=(256, 256), resampling=Resampling.average)
    assert (picture[..., 0] == wanted).all()


def test_it_is_read_over_http_in_few_requests(
    make_tif: MakeTif, range_server: FaultServer, open_run: OpenRun
) -> None:
    pixels = noise(1024)
    files = three_files(make_tif, pixels, driver="COG", blocksize=256, overviews="NONE")
    range_server.token = "sig=SECRET"
    hrefs = [f"{range_server.url}/{Path(file).name}?sig=SECRET" for file in files]
    grid = GridOptions(tile_px=144, halo_px=8, block_tiles=4)
    run = open_run(band_source(hrefs), grid=grid, load=AS_STORED)
    (scene,) = run.plan.scenes
    assert [file.access for file in scene.files] == ["sig=SECRET"] * 3
    assert "SECRET" not in f"{scene!r}"
    range_server.requests.clear()
    block = next(run.plan.blocks())
    image = run.reader.read(block)
    rows, cols = block.read.slices_in(run.plan.grid.window)
    assert image.unreadable == {}
    assert (image.rgb == np.moveaxis(pixels, 0, -1)[rows, cols]).all()
    asked = [path.partition("?")[0] for _, path, _ in range_server.requests]
    assert {asked.count(f"/{Path(file).name}") for file in files} <= {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("remote", "banded", "nodata"),
    [(True, True, "file"), (True, False, "7"), (True, False, "file"), (False, True, "7")],
)
def test_remote_files_of_a_vrt_are_looked_at_alone(
    make_tif: MakeTif,
    range_server: FaultServer,
    monkeypatch: pytest.MonkeyPatch,
    remote: bool,
    banded: bool,
    nodata: str,
) -> None:
    """GDAL's lock and Python's would wait for each other, where one thread opens a file of a VRT through
    Python and another closes any dataset."""
    hrefs = []
    for index in range(6):
        names = tuple(f"s{index}_{name}" for name in ("B04", "B03", "B02"))
        files = three_files(make_tif, noise(64), names) if banded else [make_tif(f"s{index}.tif", noise(64))]
        places = [f"{range_server.url}/{Path(file).name}" for file in files] if remote else files
        hrefs.append(band_source(places) if banded else places[0])
        hrefs.append(make_tif(f"plain{index}.tif", noise(64)))
    scenes = open_scenes(SourceOptions(hrefs=tuple(hrefs)))
    plan = plan_tiles(None, scenes, WHOLE)
    looks: list[tuple[str, float, float]] = []

    def look_at(scene: Scene, **options: Any) -> Any:
        begun = time.monotonic()
        found = first_look.look_at(scene, **options)
        time.sleep(0.01)
        looks.append((scene.scene_id, begun, time.monotonic()))
        return found

    monkeypatch.setattr(prepare_module, "look_at", look_at)
    load = LoadOptions(scale=(0.0, 255.0), nodata=nodata)
    prepared = prepare_scenes(plan.scenes, load, offsets=plan.offsets, windows=plan.scene_windows)
    assert [source.scene.scene_id for source in prepared] == [scene.scene_id for scene in scenes]
    own = [look for look in looks if not look[0].startswith("plain")]
    assert (len(looks), len(own)) == (12, 6)
    together = [
        (one, other)
        for one in own
        for other in looks
        if one is not other and one[1] < other[2] and other[1] < one[2]
    ]
    assert bool(together) != (remote and (banded or nodata != "file"))


@pytest.mark.parametrize("broken", [0, 1, 2])
@pytest.mark.parametrize("warp", [False, True])
def test_a_remote_band_that_fails_makes_its_tiles_unreadable_by_name(
    make_tif: MakeTif, range_server: FaultServer, open_run: OpenRun, tmp_path: Path, broken: int, warp: bool
) -> None:
    """GDAL takes some failed reads for holes, which would be black and valid."""
    pixels = noise(1024)
    files = three_files(make_tif, pixels, driver="COG", blocksize=256, overviews="NONE")
    hrefs = [f"{range_server.url}/{Path(file).name}" for file in files]
    grid = GridOptions(tile_px=512, halo_px=8, block_tiles=1, crs="EPSG:32635" if warp else None)
    run = open_run(band_source(hrefs), grid=grid, unseen=True)
    (tmp_path / Path(files[broken]).name).unlink()
    image = run.reader.read(next(run.plan.blocks()))
    (text,) = image.unreadable.values()
    assert [Path(file).name in text for file in files] == [index == broken for index in range(3)]
    assert not image.valid.any()


@pytest.mark.parametrize("stray", [0, 1, 2])
def test_every_band_file_is_under_the_guard(
    make_tif: MakeTif, range_server: FaultServer, tmp_path: Path, stray: int
) -> None:
    """Two files lie where the catalogue may read, and the third does not."""
    files = three_files(make_tif, noise(64))
    (scene,) = open_scenes(SourceOptions(hrefs=(band_source(files),)))
    places = list(scene.band_files)
    guarded = replace(scene, guard=HrefGuard(roots=(str(tmp_path.resolve()),)))
    with raster_environment(guarded), open_raster(guarded) as dataset:
        assert dataset.count == 3
    places[stray] = replace(places[stray], href=f"{range_server.url}/{Path(files[stray]).name}", identity={})
    bare = replace(guarded, band_files=tuple(places))
    with pytest.raises(SourceError, match=r"127\.0\.0\.1"), raster_environment(bare):
        open_raster(bare)
    assert range_server.requests == []


def test_a_local_band_that_changes_is_noticed(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise()
    files = three_files(make_tif, pixels)
    run = open_run(band_source(files), grid=WHOLE, load=AS_STORED)
    assert read(run)[0].unreadable == {}
    make_tif("B02.tif", pixels[:1] + 1)
    image = run.reader.read(next(run.plan.blocks()))
    (text,) = image.unreadable.values()
    assert "B02.tif is not the file that the run was planned with" in text


def test_a_local_band_that_is_cut_short_is_unreadable(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise(1024)
    files = three_files(make_tif, pixels)
    cut = Path(files[1])
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    run = open_run(band_source(files), grid=WHOLE, unseen=True)
    image = run.reader.read(list(run.plan.blocks())[-1])
    (text,) = image.unreadable.values()
    assert "a block of its pixels is damaged or incomplete" in text
    assert not image.valid.any()


def test_a_planned_band_of_another_size_fails_before_a_pixel_is_read(make_tif: MakeTif) -> None:
    """Without an identity, as a catalogue's item gives it."""
    files = three_files(make_tif, noise())
    (scene,) = open_scenes(SourceOptions(hrefs=(band_source(files),)))
    make_tif("B03.tif", noise(200)[:1])
    bare = scene_without_identity(scene)
    with (
        pytest.raises(SourceError, match=r"one size.*300 x 300 px.*green: 200 x 200 px .*B03"),
        raster_environment(bare),
    ):
        open_raster(bare)


def scene_without_identity(scene: Any) -> Any:
    files = tuple(replace(file, identity={}) for file in scene.band_files)
    return replace(scene, identity={}, band_files=files)


def test_landsat_bands_are_those_that_rasterio_reads(data_dir: Path, open_run: OpenRun) -> None:
    files = [str(data_dir / "landsat8_elkton" / f"L8-B{n}-Elkton-VA.tiff") for n in (4, 3, 2)]
    stored = []
    for file in files:
        with rasterio.open(file) as dataset:
            stored.append(dataset.read(1))
            valid = dataset.dataset_mask() > 0
    values = np.stack(stored)
    low, high = int(values.min()), int(values.max())
    run = open_run(band_source(files), grid=WHOLE, load=LoadOptions(scale=(low, high), collar="off"))
    _, rgb, own_valid = read(run)
    wanted = np.rint((np.moveaxis(values, 0, -1).astype(float) - low) / (high - low) * 255)
    assert valid.all()
    assert (own_valid == valid).all()
    assert (rgb == wanted).all()


def test_landsat_bands_are_warped_as_gdal_warps_each(data_dir: Path, open_run: OpenRun) -> None:
    files = [str(data_dir / "landsat8_elkton" / f"L8-B{n}-Elkton-VA.tiff") for n in (4, 3, 2)]
    grid = GridOptions(tile_px=512, halo_px=8, block_tiles=1, crs="EPSG:32618", resolution=30)
    load = LoadOptions(scale=(0, 65535), resampling="nearest", collar="off")
    run = open_run(band_source(files), grid=grid, load=load)
    _, rgb, valid = read(run)
    for band, file in enumerate(files):
        with (
            rasterio.open(file) as dataset,
            WarpedVRT(
                dataset,
                crs=run.plan.grid.crs_wkt,
                transform=rasterio.Affine(*run.plan.grid.transform),
                width=run.plan.grid.width,
                height=run.plan.grid.height,
                add_alpha=True,
                tolerance=0.001,
            ) as warped,
        ):
            inside = warped.read(2) > 0
            grey = np.rint(warped.read(1) / 65535 * 255)
            both = inside & valid
            assert (inside != valid).mean() < 0.01
            assert (rgb[..., band][both] == grey[both]).mean() > 0.99
