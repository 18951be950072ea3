"""Which rows of a zone lie near a seam."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from zone_results import Seen, ground_of, two_zones

from pipeline.run.zones.zone_objects import (
    instance_batches,
    rounded_lonlat,
    split_rows,
)

WEST = [
    Seen(1, shapely.box(-150, 0, -140, 8)),
    Seen(2, shapely.box(-30, 0, -20, 8)),
    Seen(3, shapely.box(20, 0, 30, 8)),
    Seen(4, shapely.box(-152, 40, -148, 44), n_parts=2),
    Seen(4, shapely.box(-20, 40, 10, 44), part_no=1, n_parts=2),
]


def test_rows_near_the_seam_are_kept_and_the_others_are_handed_on(tmp_path: Path) -> None:
    """All rows of an object in several parts go the same way."""
    results = two_zones(tmp_path, WEST, [])
    seam = shapely.intersection(results[0].zone.cover, results[1].zone.cover)
    far: list[int] = []
    shapes: list[shapely.Geometry] = []

    def take(table: object, moved: np.ndarray) -> None:
        far.extend(table["instance_id"].to_pylist())  # type: ignore[index]
        shapes.extend(moved)

    near = split_rows(results[0], shapely.union_all([seam, results[1].zone.owned]), far=take)
    assert far == [1]
    assert near.rows["instance_id"].to_pylist() == [2, 3, 4, 4]
    assert len(near.polygons) == 4
    assert shapes[0].centroid.distance(ground_of(-150, 0, -140, 8).centroid) < 1e-7
    assert sum(batch.num_rows for batch in instance_batches(results[0])) == 5


def test_a_zone_without_objects_has_none_near(tmp_path: Path) -> None:
    results = two_zones(tmp_path, [], [])
    near = split_rows(results[0], results[1].zone.owned, far=lambda *_: pytest.fail("a row was made up"))
    assert near.rows.num_rows == len(near.polygons) == 0


def test_outlines_that_touch_still_do() -> None:
    from pyproj import CRS

    wkt = CRS.from_epsg(32630).to_wkt()
    boxes = np.array([shapely.box(7e5 + x, 5e6, 7e5 + x + 10, 5e6 + 10) for x in (0, 10, 20)], dtype=object)
    moved = rounded_lonlat(boxes, wkt)
    assert shapely.area(shapely.intersection(moved[:-1], moved[1:])).tolist() == [0, 0]
    assert shapely.union_all(moved).geom_type == "Polygon"
    assert shapely.union_all(moved).area == pytest.approx(shapely.area(moved).sum(), rel=1e-9)
