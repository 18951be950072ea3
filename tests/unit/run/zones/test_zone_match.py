"""Objects of two zones are one by what both judged."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.run.zones.zone_match import ZoneObjects, cut_to, match_zones
from pipeline.stitch.stitch_options import StitchOptions

PX = 1e-5
"""Side of a pixel, in degrees."""

WEST = shapely.box(-1, -1, 40 * PX, 1)
EAST = shapely.box(-40 * PX, -1, 1, 1)
"""What two zones judged; they share 80 pixels around 0."""


def objects(*zones: list[shapely.Geometry], whole: bool = True) -> ZoneObjects:
    """Objects of each zone, in pixels, numbered in this order."""
    shapes = [shapely.transform(shape, lambda xy: xy * PX) for zone in zones for shape in zone]
    of_zone = [place for place, zone in enumerate(zones) for _ in zone]
    n = len(shapes)
    return ZoneObjects(
        polygons=np.array(shapes, dtype=object),
        zone=np.array(of_zone, dtype=np.int64),
        object=np.arange(n),
        whole=np.full(n, whole),
        pixel_deg2=np.full(n, PX * PX),
    )


def groups(found: ZoneObjects, *, touching: bool = False, **options: float) -> list[int]:
    match = match_zones(found, [WEST, EAST], options=StitchOptions(**options), touching=touching)  # type: ignore[arg-type]
    return match.group.tolist()


@settings(max_examples=100, deadline=None)
@given(
    shift=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    side=st.integers(1, 12),
    gap=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_rows_of_boxes_shifted_by_half_a_pixel_find_themselves(
    shift: tuple[float, float], side: int, gap: int, seed: int
) -> None:
    """Even boxes of one pixel that touch: each is most like itself, unless it lies half-way to the next."""
    if side + gap < 2 * max(map(abs, shift)) + 0.2:
        return
    rng = np.random.default_rng(seed)
    step = side + gap
    places = [(x * step, y * step) for x in range(-3, 3) for y in range(3) if rng.random() < 0.8]
    mine = [shapely.box(x, y, x + side, y + side) for x, y in places]
    theirs = [shapely.transform(box, lambda xy: xy + shift) for box in mine]
    assert groups(objects(mine, theirs)) == [*range(len(mine)), *range(len(mine))]


def test_only_ground_that_both_judged_counts() -> None:
    """The road goes on for a thousand pixels where the other zone did not look."""
    road = shapely.box(-1000, 0, 35, 4)
    assert groups(objects([road], [shapely.box(-39, 0, 35, 4)])) == [0, 0]
    assert groups(objects([shapely.box(-1000, 0, -50, 4)], [shapely.box(60, 0, 90, 4)])) == [0, 1]


def test_the_threshold_is_that_of_tile_edges() -> None:
    """Two boxes of 10 x 10 that share 6 x 10: 0.6, and 0.65 with half a pixel more."""
    found = objects([shapely.box(0, 0, 10, 10)], [shapely.box(4, 0, 14, 10)])
    assert groups(found, tau=0.6) == [0, 0]
    assert groups(found, tau=0.7) == [0, 1]


def test_one_object_here_may_be_two_prongs_there() -> None:
    """A U whose bottom lies beyond what the eastern zone judged: its prongs are joined through it."""
    u = shapely.union_all(
        [shapely.box(-60, 0, -50, 30), shapely.box(-60, 0, 20, 5), shapely.box(-60, 25, 20, 30)]
    )
    prongs = [shapely.box(-39, 0, 20, 5), shapely.box(-39, 25, 20, 30)]
    assert groups(objects([u], prongs, whole=False)) == [0, 0, 0]


def test_a_whole_view_speaks_against_a_fused_one() -> None:
    """The western zone fused two houses that the eastern one saw whole: each house claims the fusion at most
    once, and neither leads.
    """
    fused = shapely.box(0, 0, 20, 10)
    houses = [shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 10)]
    found = objects([fused], houses)
    assert len(set(groups(found, tau=0.5))) >= 2


def test_semantic_mode_joins_whatever_has_ground_in_common() -> None:
    found = objects([shapely.box(0, 0, 10, 10)], [shapely.box(9, 0, 30, 10)])
    assert groups(found) == [0, 1]
    assert groups(found, touching=True) == [0, 0]


def test_swapping_the_zones_joins_the_same() -> None:
    mine = [shapely.box(x, 0, x + 7, 7) for x in range(-30, 30, 8)]
    theirs = [shapely.box(x + 0.4, 0.3, x + 7.4, 7.3) for x in range(-30, 30, 8)]
    one = match_zones(objects(mine, theirs), [WEST, EAST], options=StitchOptions())
    other = match_zones(objects(theirs, mine), [EAST, WEST], options=StitchOptions())
    assert one.n_pairs == other.n_pairs == len(mine)


def test_cutting_keeps_what_is_inside_as_it_is() -> None:
    ground = shapely.box(0, 0, 1, 1)
    shapes = np.array([shapely.box(0.2, 0.2, 0.4, 0.4), shapely.box(0.5, 0.5, 2, 2), shapely.box(3, 3, 4, 4)])
    cut = cut_to(shapes, ground)
    assert cut[0] is shapes[0]
    assert cut[1].equals(shapely.box(0.5, 0.5, 1, 1))
    assert cut[2].is_empty
    assert shapely.area(cut).sum() == pytest.approx(0.04 + 0.25)
