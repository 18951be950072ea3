from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import rasterize

from pipeline.world.classes import CLASSES
from pipeline.world.queries import NEVER, queries_of
from pipeline.world.scene import number_components
from pipeline.world.truth import aoi_feature, other_wordings, polygons_of, scene_queries


@settings(max_examples=60, deadline=None)
@given(arrays(np.int32, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(0, 2)))
def test_polygons_give_the_raster_back(codes: np.ndarray) -> None:
    ids, _ = number_components(codes)
    order, polygons = polygons_of(ids)
    assert order.tolist() == sorted(set(ids[ids > 0].tolist()))
    assert all(p.is_valid and p.geom_type == "Polygon" for p in polygons)
    assert [p.area for p in polygons] == [float((ids == k).sum()) for k in order]
    if polygons:
        back = rasterize(zip(polygons, order.tolist(), strict=True), out_shape=ids.shape, dtype="int32")
        np.testing.assert_array_equal(back, ids)


def test_a_ring_that_meets_itself_becomes_a_valid_polygon() -> None:
    """Two holes that touch in a corner, and an exterior that touches itself in a corner."""
    picture = [
        "#####..",
        "#.###..",
        "##.##..",
        "#####..",
        ".......",
        "###....",
        "#.#....",
        "##.#...",
        "####...",
    ]
    codes = np.array([[c == "#" for c in row] for row in picture]).astype(np.int32)
    ids, _ = number_components(codes)
    order, polygons = polygons_of(ids)
    assert all(p.is_valid and p.geom_type == "Polygon" for p in polygons)
    assert [p.area for p in polygons] == [float((ids == k).sum()) for k in order]


def test_area_of_interest_covers_every_pixel() -> None:
    from pyproj import Transformer

    west = 408192.0
    south = 5791808.0
    east = 416384.0
    north = 5800000.0
    ring = aoi_feature((west, south, east, north))["features"][0]["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1]
    back = Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True)
    polygon = shapely.Polygon([back.transform(x, y) for x, y in ring])
    assert polygon.is_valid
    assert polygon.covers(shapely.box(west, south, east, north))
    assert shapely.box(west - 2, south - 2, east + 2, north + 2).covers(polygon)
    assert shapely.Polygon(ring).exterior.is_ccw


@pytest.mark.parametrize("seed", range(30))
def test_queries_of_a_scene(seed: int) -> None:
    left_out = frozenset({CLASSES[seed % 9]})
    counts = {
        name: 1 + (seed + k) % 7 for k, name in enumerate(CLASSES) if name not in left_out and (seed + k) % 4
    }
    rows = scene_queries(seed, counts, left_out)
    assert [row["kind"] for row in rows[:3]] == ["implicit", "explicit", "absent"]
    assert rows[0]["class"] in counts
    assert rows[1]["class"] in counts
    assert rows[0]["class"] != rows[1]["class"]
    assert rows[2]["class"] in left_out
    never = {q.query for q in NEVER}
    held_out = {q.query for name in CLASSES for q in queries_of(name) if q.held_out}
    for row in rows:
        assert set(row) == {"query", "class", "kind"}
        assert row["query"] in (never if row["class"] == "" else held_out)
        assert (row["kind"] == "absent") == (row["class"] not in counts)
    assert len({row["query"] for row in rows}) == len(rows)
    assert {row["class"] for row in rows} == {*CLASSES, ""}


def test_queries_of_an_empty_scene_are_all_absent() -> None:
    assert {row["kind"] for row in scene_queries(1, {}, frozenset({"pool"}))} == {"absent"}


def test_other_wordings_are_those_that_the_file_lacks() -> None:
    listed = [{"query": "outline each runway", "class": "runway", "kind": "absent"}]
    rows = {row["query"]: row for row in other_wordings(listed, frozenset({"storage_tank"}))}
    assert "outline each runway" not in rows
    leaks = "facilities that should be monitored for leaks"
    assert rows[leaks] == {"query": leaks, "class": "storage_tank", "kind": "implicit"}
    assert rows["storage tanks"]["kind"] == "explicit"
    assert rows["lakes"] == {"query": "lakes", "class": "lake", "kind": "absent"}
    assert rows["ships"] == {"query": "ships", "class": "", "kind": "absent"}
