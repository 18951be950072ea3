"""What zones say of an object becomes what the whole says of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from numpy.typing import NDArray

from pipeline.run.zones.zone_match import ZoneObjects
from pipeline.run.zones.zone_rows import merged_rows, renamed
from pipeline.run.zones.zone_shapes import DrawnObjects
from pipeline.write.instances import SCHEMA, InstanceMeta

META = InstanceMeta(queries=("roofs",), prompter_id="p", segmenter_id="s", run_id="whole", zoned=True)
EARLY = datetime(2024, 5, 1, tzinfo=UTC)
LATE = datetime(2024, 7, 1, tzinfo=UTC)


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "instance_id": number,
        "query_index": 0,
        "query": "roofs",
        "label": f"roof {number}",
        "score": 0.5,
        "area_px": 100,
        "area_m2": 25.0,
        "rationale": f"because {number}",
        "box_px": [0.0, 0.0, 9.0, 9.0],
        "points": [],
        "tile_ids": ["r00000c00001"],
        "n_tiles": 1,
        "truncated": False,
        "one_sided": False,
        "part_no": 0,
        "n_parts": 1,
        "scene_ids": ["a"],
        "datetime": EARLY,
        "prompter_id": "p",
        "segmenter_id": "s",
        "run_id": "zone",
        **changes,
    }


def of_zone(zone: str, offset: int, *rows: dict[str, Any]) -> pa.Table:
    return renamed(
        pa.Table.from_pylist(list(rows), schema=SCHEMA),
        zone=zone,
        id_offset=offset,
        run_id="whole",
        schema=META.schema,
    )


def two_zones(west: list[dict[str, Any]], east: list[dict[str, Any]]) -> pa.Table:
    return pa.concat_tables([of_zone("W", 0, *west), of_zone("E", 1000, *east)]).combine_chunks()


def drawn_as(
    outlines: list[shapely.Geometry], parts: list[shapely.Geometry], ids: list[int], *, whole: bool = True
) -> tuple[ZoneObjects, DrawnObjects]:
    n = len(outlines)
    _, number = np.unique(ids, return_inverse=True)
    found = ZoneObjects(
        polygons=np.array(outlines, dtype=object),
        zone=np.arange(n),
        object=number.astype(np.int64),
        whole=np.full(n, whole),
        pixel_deg2=np.full(n, 1e-10),
    )
    return found, DrawnObjects(parts=np.array(parts, dtype=object), beyond=np.zeros(n, dtype=np.bool_))


def no_cut(n: int) -> NDArray[np.bool_]:
    return np.zeros(n, dtype=np.bool_)


def test_rows_of_one_zone_get_its_offset_and_its_name() -> None:
    table = of_zone(
        "EPSG_26918", 1000, row(7, tile_ids=["r00000c00001", "r00000c00002"]), row(9, tile_ids=[])
    )
    assert table["instance_id"].to_pylist() == [1007, 1009]
    assert table["tile_ids"].to_pylist() == [["EPSG_26918/r00000c00001", "EPSG_26918/r00000c00002"], []]
    assert table["zones"].to_pylist() == [["EPSG_26918"], ["EPSG_26918"]]
    assert table["zone_instance_ids"].to_pylist() == [[7], [9]]
    assert table["run_id"].to_pylist() == ["whole", "whole"]
    assert table.schema == META.schema


def test_two_parts_become_one_row() -> None:
    """The eastern zone drew three quarters; ids, scores and lists are those of both."""
    rows = two_zones(
        [row(5, score=0.9)], [row(3, score=0.5, scene_ids=["b", "a"], datetime=LATE, one_sided=True)]
    )
    outline = shapely.box(0, 0, 0.0008, 0.0002)
    parts = [shapely.box(0, 0, 0.0002, 0.0002), shapely.box(0.0002, 0, 0.0008, 0.0002)]
    found, drawing = drawn_as([outline, outline], parts, [5, 1003])
    table = merged_rows(rows, found, np.array([0, 0]), drawing, cut_off=no_cut(2))
    (whole,) = table.to_pylist()
    assert whole["instance_id"] == 5
    assert whole["label"] == "roof 3"
    assert whole["zones"] == ["E", "W"]
    assert whole["zone_instance_ids"] == [3, 5]
    assert whole["area_px"] == 100
    assert whole["score"] == pytest.approx(0.9 * 0.25 + 0.5 * 0.75)
    assert whole["tile_ids"] == ["W/r00000c00001", "E/r00000c00001"]
    assert whole["n_tiles"] == 2
    assert whole["scene_ids"] == ["a", "b"]
    assert whole["datetime"] == EARLY
    assert whole["one_sided"]
    assert shapely.from_wkb(whole["geometry"]).equals(outline)
    assert whole["area_m2"] == pytest.approx(89.06 * 22.11, rel=0.01)  # metres at the equator


@pytest.mark.parametrize(("cut", "said"), [([False, False], False), ([True, False], True)])
def test_an_object_is_cut_off_only_where_imagery_or_area_end(cut: list[bool], said: bool) -> None:
    """Where a zone's band ends, the other zone goes on."""
    rows = two_zones([row(5, truncated=True)], [row(3, truncated=True)])
    parts = [shapely.box(0, 0, 1e-4, 1e-4), shapely.box(1e-4, 0, 2e-4, 1e-4)]
    found, drawing = drawn_as(parts, parts, [5, 1003], whole=False)
    table = merged_rows(rows, found, np.array([0, 0]), drawing, cut_off=np.array(cut))
    assert table["truncated"].to_pylist() == [said]


def test_a_giant_in_several_rows_keeps_them() -> None:
    rows = two_zones([row(5, n_parts=2), row(5, part_no=1, n_parts=2)], [row(3)])
    parts = [shapely.box(n * 1e-4, 0, (n + 1) * 1e-4, 1e-4) for n in range(3)]
    found, drawing = drawn_as(parts, parts, [5, 5, 1003])
    table = merged_rows(rows, found, np.array([0, 0]), drawing, cut_off=no_cut(3))
    assert table["instance_id"].to_pylist() == [5, 5, 5]
    assert table["part_no"].to_pylist() == [0, 1, 2]
    assert table["n_parts"].to_pylist() == [3, 3, 3]
    assert sum(shapely.area(shapely.from_wkb(table["geometry"].to_pylist()))) == pytest.approx(3e-8)


def test_slivers_along_the_line_are_dropped_and_real_parts_stay() -> None:
    rows = two_zones([row(5)], [row(3)])
    px = 1e-5
    sliver = shapely.box(-0.4 * px, 0, -0.1 * px, 20 * px)
    real = shapely.union_all([shapely.box(0, 0, 9 * px, 20 * px), shapely.box(12 * px, 0, 15 * px, 20 * px)])
    found, drawing = drawn_as([sliver, real], [sliver, real], [5, 1003])
    table = merged_rows(rows, found, np.array([0, 0]), drawing, cut_off=no_cut(2))
    drawn = shapely.from_wkb(table["geometry"][0].as_py())
    assert shapely.get_num_geometries(drawn) == 2
    assert shapely.symmetric_difference(drawn, real).area < 1e-12


def test_nothing_drawn_gives_no_row() -> None:
    rows = two_zones([row(5)], [])
    found, drawing = drawn_as([shapely.box(0, 0, 1, 1)], [shapely.MultiPolygon()], [5])
    assert merged_rows(rows, found, np.array([0]), drawing, cut_off=no_cut(1)).num_rows == 0
