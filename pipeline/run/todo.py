"""What is left of a run: the plan, compared with the committed block records.

A block is done when its record is whole. It is done again when one of its tiles failed for a scene that could
not be read, and that can be read by now, or for any reason where `--retry-failed` asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.run.earlier_start import needed_unread
from pipeline.run.infer.steps import RunContext
from pipeline.schema.tiling import BlockSpec
from pipeline.write.records.block_records import read_summaries
from pipeline.write.records.done_records import done_blocks
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import read_run_json


@dataclass(frozen=True, kw_only=True)
class Todo:
    """What is left of a run."""

    blocks: tuple[BlockSpec, ...]
    done_tiles: int
    """Tiles of blocks that an earlier start committed."""
    notes: tuple[str, ...] = ()
    redone: Mapping[str, str] = field(default_factory=dict)
    """block_id -> seal of the record of a block that is done although it has one."""


def todo(context: RunContext, *, retry_failed: bool) -> Todo:
    """Find the blocks that have no usable record of this run, and those that needed a scene which can be read
    by now; with `retry_failed` all with a failed tile.
    """
    run_dir = RunDir(context.run_dir)
    planned = list(context.plan.blocks())
    done = done_blocks(run_dir, context.fingerprint, [block.block_id for block in planned])
    notes = [
        f"block record {block_id} is done again: {why}" for block_id, why in sorted(done.unusable.items())
    ]
    finished = set(done.done)
    healed = _healed(context, run_dir)
    again = {
        block_id
        for block_id in finished
        if healed and needed_unread(read_summaries(run_dir.block(block_id), context.fingerprint), healed)
    }
    notes += [f"block {block_id} is done again: a scene can be read now" for block_id in sorted(again)]
    if retry_failed:
        failed = {
            block_id for block_id in finished - again if _has_failed(run_dir, block_id, context.fingerprint)
        }
        notes += [f"block {block_id} has failed tiles and is done again" for block_id in sorted(failed)]
        again |= failed
    finished -= again
    blocks = []
    done_tiles = 0
    for block in planned:
        if block.block_id in finished:
            done_tiles += len(block.tiles)
        else:
            blocks.append(block)
    redone = {block_id: done.done[block_id] for block_id in sorted(again)}
    return Todo(blocks=tuple(blocks), done_tiles=done_tiles, notes=tuple(notes), redone=redone)


def _healed(context: RunContext, run_dir: RunDir) -> list[str]:
    """scene_ids of scenes that an earlier start could not read, and that can be read now."""
    readable = [source.scene.scene_id for source in context.scene_sources if not source.scene.failure]
    if not readable or not run_dir.run_json.is_file():
        return []
    unread = set(read_run_json(run_dir.run_json).unread)
    return [name for name in readable if name in unread]


def _has_failed(run_dir: RunDir, block_id: str, run_fingerprint: str) -> bool:
    summaries = read_summaries(run_dir.block(block_id), run_fingerprint)
    return any(tile.status == "failed" for tile in summaries.tiles)
