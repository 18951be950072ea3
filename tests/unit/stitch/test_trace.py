"""The crack tracer against GDAL (4-connected), which shares no code with it."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stitch.trace import polygonise


@given(st.integers(0, 2**32 - 1), st.integers(1, 24), st.integers(1, 24), st.integers(2, 5))
@settings(max_examples=120, deadline=None)
def test_equal_to_gdal_vertex_by_vertex(seed: int, height: int, width: int, colours: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, colours, (height, width))
    if seed % 2:
        image = np.kron(image, np.ones((2, 3), dtype=np.int64))
    ids, shapes, areas = polygonise(image, (0, 0))
    expected = by_gdal(image)
    assert ids.tolist() == sorted(expected)
    assert shapely.is_valid(shapes).all()
    np.testing.assert_array_equal(shapely.area(shapes), areas)
    assert [(image == i).sum() for i in ids] == areas.tolist()
    for value, shape in zip(ids.tolist(), shapes, strict=True):
        assert shapely.to_wkb(shape) == shapely.to_wkb(expected[value])


def by_gdal(image: np.ndarray) -> dict[int, shapely.Geometry]:
    parts = defaultdict(list)
    for geometry, value in rasterio.features.shapes(image.astype(np.int32), mask=image > 0, connectivity=4):
        parts[int(value)].append(shapely.geometry.shape(geometry))
    return {
        value: shapely.normalize(p[0] if len(p) == 1 else shapely.MultiPolygon(p))
        for value, p in parts.items()
    }


def test_pocket_at_a_checkerboard_vertex_is_a_hole_that_touches() -> None:
    image = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    _, (shape,), areas = polygonise(image, (0, 0))
    assert areas.tolist() == [7]
    assert shape.equals(
        shapely.Polygon([(0, 0), (3, 0), (3, 2), (2, 2), (2, 3), (0, 3)], [[(1, 1), (1, 2), (2, 2), (2, 1)]])
    )
    assert len(shape.interiors) == 1
    assert shape.is_valid
    closed = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]])
    _, (two_holes,), _ = polygonise(closed, (0, 0))
    assert len(two_holes.interiors) == 2


def test_parts_that_touch_at_a_corner_are_several() -> None:
    _, (shape,), areas = polygonise(np.array([[5, 0], [0, 5]], dtype=np.uint64), (0, 0))
    assert shape.geom_type == "MultiPolygon"
    assert areas.tolist() == [2]
    assert shape.equals(shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(1, 1, 2, 2)]))


def test_origin_and_large_ids() -> None:
    big = 2**60 + 3
    ids, (shape,), _ = polygonise(np.array([[0, big]], dtype=np.uint64), (10**9, 2 * 10**9))
    assert ids.tolist() == [big]
    assert shape.bounds == (2 * 10**9 + 1, 10**9, 2 * 10**9 + 2, 10**9 + 1)


@pytest.mark.parametrize("shape", [(1, 1), (3, 0), (4, 5)])
def test_background_only(shape: tuple[int, int]) -> None:
    ids, shapes, areas = polygonise(np.zeros(shape, dtype=np.uint64), (0, 0))
    assert (ids.size, shapes.size, areas.size) == (0, 0, 0)
    assert ids.dtype == np.uint64


def test_many_holes_and_vertices_grow_the_buffers() -> None:
    image = np.ones((201, 201), dtype=np.int64)
    image[1::2, 1::2] = 0
    _, (shape,), areas = polygonise(image, (0, 0))
    assert len(shape.interiors) == 100 * 100
    assert areas.tolist() == [201 * 201 - 100 * 100]
    assert shape.area == areas[0]
