"""Areas against closed formulas, on the Earth, on other bodies, and where a grid reaches off them."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from record_world import grid_of

from pipeline.schema.tiling import RunGrid
from pipeline.write.ground_area import geodesic_area_m2

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


def test_without_a_body_there_is_no_area() -> None:
    assert np.isnan(geodesic_area_m2([shapely.box(0, 0, 1, 1)], grid_of(crs=None))).all()
    local = (
        'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
    )
    grid = RunGrid(crs_wkt=local, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0), width=5, height=5)
    assert np.isnan(geodesic_area_m2([shapely.box(0, 0, 1, 1)], grid)).all()
    assert geodesic_area_m2([], grid_of()).shape == (0,)


def zone_m2(radius_m: float, lat0: float, lat1: float, width_deg: float = 360.0) -> float:
    """Area between two parallels of a sphere (Archimedes)."""
    height = math.sin(math.radians(lat1)) - math.sin(math.radians(lat0))
    return abs(height) * math.radians(width_deg) * radius_m**2


def areas_of(grid: RunGrid, *boxes: tuple[float, float, float, float]) -> list[float]:
    """Areas of boxes x0, y0, x1, y1 in pixel edges."""
    return geodesic_area_m2([shapely.box(*box) for box in boxes], grid).tolist()


@pytest.mark.parametrize(
    ("crs", "radius_m"),
    [("IAU_2015:49900", 3396190.0), ("IAU_2015:30100", 1737400.0), ("+proj=longlat +R=2575000", 2575000.0)],
    ids=["Mars", "Moon", "Titan"],
)
def test_areas_of_another_body_are_those_of_its_own_ellipsoid(crs: str, radius_m: float) -> None:
    grid = grid_of(100, 100, crs=crs, transform=(0.1, 0.0, 20.0, 0.0, -0.1, 40.0))
    (area,) = areas_of(grid, (0, 0, 100, 100))
    flattening = abs(1 - pyproj.CRS.from_wkt(grid.crs_wkt).ellipsoid.semi_minor_metre / radius_m)
    assert area == pytest.approx(zone_m2(radius_m, 30.0, 40.0, 10.0), rel=2e-6 + 2 * flattening)


def test_a_map_of_mars_in_metres_has_the_areas_of_mars() -> None:
    """One kilometre a side on the equator, which this map shows true."""
    grid = grid_of(512, 512, crs="IAU_2015:49910", transform=(10.0, 0.0, 0.0, 0.0, -10.0, 500.0))
    (area,) = areas_of(grid, (0, 0, 100, 100))
    assert area == pytest.approx(1e6, rel=0.01)


def test_grads_and_feet_are_not_taken_for_degrees_and_metres() -> None:
    """Lambert zone II of France: geographic coordinates in grads from Paris, a map in metres."""
    grid = grid_of(200, 200, crs="EPSG:27572", transform=(10.0, 0.0, 600000.0, 0.0, -10.0, 2200000.0))
    assert areas_of(grid, (0, 0, 100, 100))[0] == pytest.approx(1e6, rel=1e-3)
    geographic = grid_of(10, 10, crs="EPSG:4807", transform=(0.01, 0.0, 0.0, 0.0, -0.01, 50.0))
    degrees = cell_area_m2(44.991, 45.0, 0.009)  # 1 grad is 0.9 degrees
    assert areas_of(geographic, (0, 0, 1, 1))[0] == pytest.approx(degrees, rel=1e-3)


@pytest.mark.parametrize(
    "crs", ["EPSG:4978", "EPSG:5773", "+proj=airy +ellps=WGS84", "+proj=bertin1953 +R=6371000"]
)
def test_geocentric_heights_and_maps_without_an_inverse_have_no_areas(crs: str) -> None:
    grid = grid_of(10, 10, crs=crs, transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0))
    assert np.isnan(areas_of(grid, (0, 0, 5, 5))).all()


def test_a_compound_crs_has_the_areas_of_its_map() -> None:
    transform = (10.0, 0.0, 500000.0, 0.0, -10.0, 5500000.0)
    flat, high = (grid_of(50, 50, crs=crs, transform=transform) for crs in ("EPSG:32633", "EPSG:32633+5773"))
    assert areas_of(high, (0, 0, 20, 20)) == areas_of(flat, (0, 0, 20, 20))


GLOBAL = grid_of(360, 181, crs="OGC:CRS84", transform=(1.0, 0.0, -180.0, 0.0, -1.0, 90.5))
"""A grid of degrees whose first and last pixels are centred on the poles: half of each lies beyond."""
EARTH_M2 = 2 * cell_area_m2(0.0, 90.0, 360.0)


@pytest.mark.parametrize(
    ("box", "lats", "width"),
    [
        ((0, 0, 360, 1), (89.5, 90.0), 360.0),
        ((100, 0, 110, 3), (87.5, 90.0), 10.0),
        ((0, 180, 360, 181), (-90.0, -89.5), 360.0),
        ((5, 90, 6, 91), (-0.5, 0.5), 1.0),
        ((0, 0, 360, 181), (-90.0, 90.0), 360.0),
        ((0, 0, 360, 120), (-29.5, 90.0), 360.0),
    ],
)
def test_half_pixels_beyond_a_pole_add_nothing(
    box: tuple[float, float, float, float], lats: tuple[float, float], width: float
) -> None:
    (area,) = areas_of(GLOBAL, box)
    north_south = (
        cell_area_m2(*lats, width)
        if lats[0] * lats[1] > 0
        else sum(cell_area_m2(0.0, lat, width) for lat in lats)
    )
    assert area == pytest.approx(north_south, rel=2e-3)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 359), st.integers(1, 360), st.integers(0, 180), st.integers(1, 181))
def test_no_object_of_the_globe_is_without_area_or_larger_than_it(
    col: int, width: int, row: int, height: int
) -> None:
    right = min(col + width, 360)
    bottom = min(row + height, 181)
    (area,) = areas_of(GLOBAL, (col, row, right, bottom))
    top, low = min(90.5 - row, 90.0), max(90.5 - bottom, -90.0)
    q = [math.copysign(cell_area_m2(0.0, abs(lat), right - col), lat) for lat in (top, low)]
    assert area == pytest.approx(q[0] - q[1], rel=5e-3)


GEOSTATIONARY = grid_of(
    512,
    512,
    crs="+proj=geos +h=35786023 +lon_0=-75 +sweep=x +ellps=GRS80 +units=m",
    transform=(10869790 / 512, 0.0, -5434895.0, 0.0, -10869790 / 512, 5434895.0),
)
MOLLWEIDE = grid_of(
    512, 256, crs="ESRI:54009", transform=(36082000 / 512, 0.0, -18041000.0, 0.0, -18041000 / 256, 9020500.0)
)


def test_objects_beside_the_earth_have_no_area_and_the_others_their_own() -> None:
    """A pixel of the disk's middle is a true square; Mollweide's map is true to area everywhere."""
    nadir_m2 = (10869790 / 512) ** 2
    middle, corner = areas_of(GEOSTATIONARY, (255, 255, 257, 257), (2, 2, 8, 8))
    assert middle == pytest.approx(4 * nadir_m2, rel=0.01)
    assert math.isnan(corner)
    pixel_m2 = 36082000 / 512 * 18041000 / 256
    middle, corner = areas_of(MOLLWEIDE, (251, 123, 261, 133), (2, 2, 8, 8))
    assert middle == pytest.approx(100 * pixel_m2, rel=0.01)
    assert math.isnan(corner)


def test_of_objects_that_reach_off_the_earth_the_part_on_it_counts() -> None:
    assert areas_of(MOLLWEIDE, (0, 0, 512, 256))[0] == pytest.approx(EARTH_M2, rel=1e-3)
    seen = 1 - 6378137.0 / (6378137.0 + 35786023.0)  # of a hemisphere, from geostationary height
    assert areas_of(GEOSTATIONARY, (0, 0, 512, 512))[0] == pytest.approx(EARTH_M2 / 2 * seen, rel=0.01)
    both = shapely.MultiPolygon([shapely.box(251, 123, 261, 133), shapely.box(2, 2, 8, 8)])
    (whole,) = geodesic_area_m2([both], MOLLWEIDE)
    assert whole == pytest.approx(areas_of(MOLLWEIDE, (251, 123, 261, 133))[0])


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:3031", (25000.0, 0.0, -3950000.0, 0.0, -25000.0, 3950000.0)),
        ("IAU_2015:30135", (1000.0, 0.0, -158000.0, 0.0, -1000.0, 158000.0)),
    ],
    ids=["Antarctica", "south pole of the Moon"],
)
def test_a_ring_around_a_pole_has_the_area_of_the_cap(crs: str, transform: tuple[float, ...]) -> None:
    grid = grid_of(316, 316, crs=crs, transform=transform)
    assert grid.crs_wkt is not None
    geodetic = pyproj.CRS.from_wkt(grid.crs_wkt)
    ring = shapely.Point(158, 158).buffer(100, quad_segs=64)
    (area,) = geodesic_area_m2([ring], grid)
    move = pyproj.Transformer.from_crs(geodetic, geodetic.geodetic_crs, always_xy=True)
    _, lat = move.transform(100 * transform[0], 0.0)
    assert geodetic.ellipsoid is not None
    radius = geodetic.ellipsoid.semi_major_metre
    assert area == pytest.approx(zone_m2(radius, lat, -90.0), rel=0.01)
