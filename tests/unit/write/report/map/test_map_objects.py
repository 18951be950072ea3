"""Which objects the map holds: all in order, or those that the budget allows, and how many lie where."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from mapped_worlds import IDS, LATTICE, WHY, objects_of, write_run

from pipeline.write.report import report_objects
from pipeline.write.report.map import map_objects as module
from pipeline.write.report.map.map_objects import map_objects
from pipeline.write.report.report_objects import read_objects


def test_all_of_them_are_there_the_largest_first(tmp_path: Path) -> None:
    run_dir, objects = write_run(tmp_path)
    told = map_objects(run_dir, objects, LATTICE.grid)
    assert told["id"] == [str(IDS[at]) for at in (2, 1, 0, 3)]
    assert told["query"] == [1, 0, 0, 1]
    assert told["area_px"] == [6000, 1600, 1200, 4]
    assert told["area_m2"] == pytest.approx([1500, 400, 300, 1], rel=0.01)
    assert told["tiles"] == [1, 2, 1, 1]
    assert told["cut"] == [0, 0, 0, 1]
    assert [told["texts"][at] for at in told["why"]] == [WHY[at] for at in (2, 1, 0, 3)]
    assert base64.b64decode(told["rings"]) == bytes([2, 1, 1, 1])
    assert "squares" not in told
    assert not told["reduced"]


def test_beyond_the_budget_the_rest_is_counted_in_squares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_objects, "MAX_OUTLINES", 1)
    monkeypatch.setattr(report_objects, "MAX_DOUBTFUL", 1)
    run_dir, objects = write_run(tmp_path)
    told = map_objects(run_dir, objects, LATTICE.grid)
    assert told["id"] == [str(IDS[2]), str(IDS[3])]  # the largest, and the least sure
    assert told["n"] == 4
    counts = [np.frombuffer(base64.b64decode(text), dtype=np.uint8) for text in told["squares"]["counts"]]
    assert [one.sum() for one in counts] == [2, 2]
    side = 400 / 96
    where = [int(120 // side) * 96 + int(170 // side), int(35 // side) * 96 + int(40 // side)]
    assert counts[0][where].tolist() == [1, 1]


def test_outlines_are_reduced_then_left_out_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    circle = shapely.Point(300, 200).buffer(40, quad_segs=200)
    table = objects_of((shapely.box(20, 20, 60, 50), shapely.box(150, 100, 190, 140), circle))
    run_dir, objects = write_run(tmp_path, table)
    monkeypatch.setattr(module, "MAX_VERTICES", 40)
    told = map_objects(run_dir, objects, LATTICE.grid)
    assert told["reduced"]
    assert len(told["id"]) == 3
    monkeypatch.setattr(module, "MAX_VERTICES", 9)
    told = map_objects(run_dir, objects, LATTICE.grid)
    assert told["id"] == [str(IDS[2])]
    assert told["n"] == 3
    assert "squares" in told


def test_the_page_does_not_grow_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_objects, "MAX_OUTLINES", 60)
    monkeypatch.setattr(report_objects, "MAX_DOUBTFUL", 30)
    sizes = []
    for n in (300, 1500):
        rng = np.random.default_rng(n)
        corner = rng.integers(0, (380, 280), (n, 2))
        boxes = shapely.box(*corner.T, *(corner + rng.integers(2, 15, (n, 2))).T)
        table = objects_of().take(np.zeros(n, dtype=np.int64))
        table = replace(
            table,
            instance_id=np.arange(1, n + 1, dtype=np.uint64),
            score=rng.random(n).astype(np.float32),
            area_px=shapely.area(boxes).astype(np.int64),
            polygons=boxes,
            rationale=[f"reason number {i:05d}" for i in range(n)],
        )
        told = map_objects(*write_run(tmp_path / str(n), table), LATTICE.grid)
        assert told["n"] == n
        assert 60 < len(told["id"]) <= 90
        counted = np.frombuffer(base64.b64decode(told["squares"]["counts"][0]), dtype=np.uint8)
        assert counted.sum() == n
        sizes.append(len(json.dumps(told)))
    assert sizes[1] < 1.1 * sizes[0]


def test_texts_without_room_are_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir, objects = write_run(tmp_path)
    monkeypatch.setattr(module, "MAX_TEXT_CHARS", len(WHY[1]) + len("roof"))
    told = map_objects(run_dir, objects, LATTICE.grid)
    places = dict(zip(told["id"], told["why"], strict=True))
    assert told["texts"][places[str(IDS[1])]] == WHY[1]  # the lower score has the room
    assert places[str(IDS[0])] == -1


def test_parts_of_one_object_become_one(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    run_dir, _ = write_run(tmp_path)
    (path,) = sorted((tmp_path / "instances").glob("*.parquet"))
    rows = pq.read_table(path)
    mine = rows["instance_id"].to_numpy()
    split = np.isin(mine, [IDS[0], IDS[1]])
    for name, values in (
        ("instance_id", np.where(split, IDS[0], mine)),
        ("part_no", np.where(mine == IDS[1], 1, 0)),
        ("n_parts", np.where(split, 2, 1)),
    ):
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), pa.array(values, type=rows.schema.field(at).type))
    pq.write_table(rows, path)
    told = map_objects(run_dir, read_objects(run_dir, n_queries=2, seed=0), LATTICE.grid)
    at = told["id"].index(str(IDS[0]))
    assert told["n"] == len(told["id"]) == 3
    assert told["area_px"][at] == 2800
    assert told["tiles"][at] == 3
    assert base64.b64decode(told["rings"])[at] == 2


def test_without_an_object_there_is_nothing(tmp_path: Path) -> None:
    run_dir, objects = write_run(tmp_path, objects_of().take(np.zeros(0, dtype=np.int64)))
    told = map_objects(run_dir, objects, LATTICE.grid)
    assert told["id"] == []
    assert told["texts"] == [""]
