"""Bounds of many scenes. Oracle: pyproj on a thousand points of each outline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyproj
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.grid.scene_bounds import ERROR, quick_bounds
from pipeline.schema.imagery import Scene

MakeScene = Callable[..., Scene]


@given(
    crs=st.sampled_from(["EPSG:32633", "EPSG:32733", "EPSG:3857", "EPSG:2056", "EPSG:4326", "EPSG:3031"]),
    lon=st.floats(-175, 175),
    lat=st.floats(-79, 79),
    side=st.sampled_from([10.0, 1000.0, 50_000.0, 150_000.0]),
    turn=st.floats(0, 360),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_quick_bounds_are_right_or_left_out(
    make_scene: MakeScene, crs: str, lon: float, lat: float, side: float, turn: float
) -> None:
    if crs in ("EPSG:32633", "EPSG:32733"):
        lon = 15 + lon / 50
    if crs == "EPSG:2056":
        lon, lat = 8 + lon / 100, 47 + lat / 100
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(lon, lat)
    pixel = side / 100 / (100_000 if crs == "EPSG:4326" else 1)
    affine = rasterio.Affine.translation(x, y) @ rasterio.Affine.rotation(turn) @ rasterio.Affine.scale(pixel)
    scene = make_scene("a", crs=crs, transform=tuple(affine)[:6], width=100, height=100)
    other = make_scene("b")
    ((west, south, east, north), rest) = quick_bounds([scene, other])
    assert np.isfinite(rest).all()
    if np.isnan(west):
        return
    ramp = np.linspace(0, 100, 251)
    edge = np.concatenate(
        [[ramp, 0 * ramp], [ramp, 0 * ramp + 100], [0 * ramp, ramp], [0 * ramp + 100, ramp]], 1
    )
    move = pyproj.Transformer.from_crs(
        rasterio.crs.CRS.from_user_input(crs).to_wkt(), "OGC:CRS84", always_xy=True
    )
    lons, lats = move.transform(*(affine @ tuple(edge)))
    true = np.array([lons.min(), lats.min(), lons.max(), lats.max()])
    slack = ERROR * max(true[2] - true[0], true[3] - true[1])
    np.testing.assert_allclose([west, south, east, north], true, atol=slack)


def test_what_nine_points_do_not_tell_is_left_out(make_scene: MakeScene) -> None:
    scenes = [
        make_scene("none", crs=None),
        make_scene("moon", crs="+proj=longlat +R=1737400 +no_defs"),
        make_scene("large", crs="EPSG:4326", transform=(0.1, 0, 10, 0, -0.1, 50)),
        make_scene("dateline", crs="EPSG:4326", transform=(0.001, 0, 179.8, 0, -0.001, 50)),
        make_scene("pole", crs="EPSG:3031", transform=(10, 0, -100, 0, -10, 100)),
        make_scene("small"),
    ]
    told = np.isfinite(quick_bounds(scenes)).all(axis=1)
    assert told.tolist() == [False, False, False, False, False, True]
    assert quick_bounds([]).shape == (0, 4)


@pytest.mark.parametrize("count", [1, 3])
def test_scenes_of_several_crs_keep_their_places(make_scene: MakeScene, count: int) -> None:
    scenes = [make_scene(f"s{n}", crs=crs) for n in range(count) for crs in ("EPSG:32636", "EPSG:32637")]
    found = quick_bounds(scenes)
    assert (found[::2] == found[0]).all()
    assert (found[1::2] == found[1]).all()
    assert found[1, 0] - found[0, 0] == pytest.approx(6)
