"""Length, width and heading of rectangles that were drawn on the ellipsoid, in several CRSs."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from record_world import grid_of

from pipeline.schema.tiling import RunGrid
from pipeline.write.export.oriented_boxes import oriented_boxes
from pipeline.write.georeference import to_pixels

GEOD = pyproj.Geod(ellps="WGS84")
LON = 33.4
LAT = 51.2


def drawn(length_m: float, width_m: float, heading_deg: float) -> np.ndarray:  # type: ignore[type-arg]
    """(4, 2) longitude and latitude of a rectangle's corners, by steps along and across from its middle."""
    corners = []
    for along, across in ((1, 1), (1, -1), (-1, -1), (-1, 1)):
        way = np.hypot(length_m, width_m) / 2
        turn = np.degrees(np.arctan2(across * width_m, along * length_m))
        lon, lat, _ = GEOD.fwd(LON, LAT, heading_deg + turn, way)
        corners.append((lon, lat))
    return np.array(corners)


def grid_at(epsg: int, pixel: float) -> RunGrid:
    x, y = pyproj.Transformer.from_crs(4326, epsg, always_xy=True).transform(LON, LAT)
    return grid_of(
        400, 400, crs=f"EPSG:{epsg}", transform=(pixel, 0, x - 200 * pixel, 0, -pixel, y + 200 * pixel)
    )


@pytest.mark.parametrize(("epsg", "pixel"), [(32636, 0.5), (3857, 0.8), (4326, 7e-6), (3035, 0.5)])
@given(st.floats(20, 60), st.floats(4, 18), st.floats(0, 179.9))
@settings(max_examples=15, deadline=None)
def test_what_was_drawn_is_measured(
    epsg: int, pixel: float, length_m: float, width_m: float, heading_deg: float
) -> None:
    grid = grid_at(epsg, pixel)
    move = pyproj.Transformer.from_crs(4326, epsg, always_xy=True)
    shape = shapely.Polygon(np.column_stack(move.transform(*drawn(length_m, width_m, heading_deg).T)))
    boxes = oriented_boxes(to_pixels([shape], grid), grid)
    got = boxes.measures.to_pylist()[0]
    assert got["length_m"] == pytest.approx(length_m, rel=1e-4)
    assert got["width_m"] == pytest.approx(width_m, rel=1e-4)
    assert abs((got["heading_deg"] - heading_deg + 90) % 180 - 90) < 0.02
    assert got["box_fill"] == pytest.approx(1.0, abs=1e-4)
    (rectangle,) = boxes.rectangles
    assert rectangle.symmetric_difference(shape).area < 1e-3 * shape.area


def test_the_smallest_box_of_a_cross_stands_on_its_corner() -> None:
    """Upright it would have 30 x 30 px, turned by 45 degrees it has 800 px, of which the cross fills 500."""
    cross = shapely.union_all([shapely.box(20, 10, 30, 40), shapely.box(10, 20, 40, 30)])
    got = oriented_boxes(np.array([cross], dtype=object), grid_of()).measures.to_pylist()[0]
    assert got["box_fill"] == pytest.approx(0.625, rel=1e-6)
    assert got["length_m"] == pytest.approx(0.5 * 800**0.5, rel=1e-3)
    assert got["width_m"] == pytest.approx(got["length_m"], rel=1e-3)


def test_without_a_crs_there_is_nothing_to_measure() -> None:
    boxes = oriented_boxes(np.array([shapely.box(1, 1, 4, 9)], dtype=object), grid_of(crs=None))
    assert boxes.measures.to_pylist() == [dict.fromkeys(boxes.measures.schema.names)]
    assert boxes.rectangles.tolist() == [None]


def test_no_object() -> None:
    boxes = oriented_boxes(np.zeros(0, dtype=object), grid_of())
    assert boxes.measures.num_rows == 0
    assert len(boxes.rectangles) == 0
