"""Right angles against buildings that were drawn with them, turned, and put on a raster."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity

from pipeline.stitch.right_angles import right_angled

SQUARE = np.eye(2)
WINGS = shapely.union(shapely.box(0, 0, 40, 14), shapely.box(0, 0, 12, 34))
YARD = shapely.box(0, 0, 44, 40).difference(shapely.box(14, 12, 30, 28))


def on_raster(shape: shapely.Geometry) -> shapely.Geometry:
    """The outline of the pixels whose middles lie in a shape."""
    burnt = rasterio.features.rasterize([shape], out_shape=(160, 160), dtype="uint8")
    found = rasterio.features.shapes(burnt, mask=burnt.astype(bool))
    return shapely.union_all([shapely.geometry.shape(part) for part, _ in found])


def turned(shape: shapely.Geometry, degrees: float) -> shapely.Geometry:
    return affinity.translate(affinity.rotate(shape, degrees, origin=(20, 20)), 55, 55)


def iou(one: shapely.Geometry, other: shapely.Geometry) -> float:
    common = one.intersection(other).area
    return float(common / (one.area + other.area - common))


def corner_angles(shape: shapely.Geometry) -> np.ndarray:  # type: ignore[type-arg]
    """Angles in degrees between following edges of all rings."""
    found = []
    for part in shapely.get_parts(shape):
        for ring in (part.exterior, *part.interiors):
            steps = np.diff(np.asarray(ring.coords), axis=0)
            turn = np.arctan2(steps[:, 1], steps[:, 0])
            found.append(np.degrees(np.abs(np.angle(np.exp(1j * (turn - np.roll(turn, 1)))))))
    return np.concatenate(found)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([(shapely.box(0, 0, 40, 24), 4), (WINGS, 6), (YARD, 8)]), st.floats(0, 180))
def test_drawn_buildings_come_back(drawn: tuple[shapely.Geometry, int], degrees: float) -> None:
    shape, n_corners = drawn
    true = turned(shape, degrees)
    made = right_angled(on_raster(true), SQUARE, least_iou=0.85)
    assert made is not None
    assert made.is_valid
    assert corner_angles(made) == pytest.approx(90.0, abs=1e-6)
    assert len(corner_angles(made)) <= n_corners
    assert iou(made, true) > 0.85


def test_a_round_object_needs_a_low_limit() -> None:
    tank = on_raster(shapely.Point(60, 60).buffer(25))
    square = right_angled(tank, SQUARE, least_iou=0.7)
    assert square is not None
    assert len(corner_angles(square)) == 4
    assert right_angled(tank, SQUARE, least_iou=0.999) is None


def test_angles_are_those_of_the_ground() -> None:
    """Pixels are twice as wide as high: a house turned by 30 degrees is a parallelogram there."""
    plane = np.array([[np.sqrt(2), 0.0], [0.0, np.sqrt(0.5)]])
    house = turned(shapely.box(0, 0, 48, 30), 30)
    pixels = shapely.transform(house, lambda xy: xy @ np.linalg.inv(plane).T)
    made = right_angled(on_raster(pixels), plane, least_iou=0.85)
    assert made is not None
    back = shapely.transform(made, lambda xy: xy @ plane.T)
    assert corner_angles(back) == pytest.approx(90.0, abs=1e-6)
    assert iou(back, house) > 0.9


def test_every_part_counts() -> None:
    two = shapely.union(on_raster(turned(shapely.box(0, 0, 30, 20), 20)), shapely.box(5, 5, 25, 20))
    made = right_angled(two, SQUARE, least_iou=0.8)
    assert made is not None
    assert made.geom_type == "MultiPolygon"
    assert shapely.get_num_geometries(made) == 2
    speck = shapely.union(two, shapely.box(120, 120, 121, 121))
    kept = right_angled(speck, SQUARE, least_iou=0.8)
    assert kept is None or shapely.get_num_geometries(kept) == 3
