"""Whose ground is whose once it was looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
import shapely
from zone_results import ground_of, two_zones

from pipeline.run.zones.zone_ground import (
    files_of,
    judged_ground,
    judged_twice,
    planned_cores,
    seam_ground,
    true_ground,
)


def test_judged_ground_is_what_tiles_answered(tmp_path: Path) -> None:
    """The western zone's tile in the upper right corner failed; the scene ends 40 m beyond the seam."""
    results = two_zones(tmp_path, [], [], failed=[(0, 3)])
    everywhere = shapely.box(-1, 44, 1, 46)
    all_of_it = judged_ground(results[1], 0, everywhere)
    assert all_of_it.area == pytest.approx(results[1].zone.cover.area, rel=1e-6)
    part = judged_ground(results[0], 0, everywhere)
    assert part.area == pytest.approx(results[0].zone.cover.area * 15 / 16, rel=1e-3)
    assert not shapely.intersects(part, ground_of(0, 60, 20, 90))


def test_the_seam_is_where_both_looked_and_the_tiles_around(tmp_path: Path) -> None:
    results = two_zones(tmp_path, [], [])
    seam = seam_ground(results)
    assert shapely.covers(seam, ground_of(-40, -80, 35, 80))
    assert not shapely.intersects(seam, ground_of(-159, -50, -130, 50))


def test_what_two_zones_judged_for_any_query_is_looked_at_twice() -> None:
    one = [shapely.box(0, 0, 2, 1), shapely.box(1, 0, 3, 1), shapely.box(9, 9, 10, 10)]
    other = [shapely.box(0, 0, 1, 1), shapely.box(2, 0, 3, 1), shapely.box(2.5, 0, 4, 1)]
    assert judged_twice([one, other]).equals(
        shapely.MultiPolygon([shapely.box(1, 0, 2, 1), shapely.box(2.5, 0, 3, 1)])
    )
    assert judged_twice([[]]).is_empty


def test_ground_whose_owner_has_no_answer_goes_to_a_zone_that_has() -> None:
    owned = [shapely.box(-1, 0, 0, 1), shapely.box(0, 0, 1, 1)]
    judged = [shapely.box(-1, 0, 0.25, 0.5), shapely.box(-0.25, 0, 1, 1)]
    west, east = true_ground(owned, judged)
    assert shapely.intersection(west, east).area == 0
    assert west.area + east.area == pytest.approx(2)
    assert shapely.covers(east, shapely.box(-0.25, 0.5, 0, 1))
    assert shapely.covers(west, shapely.box(-0.25, 0, 0, 0.5))
    assert shapely.covers(west, shapely.box(-1, 0.5, -0.25, 1))  # nobody looked there: it stays as it was


def test_cores_near_some_ground_are_those_that_meet_it(tmp_path: Path) -> None:
    """The western zone's cores begin 160 m west of the seam and have 50 m; a failed one was planned, too."""
    west, _ = two_zones(tmp_path, [], [], failed=[(0, 0)])
    cores = planned_cores(files_of(west), ground_of(-150, 65, -120, 90))
    assert sorted(zip(cores.tile_row.tolist(), cores.tile_col.tolist(), strict=True)) == [(0, 0)]
    assert len(planned_cores(files_of(west), ground_of(-300, 0, -200, 10)).shapes) == 0
