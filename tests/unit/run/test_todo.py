"""Which blocks are left. Every block is one tile; the first has a whole record, the last has none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.grid.tiles import GridOptions, plan_tiles
from pipeline.run.todo import Changes, todo
from pipeline.schema.imagery import Scene
from pipeline.schema.tile_answers import BlockRecord, Reason, TileRecord, TileStatus
from pipeline.schema.tiling import BlockSpec
from pipeline.write.records.block_records import write_block_record
from pipeline.write.records.record_keys import AlikeKeys, BlockKey
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, write_run_json

FINGERPRINT = "ab" * 32
OLD, INPUTS = "cd" * 32, '{"run":"before"}'
SCENE = Scene(
    scene_id="a",
    href="/a.tif",
    crs_wkt=None,
    transform=(1, 0, 0, 0, -1, 0),
    width=60,
    height=12,
    count=3,
    dtype="uint8",
    rgb_bands=(1, 2, 3),
    nodata=None,
)
OUTCOMES: tuple[tuple[TileStatus, Reason, str] | None, ...] = (
    (TileStatus.EMPTY, Reason.PROMPTER, ""),
    (TileStatus.FAILED, Reason.UNREADABLE, "a: the server answered 403"),
    (TileStatus.FAILED, Reason.UNREADABLE, "/a.tif: short body"),
    (TileStatus.FAILED, Reason.MALFORMED, "a: no JSON"),
    None,
)


def record_of(block: BlockSpec, outcome: tuple[TileStatus, Reason, str]) -> BlockRecord:
    (tile,) = block.tiles
    status, reason, error = outcome
    row = TileRecord(tile=tile, query_index=0, status=status, reason=reason, error=error)
    valid = {tile.tile_id: np.ones(tile.core.shape, dtype=np.bool_)}
    return BlockRecord(block_id=block.block_id, fingerprint=FINGERPRINT, tiles=(row,), valid=valid)


def context_of(folder: Path, scene: Scene, *, unread: tuple[str, ...]) -> Any:
    """What `todo` looks at of a run's context, with the records of OUTCOMES."""
    plan = plan_tiles(None, [SCENE], GridOptions(tile_px=16, halo_px=2, block_tiles=1))
    run_dir = RunDir(folder)
    for block, outcome in zip(plan.blocks(), OUTCOMES, strict=True):
        if outcome is not None:
            write_block_record(run_dir, record_of(block, outcome), lattice=plan.lattice)
    info = RunInfo(
        run_id="r",
        fingerprint=FINGERPRINT,
        status="running",
        parameters={},
        queries=("q",),
        lattice=plan.lattice,
        scenes=(scene,),
        unread=unread,
    )
    write_run_json(run_dir.run_json, info)
    sources = (SimpleNamespace(scene=scene),)
    return SimpleNamespace(plan=plan, run_dir=str(folder), keys=AlikeKeys(FINGERPRINT), scene_sources=sources)


def left(context: Any, *, retry_failed: bool = False) -> list[int]:
    return [block.block_col for block in todo(context, retry_failed=retry_failed).blocks]


@pytest.mark.parametrize(
    ("failure", "unread", "want"),
    [
        ("", ("a",), [1, 4]),
        ("", (), [4]),
        ("", ("b",), [4]),
        ("still 403", ("a",), [4]),
    ],
)
def test_only_blocks_that_needed_a_scene_which_can_be_read_by_now_are_done_again(
    tmp_path: Path, failure: str, unread: tuple[str, ...], want: list[int]
) -> None:
    context = context_of(tmp_path, replace(SCENE, failure=failure), unread=unread)
    assert left(context) == want
    assert left(context, retry_failed=True) == [1, 2, 3, 4]


def test_every_planned_block_is_counted_once(tmp_path: Path) -> None:
    context = context_of(tmp_path, SCENE, unread=("a",))
    RunDir(tmp_path).block("b00000_00003").write_bytes(b"no record")
    RunDir(tmp_path).block("b00007_00000").write_bytes(b"of a larger area")
    found = todo(context, retry_failed=True, update=True)
    assert found.changes == Changes(
        n_stay=1,
        again={
            "b00000_00001": "a scene that can be read now",
            "b00000_00002": "failed tiles",
            "b00000_00003": "a record that is not usable",
        },
        n_new=1,
        n_out=1,
    )
    assert found.notes[-2].startswith("1 block stays as they are, 3 done again (1 for ")
    assert "would be done again (1 for" in found.changes.text(would=True)
    assert found.notes[-1].startswith("1 block records lie outside of the area now")


def test_it_says_which_and_why_and_counts_what_is_done(tmp_path: Path) -> None:
    found = todo(context_of(tmp_path, SCENE, unread=("a",)), retry_failed=False)
    assert found.notes == ("block b00000_00001 is done again: a scene can be read now",)
    assert found.done_tiles == 3


def test_a_record_that_lacks_added_queries_alone_is_asked_no_more_than_these(tmp_path: Path) -> None:
    context = context_of(tmp_path, SCENE, unread=())

    class Keys(AlikeKeys):
        def of(self, block_id: str) -> BlockKey:
            return BlockKey(fingerprint=self.fingerprint, inputs=INPUTS if self.fingerprint == OLD else "now")

    kept = next(context.plan.blocks())
    old = replace(record_of(kept, (TileStatus.EMPTY, Reason.PROMPTER, "")), fingerprint=OLD, inputs=INPUTS)
    RunDir(tmp_path).block(kept.block_id).delete()
    write_block_record(RunDir(tmp_path), old, lattice=context.plan.lattice)
    context.keys = Keys(FINGERPRINT)
    found = todo(context, retry_failed=False, update=True, before=Keys(OLD))
    assert found.asked_more == {kept.block_id}
    assert [block.block_col for block in found.blocks] == [0, 4]
    assert found.changes == Changes(n_stay=3, again={}, n_new=1, n_out=0, n_more=1)
    assert found.notes == ("3 blocks stay as they are, 1 asked the added queries alone, 0 done again, 1 new",)
    without = todo(context, retry_failed=False)
    assert (without.asked_more, without.changes.again) == (
        frozenset(),
        {kept.block_id: "a record that is not usable"},
    )
