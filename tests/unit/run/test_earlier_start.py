"""What a start may take over from an earlier one, case by case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RunMismatchError
from pipeline.run.earlier_start import EarlierStart, earlier_start, needed_unread, require_same_pins
from pipeline.run.scene_pins import pins_of
from pipeline.schema.imagery import Scene
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.records.block_records import BlockSummaries, TileRecord
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, write_run_json

GRID = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 5.0, 0.0, -1.0, 9.0), width=30, height=20)
LATTICE = TileLattice(grid=GRID, tile_px=16, halo_px=2, block_tiles=1)
ASKED = {"area": "a", "grid": {"crs": None}, "tiles": {"px": 16}}


def scene(name: str, content: str = "", **changes: Any) -> Scene:
    return Scene(
        scene_id=name,
        href=f"/{name}.tif",
        crs_wkt=None,
        transform=(1, 0, 5, 0, -1, 9),
        width=9,
        height=9,
        count=3,
        dtype="uint8",
        rgb_bands=(1, 2, 3),
        nodata=None,
        collection="c",
        identity={"sha256": content} if content else {},
        **changes,
    )


def earlier_of(*scenes: Scene, unread: tuple[str, ...] = ()) -> EarlierStart:
    return EarlierStart(
        fingerprint="f",
        parameters={**ASKED, "grid": {"crs": None, "transform": [1]}, "tiles": {"px": 16}},
        grid=GRID,
        scenes={each.scene_id: each for each in scenes},
        pins=pins_of(scenes),
        unread=frozenset(unread),
    )


def test_a_grid_is_kept_where_some_scene_cannot_be_read_then_or_now() -> None:
    good = scene("a", "1")
    bad = replace(good, failure="403")
    assert earlier_of(good).grid_for([good], ASKED) is None
    assert earlier_of(good).grid_for([bad], ASKED) == GRID
    assert earlier_of(bad, unread=("a",)).grid_for([good], ASKED) == GRID
    for other in ({"area": "b"}, {"grid": {"crs": "EPSG:4326"}}, {"tiles": {"px": 32}}):
        assert earlier_of(good).grid_for([bad], {**ASKED, **other}) is None


def test_a_scene_that_was_read_keeps_its_place() -> None:
    before = scene("a", "1")
    now = scene("a", access="token", failure="the server answered 403")
    guess = replace(now, width=1, height=1, transform=(99, 0, 0, 0, -99, 0))
    (kept,) = earlier_of(before).with_places([guess])
    assert kept == replace(before, failure=now.failure, access="token")
    never = earlier_of(replace(before, failure="broken"))
    assert never.with_places([guess]) == (guess,)
    assert earlier_of(before).with_places([scene("a", "2")]) == (scene("a", "2"),)


def test_other_content_is_refused_also_after_a_start_that_could_not_read_it(tmp_path: Path) -> None:
    out = RunDir(tmp_path)
    first = earlier_of(scene("a", "1"), scene("b", "1"))
    require_same_pins(out, first, [scene("a", "1"), scene("b", "2", failure="403"), scene("new", "1")])
    between = replace(first, scenes={}, unread=frozenset("b"))
    with pytest.raises(RunMismatchError, match=r'scenes\.b\.sha256: "1" -> "2"'):
        require_same_pins(out, between, [scene("a", "1"), scene("b", "2")])
    require_same_pins(out, None, [scene("a", "2")])
    require_same_pins(out, earlier_of(scene("a", failure="403")), [scene("a", "2")])


def test_it_is_read_from_run_json(tmp_path: Path) -> None:
    out = RunDir(tmp_path)
    assert earlier_start(out) is None
    scenes = (scene("a", "1"), scene("b", failure="broken"))
    info = RunInfo(
        run_id="r",
        fingerprint="f",
        status="running",
        parameters=ASKED,
        queries=("q",),
        lattice=LATTICE,
        scenes=scenes,
        pins=pins_of(scenes),
        unread=("b",),
    )
    write_run_json(out.run_json, info)
    found = earlier_start(out)
    assert found is not None
    assert found.grid == GRID
    assert found.pins == {"a": {"scene_id": "a", "bands": [1, 2, 3], "sha256": "1"}}
    assert found.unread == {"b"}
    assert found.scenes["a"] == scenes[0]
    out.run_json.write_bytes(b"{")
    assert earlier_start(out) is None


@pytest.mark.parametrize(
    ("reason", "error", "needed"),
    [
        (Reason.UNREADABLE, "a: the server answered 403", True),
        (Reason.UNREADABLE, "/a.tif: short body", False),
        (Reason.UNREADABLE, "ab: the server answered 403", False),
        (Reason.CRASHED, "a: x", False),
    ],
)
def test_a_block_needed_a_scene_where_the_errors_of_its_tiles_begin_with_it(
    reason: Reason, error: str, needed: bool
) -> None:
    record = TileRecord(
        tile=LATTICE.tile(0, 0), query_index=0, status=TileStatus.FAILED, reason=reason, error=error
    )
    summaries = BlockSummaries(block_id="b", tiles=(record,), n_embeddings=0)
    assert needed_unread(summaries, ["x", "a"]) is needed
    assert not needed_unread(summaries, [])
