"""Blocks of pixels. Oracle: rasterio's own read of a window, and worlds small enough to paint by hand."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.errors import RasterioIOError
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT

from pipeline.errors import InputError
from pipeline.files import raster_access
from pipeline.grid.tiles import GridOptions
from pipeline.load import reader as reader_module
from pipeline.load.prepare_scenes import LoadOptions, prepare_scenes
from pipeline.load.reader import CogReader, TileReader
from pipeline.load.stretch import IDENTITY
from pipeline.schema.imagery import BlockImage
from pipeline.schema.tiling import BlockSpec, Window

MakeTif = Callable[..., str]
OpenRun = Callable[..., Any]
NORTH_UP = Affine(0.5, 0, 450000, 0, -0.5, 40000)
ROTATED = Affine.translation(450000, 40000) @ Affine.rotation(25) @ Affine.scale(0.5, -0.5)
SOUTH_UP = Affine(0.5, 0, 450000, 0, 0.5, 39000)


def noise(bands: int, height: int, width: int, dtype: str = "uint8", *, low: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(low, 250, (bands, height, width)).astype(dtype)


def assembled(run: Any) -> tuple[np.ndarray, np.ndarray]:
    """The whole grid from the cores of all tiles; asserts that every tile's halo shows the same pixels as its
    owner.
    """
    grid = run.plan.grid
    rgb = np.zeros((grid.height, grid.width, 3), dtype="uint8")
    valid = np.zeros((grid.height, grid.width), dtype=bool)
    images: list[BlockImage] = [run.reader.read(block) for block in run.plan.blocks()]
    for image in images:
        assert image.rgb.dtype == np.uint8
        assert image.rgb.shape == (*image.block.read.shape, 3)
        assert image.valid.shape == image.block.read.shape
        for tile in image.block.tiles:
            view = image.tile_image(tile)
            place = tile.core.slices_in(grid.window)
            rows, cols = tile.core.slices_in(tile.read)
            rgb[place], valid[place] = view.rgb[rows, cols], view.valid[rows, cols]
    for image in images:
        for tile in image.block.tiles:
            place = tile.read.slices_in(grid.window)
            assert (image.tile_image(tile).rgb == rgb[place]).all()
            assert (image.tile_image(tile).valid == valid[place]).all()
    return rgb, valid


def test_the_reader_is_a_tile_reader(make_tif: MakeTif, open_run: OpenRun) -> None:
    reader: TileReader = open_run(make_tif("a.tif", noise(3, 20, 20))).reader
    assert reader


@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED, SOUTH_UP], ids=["north up", "rotated", "south up"])
def test_scene_mode_gives_the_stored_pixels(make_tif: MakeTif, open_run: OpenRun, transform: Affine) -> None:
    pixels = noise(3, 150, 210)
    rgb, valid = assembled(open_run(make_tif("a.tif", pixels, transform=transform)))
    assert (rgb == np.moveaxis(pixels, 0, -1)).all()
    assert valid.all()


@given(
    tile=st.integers(12, 90),
    halo=st.integers(1, 5),
    block=st.integers(1, 4),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_block_equals_rasterios_read(
    make_tif: MakeTif, open_run: OpenRun, tile: int, halo: int, block: int
) -> None:
    pixels = noise(3, 110, 150)
    pixels[:, :30, :40] = 0
    run = open_run(
        make_tif("a.tif", pixels, nodata=0), grid=GridOptions(tile_px=tile, halo_px=halo, block_tiles=block)
    )
    with rasterio.open(run.plan.scenes[0].href) as oracle:
        for spec in run.plan.blocks():
            where = rasterio.windows.Window.from_slices(
                (spec.read.row0, spec.read.row1), (spec.read.col0, spec.read.col1)
            )
            image = run.reader.read(spec)
            assert (np.moveaxis(image.rgb, -1, 0) == oracle.read(window=where)).all()
            assert (image.valid == (oracle.dataset_mask(window=where) > 0)).all()


def test_chosen_bands_become_red_green_blue(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise(4, 70, 70)
    rgb, _ = assembled(open_run(make_tif("a.tif", pixels), bands=(4, 2, 1)))
    assert (rgb == np.moveaxis(pixels[[3, 1, 0]], 0, -1)).all()


def test_invalid_pixels_are_black(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise(3, 70, 90)
    mask = np.random.default_rng(2).random((70, 90)) < 0.5
    rgb, valid = assembled(open_run(make_tif("a.tif", pixels, mask=mask)))
    assert (valid == mask).all()
    assert (rgb[~mask] == 0).all()
    assert (rgb[mask] == np.moveaxis(pixels, 0, -1)[mask]).all()


def test_bright_roofs_have_no_holes(make_tif: MakeTif, open_run: OpenRun) -> None:
    """nodata 255: a pixel that is 255 in one band only is a bright roof, not a hole."""
    pixels = noise(3, 70, 90)
    pixels[0, :35] = 255
    pixels[:, 60:] = 255
    _, valid = assembled(open_run(make_tif("a.tif", pixels, nodata=255)))
    assert valid[:60].all()
    assert not valid[60:].any()


def test_an_undeclared_collar_is_invalid_unless_switched_off(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise(3, 130, 170)
    pixels[:, :, :40] = 4
    path = make_tif("a.tif", pixels)
    rgb, valid = assembled(open_run(path))
    assert not valid[:, :40].any()
    assert valid[:, 40:].all()
    assert (rgb[:, :40] == 0).all()
    rgb, valid = assembled(open_run(path, load=LoadOptions(collar="off")))
    assert valid.all()
    assert (rgb[:, :40] == 4).all()


def test_sixteen_bits_are_stretched_alike_everywhere(make_tif: MakeTif, open_run: OpenRun) -> None:
    """The same stored value must have the same grey level in every tile, however dark its surroundings."""
    ramp = np.broadcast_to(np.linspace(0, 10000, 200), (3, 150, 200)).astype("uint16")
    run = open_run(make_tif("a.tif", ramp), load=LoadOptions(scale=(0.0, 10000.0)))
    rgb, _ = assembled(run)
    assert (np.abs(rgb[..., 0] - ramp[0] / 10000 * 255) <= 0.5 + 1e-9).all()


def test_the_first_valid_scene_wins(make_tif: MakeTif, open_run: OpenRun) -> None:
    top = noise(3, 60, 60)
    under = noise(3, 80, 90) // 2
    top[:, 20:40, 20:40] = 0
    a = make_tif("a.tif", top, nodata=0)
    b = make_tif("b.tif", under, transform=NORTH_UP @ Affine.translation(30, 10))
    run = open_run(a, b)
    rgb, valid = assembled(run)
    expected = np.zeros((90, 120, 3), dtype="uint8")
    known = np.zeros((90, 120), dtype=bool)
    expected[10:90, 30:120], known[10:90, 30:120] = np.moveaxis(under, 0, -1), True
    over = (top != 0).any(axis=0)
    expected[:60, :60][over], known[:60, :60][over] = np.moveaxis(top, 0, -1)[over], True
    assert (valid == known).all()
    assert (rgb == expected).all()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.0, 0.3, 1.0]))
def test_every_pixel_knows_its_scene(make_tif: MakeTif, open_run: OpenRun, seed: int, share: float) -> None:
    """Three scenes side by side and on top of each other; the oracle asks rasterio scene by scene."""
    rng = np.random.default_rng(seed)
    want = np.zeros((90, 130), dtype=int)
    hrefs = []
    for number, (col0, width) in enumerate(((0, 80), (40, 90), (0, 130)), start=1):
        pixels = noise(3, 90, width)
        pixels[:, rng.random((90, width)) < share] = 0
        place = Affine(0.5, 0, 450000 + 0.5 * col0, 0, -0.5, 40000)
        hrefs.append(make_tif(f"{number}.tif", pixels, transform=place, nodata=0))
        with rasterio.open(hrefs[-1]) as dataset:
            part = want[:, col0 : col0 + width]
            part[(part == 0) & (dataset.dataset_mask() > 0)] = number
    run = open_run(*hrefs)
    for block in run.plan.blocks():
        image = run.reader.read(block)
        for tile in block.tiles:
            place = tile.core.slices_in(block.read)
            scenes = image.scenes.cut(place, image.valid[place])
            here = want[tile.core.slices_in(run.plan.grid.window)]
            assert scenes.numbers == tuple(sorted(set(here[here > 0] - 1)))
            if scenes.image is not None:
                np.testing.assert_array_equal(np.array([-1, *scenes.numbers])[scenes.image] + 1, here)
            assert (scenes.image is None) == (len(scenes.numbers) < 2)


def test_scenes_below_a_full_one_are_not_opened(make_tif: MakeTif, open_run: OpenRun) -> None:
    a = make_tif("a.tif", noise(3, 60, 60))
    b = make_tif("b.tif", noise(3, 60, 60))
    run = open_run(a, b)
    Path(b).unlink()
    _, valid = assembled(run)
    assert valid.all()


def test_mosaic_mode_equals_one_warp_of_the_whole_scene(make_tif: MakeTif, open_run: OpenRun) -> None:
    """Oracle: one exact warp of the whole, to the rounding of a grey level."""
    rng = np.random.default_rng(4)
    smooth = np.cumsum(rng.normal(size=(3, 300, 400)), axis=2)
    pixels = np.interp(smooth, (smooth.min(), smooth.max()), (1, 255)).astype("uint8")
    pixels[:, :50, :70] = 0
    for name, extra in {"nodata": {"nodata": 0}, "mask": {"mask": pixels[0] > 0}, "none": {}}.items():
        path = make_tif(f"{name}.tif", pixels, **extra)
        run = open_run(
            path,
            grid=GridOptions(tile_px=64, halo_px=8, block_tiles=2, crs="EPSG:32637"),
            load=LoadOptions(collar="off"),
        )
        rgb, valid = assembled(run)
        with rasterio.open(path) as dataset:
            options = {
                "crs": "EPSG:32637",
                "transform": Affine(*run.plan.grid.transform),
                "width": run.plan.grid.width,
                "height": run.plan.grid.height,
                "resampling": rasterio.enums.Resampling.bilinear,
                "tolerance": 1e-6,
                "XSCALE": "1",
                "YSCALE": "1",
            }
            with WarpedVRT(dataset, add_alpha=name != "nodata", **options) as vrt:
                oracle = np.stack([vrt.read(band) for band in (1, 2, 3)], axis=-1)
                oracle_valid = vrt.dataset_mask() > 0
        assert (valid == oracle_valid).all(), name
        difference = np.abs(rgb[valid].astype(int) - oracle[valid])
        assert difference.max() <= 1, name
        assert difference.mean() < 0.01, name
        assert 0.5 < valid.mean() < 1, name


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_a_warped_scene_beyond_180_lies_beside_the_one_before_it(
    make_tif: MakeTif, open_run: OpenRun, crs: str
) -> None:
    """Two scenes that meet at 180 degrees, the second half a pixel out of phase, so that it is warped."""
    unit = 1.0 if crs == "EPSG:4326" else 111319.4907932736
    pixel = 1e-4 * unit
    east = Affine(pixel, 0, 180 * unit - 80 * pixel, 0, -pixel, 80 * pixel)
    west = Affine(pixel, 0, -180 * unit + 0.5 * pixel, 0, -pixel, 80 * pixel)
    names = [
        make_tif("east.tif", np.full((3, 80, 80), 60, np.uint8), crs=crs, transform=east),
        make_tif("west.tif", np.full((3, 80, 80), 180, np.uint8), crs=crs, transform=west),
    ]
    run = open_run(*names)
    assert (run.plan.mode, run.plan.grid.width) == ("mosaic", 161)
    rgb, valid = assembled(run)
    assert valid[:, :80].all()
    assert (rgb[:, :80] == 60).all()
    assert valid[:, 82:159].all()
    assert (rgb[:, 82:159] == 180).all()


def test_a_warped_pixel_does_not_depend_on_the_window(make_tif: MakeTif, open_run: OpenRun) -> None:
    """Noise shows the first wrong subpixel."""
    path = make_tif("a.tif", noise(3, 1100, 1100), nodata=0)
    run = open_run(path, grid=GridOptions(tile_px=256, halo_px=16, crs="EPSG:32637"))
    whole = run.plan.grid.window
    first = run.reader._read_scene(0, whole)
    for row0, col0, side in [(0, 0, 500), (317, 451, 600), (900, 700, 101), (701, 10, 333)]:
        window = Window(row0=row0, col0=col0, row1=row0 + side, col1=col0 + side)
        own = run.reader._read_scene(0, window)
        assert (own.valid == first.valid[window.slices_in(whole)]).all()
        assert (own.rgb == first.rgb[window.slices_in(whole)]).all()


def test_a_warped_collar_is_found_in_its_new_place(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise(3, 200, 200)
    pixels[:, :, :80] = 2
    path = make_tif("a.tif", pixels)
    grid = GridOptions(tile_px=64, halo_px=8, block_tiles=2, resolution=1.0)
    rgb, valid = assembled(open_run(path, grid=grid, load=LoadOptions(resampling="nearest")))
    assert rgb.shape == (100, 100, 3)
    assert not valid[:, :39].any()
    assert valid[:, 41:].all()


def test_an_alpha_band_masks_through_the_warp(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise(4, 100, 100)
    pixels[3] = 255
    pixels[3, :, :50] = 0
    grid = GridOptions(tile_px=64, halo_px=8, block_tiles=2, resolution=1.0)
    _, valid = assembled(open_run(make_tif("a.tif", pixels, alpha="yes"), grid=grid))
    assert not valid[:, :24].any()
    assert valid[:, 26:].all()


def test_four_and_five_bands_keep_their_validity_through_the_warp(
    make_tif: MakeTif, open_run: OpenRun
) -> None:
    """GDAL's own mask knows an alpha band only beside one or three others; here it is the fifth, added or
    stored.
    """
    grid = GridOptions(tile_px=64, halo_px=8, block_tiles=2, crs="EPSG:32637")
    path = make_tif("rgbn.tif", noise(4, 100, 100))
    _, valid = assembled(open_run(path, grid=grid))
    assert 0.7 < valid.mean() < 1  # the corners of the tilted square are outside
    pixels = noise(5, 100, 100)
    pixels[4] = 255
    pixels[4, :, :50] = 0
    alpha = make_tif("rgbna.tif", pixels)
    with rasterio.open(alpha, "r+") as dataset:
        dataset.colorinterp = [*dataset.colorinterp[:4], rasterio.enums.ColorInterp.alpha]
    _, stored = assembled(open_run(alpha, bands=(1, 2, 3)))
    assert stored[:, 50:].all()
    assert not stored[:, :50].any()
    _, warped = assembled(open_run(alpha, bands=(1, 2, 3), grid=grid))
    assert warped.mean() == pytest.approx(valid.mean() / 2, rel=0.05)


class Faults:
    """Makes reads that touch given pixels fail, always or a number of times."""

    def __init__(self, reader: CogReader, *, bad: Window, times: int = 10**9) -> None:
        self.calls = 0
        self.left = times
        read_scene = reader._read_scene

        def failing(index: int, window: Window, **patience: bool) -> Any:
            self.calls += 1
            if window.intersect(bad) is not None and self.left > 0:
                self.left -= 1
                raise RasterioIOError("Read failed") from ValueError("TIFFReadEncodedTile() failed")
            return read_scene(index, window, **patience)

        reader._read_scene = failing  # type: ignore[method-assign]


def test_only_unreadable_tiles_are_lost(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise(3, 144, 144)
    run = open_run(make_tif("a.tif", pixels), grid=GridOptions(tile_px=64, halo_px=8, block_tiles=3))
    Faults(run.reader, bad=Window(row0=0, col0=0, row1=5, col1=5))
    (block,) = run.plan.blocks()
    image = run.reader.read(block)
    assert list(image.unreadable) == ["r00000c00000"]
    assert "a block of its pixels is damaged" in image.unreadable["r00000c00000"]
    assert "a.tif" in image.unreadable["r00000c00000"]
    for tile in block.tiles[1:]:
        rows, cols = tile.read.slices_in(block.read)
        assert image.valid[rows, cols].all()
        assert (image.rgb[rows, cols] == np.moveaxis(pixels, 0, -1)[rows, cols]).all()


def test_a_hiccup_costs_one_more_read(make_tif: MakeTif, open_run: OpenRun) -> None:
    run = open_run(
        make_tif("a.tif", noise(3, 144, 144)), grid=GridOptions(tile_px=64, halo_px=8, block_tiles=3)
    )
    faults = Faults(run.reader, bad=run.plan.grid.window, times=1)
    image = run.reader.read(next(run.plan.blocks()))
    assert not image.unreadable
    assert image.valid.all()
    assert faults.calls == 2


def test_a_failing_scene_is_not_papered_over_by_the_next(make_tif: MakeTif, open_run: OpenRun) -> None:
    run = open_run(make_tif("a.tif", noise(3, 60, 60)), make_tif("b.tif", noise(3, 60, 60)))
    Path(run.plan.scenes[0].href).unlink()
    image = run.reader.read(next(run.plan.blocks()))
    assert set(image.unreadable) == {tile.tile_id for tile in image.block.tiles}
    assert "must exist" in image.unreadable["r00000c00000"]


def test_a_scene_that_failed_before_the_run_fails_the_tiles_that_need_it(
    make_tif: MakeTif, open_run: OpenRun
) -> None:
    """The middle one of three is bad. Tiles that the first one fills do not need it."""
    top = noise(3, 144, 72)
    run = open_run(
        make_tif("top.tif", top),
        make_tif("bad.tif", noise(3, 144, 144)),
        make_tif("under.tif", noise(3, 144, 144)),
        grid=GridOptions(tile_px=64, halo_px=8, block_tiles=3),
    )
    scenes = list(run.plan.scenes)
    scenes[1] = replace(scenes[1], failure="it is not the file that its item describes")
    Path(scenes[1].href).unlink()
    sources = prepare_scenes(scenes, LoadOptions(), offsets=run.plan.offsets, windows=run.plan.scene_windows)
    assert sources[1].unjudged == {"unreadable": 1.0}
    assert sources[1].to_dict()["judged_share"] == 0.0
    image = CogReader(sources, run.plan.grid).read(next(run.plan.blocks()))
    assert set(image.unreadable) == {f"r0000{row}c0000{col}" for row in range(3) for col in (1, 2)}
    assert set(image.unreadable.values()) == {"bad: it is not the file that its item describes"}
    left = image.tile_image(image.block.tiles[0])
    assert left.valid.all()
    assert (left.rgb == np.moveaxis(top, 0, -1)[:56, :56]).all()


def test_a_tile_that_earlier_scenes_fill_needs_no_later_one(make_tif: MakeTif, open_run: OpenRun) -> None:
    run = open_run(
        make_tif("a.tif", noise(3, 144, 72)),
        make_tif("b.tif", noise(3, 144, 144)),
        grid=GridOptions(tile_px=64, halo_px=8, block_tiles=3),
    )
    Path(run.plan.scenes[1].href).unlink()
    image = run.reader.read(next(run.plan.blocks()))
    assert set(image.unreadable) == {f"r0000{row}c0000{col}" for row in range(3) for col in (1, 2)}


def test_a_halo_is_filled_from_the_neighbouring_scene(make_tif: MakeTif, open_run: OpenRun) -> None:
    """Two scenes meet where two cores do, so each halo reaches into the other scene."""
    left = noise(3, 48, 48)
    right = noise(3, 48, 60) // 2
    place = NORTH_UP @ Affine.translation(48, 0)
    run = open_run(
        make_tif("left.tif", left),
        make_tif("right.tif", right, transform=place),
        grid=GridOptions(tile_px=64, halo_px=8, block_tiles=1),
    )
    whole = np.moveaxis(np.concatenate([left, right], axis=2), 0, -1)
    for block in run.plan.blocks():
        (tile,) = block.tiles
        view = run.reader.read(block).tile_image(tile)
        assert view.valid.all()
        assert (view.rgb == whole[tile.read.slices_in(run.plan.grid.window)]).all()


def test_valid_areas_that_meet_along_a_diagonal_leave_no_hole(make_tif: MakeTif, open_run: OpenRun) -> None:
    rows, cols = np.indices((150, 150))
    upper, under = noise(3, 150, 150), noise(3, 150, 150) // 2
    upper[:, cols < rows] = 0
    under[:, cols >= rows] = 0
    run = open_run(make_tif("u.tif", upper, nodata=0), make_tif("l.tif", under, nodata=0))
    rgb, valid = assembled(run)
    assert valid.all()
    assert (rgb == np.moveaxis(np.where(cols >= rows, upper, under), 0, -1)).all()


def test_scenes_of_one_lattice_are_read_as_stored(make_tif: MakeTif, open_run: OpenRun) -> None:
    """Whole pixels apart, whatever the order: nothing is resampled."""
    hrefs = [
        make_tif(f"{col}.tif", noise(3, 50, 50), transform=NORTH_UP @ Affine.translation(col, -col))
        for col in (0, 17, 1000)
    ]
    for order in (hrefs, hrefs[::-1]):
        plan = open_run(*order).plan
        assert plan.mode == "scene"
        assert None not in plan.offsets


def test_a_truncated_file_loses_its_tail_only(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise(3, 256, 256)
    path = Path(make_tif("a.tif", pixels, driver="COG", blocksize=128, overviews="NONE"))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * 0.8)])
    run = open_run(
        str(path), grid=GridOptions(tile_px=64, halo_px=8, block_tiles=8), load=LoadOptions(collar="off")
    )
    (block,) = run.plan.blocks()
    image = run.reader.read(block)
    assert 0 < len(image.unreadable) < len(block.tiles)
    for tile in block.tiles:
        if tile.tile_id not in image.unreadable:
            rows, cols = tile.read.slices_in(block.read)
            assert (image.rgb[rows, cols] == np.moveaxis(pixels, 0, -1)[rows, cols]).all()


@pytest.mark.parametrize(
    ("compress", "noticed"),
    [("DEFLATE", True), ("LERC", True), ("ZSTD", False), ("JPEG", False), (None, False)],
)
def test_a_damaged_block_fails_its_own_tiles_where_its_compression_notices(
    make_tif: MakeTif, open_run: OpenRun, compress: str | None, *, noticed: bool
) -> None:
    """One bit of an internal block has changed before anybody looks. Without a sum over the block it
    decodes to other pixels, and nothing but a checksum of the whole file can tell.
    """
    pixels = noise(3, 192, 192)
    path = Path(make_tif("a.tif", pixels, compress=compress))
    with rasterio.open(path) as dataset:
        before = dataset.read()
        start = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", 1))
        size = int(dataset.get_tag_item("BLOCK_SIZE_1_1", "TIFF", 1))
    data = bytearray(path.read_bytes())
    data[start + size // 2] ^= 16
    path.write_bytes(bytes(data))
    run = open_run(
        str(path), grid=GridOptions(tile_px=52, halo_px=2, block_tiles=4), load=LoadOptions(collar="off")
    )
    (block,) = run.plan.blocks()
    image = run.reader.read(block)
    damaged = Window(row0=64, col0=64, row1=128, col1=128)
    meets = {tile.tile_id for tile in block.tiles if tile.read.intersect(damaged) is not None}
    assert len(meets) == 4
    assert set(image.unreadable) == (meets if noticed else set())
    for tile in block.tiles:
        if tile.tile_id not in meets:
            assert image.valid[tile.read.slices_in(block.read)].all()
    changed = (image.rgb != np.moveaxis(before, 0, -1)).any(axis=-1) & image.valid
    assert changed.any() != noticed
    changed[damaged.slices_in(block.read)] = False
    assert not changed.any()


def test_one_windowed_read_per_scene_and_block(
    make_tif: MakeTif, open_run: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(
        make_tif("a.tif", noise(3, 300, 300)), grid=GridOptions(tile_px=64, halo_px=8, block_tiles=4)
    )
    windows: list[Window] = []
    read_scene = run.reader._read_scene
    monkeypatch.setattr(
        run.reader,
        "_read_scene",
        lambda index, window: (windows.append(window), read_scene(index, window))[1],
    )
    blocks = list(run.plan.blocks())
    for block in blocks:
        run.reader.read(block)
    assert windows == [block.read for block in blocks]
    assert len(windows) == 4


def test_open_files_are_bounded_and_reused(
    make_tif: MakeTif, open_run: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipeline.load.reader as reader_module

    opened: list[str] = []
    open_raster = reader_module.open_raster
    monkeypatch.setattr(
        reader_module, "open_raster", lambda scene: (opened.append(scene.href), open_raster(scene))[1]
    )
    paths = [
        make_tif(f"{i}.tif", noise(3, 60, 60), transform=NORTH_UP @ Affine.translation(60 * i, 0))
        for i in range(4)
    ]
    run = open_run(
        *paths, grid=GridOptions(tile_px=62, halo_px=1, block_tiles=1), load=LoadOptions(open_files=2)
    )
    blocks = list(run.plan.blocks())
    for block in blocks:
        run.reader.read(block)
    assert len(run.reader._handles) == 2
    for block in blocks[-1:] * 3:
        run.reader.read(block)
    assert len(opened) < 3 * len(paths)
    assert set(opened) == set(paths)
    run.reader.close()
    assert not run.reader._handles
    assert run.reader.read(blocks[0]).valid.all()


def test_a_reader_pickles_without_its_files(make_tif: MakeTif, open_run: OpenRun) -> None:
    run = open_run(make_tif("a.tif", noise(3, 60, 60)))
    block = next(run.plan.blocks())
    before = run.reader.read(block)
    copy: CogReader = pickle.loads(pickle.dumps(run.reader))
    assert not copy._handles
    assert (copy.read(block).rgb == before.rgb).all()
    copy.close()


def test_a_block_outside_every_scene_is_invalid(make_tif: MakeTif, open_run: OpenRun) -> None:
    run = open_run(make_tif("a.tif", noise(3, 64, 64)))
    grid = replace(run.plan.grid, width=400, height=400)
    reader = CogReader(run.reader._sources, grid)
    window = Window(row0=200, col0=200, row1=260, col1=260)
    image = reader.read(BlockSpec(block_row=0, block_col=0, core=window, read=window, tiles=()))
    assert not image.valid.any()
    assert not image.rgb.any()


def test_prepared_scenes_say_what_was_decided(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise(3, 100, 100)
    pixels[:, :20] = 0
    plan = open_run(make_tif("a.tif", pixels)).plan
    (source,) = prepare_scenes(plan.scenes, LoadOptions(), offsets=plan.offsets, windows=plan.scene_windows)
    said = source.to_dict()
    (note,) = said.pop("notes")  # type: ignore[misc]
    assert "20.0 % of it is a black border" in note
    assert said == {
        "scene_id": "a",
        "offset_rc": [0, 0],
        "window": [0, 0, 100, 100],
        "rgb_bands": [1, 2, 3],
        "bands": "red = 1, green = 2, blue = 3, by colour interpretation",
        "stretch": IDENTITY.to_dict(),
        "validity": {"kind": "none", "nodata": None, "alpha": None, "rewritten": False},
        "collar_share": pytest.approx(0.2),
        "unjudged": {"collar": pytest.approx(0.2)},
        "judged_share": pytest.approx(0.8),
    }
    with pytest.raises(ValueError, match="one offset and one window per scene"):
        prepare_scenes(plan.scenes, LoadOptions(), offsets=(), windows=plan.scene_windows)


@pytest.mark.parametrize("crs", [None, "EPSG:32637"])
@pytest.mark.parametrize("kind", ["nodata in place of the file's", "no nodata", "near infrared as alpha"])
def test_what_was_settled_is_what_is_read(
    make_tif: MakeTif, open_run: OpenRun, crs: str | None, kind: str
) -> None:
    """On the scene's lattice and warped: no tile falls back to what the header says."""
    pixels = noise(4, 150, 210)
    pixels[:, :60] = 0
    pixels[:, 100:] = 7
    extra: dict[str, object] = {"nodata": 7}
    if kind == "near infrared as alpha":
        pixels[3] = np.random.default_rng(8).integers(0, 2, (150, 210)) * noise(1, 150, 210)[0]
        extra = {"alpha": "yes"}
    nodata = {"nodata in place of the file's": "0", "no nodata": "none"}.get(kind, "file")
    path = make_tif("a.tif", pixels, **extra)
    run = open_run(
        path,
        load=LoadOptions(nodata=nodata, collar="off", resampling="nearest"),
        grid=GridOptions(tile_px=64, halo_px=8, block_tiles=2, crs=crs),
    )
    rgb, valid = assembled(run)
    lower = (rgb == 7).all(axis=-1)
    assert valid[lower].all()
    if nodata == "0":
        assert not valid[(rgb == 0).all(axis=-1)].any()
    else:
        assert 0.35 < (valid & (rgb == 0).all(axis=-1)).sum() / (150 * 210) < 0.45
    assert 0.3 < lower.sum() / (150 * 210) < 0.37


KINDS = ["none", "nodata", "nan", "mask", "alpha"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from(["uint8", "int16", "uint16", "float32"]),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    transform=st.sampled_from([NORTH_UP, ROTATED, SOUTH_UP]),
)
def test_any_scene_is_valid_where_rasterio_says_so(
    make_tif: MakeTif,
    open_run: OpenRun,
    seed: int,
    kind: str,
    dtype: str,
    size: tuple[int, int],
    transform: Affine,
) -> None:
    rng = np.random.default_rng(seed)
    if kind == "nan":
        dtype = "float32"
    if kind == "alpha" and dtype in ("int16", "float32"):
        dtype = "uint16"  # GDAL's masks know an alpha band of unsigned integers alone
    pixels = rng.integers(20, 250, (4 if kind == "alpha" else 3, *size)).astype(dtype)
    hole = rng.random(size) < rng.random()
    extra: dict[str, object] = {"transform": transform}
    if kind in ("nodata", "nan"):
        extra["nodata"] = np.nan if kind == "nan" else 3
        pixels[:, hole] = extra["nodata"]
        pixels[0, rng.random(size) < 0.1] = extra["nodata"]
    if kind == "mask":
        extra["mask"] = ~hole
    if kind == "alpha":
        pixels[3] = np.where(hole, 0, 255)
        extra["alpha"] = "yes"
    path = make_tif("any.tif", pixels, **extra)
    _, valid = assembled(open_run(path, grid=GridOptions(tile_px=40, halo_px=4, block_tiles=2)))
    with rasterio.open(path) as oracle:
        expected = oracle.dataset_mask() > 0
    all_clear = kind == "alpha" and hole.all() and np.ptp(pixels[0]) > 0  # no alpha: it hides all there is
    assert (valid == (expected | all_clear)).all()


@pytest.mark.parametrize(
    "options",
    [{"percentiles": (98.0, 2.0)}, {"percentiles": (-1.0, 50.0)}, {"scale": (3.0, 1.0)}, {"open_files": 0}],
)
def test_refuses_load_options_that_mean_nothing(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        LoadOptions(**options)


def test_a_file_that_changed_its_size_since_the_plan_is_unreadable(
    make_tif: MakeTif, open_run: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GDAL crops a window that reaches beyond the file: 20 of 64 columns would have the wrong shape.

    As where nothing but its header tells that a file is another one.
    """
    monkeypatch.setattr(raster_access, "require_same", lambda path, planned: None)
    run = open_run(make_tif("a.tif", noise(3, 64, 64)))
    make_tif("a.tif", noise(3, 64, 20))
    (block,) = run.plan.blocks()
    image = run.reader.read(block)
    assert set(image.unreadable) == {tile.tile_id for tile in block.tiles}
    for said in ("64 x 64 px that the run was planned with", "Got: 20 x 64", "start a new run"):
        assert all(said in text for text in image.unreadable.values()), said
    assert not image.valid.any()


@pytest.mark.parametrize("moment", ["before", "between", "while"])
def test_a_file_that_is_overwritten_during_a_run_is_noticed(
    make_tif: MakeTif, open_run: OpenRun, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """In place, to the same size and time: before the first read, between blocks, or while one is read."""
    pixels = noise(3, 200, 200)
    path = Path(make_tif("a.tif", pixels, compress=None))
    make_tif("b.tif", 255 - pixels, compress=None)
    other = path.with_name("b.tif").read_bytes()
    before = path.stat()
    assert len(other) == before.st_size
    run = open_run(str(path), grid=GridOptions(tile_px=60, halo_px=6, block_tiles=2))
    first, second = list(run.plan.blocks())[:2]

    def overwrite() -> None:
        path.write_bytes(other)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    if moment == "before":
        overwrite()
    else:
        assert (run.reader.read(first).rgb == expected_rgb(pixels, first)).all()
    if moment == "between":
        overwrite()
    elif moment == "while":
        validity = reader_module.dataset_validity
        monkeypatch.setattr(
            reader_module, "dataset_validity", lambda *args, **kw: (overwrite(), validity(*args, **kw))[1]
        )
    image = run.reader.read(second)
    assert set(image.unreadable) == {tile.tile_id for tile in second.tiles}
    assert all("is not the file that the run was planned with" in text for text in image.unreadable.values())
    assert not image.valid.any()


def test_a_file_that_is_fetched_again_during_a_run_is_the_same(make_tif: MakeTif, open_run: OpenRun) -> None:
    pixels = noise(3, 60, 60)
    path = Path(make_tif("a.tif", pixels))
    run = open_run(str(path))
    (block,) = run.plan.blocks()
    assert (run.reader.read(block).rgb == expected_rgb(pixels, block)).all()
    copy = path.with_name("copy.tif")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)
    image = run.reader.read(block)
    assert not image.unreadable
    assert (image.rgb == expected_rgb(pixels, block)).all()


def expected_rgb(pixels: np.ndarray, block: BlockSpec) -> np.ndarray:
    rows = slice(block.read.row0, block.read.row1)
    cols = slice(block.read.col0, block.read.col1)
    return np.moveaxis(pixels, 0, -1)[rows, cols]
