"""The neighbourhood of scenes: exact of some, and a little more of very many."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import shapely

from pipeline.grid import neighbourhood as module
from pipeline.grid.neighbourhood import joined_on_raster, neighbourhood
from pipeline.grid.scene_bounds import scene_bounds_lonlat
from pipeline.schema.imagery import Scene

MakeScene = Callable[..., Scene]


def test_it_holds_every_scene_with_a_margin(make_scene: MakeScene) -> None:
    scenes = [make_scene(transform=(0.5, 0.0, 450000.0 + 5000 * n, 0.0, -0.5, 40000.0)) for n in range(3)]
    scenes.append(
        make_scene(crs="EPSG:4326", transform=(1.0, 0.0, 179.0, 0.0, -1.0, 10.0), width=2, height=2)
    )
    found = neighbourhood(scenes)
    for scene in scenes[:3]:
        assert found.contains(shapely.box(*scene_bounds_lonlat(scene)).buffer(1e-4))
    assert found.contains(shapely.box(-180, 8, -179, 10)), "the part beyond 180 degrees"
    assert not found.intersects(shapely.box(-178, 8, -170, 10))


@pytest.mark.parametrize("gap", [0.0, 0.5, 30.0])
def test_on_a_raster_it_reaches_further_by_a_cell_at_most(gap: float) -> None:
    """Oracle: the exact union."""
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0, 10, (2, 400))
    boxes = np.concatenate([shapely.box(x, y, x + 0.4, y + 0.3), [shapely.box(10 + gap, 0, 10.4 + gap, 0.3)]])
    exact = shapely.union_all(boxes)
    found = joined_on_raster(shapely.bounds(boxes))
    cell = max(0.4 / 8, (10.4 + gap) / 4096)
    assert found.is_valid
    assert shapely.difference(exact, found).area < 1e-9
    assert exact.buffer(cell * 1.001, join_style="mitre").covers(found)


def test_a_plan_of_very_many_scenes_is_that_of_few(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joined exactly or on the raster: the same grid and tiles."""
    from pipeline.grid.aoi import Aoi
    from pipeline.grid.tiles import GridOptions, plan_tiles

    rng = np.random.default_rng(4)
    scenes = [
        make_scene(f"s{n}", transform=(0.5, 0.0, 450000.0 + 100 * i, 0.0, -0.5, 40000.0 - 80 * j))
        for n, (i, j) in enumerate(rng.integers(0, 20, (60, 2)).tolist())
    ]
    west, south, east, north = neighbourhood(scenes).bounds
    triangle = Aoi(geometry=shapely.Polygon([(west, south), (east, south), (west, north)]), source="test")
    options = GridOptions(tile_px=64, halo_px=4, block_tiles=2)
    exact = plan_tiles(triangle, scenes, options)
    monkeypatch.setattr(module, "MOST_EXACT", 1)
    joined = plan_tiles(triangle, scenes, options)
    assert joined.lattice == exact.lattice
    assert joined.inside.tolist() == exact.inside.tolist()
    assert joined.scenes == exact.scenes
