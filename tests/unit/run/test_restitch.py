"""Where a run's scenes lie on its grid, said again from run.json alone: as the plan had it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import rasterio.crs

from pipeline.grid.lattice import place_scenes
from pipeline.grid.scene_places import OffsetRC
from pipeline.grid.scene_windows import scene_windows
from pipeline.grid.tiles import GridOptions, Plan, plan_tiles
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import RunGrid, Window

UTM33 = "EPSG:32633"
UTM32 = "EPSG:32632"
LONLAT = "EPSG:4326"


def make_scene(
    name: str,
    x: float,
    *,
    y: float = 5_500_000,
    width: int = 64,
    height: int = 64,
    px: float = 1.0,
    crs: str = UTM33,
) -> Scene:
    return Scene(
        scene_id=name,
        href=f"/nowhere/{name}.tif",
        crs_wkt=rasterio.crs.CRS.from_user_input(crs).to_wkt(version="WKT2_2019"),
        transform=(px, 0.0, x, 0.0, -px, y),
        width=width,
        height=height,
        count=3,
        dtype="uint8",
        rgb_bands=(1, 2, 3),
        nodata=None,
    )


def windows_again(scenes: Sequence[Scene], offsets: Sequence[OffsetRC | None], grid: RunGrid) -> list[Window]:
    """As `imagery_of` finds them: scenes, offsets and grid are in run.json, outlines are not."""
    return list(scene_windows(offsets, place_scenes(scenes, grid).outlines, grid))


def windows_of(plan: Plan) -> list[Window]:
    return windows_again(plan.scenes, plan.offsets, plan.grid)


def test_neighbours_on_the_grids_lattice_have_a_window_each() -> None:
    plan = plan_tiles(
        None,
        [make_scene("a", 500_000), make_scene("b", 500_064, height=40)],
        GridOptions(tile_px=32, halo_px=2),
    )
    assert plan.offsets == ((0, 0), (0, 64))
    assert windows_of(plan) == [
        Window(row0=0, col0=0, row1=64, col1=64),
        Window(row0=0, col0=64, row1=40, col1=128),
    ]


def test_a_scene_that_reaches_beyond_a_cropped_grid_is_cut_to_it() -> None:
    grid = RunGrid(
        crs_wkt=make_scene("a", 0).crs_wkt,
        transform=(1.0, 0.0, 500_010.0, 0.0, -1.0, 5_499_995.0),
        width=30,
        height=20,
    )
    offsets: list[OffsetRC | None] = [(-5, -10), (-5, 54)]
    first, second = windows_again([make_scene("a", 500_000), make_scene("b", 500_064)], offsets, grid)
    assert first == Window(row0=0, col0=0, row1=20, col1=30)
    assert second.area_px == 0, "this one lies beside the grid"


@pytest.mark.parametrize("crs", [UTM32, LONLAT])
def test_warped_scenes_have_the_windows_of_the_plan(crs: str) -> None:
    resolution = 1.0 if crs == UTM32 else 1e-5
    scenes = [
        make_scene("a", 500_000),
        make_scene("b", 500_200, width=30),
        make_scene("c", 500_050, y=5_499_900, px=2.0),
    ]
    plan = plan_tiles(None, scenes, GridOptions(tile_px=64, halo_px=4, crs=crs, resolution=resolution))
    assert plan.offsets == (None, None, None)
    assert windows_of(plan) == list(plan.scene_windows)
    assert len({window.col0 for window in plan.scene_windows}) == 3


def test_a_warped_scene_on_another_turn_of_the_globe_is_looked_for_everywhere() -> None:
    """The plan placed it, at 180.3 degrees, beside a neighbour that misses the region and was dropped; alone
    it would lie at -179.7.
    """
    scene = make_scene("b", 200_000, y=1_106_000, px=100.0, crs="EPSG:32601")
    lonlat = make_scene("any", 0, crs=LONLAT).crs_wkt
    grid = RunGrid(crs_wkt=lonlat, transform=(0.01, 0.0, 180.0, 0.0, -0.01, 10.0), width=120, height=60)
    assert windows_again([scene], [None], grid) == [grid.window]
    west = replace(grid, transform=(0.01, 0.0, -180.0, 0.0, -0.01, 10.0))
    (window,) = windows_again([scene], [None], west)
    assert (window.row0, window.col0) == (0, 26)
    assert window.width < 10
