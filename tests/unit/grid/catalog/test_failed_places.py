"""Scenes that cannot be read lie among those that can. Oracle: pyproj, and places worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.grid.catalog.failed_places import among_neighbours
from pipeline.grid.catalog.item_projection import footprint_place
from pipeline.grid.lattice import same_crs
from pipeline.grid.scene_bounds import scene_bounds_lonlat
from pipeline.schema.imagery import Scene

MakeScene = Callable[..., Scene]


def lost(scene: Scene, bounds: tuple[float, float, float, float]) -> Scene:
    place = footprint_place(bounds)
    return replace(scene, crs_wkt=place.crs_wkt, transform=place.transform, width=1, height=1, failure="gone")


def test_a_footprint_moves_into_the_crs_of_the_nearest_scene(make_scene: MakeScene) -> None:
    near = make_scene("near", crs="EPSG:32636")
    far = make_scene("far", crs="EPSG:32633")
    bounds = (33.0, 0.3, 33.2, 0.5)
    scenes = among_neighbours([far, lost(make_scene("lost"), bounds), near])
    assert [scene.scene_id for scene in scenes] == ["far", "lost", "near"]
    assert scenes[0] is far
    assert same_crs(scenes[1].crs_wkt, near.crs_wkt)
    assert scene_bounds_lonlat(scenes[1]) == pytest.approx(bounds, abs=1e-3)
    assert scenes[1].failure == "gone"


def test_places_across_180_stay_together(make_scene: MakeScene) -> None:
    beside = make_scene("beside", crs="EPSG:32601", transform=(10, 0, 300_000, 0, -10, 5_600_000))
    (_, found) = among_neighbours([beside, lost(make_scene("lost"), (179.5, 50.2, 180.5, 50.4))])
    assert same_crs(found.crs_wkt, beside.crs_wkt)
    west, south, east, north = scene_bounds_lonlat(found)
    assert (west, east) == pytest.approx((179.5, -179.5), abs=0.02)
    assert (south, north) == pytest.approx((50.2, 50.4), abs=0.05), "a box around the turned box"


def test_those_that_share_a_crs_or_have_no_neighbour_stay(make_scene: MakeScene) -> None:
    sound = make_scene("sound")
    own = replace(make_scene("own"), failure="another size")
    assert among_neighbours([sound, own]) == (sound, own)
    alone = lost(make_scene("lost"), (33.0, 0.3, 33.2, 0.5))
    assert among_neighbours([alone, own]) == (alone, own)
    nowhere = replace(make_scene("nowhere", crs=None), failure="no CRS")
    assert among_neighbours([sound, nowhere]) == (sound, nowhere)
