"""The small picture of the run grid: where scenes land, and which one wins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.grid.tiles import GridOptions, plan_tiles
from pipeline.load.overview import read_overview
from pipeline.load.prepare_scenes import LoadOptions, prepare_scenes


def write_scene(path: Path, *, colour: tuple[int, int, int], east_px: int, side: int = 64) -> str:
    data = np.broadcast_to(np.array(colour, dtype=np.uint8)[:, None, None], (3, side, side))
    transform = rasterio.Affine(1, 0, 500_000 + east_px, 0, -1, 5_500_000)
    profile = {
        "driver": "GTiff",
        "height": side,
        "width": side,
        "count": 3,
        "dtype": "uint8",
        "photometric": "rgb",
    }
    with rasterio.open(path, "w", crs="EPSG:32633", transform=transform, **profile) as dataset:
        dataset.write(data)
    return str(path)


@pytest.mark.parametrize("crs", [None, "EPSG:32632"])
def test_first_scene_wins_and_each_lands_in_its_place(tmp_path: Path, crs: str | None) -> None:
    first = write_scene(tmp_path / "first.tif", colour=(200, 10, 10), east_px=0)
    second = write_scene(tmp_path / "second.tif", colour=(10, 200, 10), east_px=32)
    scenes = open_scenes(SourceOptions(hrefs=(first, second)))
    plan = plan_tiles(
        None, scenes, GridOptions(tile_px=32, halo_px=2, crs=crs, resolution=None if crs is None else 1.0)
    )
    sources = prepare_scenes(plan.scenes, LoadOptions(), offsets=plan.offsets, windows=plan.scene_windows)
    picture = read_overview(sources, plan.grid, side_px=48).rgb
    assert max(picture.shape) <= 49
    height, width, _ = picture.shape
    middle = picture[height // 2]
    assert tuple(middle[width // 2 - width // 8]) == (200, 10, 10)  # the overlap belongs to the first
    assert tuple(middle[width - width // 6]) == (10, 200, 10)
    if crs is None:
        assert (picture[:, : int(width * 0.6)] == (200, 10, 10)).all()


@pytest.mark.parametrize("crs", [None, "EPSG:32632"])
def test_a_scene_with_an_alpha_band_is_seen_where_it_is_opaque(tmp_path: Path, crs: str | None) -> None:
    path = tmp_path / "rgba.tif"
    pixels = np.full((4, 64, 64), 255, dtype=np.uint8)
    pixels[:3] = np.array([200, 100, 50])[:, None, None] + (np.arange(64) % 3)
    pixels[3, :, :16] = 0
    profile = {"driver": "GTiff", "height": 64, "width": 64, "count": 4, "dtype": "uint8"}
    transform = rasterio.Affine(1, 0, 500_000, 0, -1, 5_500_000)
    with rasterio.open(path, "w", crs="EPSG:32633", transform=transform, **profile) as dataset:
        dataset.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
        dataset.write(pixels)
    scenes = open_scenes(SourceOptions(hrefs=(str(path),)))
    plan = plan_tiles(
        None, scenes, GridOptions(tile_px=32, halo_px=2, crs=crs, resolution=None if crs is None else 1.0)
    )
    sources = prepare_scenes(plan.scenes, LoadOptions(), offsets=plan.offsets, windows=plan.scene_windows)
    picture = read_overview(sources, plan.grid, side_px=200).rgb
    seen = picture[..., 0] > 150
    assert seen.sum() == pytest.approx(48 * 64, rel=0.06)
    assert np.abs(picture[seen].mean(axis=0) - (201, 101, 51)).max() < 3


def test_an_unreadable_scene_leaves_black(tmp_path: Path) -> None:
    href = write_scene(tmp_path / "scene.tif", colour=(9, 90, 200), east_px=0)
    plan = plan_tiles(None, open_scenes(SourceOptions(hrefs=(href,))), GridOptions(tile_px=32, halo_px=2))
    sources = prepare_scenes(plan.scenes, LoadOptions(), offsets=plan.offsets, windows=plan.scene_windows)
    Path(href).unlink()
    overview = read_overview(sources, plan.grid, side_px=16)
    assert not overview.rgb.any()
    assert list(overview.left_out) == ["scene"]
    assert "scene.tif" in overview.left_out["scene"]


def test_a_scene_that_changed_its_size_leaves_black(tmp_path: Path) -> None:
    """What GDAL gives of a window beyond the file would be stretched over the whole picture."""
    href = write_scene(tmp_path / "scene.tif", colour=(9, 90, 200), east_px=0)
    plan = plan_tiles(None, open_scenes(SourceOptions(hrefs=(href,))), GridOptions(tile_px=32, halo_px=2))
    sources = prepare_scenes(plan.scenes, LoadOptions(), offsets=plan.offsets, windows=plan.scene_windows)
    write_scene(Path(href), colour=(9, 90, 200), east_px=0, side=32)
    assert not read_overview(sources, plan.grid, side_px=16).rgb.any()
