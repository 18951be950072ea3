"""Coordinates against rasterio's affine."""

from __future__ import annotations

import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from record_world import grid_of

from pipeline.write.georeference import (
    authority_code_of,
    is_on_earth,
    is_rotated,
    to_crs_coordinates,
)

AFFINES = st.tuples(*[st.floats(-5, 5).filter(lambda v: abs(v) > 0.01) for _ in range(6)]).filter(
    lambda t: abs(t[0] * t[4] - t[1] * t[3]) > 0.01
)


@settings(deadline=None)
@given(AFFINES)
def test_the_affine_is_rasterios_and_shells_turn_left(transform: tuple[float, ...]) -> None:
    grid = grid_of(transform=transform)
    (moved,) = to_crs_coordinates([shapely.box(2, 3, 7, 9) - shapely.box(4, 4, 5, 5)], grid)
    corners = {(2, 3), (7, 3), (7, 9), (2, 9)}
    assert set(moved.exterior.coords) == {
        rasterio.Affine(*transform) @ (float(x), float(y)) for x, y in corners
    }
    assert moved.exterior.is_ccw
    assert not moved.interiors[0].is_ccw
    assert is_rotated(grid)


def test_pixel_space_ignores_the_affine_of_a_source_without_crs() -> None:
    (moved,) = to_crs_coordinates([shapely.box(2, 3, 7, 9)], grid_of(crs=None))
    assert moved.bounds == (2, 3, 7, 9)
    assert not is_rotated(grid_of(crs=None, transform=(1.0, 1.0, 0.0, 1.0, -1.0, 0.0)))


LOCAL = 'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
"""WKT of a site's own grid."""


def test_local_grids_other_planets_and_pixel_space_are_not_on_earth() -> None:
    assert is_on_earth(grid_of())
    assert not is_on_earth(grid_of(crs=LOCAL))
    assert not is_on_earth(grid_of(crs="IAU_2015:49910"))
    assert not is_on_earth(grid_of(crs=None))


def test_only_registered_crs_have_a_code() -> None:
    assert authority_code_of(grid_of()) == "EPSG:32636"
    assert authority_code_of(grid_of(crs=None)) is None
    custom = grid_of(crs="+proj=tmerc +lat_0=1 +lon_0=33.3 +k=0.99 +ellps=GRS80 +units=m")
    assert authority_code_of(custom) is None
