"""Grids that are given: over a region, or as they were. Oracle: squares of whole pixels in UTM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyproj
import pytest
import shapely

from pipeline.errors import InputError
from pipeline.grid.aoi import Aoi
from pipeline.grid.kept_grid import KeptGrid
from pipeline.grid.tiles import GridOptions, Plan, plan_tiles
from pipeline.schema.imagery import Scene

MakeScene = Callable[..., Scene]
LEFT, TOP = 450_000.0, 40_000.0
OPTIONS = GridOptions(tile_px=32, halo_px=4, block_tiles=2)
TO_LONLAT = pyproj.Transformer.from_crs("EPSG:32636", "OGC:CRS84", always_xy=True)


def ground(row0: float, col0: float, row1: float, col1: float) -> Aoi:
    """A rectangle of pixels of 1 m from LEFT, TOP."""
    square = shapely.box(LEFT + col0, TOP - row1, LEFT + col1, TOP - row0).segmentize(1.0)
    moved = shapely.transform(square, lambda xy: np.column_stack(TO_LONLAT.transform(xy[:, 0], xy[:, 1])))
    return Aoi(geometry=moved, source="a rectangle")


def scene_at(make_scene: MakeScene, name: str, row0: int, col0: int, height: int, width: int) -> Scene:
    transform = (1.0, 0.0, LEFT + col0, 0.0, -1.0, TOP - row0)
    return make_scene(name, transform=transform, height=height, width=width)


def window_of(plan: Plan) -> tuple[int, int, int, int]:
    """row0, col0, height, width of the run grid."""
    grid = plan.grid
    return round(TOP - grid.transform[5]), round(grid.transform[2] - LEFT), grid.height, grid.width


def test_a_grid_covers_its_region_and_the_area_chooses_tiles(make_scene: MakeScene) -> None:
    scene = scene_at(make_scene, "a", 0, 0, 100, 100)
    region = KeptGrid(area=ground(-20.5, 10.5, 150.5, 130.5))
    plan = plan_tiles(ground(10.5, 20.5, 40.5, 60.5), [scene], OPTIONS, kept=region)
    assert window_of(plan) == (-21, 10, 172, 121), "also where no scene is yet"
    rows, cols = np.nonzero(plan.inside)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (1, 2, 0, 2), "cores of 24 px"
    larger = plan_tiles(ground(10.5, 20.5, 90.5, 60.5), [scene], OPTIONS, kept=region)
    assert larger.grid == plan.grid
    assert (larger.inside & ~plan.inside).any()
    assert not (plan.inside & ~larger.inside).any()


def test_what_reaches_beyond_the_grid_is_refused_and_counted(make_scene: MakeScene) -> None:
    scene = scene_at(make_scene, "a", 0, 0, 100, 100)
    kept = KeptGrid(grid=plan_tiles(None, [scene], OPTIONS).grid, binding=True)
    wide = scene_at(make_scene, "wide", 50, 0, 100, 100)
    with pytest.raises(InputError, match=r"5,000 pixels beyond it \(33 %\), which wide shows.*--grid-area"):
        plan_tiles(None, [scene, wide], OPTIONS, kept=kept)
    far = scene_at(make_scene, "far", 300, 0, 10, 10)
    beyond = ground(0.5, 0.5, 400.5, 10.5)
    with pytest.raises(InputError, match="which far shows, within the AOI"):
        plan_tiles(beyond, [scene, far], OPTIONS, kept=kept)
    alone = plan_tiles(beyond, [scene], OPTIONS, kept=kept)
    assert alone.grid == kept.grid, "no scene shows what lies beyond"
    unreadable = replace(far, failure="403")
    assert plan_tiles(beyond, [scene, unreadable], OPTIONS, kept=kept).grid == kept.grid
    free = replace(kept, binding=False)
    assert plan_tiles(None, [scene, wide], OPTIONS, kept=free).grid == kept.grid


def test_a_guessed_place_is_refused_only_if_all_of_it_lies_beyond(make_scene: MakeScene) -> None:
    scene = scene_at(make_scene, "a", 0, 0, 100, 100)
    kept = KeptGrid(
        grid=plan_tiles(None, [scene], OPTIONS).grid, binding=True, guessed=frozenset({"b", "far"})
    )
    near = scene_at(make_scene, "b", 2, 2, 100, 100)
    assert len(plan_tiles(None, [scene, near], OPTIONS, kept=kept).scenes) == 2
    with pytest.raises(InputError, match="which far shows"):
        plan_tiles(None, [scene, scene_at(make_scene, "far", 300, 0, 9, 9)], OPTIONS, kept=kept)


def test_scenes_of_another_crs_are_warped_onto_a_given_grid(make_scene: MakeScene) -> None:
    scene = scene_at(make_scene, "a", 0, 0, 100, 100)
    kept = KeptGrid(grid=plan_tiles(None, [scene], OPTIONS).grid, binding=True)
    west, north = TO_LONLAT.transform(LEFT + 20, TOP - 20)
    degrees = make_scene(
        "b", crs="EPSG:4326", transform=(9e-6, 0, west, 0, -9e-6, north), width=40, height=40
    )
    plan = plan_tiles(None, [degrees], OPTIONS, kept=kept)
    assert plan.grid == kept.grid
    assert plan.offsets == (None,)
    assert plan.mode == "mosaic"


def test_a_region_may_lie_on_any_turn_of_the_map(make_scene: MakeScene) -> None:
    scene = make_scene("a", crs="EPSG:4326", transform=(0.01, 0, 179.0, 0, -0.01, 1.0), width=150, height=50)
    region = shapely.union_all(
        [shapely.box(179.005, 0.505, 180, 0.995), shapely.box(-180, 0.505, -179, 0.995)]
    )
    kept = KeptGrid(area=Aoi(geometry=region, source="both sides of 180"))
    grid = plan_tiles(None, [scene], OPTIONS, kept=KeptGrid()).grid
    assert (grid.width, grid.height) == (150, 50)
    aoi = Aoi(geometry=shapely.box(179.1, 0.6, 179.5, 0.9), source="west of 180")
    plan = plan_tiles(aoi, [scene], OPTIONS, kept=kept)
    assert (plan.grid.width, plan.grid.height) == (200, 50)
    assert plan.grid.transform[2] == pytest.approx(179.0)


def test_a_region_must_have_a_place_in_the_crs(make_scene: MakeScene) -> None:
    nowhere = make_scene("a", crs=None)
    with pytest.raises(InputError, match="--grid-area needs scenes with a CRS"):
        plan_tiles(None, [nowhere], OPTIONS, kept=KeptGrid(area=ground(0, 0, 9, 9)))
    scene = scene_at(make_scene, "a", 0, 0, 100, 100)
    huge = Aoi(geometry=shapely.box(-10, -80, 60, 80), source="half the globe")
    fine = replace(scene, transform=(1e-3, 0, LEFT, 0, -1e-3, TOP))
    with pytest.raises(InputError, match="may have 1 to"):
        plan_tiles(None, [fine], OPTIONS, kept=KeptGrid(area=huge))
