"""Rows from arrays against rows made one by one, and prompts looked up in real block records."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from object_table import object_rows
from record_world import META, found_tile, id_raster, lattice_of, run_info, table_of

from pipeline.errors import RecordError
from pipeline.schema.tile_answers import BlockRecord, Prompt
from pipeline.write import instance_rows as instance_rows_module
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.instance_rows import MergedColumns, PromptBook, instance_rows, scene_lists
from pipeline.write.records.block_records import write_block_record
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.run_dir import RunDir

FP = "f" * 64
LATTICE = lattice_of()
PROMPTS = (
    Prompt(box_xyxy=(1.0, 2.0, 3.5, 4.0), points_xy=((1.5, 2.5), (3.0, 3.0)), point_labels=(1, 0), label="a"),
    Prompt(box_xyxy=None, points_xy=((0.25, 0.5),), point_labels=(1,), label="b"),
    Prompt(box_xyxy=(0.0, 0.0, 1.0, 1.0), label="é"),
)


@pytest.fixture
def book(tmp_path: Path) -> PromptBook:
    """Blocks (0, 0) and (1, 2), two queries in the first; the second query has other prompts."""
    rows = [
        replace(found_tile(LATTICE, r, c), prompts=PROMPTS, rationale=f"tile {r} {c}")
        for r, c in ((0, 1), (1, 0))
    ]
    rows.append(replace(found_tile(LATTICE, 0, 1, query_index=1), prompts=(), rationale="of the other query"))
    far = (replace(found_tile(LATTICE, 2, 4), prompts=PROMPTS[:1], rationale="far"),)
    for block_id, tiles in (("b00000_00000", tuple(rows)), ("b00001_00002", far)):
        valid = {row.tile.tile_id: np.ones(row.tile.core.shape, dtype=np.bool_) for row in tiles}
        write_block_record(
            RunDir(tmp_path),
            BlockRecord(block_id=block_id, fingerprint=FP, tiles=tiles, valid=valid),
            lattice=LATTICE,
        )
    return PromptBook(LATTICE, 0, RunDir(tmp_path).block, AlikeKeys(FP))


def test_prompts_are_found_and_moved_to_the_grid(book: PromptBook) -> None:
    tile = np.array([14, 5, 1, 1])
    prompt = np.array([0, 1, 2, 0])
    rows = book.look_up(tile, prompt).to_pylist()
    assert [row["rationale"] for row in rows] == ["far", "tile 1 0", "tile 0 1", "tile 0 1"]
    assert [row["label"] for row in rows] == ["a", "b", "é", "a"]
    read = [LATTICE.tile(*divmod(t, 5)).read for t in tile.tolist()]
    assert rows[0]["box_px"] == [
        1.0 + read[0].col0,
        2.0 + read[0].row0,
        3.5 + read[0].col0,
        4.0 + read[0].row0,
    ]
    assert rows[1]["box_px"] is None
    assert rows[1]["points"] == [{"x": 0.25 + read[1].col0, "y": 0.5 + read[1].row0, "label": 1}]
    assert rows[2]["points"] == []
    assert rows[3]["points"][1] == {"x": 3.0 + read[3].col0, "y": 3.0 + read[3].row0, "label": 0}
    assert book.look_up(tile[:0], prompt[:0]).num_rows == 0


def test_a_prompt_that_is_not_on_record_is_damage(book: PromptBook) -> None:
    for tile, prompt in ((1, 3), (0, 0), (14, 1)):
        with pytest.raises(RecordError, match="lacks prompts"):
            book.look_up(np.array([tile]), np.array([prompt]))


def test_rows_equal_those_made_one_by_one(book: PromptBook) -> None:
    """The same objects through both doors: every column, the geometry's bytes included."""
    raster = id_raster(seed=0)
    scenes = (
        replace(run_info().scenes[0], datetime="2024-05-06T07:08:09.123Z"),
        replace(run_info().scenes[0], scene_id="east"),
    )
    table = table_of([raster])
    n = len(table)
    tile = np.array([1, 5, 14] * n)[:n]
    prompt = np.where(tile == 14, 0, np.arange(n) % 3)
    details = book.look_up(tile, prompt).to_pylist()
    nan = [float("nan")] * 4
    table = replace(
        table,
        label=[row["label"] for row in details],
        rationale=[row["rationale"] for row in details],
        box_px=np.array([row["box_px"] or nan for row in details]),
        points=[[(p["x"], p["y"], p["label"]) for p in row["points"]] for row in details],
        scene_ids=[["west", "east"]] * n,
        datetime=["2024-05-06T07:08:09Z"] * n,
    )
    area_m2 = geodesic_area_m2(table.polygons, LATTICE.grid)
    want = object_rows(table, grid=LATTICE.grid, meta=META)
    tiles = [np.array([int(name[1:6]) * 5 + int(name[-5:]) for name in names]) for names in table.tile_ids]
    columns = {
        name: getattr(table, name)
        for name in ("instance_id", "score", "area_px", "polygons", "truncated", "one_sided")
    }
    rows = MergedColumns(
        **columns,
        area_m2=area_m2,
        part_no=np.zeros(n, dtype=np.int32),
        n_parts=np.ones(n, dtype=np.int32),
        rep_place=(tile << 16) | 1,
        rep_prompt=prompt,
        tile_start=np.concatenate([[0], np.cumsum([t.size for t in tiles])]),
        tiles=np.concatenate(tiles),
        scene_start=np.arange(n + 1) * 2,
        scenes=np.tile([0, 1], n),
    )
    got = instance_rows(rows, book, query_index=0, lattice=LATTICE, scenes=scenes, meta=META)
    assert got.schema == want.schema
    assert got.combine_chunks().equals(want.combine_chunks())


def test_scene_lists_name_scenes_and_give_the_earliest_known_time() -> None:
    scene = run_info().scenes[0]
    scenes = [
        replace(scene, scene_id="new", datetime="2024-05-06T07:08:09.5Z"),
        replace(scene, scene_id="undated", datetime=None),
        replace(scene, scene_id="old", datetime="2020-01-01T00:00:00Z"),
    ]
    ids, times = scene_lists(np.array([0, 1, 1, 3, 4, 7]), np.array([0, 0, 2, 1, 0, 1, 2]), scenes)
    assert ids.to_pylist() == [["new"], [], ["new", "old"], ["undated"], ["new", "undated", "old"]]
    new = datetime(2024, 5, 6, 7, 8, 9, 500_000, tzinfo=UTC)
    old = datetime(2020, 1, 1, tzinfo=UTC)
    assert times.to_pylist() == [new, None, old, None, old]
    assert times.type == pa.timestamp("ms", tz="UTC")


def test_a_far_scene_of_many_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge asks per block and query; only dates of scenes that some object was judged on are read."""
    read: list[str] = []
    milliseconds = instance_rows_module._milliseconds
    monkeypatch.setattr(
        instance_rows_module, "_milliseconds", lambda text: read.append(text) or milliseconds(text)
    )
    scene = run_info().scenes[0]
    scenes = [replace(scene, datetime=f"2024-05-0{day}T00:00:00Z") for day in range(1, 7)]
    scene_lists(np.array([0, 2, 3]), np.array([1, 4, 1]), scenes)
    assert read == ["2024-05-02T00:00:00Z", "2024-05-05T00:00:00Z"]


def test_rows_of_known_locations_name_their_feature(tmp_path: Path) -> None:
    known = tuple(
        replace(prompt, feature_id=str(7 + k), attributes=f'{{"k": {k}}}') for k, prompt in enumerate(PROMPTS)
    )
    row = replace(found_tile(LATTICE, 0, 1), prompts=known)
    valid = {row.tile.tile_id: np.ones(row.tile.core.shape, dtype=np.bool_)}
    record = BlockRecord(block_id="b00000_00000", fingerprint=FP, tiles=(row,), valid=valid)
    write_block_record(RunDir(tmp_path), record, lattice=LATTICE)
    book = PromptBook(LATTICE, 0, RunDir(tmp_path).block, AlikeKeys(FP))
    rows = book.look_up(np.array([1, 1]), np.array([2, 0]))
    assert rows["feature_id"].to_pylist() == ["9", "7"]
    assert rows["feature_attributes"].to_pylist() == ['{"k": 2}', '{"k": 0}']
    meta = replace(META, known_locations=True)
    assert meta.schema.names[-2:] == ["feature_id", "feature_attributes"]
    assert "feature_id" not in META.schema.names
    both = replace(meta, verified=True)
    assert both.schema.names[-3:] == ["feature_id", "feature_attributes", "verified"]
