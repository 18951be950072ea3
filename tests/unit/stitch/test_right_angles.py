"""Right angles against buildings that were drawn with them, turned, and put on a raster."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity

from pipeline.stitch.right_angles import ellipse_of, right_angled

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


@settings(max_examples=20, deadline=None)
@given(st.floats(8, 30), st.floats(0.5, 1.0), st.floats(0, 180))
def test_round_objects_stay_round(radius: float, flat: float, degrees: float) -> None:
    tank = affinity.rotate(affinity.scale(shapely.Point(70, 70).buffer(radius), 1.0, flat), degrees)
    assert right_angled(on_raster(tank), SQUARE, least_iou=0.5) is None


def test_the_ellipse_has_the_moments_of_the_shape() -> None:
    ellipse = affinity.rotate(affinity.scale(shapely.Point(70, 70).buffer(30, quad_segs=64), 1.0, 0.6), 35)
    assert iou(ellipse_of(ellipse), ellipse) > 0.995
    square = ellipse_of(shapely.box(0, 0, 10, 10))
    assert square.centroid.coords[0] == pytest.approx((5, 5))
    assert square.area == pytest.approx(np.pi * 4 * 100 / 12, rel=0.01)  # half axes of two deviations
    ring = YARD.difference(shapely.box(0, 0, 1, 1))
    assert ellipse_of(ring).centroid.distance(ring.centroid) < 0.5


def test_nothing_fits_better_than_it_can() -> None:
    assert right_angled(on_raster(turned(WINGS, 33)), SQUARE, least_iou=0.999) is None


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
