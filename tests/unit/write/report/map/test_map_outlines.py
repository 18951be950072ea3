"""Whole numbers and outlines as text, against a reader that was written from the specification."""

from __future__ import annotations

import base64

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from pipeline.write.report.map.map_outlines import OutlinesText, outlines_text, run_lengths, varints, zigzag


def read(text: str) -> list[int]:
    numbers, value, shift = [], 0, 0
    for byte in base64.b64decode(text):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(value)
            value, shift = 0, 0
    return numbers


def unzigzag(number: int) -> int:
    return -(number + 1) // 2 if number % 2 else number // 2


def rings_of(text: OutlinesText, step_px: float) -> list[list[list[tuple[float, float]]]]:
    points = iter(read(text.points))
    steps = iter(read(text.steps))
    x = y = 0
    objects = []
    for count in read(text.rings):
        rings = []
        for _ in range(count):
            ring = []
            for _ in range(next(points)):
                x += unzigzag(next(steps))
                y += unzigzag(next(steps))
                ring.append((x * step_px, y * step_px))
            rings.append(ring)
        objects.append(rings)
    return objects


def test_bytes_are_those_of_the_specification() -> None:
    """The examples of the documentation of Protocol Buffers."""
    assert varints(np.array([1, 150])).hex() == "019601"
    assert zigzag(np.array([0, -1, 1, -2, 2**31 - 1, -(2**31)])).tolist() == [
        0,
        1,
        2,
        3,
        2**32 - 2,
        2**32 - 1,
    ]


@given(st.lists(st.integers(0, 2**63)))
def test_numbers_are_read_back(numbers: list[int]) -> None:
    assert read(base64.b64encode(varints(np.array(numbers, dtype=np.uint64))).decode()) == numbers


@given(st.lists(st.lists(st.integers(0, 13), min_size=3, max_size=3), min_size=1, max_size=20))
def test_a_raster_is_read_back(rows: list[list[int]]) -> None:
    pairs = read(run_lengths(np.array(rows, dtype=np.uint8)))
    got = [value for value, length in zip(pairs[::2], pairs[1::2], strict=True) for _ in range(length)]
    assert got == [value for row in rows for value in row]
    assert all(a != b for a, b in zip(pairs[::2], pairs[2::2], strict=False))


def test_outlines_keep_holes_and_parts_and_the_order_of_objects() -> None:
    holed = shapely.box(10, 10, 50, 40).difference(shapely.box(20, 20, 30, 30))
    two = shapely.MultiPolygon([shapely.box(0, 0, 2, 2), shapely.box(100000.5, 7, 100002, 9)])
    (one, parts) = rings_of(outlines_text(np.array([holed, two]), step_px=0.25), 0.25)
    assert len(one) == 2
    assert shapely.Polygon(one[0], [one[1]]).equals(holed)
    assert shapely.MultiPolygon([shapely.Polygon(ring) for ring in parts]).equals(two)


def test_of_no_object_the_texts_are_empty() -> None:
    text = outlines_text(np.zeros(0, dtype=object), step_px=1.0)
    assert (text.rings, text.points, text.steps) == ("", "", "")
