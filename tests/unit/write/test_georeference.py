"""Areas against closed formulas, coordinates against rasterio's affine."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from record_world import grid_of

from pipeline.schema import RunGrid
from pipeline.write.georeference import (
    authority_code_of,
    geodesic_area_m2,
    is_on_earth,
    is_rotated,
    to_crs_coordinates,
)

E2 = 0.0066943799901413165
A_M = 6378137.0


def cell_area_m2(lat0: float, lat1: float, width_deg: float) -> float:
    """Ellipsoidal area between two parallels and two meridians (closed form, e.g. Snyder 1987, eq. 3-12)."""
    e = math.sqrt(E2)

    def q(lat: float) -> float:
        s = math.sin(math.radians(lat))
        return s / (1 - E2 * s * s) - math.log((1 - e * s) / (1 + e * s)) / (2 * e)

    return A_M**2 * (1 - E2) / 2 * math.radians(width_deg) * abs(q(lat1) - q(lat0))


@pytest.mark.parametrize("lat", [0.0, 38.5, -60.0, 75.0])
def test_lonlat_cells_have_the_area_of_the_formula(lat: float) -> None:
    step = 0.001
    grid = grid_of(100, 100, crs="OGC:CRS84", transform=(step, 0.0, 10.0, 0.0, -step, lat))
    small = shapely.box(0, 0, 1, 1)
    large = shapely.box(0, 0, 100, 100)
    holed = shapely.box(0, 0, 10, 10) - shapely.box(3, 3, 5, 7)
    areas = geodesic_area_m2([small, large, holed], grid)
    want = [cell_area_m2(lat - step, lat, step), cell_area_m2(lat - 0.1, lat, 0.1)]
    want.append(cell_area_m2(lat - 0.01, lat, 0.01) - cell_area_m2(lat - 0.007, lat - 0.003, 0.002))
    np.testing.assert_allclose(areas, want, rtol=2e-6)


def test_utm_areas_are_grid_areas_over_the_areal_scale() -> None:
    grid = grid_of(1000, 1000, transform=(0.5, 0.0, 700000.0, 0.0, -0.5, 4300000.0))
    lon, lat = pyproj.Transformer.from_crs(32636, 4326, always_xy=True).transform(700025.0, 4299975.0)
    scale = pyproj.Proj(32636).get_factors(lon, lat).areal_scale
    (area,) = geodesic_area_m2([shapely.box(0, 0, 100, 100)], grid)
    assert area == pytest.approx(2500.0 / scale, rel=1e-6)


def test_web_mercator_areas_are_true_areas() -> None:
    y = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(0.0, 60.0)[1]
    grid = grid_of(100, 100, crs="EPSG:3857", transform=(10.0, 0.0, 0.0, 0.0, -10.0, y))
    (area,) = geodesic_area_m2([shapely.box(0, 0, 100, 100)], grid)
    lon, lat = pyproj.Transformer.from_crs(3857, 4326, always_xy=True).transform(1000.0, y - 1000.0)
    assert area == pytest.approx(cell_area_m2(lat, 60.0, lon), rel=1e-6)
    assert area < 0.3 * 1e6  # the map says 1 km2; at 60 degrees north it is a quarter of that


def test_feet_multipolygons_and_the_antimeridian() -> None:
    feet = grid_of(100, 100, crs="EPSG:2263", transform=(1.0, 0.0, 980000.0, 0.0, -1.0, 200000.0))
    (area,) = geodesic_area_m2([shapely.box(0, 0, 100, 100)], feet)
    assert area == pytest.approx(10000 * 0.3048006096**2, rel=1e-3)
    step = 0.001
    across = grid_of(100, 100, crs="OGC:CRS84", transform=(step, 0.0, 179.99, 0.0, -step, 50.0))
    parts = shapely.MultiPolygon([shapely.box(0, 0, 5, 5), shapely.box(50, 50, 55, 55)])
    np.testing.assert_allclose(
        geodesic_area_m2([shapely.box(0, 0, 100, 100), parts], across),
        [
            cell_area_m2(49.9, 50.0, 0.1),
            cell_area_m2(49.995, 50.0, 0.005) + cell_area_m2(49.945, 49.95, 0.005),
        ],
        rtol=2e-6,
    )


def test_without_a_place_on_earth_there_is_no_area() -> None:
    assert np.isnan(geodesic_area_m2([shapely.box(0, 0, 1, 1)], grid_of(crs=None))).all()
    local = (
        'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
    )
    grid = RunGrid(crs_wkt=local, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0), width=5, height=5)
    assert np.isnan(geodesic_area_m2([shapely.box(0, 0, 1, 1)], grid)).all()
    assert not is_on_earth(grid)
    assert is_on_earth(grid_of())
    assert geodesic_area_m2([], grid_of()).shape == (0,)


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


def test_only_registered_crs_have_a_code() -> None:
    assert authority_code_of(grid_of()) == "EPSG:32636"
    assert authority_code_of(grid_of(crs=None)) is None
    custom = grid_of(crs="+proj=tmerc +lat_0=1 +lon_0=33.3 +k=0.99 +ellps=GRS80 +units=m")
    assert authority_code_of(custom) is None
