"""The round Earth on flat maps, against pyproj alone and points that are tried one by one."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio._err import CPLE_BaseError

from pipeline.geo.globe import (
    LONLAT_CRS,
    cut_at_180,
    joined,
    narrowest_bbox,
    on_all_turns,
    polygonal,
    polygons_to_lonlat,
    to_lonlat,
    turn_of,
)

EQUATOR_M = 2 * math.pi * 6378137


def wkt(code: str) -> str:
    return pyproj.CRS.from_user_input(code).to_wkt()


@pytest.mark.parametrize(
    ("code", "width"),
    [
        ("EPSG:4326", 360.0),
        ("EPSG:4258", 360.0),
        ("EPSG:4807", 400.0),  # gradians, from Paris
        ("EPSG:3857", EQUATOR_M),
        ("EPSG:3832", EQUATOR_M),  # Mercator centred on 150 E
        ("EPSG:3395", EQUATOR_M),
        ("EPSG:4087", EQUATOR_M),
        ("EPSG:6933", 2 * 17367530.4451615),  # equal area, true at 30 degrees; half a turn by PROJ
        ("EPSG:32660", None),
        ("EPSG:3031", None),
        ("EPSG:3035", None),
        ("EPSG:27700", None),
        ("ESRI:54030", None),
        (
            'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["m",1]]',
            None,
        ),
    ],
)
def test_maps_that_go_on_beside_themselves(code: str, width: float | None) -> None:
    turn = turn_of(wkt(code))
    assert (None if turn is None else turn.width) == (None if width is None else pytest.approx(width))


@pytest.mark.parametrize("code", ["EPSG:4326", "EPSG:3857", "EPSG:3832", "EPSG:6933"])
@given(lon=st.floats(-179.9, 179.9), lat=st.floats(-80, 80), turns=st.integers(-1, 1))
def test_x_and_longitude_count_on_together(code: str, lon: float, lat: float, turns: int) -> None:
    """A place on another turn has the same x but for whole turns, and its longitude comes back counted on."""
    turn = turn_of(wkt(code))
    assert turn is not None
    x, _ = pyproj.Transformer.from_crs(LONLAT_CRS, code, always_xy=True).transform(lon, lat)
    far = turn.x_like(np.array([x]), np.array([lon + 360 * turns]))
    assert (far[0] - x) % turn.width == pytest.approx(0, abs=1e-4) or (
        far[0] - x
    ) % turn.width == pytest.approx(turn.width, abs=1e-4)
    near = turn.x_like(np.array([x]), np.array([lon]))
    assert far[0] - near[0] == pytest.approx(turns * turn.width, abs=1e-4)
    assert turn.lon_like(np.array([lon]), far)[0] == pytest.approx(lon + 360 * turns, abs=1e-6)


corner = st.tuples(st.floats(-500, 500), st.floats(-95, 95))


@given(st.lists(corner, min_size=3, max_size=7), st.lists(corner, min_size=20, max_size=20))
def test_a_cut_polygon_holds_the_same_places(
    ring: list[tuple[float, float]], places: list[tuple[float, float]]
) -> None:
    polygon = polygonal(shapely.make_valid(shapely.Polygon(ring)))
    if polygon.is_empty or polygon.area < 1e-6:
        return
    cut = cut_at_180(polygon)
    assert cut.is_valid
    if cut.is_empty:
        return
    west, south, east, north = cut.bounds
    assert west >= -180
    assert east <= 180
    assert south >= -90
    assert north <= 90
    for lon, lat in places:
        if abs(lat) >= 90 or not -180 < lon < 180:
            continue
        turned = [shapely.Point(lon + 360 * k, lat) for k in (-2, -1, 0, 1, 2)]
        if min(point.distance(polygon.boundary) for point in turned) > 1e-6:
            assert cut.intersects(shapely.Point(lon, lat)) == any(map(polygon.intersects, turned))


@pytest.mark.parametrize("code", ["EPSG:4326", "EPSG:4258", "EPSG:3857", "EPSG:3832"])
def test_a_map_past_180_is_cut_there(code: str) -> None:
    """A square degree around 180 E, 10 N, drawn where the map goes on."""
    move = pyproj.Transformer.from_crs(LONLAT_CRS, code, always_xy=True)
    turn = turn_of(wkt(code))
    assert turn is not None
    lon = np.array([179.5, 180.5])
    x, y = move.transform(lon, [9.5, 10.5])
    x = turn.x_like(np.array(x), lon)
    assert x[1] > x[0]
    lonlat = to_lonlat(shapely.box(x[0], y[0], x[1], y[1]), wkt(code))
    want = shapely.box(179.5, 9.5, 180, 10.5) | shapely.box(-180, 9.5, -179.5, 10.5)
    assert lonlat.symmetric_difference(want).area < 1e-9
    assert narrowest_bbox(lonlat) == pytest.approx((179.5, 9.5, -179.5, 10.5))


def test_half_a_pixel_over_the_poles_stays_on_earth() -> None:
    lonlat = to_lonlat(shapely.box(-180.125, -90.125, 179.875, 90.125), wkt("EPSG:4326"))
    assert lonlat.equals(shapely.box(-180, -90, 180, 90))
    assert narrowest_bbox(lonlat) == (-180, -90, 180, 90)


def test_a_polar_map_covers_its_pole() -> None:
    square = shapely.box(-1e6, -1e6, 1e6, 1e6).segmentize(2e4)
    lonlat = to_lonlat(square, wkt("EPSG:3031"))
    to_map = pyproj.Transformer.from_crs(LONLAT_CRS, "EPSG:3031", always_xy=True)
    for lon, lat in [
        (0, -89.9),
        (179.9, -85),
        (-179.9, -85),
        (45, -77.2),
        (0, -75),
        (90, -81.5),
        (10, -80.7),
    ]:
        inside = square.intersects(shapely.Point(to_map.transform(lon, lat)))
        assert lonlat.intersects(shapely.Point(lon, lat)) == inside
    assert narrowest_bbox(lonlat)[::2] == (-180, 180)


def test_nowhere_on_earth_is_an_error() -> None:
    with pytest.raises((ValueError, CPLE_BaseError)):
        to_lonlat(shapely.box(1e9, 1e9, 2e9, 2e9), wkt("EPSG:32633"))


@given(st.lists(st.tuples(st.floats(-180, 179), st.floats(0.1, 60)), min_size=1, max_size=5))
def test_the_box_is_the_narrowest_of_all(spans: list[tuple[float, float]]) -> None:
    """Against every box that begins at some part's western edge."""
    parts = [shapely.box(west, 0, min(west + width, 180), 1) for west, width in spans]
    west, south, east, north = narrowest_bbox(polygonal(shapely.union_all(parts)))
    width = east - west + (360 if west > east else 0)
    bounds = [part.bounds for part in parts]

    def needed(start: float) -> float:
        """Degrees eastward from `start` that hold all parts; a part is not split."""
        return max((b[2] - b[0]) + (b[0] - start) % 360 for b in bounds)

    best = min(needed(b[0]) for b in bounds)
    assert (south, north) == (0, 1)
    assert width == pytest.approx(min(best, 360), abs=1e-6)
    assert all((b[0] - west) % 360 + (b[2] - b[0]) <= width + 1e-6 for b in bounds)


def test_what_a_projection_tears_is_joined_and_offered_on_all_turns() -> None:
    half = EQUATOR_M / 2
    torn = shapely.Polygon([(half - 10, 0), (-half + 10, 0), (-half + 10, 5), (half - 10, 5)])
    both = np.array([torn, shapely.box(0, 0, 1, 1)], dtype=object)
    whole, other = joined(both, wkt("EPSG:3857"))
    assert whole.equals_exact(shapely.box(half - 10, 0, half + 10, 5), 1e-6, normalize=True)
    assert other.equals(both[1])
    turned = on_all_turns(np.array([other], dtype=object), wkt("EPSG:3857"))
    assert [round(shapes[0].bounds[0] / EQUATOR_M) for shapes in turned] == [-1, 0, 1]
    assert on_all_turns(both, wkt("EPSG:32633")) == [both]


@given(
    x=st.floats(160_000, 200_000),
    y=st.floats(1_000_000, 9_000_000),
    side=st.floats(1, 5_000),
    hole=st.booleans(),
)
def test_small_polygons_around_180_keep_their_area(x: float, y: float, side: float, hole: bool) -> None:
    """UTM zone 1 begins there. Each is cut exactly at 180, however near its corners are."""
    shape = shapely.box(x, y, x + side, y + side)
    if hole:
        shape = shape.difference(shapely.box(x + 0.3 * side, y + 0.3 * side, x + 0.6 * side, y + 0.6 * side))
    (lonlat,) = polygons_to_lonlat(np.array([shape], dtype=object), wkt("EPSG:32601"))
    geod = pyproj.Geod(ellps="WGS84")
    expected = (
        shape.area
        / pyproj.Proj(wkt("EPSG:32601"))
        .get_factors(
            *shapely.get_coordinates(
                shapely.transform(
                    shape.centroid,
                    lambda xy: np.column_stack(
                        pyproj.Transformer.from_crs("EPSG:32601", LONLAT_CRS, always_xy=True).transform(
                            xy[:, 0], xy[:, 1]
                        )
                    ),
                )
            )[0]
        )
        .areal_scale
    )
    assert lonlat.is_valid
    measured = abs(geod.geometry_area_perimeter(shapely.orient_polygons(lonlat))[0])
    assert measured == pytest.approx(expected, rel=1e-3)
    west, _, east, _ = lonlat.bounds
    assert (west, east) == (-180.0, 180.0) or east - west < 1


def test_many_polygons_move_as_one_by_one() -> None:
    """Poles and jumps included."""
    polar = np.array(
        [
            shapely.box(-1e5, -1e5, 1e5, 1e5),
            shapely.box(-1e5, 1e6, 1e5, 1.2e6),
            shapely.box(1e6, 0, 1.1e6, 1e5),
        ],
        dtype=object,
    )
    dense = shapely.segmentize(polar, 1e4)
    moved = polygons_to_lonlat(dense, wkt("EPSG:3413"))
    for one, many in zip([to_lonlat(shape, wkt("EPSG:3413")) for shape in dense], moved, strict=True):
        assert shapely.symmetric_difference(one, many).area < 1e-6
    assert moved[0].bounds[3] == 90.0
