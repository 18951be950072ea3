"""Where a grid lies on its body, against closed formulas and pyproj alone."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
import shapely
from record_world import grid_of

from pipeline.schema.tiling import RunGrid
from pipeline.write.on_body import Ground, cells_on_ground, ground_note, ground_of, why_unknown

LOCAL = 'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
SPHERE_M = 6371007.181
GEOSTATIONARY = grid_of(
    128,
    128,
    crs="+proj=geos +h=35786023 +lon_0=-75 +sweep=x +ellps=GRS80 +units=m",
    transform=(10869790 / 128, 0.0, -5434895.0, 0.0, -10869790 / 128, 5434895.0),
)
SINUSOIDAL = grid_of(400, 200, crs=f"+proj=sinu +R={SPHERE_M}", transform=(1e5, 0.0, -2e7, 0.0, -1e5, 1e7))
MARS = grid_of(50, 50, crs="IAU_2015:49910", transform=(100.0, 0.0, 0.0, 0.0, -100.0, 0.0))


def ground(grid: RunGrid) -> Ground:
    found = ground_of(grid)
    assert found is not None
    return found


@pytest.mark.parametrize("crs", [None, LOCAL, "EPSG:4978", "EPSG:5773", "+proj=airy +ellps=WGS84"])
def test_grids_without_longitude_and_latitude_have_no_ground(crs: str | None) -> None:
    grid = grid_of(crs=crs)
    assert ground_of(grid) is None
    assert why_unknown(grid)
    assert (crs is None) == (why_unknown(grid) == "no CRS")
    assert ("area_m2 is null" in ground_note(grid)) == (crs is not None)


def test_a_grid_beside_its_body_has_none_either() -> None:
    beside = grid_of(10, 10, crs="ESRI:54009", transform=(1e4, 0.0, 1.7e7, 0.0, -1e4, 8.9e6))
    assert ground_of(beside) is None
    assert "no place of the run grid" in why_unknown(beside)


def test_most_grids_lie_on_the_earth_and_need_no_note() -> None:
    for grid in (grid_of(), grid_of(crs="EPSG:32636+5773")):
        assert ground(grid).whole
        assert why_unknown(grid) == ground_note(grid) == ""


def test_another_body_and_the_sky_are_noted() -> None:
    assert ground_note(MARS) == (
        "areas are those on Mars (2015) - Sphere (radius 3,396 km), not on the Earth; "
        "item.json has no footprint"
    )
    assert "lies off the Earth" in ground_note(GEOSTATIONARY)
    beyond_poles = grid_of(360, 181, crs="OGC:CRS84", transform=(1.0, 0.0, -180.0, 0.0, -1.0, 90.5))
    assert not ground(beyond_poles).whole
    assert ground_note(beyond_poles) == "", "half pixels beyond the poles surprise nobody"


def test_places_off_the_body_have_no_coordinates() -> None:
    """The sinusoidal map: x = R * lon * cos(lat), y = R * lat. Its inverse wraps what lies beyond 180."""
    rows, cols = np.mgrid[0:201:10, 0:401:10].astype(np.float64)
    xy = np.column_stack([cols.ravel(), rows.ravel()])
    lat = np.degrees((1e7 - xy[:, 1] * 1e5) / SPHERE_M)
    lon = np.degrees((xy[:, 0] * 1e5 - 2e7) / SPHERE_M / np.cos(np.radians(lat)))
    inside = (np.abs(lat) < 89.9) & (np.abs(lon) < 179.9)
    outside = (np.abs(lat) > 90.1) | (np.abs(lon) > 180.1)
    found = ground(SINUSOIDAL).lonlat(xy)
    np.testing.assert_allclose(found[inside], np.column_stack([lon, lat])[inside], atol=1e-6)
    assert np.isnan(found[outside]).all()


def test_a_map_that_goes_on_beside_itself_is_on_the_earth_everywhere() -> None:
    """Web Mercator, from 170 E over the antimeridian to 150 W."""
    x = 170 / 180 * math.pi * 6378137.0
    grid = grid_of(40, 10, crs="EPSG:3857", transform=(111319.49, 0.0, x, 0.0, -111319.49, 5e5))
    assert ground(grid).whole
    ((lon, _),) = ground(grid).lonlat(np.array([[20.0, 5.0]]))
    assert lon % 360 == pytest.approx(190.0, abs=1e-4)


def test_longitudes_count_from_greenwich_and_are_degrees() -> None:
    grid = grid_of(10, 10, crs="EPSG:27572", transform=(10.0, 0.0, 600000.0, 0.0, -10.0, 2200000.0))
    to_greenwich = pyproj.Transformer.from_crs(27572, 4326, always_xy=True)
    (found,) = ground(grid).lonlat(np.array([[5.0, 5.0]]))
    np.testing.assert_allclose(found, to_greenwich.transform(600050.0, 2199950.0), atol=2e-3)  # another datum


def test_the_way_off_the_body_ends_at_its_edge() -> None:
    """On the equator of the sinusoidal map that is the antimeridian."""
    edge = ground(SINUSOIDAL).edge_between(np.array([[200.0, 100.0]]), np.array([[420.0, 100.0]]))
    np.testing.assert_allclose(edge, [[180.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize(
    ("crs", "body_m2"),
    [
        (f"+proj=longlat +R={SPHERE_M}", 4 * math.pi * SPHERE_M**2),
        ("OGC:CRS84", 510065621724088.4),  # WGS 84 (NIMA TR8350.2)
    ],
)
def test_the_surface_of_a_body(crs: str, body_m2: float) -> None:
    grid = grid_of(10, 10, crs=crs, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 10.0))
    assert ground(grid).body_m2 == pytest.approx(body_m2, rel=1e-9)


def test_cells_cover_what_lies_on_the_earth_and_no_more() -> None:
    """The disk that a geostationary satellite sees ends 81.3 degrees of arc from the point below it."""
    cover = cells_on_ground(shapely.box(0, 0, 128, 128), ground(GEOSTATIONARY))
    assert cover.is_valid
    lon, lat = (part.ravel() for part in np.meshgrid(np.arange(-179, 180, 4.0), np.arange(-88, 89, 4.0)))
    arc = pyproj.Geod(ellps="sphere").inv(lon, lat, np.full_like(lon, -75.0), np.zeros_like(lat))[2]
    arc_deg = np.degrees(np.asarray(arc) / 6370997.0)
    covered = shapely.intersects_xy(cover, lon, lat)
    assert covered[arc_deg < 78].all()
    assert not covered[arc_deg > 82].any()


def test_cells_reach_the_poles_and_are_cut_at_180() -> None:
    polar = grid_of(64, 64, crs="EPSG:3995", transform=(1e5, 0.0, -3.2e6, 0.0, -1e5, 3.2e6))
    cover = cells_on_ground(shapely.box(0, 0, 64, 64), ground(polar))
    west, south, east, north = cover.bounds
    assert (west, east, north) == (-180.0, 180.0, 90.0)
    to_map = pyproj.Transformer.from_crs(4326, 3995, always_xy=True)
    assert south == pytest.approx(
        pyproj.Transformer.from_crs(3995, 4326, always_xy=True).transform(3.2e6, 3.2e6)[1], abs=0.5
    )
    lon, lat = (part.ravel() for part in np.meshgrid(np.arange(-180, 181, 10.0), np.arange(62, 90, 3.0)))
    x, y = to_map.transform(lon, lat)
    on_map = np.maximum(np.abs(x), np.abs(y)) < 3.1e6
    off_map = np.maximum(np.abs(x), np.abs(y)) > 3.3e6
    covered = shapely.intersects_xy(cover, lon, lat)
    assert covered[on_map].all()
    assert not covered[off_map].any()


def test_an_area_beside_the_earth_has_no_cells() -> None:
    assert cells_on_ground(shapely.box(0, 0, 6, 6), ground(GEOSTATIONARY)).is_empty
