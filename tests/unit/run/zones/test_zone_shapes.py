"""What is drawn of objects over a seam: all of it, once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.run.zones.zone_match import ZoneObjects
from pipeline.run.zones.zone_shapes import drawn, united

WEST = shapely.box(-1, -1, 0, 1)
EAST = shapely.box(0, -1, 1, 1)


def objects(west: list[shapely.Geometry], east: list[shapely.Geometry], *, whole: bool = True) -> ZoneObjects:
    shapes = [shapely.set_precision(shape, 1e-9) for shape in [*west, *east]]
    n = len(shapes)
    return ZoneObjects(
        polygons=np.array(shapes, dtype=object),
        zone=np.array([0] * len(west) + [1] * len(east), dtype=np.int64),
        object=np.arange(n),
        whole=np.full(n, whole),
        pixel_deg2=np.full(n, 1e-6),
    )


def test_each_zone_draws_on_its_own_ground_and_no_slit_stays() -> None:
    """The two outlines differ by a little, and meet on the line."""
    found = objects([shapely.box(-0.5, 0, 0.3, 0.2)], [shapely.box(-0.3, 0.0004, 0.5, 0.2003)])
    drawing = drawn(found, np.array([0, 0]), [WEST, EAST])
    whole = united(drawing.parts.tolist())
    assert whole.geom_type == "Polygon"
    assert not whole.interiors
    assert whole.bounds == pytest.approx((-0.5, 0, 0.5, 0.2003))
    assert whole.area == pytest.approx(0.5 * 0.2 + 0.5 * (0.2003 - 0.0004), abs=1e-8)
    assert not drawing.beyond.any()


def test_what_one_zone_saw_on_ground_of_the_other_is_left_to_it() -> None:
    drawing = drawn(objects([shapely.box(0.1, 0, 0.2, 0.2)], []), np.array([0]), [WEST, EAST])
    assert drawing.parts[0].is_empty


def test_a_whole_object_that_the_other_zone_missed_is_kept_whole() -> None:
    shape = shapely.box(-0.2, 0, 0.1, 0.2)
    neighbour = shapely.box(0.05, 0, 0.3, 0.1)
    drawing = drawn(objects([shape], [neighbour]), np.array([0, 1]), [WEST, EAST])
    assert drawing.beyond.tolist() == [True, False]
    assert drawing.parts[0].equals(shapely.difference(shape, neighbour))
    assert drawing.parts[1].equals(neighbour)


def test_one_that_its_zone_did_not_see_whole_ends_at_the_line() -> None:
    drawing = drawn(objects([shapely.box(-0.2, 0, 0.1, 0.2)], [], whole=False), np.array([0]), [WEST, EAST])
    assert drawing.parts[0].equals(shapely.box(-0.2, 0, 0, 0.2))
    assert not drawing.beyond.any()


def test_an_object_that_each_zone_saw_on_the_other_s_ground_is_not_lost() -> None:
    small = objects([shapely.box(0.001, 0, 0.002, 0.001)], [shapely.box(-0.0012, 0, -0.0002, 0.0008)])
    drawing = drawn(small, np.array([0, 0]), [WEST, EAST])
    assert shapely.is_empty(drawing.parts).tolist() == [False, True]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shift=st.floats(-0.004, 0.004),
    missed=st.floats(0, 0.4),
)
def test_objects_never_overlap(seed: int, shift: float, missed: float) -> None:
    """Rows of houses that touch, seen twice, a little shifted; each zone misses some."""
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.uniform(-0.5, 0.5, 12))
    houses = [shapely.box(a, y, b, y + 0.1) for y in (0.0, 0.1) for a, b in pairwise(edges.tolist())]
    seen = [house for house in houses if rng.random() >= missed]
    twice = [shapely.transform(house, lambda xy: xy + shift) for house in houses if rng.random() >= missed]
    found = objects(seen, twice)
    group = np.arange(len(seen) + len(twice))
    for place, shape in enumerate(twice):
        overlap = [shapely.intersection(shape, other).area / shape.area for other in seen]
        if overlap and max(overlap) > 0.5:
            group[len(seen) + place] = int(np.argmax(overlap))
    drawing = drawn(found, group, [WEST, EAST])
    alive = drawing.parts[~shapely.is_empty(drawing.parts)]
    one, other = shapely.STRtree(alive).query(alive, predicate="intersects")
    overlap_area = shapely.area(shapely.intersection(alive[one], alive[other]))[one < other]
    assert overlap_area.max(initial=0.0) < 1e-7
