"""Which geometry is used, mended or refused; squares small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from pipeline.files.sound_geometry import MAX_DOUBT, UnsoundGeometryError, sound_parts

SQUARE = shapely.box(0, 0, 10, 10)


def ring(*corners: tuple[float, float]) -> shapely.Polygon:
    return shapely.Polygon(corners)


MENDED = {
    "a repeated point": (ring((0, 0), (0, 0), (10, 0), (10, 10), (0, 10)), 100),
    "a spike": (ring((0, 0), (10, 0), (10, 10), (5, 10), (5, 30), (5, 10), (0, 10)), 100),
    "a ring that touches itself": (
        ring((0, 0), (10, 0), (10, 10), (5, 0), (0, 10)),
        50,
    ),
    "a hole along the edge": (shapely.Polygon(SQUARE.exterior, [[(0, 2), (0, 4), (3, 4), (3, 2)]]), 94),
    "a loop of the digitiser": (
        ring((0, 0), (10, 0), (10, 10), (5.001, 10), (5, 10.001), (5.001, 10.001), (5, 10), (0, 10)),
        100,
    ),
}
REFUSED = {
    "a bow-tie": ring((0, 0), (10, 10), (10, 0), (0, 10)),
    "a lopsided bow-tie": ring((0, 0), (10, 10), (10, 0), (0, 3)),
    "ground covered twice": ring(
        (0, 0), (10, 0), (10, 10), (0, 10), (0, 0), (10, 0), (10, 10), (0, 10), (0, 0)
    ),
    "a hole outside": shapely.Polygon(SQUARE.exterior, [[(20, 0), (20, 5), (25, 5), (25, 0)]]),
    "a line of no width": ring((0, 0), (10, 0), (5, 0)),
}


@pytest.mark.parametrize("name", MENDED)
def test_slips_of_the_pen_are_mended(name: str) -> None:
    shape, area = MENDED[name]
    parts = sound_parts(shape)
    assert all(part.is_valid for part in parts)
    assert sum(part.area for part in parts) == pytest.approx(area, rel=MAX_DOUBT)


@pytest.mark.parametrize("name", REFUSED)
def test_ground_in_doubt_is_refused_with_the_fault(name: str) -> None:
    assert not REFUSED[name].is_valid
    with pytest.raises(UnsoundGeometryError, match=r"elf-inters|shell|few points|nside"):
        sound_parts(REFUSED[name])


def test_coordinates_must_be_numbers() -> None:
    with pytest.raises(UnsoundGeometryError, match="NaN"):
        sound_parts(shapely.Point(np.nan, 1))


def test_collections_are_taken_apart() -> None:
    inner = shapely.GeometryCollection([shapely.MultiPoint([(1, 1), (2, 2)]), SQUARE])
    outer = shapely.GeometryCollection([inner, shapely.MultiPolygon([shapely.box(5, 5, 20, 20)])])
    parts = sound_parts(outer)
    assert [part.geom_type for part in parts] == ["Point", "Point", "Polygon", "Polygon"]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=8))
def test_what_is_returned_is_valid_and_as_large_as_drawn(corners: list[tuple[int, int]]) -> None:
    polygon = ring(*corners)
    try:
        parts = sound_parts(polygon)
    except UnsoundGeometryError:
        assert not polygon.is_valid
        return
    steps = zip(corners, corners[1:] + corners[:1], strict=True)
    drawn = abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in steps)) / 2
    assert all(part.is_valid for part in parts)
    assert sum(part.area for part in parts) == pytest.approx(drawn, rel=MAX_DOUBT)
