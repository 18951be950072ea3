"""What was asked before queries were added, and which blocks need the new ones alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.errors import MissingRecordError
from pipeline.run.added.asked_before import AskedBefore, parts_of
from pipeline.run.todo import Changes, Todo
from pipeline.schema.tile_answers import BlockRecord, Reason, TileRecord, TileStatus
from pipeline.schema.tiling import BlockSpec, RunGrid, TileLattice
from pipeline.write.records.block_records import write_block_record
from pipeline.write.records.record_keys import AlikeKeys
from pipeline.write.run_dir import RunDir

LATTICE = TileLattice(
    grid=RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=30, height=10),
    tile_px=12,
    halo_px=1,
    block_tiles=1,
)
OLD, NEW = "0" * 64, "1" * 64


@dataclass(frozen=True)
class Context:
    """What `parts_of` looks at."""

    config: Any
    redone: Any
    asked: Any = None


@dataclass(frozen=True)
class Config:
    queries: tuple[str, ...]


def record(key: str, *texts: str) -> BlockRecord:
    (tile,) = LATTICE.tiles_of_block(0, 0)
    rows = tuple(
        TileRecord(tile=tile, query_index=q, status=TileStatus.EMPTY, reason=Reason.PROMPTER, reply=text)
        for q, text in enumerate(texts)
    )
    valid = {tile.tile_id: np.ones(tile.core.shape, dtype=np.bool_)}
    return BlockRecord(block_id="b00000_00000", fingerprint=key, inputs=key, tiles=rows, valid=valid)


def test_what_is_committed_is_joined_once(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    asked = AskedBefore(queries=("a",), keys=AlikeKeys(OLD))
    with pytest.raises(MissingRecordError):
        asked.joined(run_dir, record(NEW, "c"))
    write_block_record(run_dir, record(OLD, "a"), lattice=LATTICE)
    joined = asked.joined(run_dir, record(NEW, "c"))
    assert [row.reply for row in joined.tiles] == ["a", "c"]
    write_block_record(run_dir, joined, lattice=LATTICE)
    late = asked.joined(run_dir, record(NEW, "another attempt"))
    assert [row.reply for row in late.tiles] == ["a", "c"], "another attempt was first"


def test_blocks_with_answers_are_asked_the_added_queries_alone() -> None:
    blocks: Any = [SimpleNamespace(block_id=name) for name in ("x", "y", "z")]
    specs: tuple[BlockSpec, ...] = tuple(blocks)
    left = Todo(
        blocks=specs,
        done_tiles=5,
        changes=Changes(n_stay=2, again={}, n_new=1, n_out=0, n_more=2),
        asked_more=frozenset({"x", "z"}),
    )
    asked = AskedBefore(queries=("a",), keys=AlikeKeys(OLD))
    context: Any = Context(config=Config(("a", "c")), redone={"y": "seal"})
    (whole, some), (more, rest) = parts_of(context, left, asked)
    assert [block.block_id for block in some.blocks] == ["y"]
    assert (whole.config.queries, whole.asked, whole.redone) == (("a", "c"), None, {"y": "seal"})
    assert [block.block_id for block in rest.blocks] == ["x", "z"]
    assert (more.config.queries, more.asked, more.redone) == (("c",), asked, {})
    assert (some.done_tiles + rest.done_tiles, some.changes.n_stay + rest.changes.n_stay) == (5, 2)
    (alone,) = parts_of(context, replace(left, asked_more=frozenset()), None)
    assert alone[1].blocks == specs
