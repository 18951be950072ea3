"""Real pixels: every raster of the sample data reads like rasterio reads it, or reports what it could not
read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from pipeline.grid.tiles import GridOptions
from pipeline.load.prepare_scenes import LoadOptions
from pipeline.load.stretch import apply_stretch

OpenRun = Callable[..., Any]
TILES = GridOptions(tile_px=256, halo_px=16, block_tiles=4)


def cores(run: Any) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    grid = run.plan.grid
    rgb = np.zeros((grid.height, grid.width, 3), dtype="uint8")
    valid = np.zeros((grid.height, grid.width), dtype=bool)
    unreadable: dict[str, str] = {}
    for block in run.plan.blocks():
        image = run.reader.read(block)
        unreadable |= image.unreadable
        for tile in block.tiles:
            inner = tile.core.slices_in(block.read)
            place = tile.core.slices_in(grid.window)
            rgb[place], valid[place] = image.rgb[inner], image.valid[inner]
    return rgb, valid, unreadable


@pytest.mark.parametrize(
    "name",
    [
        "kampala/kampala_west.tif",
        "pdok/test_tiled.tif",
        "neon/2018_SJER_477.tif",
        "naip_dates/m_4709963_se_14_1_20200831.tif",
        "overlap/mosaic_cog2.tif",
        "tricky/RGB.byte.tif",
        "tricky/RGBA.uint16.tif",
        "tricky/alpha.tif",
        "tricky/cog_uint8_rgb_mask.tif",
    ],
)
def test_pixels_and_validity_are_rasterios(data_dir: Path, open_run: OpenRun, name: str) -> None:
    run = open_run(str(data_dir / name), grid=TILES)
    rgb, valid, unreadable = cores(run)
    (scene,) = run.plan.scenes
    with rasterio.open(scene.href) as oracle:
        stored = oracle.read(list(scene.rgb_bands))
        expected_valid = oracle.dataset_mask() > 0
    expected = apply_stretch(stored, run.reader._sources[0].stretch)
    expected[~expected_valid] = 0
    assert not unreadable
    assert (valid == expected_valid).all()
    assert (rgb == expected).all()


def test_bright_roofs_of_osbs_have_no_holes(data_dir: Path, open_run: OpenRun) -> None:
    """Known: 1.33 % of the pixels are nodata in some band, 0.29 % in all."""
    run = open_run(str(data_dir / "neon/OSBS_029.tif"), grid=TILES)
    _, valid, _ = cores(run)
    with rasterio.open(run.plan.scenes[0].href) as oracle:
        any_band = (oracle.read_masks() == 0).any(axis=0)
    assert any_band.mean() == pytest.approx(0.0133, abs=1e-4)
    assert 1 - valid.mean() == pytest.approx(0.0029, abs=1e-4)


def test_the_collar_of_manila_is_found(data_dir: Path, open_run: OpenRun) -> None:
    """Known: 18 % undeclared black; the water and asphalt inside stay."""
    path = next((data_dir / "manila").glob("*.tif"))
    _, valid, _ = cores(open_run(str(path), grid=TILES))
    assert 1 - valid.mean() == pytest.approx(0.185, abs=0.003)
    _, valid, _ = cores(open_run(str(path), grid=TILES, load=LoadOptions(collar="off")))
    assert valid.all()


@pytest.mark.parametrize("name", ["kampala/kampala_west.tif", "pdok/test_tiled.tif"])
def test_dark_places_are_not_taken_for_a_collar(data_dir: Path, open_run: OpenRun, name: str) -> None:
    _, valid, _ = cores(open_run(str(data_dir / name), grid=TILES))
    assert valid.all()


@pytest.mark.parametrize(
    ("name", "bands"), [("tricky/all-nodata.tif", None), ("tricky/inverted_lat.tif", (1, 1, 1))]
)
def test_scenes_without_imagery_are_invalid_everywhere(
    data_dir: Path, open_run: OpenRun, name: str, bands: tuple[int, ...] | None
) -> None:
    rgb, valid, unreadable = cores(open_run(str(data_dir / name), grid=TILES, bands=bands))
    assert not unreadable
    assert not valid.any()
    assert not rgb.any()


def test_a_corrupt_file_costs_only_its_broken_tiles(data_dir: Path, open_run: OpenRun) -> None:
    """Its lower right internal block (rows and columns 512 on) fails on read; tiles that do not touch it are
    whole.
    """
    run = open_run(str(data_dir / "tricky/corrupt.tif"), grid=TILES)
    touching = {
        tile.tile_id
        for block in run.plan.blocks()
        for tile in block.tiles
        if tile.read.row1 > 512 and tile.read.col1 > 512
    }
    rgb, _, unreadable = cores(run)
    assert set(unreadable) == touching
    assert all(
        "corrupt.tif" in text and "a block of its pixels is damaged" in text for text in unreadable.values()
    )
    with rasterio.open(run.plan.scenes[0].href) as oracle:
        good = oracle.read(window=rasterio.windows.Window(0, 0, 1024, 448))
    assert (rgb[:448] == np.moveaxis(good, 0, -1)).all()


def test_blue_green_red_is_turned(data_dir: Path, open_run: OpenRun) -> None:
    run = open_run(str(data_dir / "tricky/RGBA.uint16.tif"), grid=TILES, load=LoadOptions(scale=(0, 65535)))
    rgb, valid, _ = cores(run)
    with rasterio.open(run.plan.scenes[0].href) as oracle:
        blue, green, red = oracle.read([1, 2, 3])
    for channel, band in enumerate((red, green, blue)):
        assert np.abs(rgb[..., channel][valid] - band[valid] / 257).max() <= 0.51


def test_the_first_scene_of_an_overlap_wins(data_dir: Path, open_run: OpenRun) -> None:
    """Rasters of constant 1 and 2: every valid pixel of the first shows the first, whatever lies below."""
    one, two = (str(data_dir / f"overlap/mosaic_value_{i}.tif") for i in (1, 2))
    shares = {}
    for order in ((one, two), (two, one)):
        run = open_run(*order, grid=TILES, load=LoadOptions(scale=(0.0, 255.0), resampling="nearest"))
        rgb, valid, _ = cores(run)
        # ten pixels at the rim of the files are 0 in one band only, and so are their warped neighbours
        assert np.isin(rgb[valid], (1, 2)).mean() > 0.9999
        shares[order[0]] = (rgb[..., 0] == 1).mean() / valid.mean()
    assert shares[one] > shares[two] + 0.1


def test_two_dates_fill_one_grid(data_dir: Path, open_run: OpenRun) -> None:
    run = open_run(str(data_dir / "naip_dates"), grid=TILES)
    rgb, valid, _ = cores(run)
    with rasterio.open(run.plan.scenes[0].href) as oracle:
        first = np.moveaxis(oracle.read([1, 2, 3]), 0, -1)
        mask = oracle.dataset_mask() > 0
    row, col = run.plan.offsets[0]
    place = (slice(row, row + first.shape[0]), slice(col, col + first.shape[1]))
    assert (rgb[place][mask] == first[mask]).all()
    assert valid.mean() > 0.999


def test_two_utm_zones_agree_where_they_overlap(data_dir: Path, open_run: OpenRun) -> None:
    """Known: warped to one grid, the two zones correlate with r = 0.98 in their overlap."""
    grid = GridOptions(tile_px=256, halo_px=16, crs="EPSG:26917")
    paths = sorted(str(path) for path in (data_dir / "naip_utm17_18").glob("*.tif"))
    views = []
    for order in (paths, paths[::-1]):
        run = open_run(*order, grid=grid)
        views.append((cores(run), run.plan))
    (a, valid_a, _), plan_a = views[0]
    (b, valid_b, _), plan_b = views[1]
    assert plan_a.grid == plan_b.grid
    assert (valid_a == valid_b).all()
    differs = (a != b).any(axis=-1) & valid_a
    assert differs.sum() > 3000
    assert np.corrcoef(a[differs].ravel(), b[differs].ravel())[0, 1] > 0.95
