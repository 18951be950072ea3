"""What is left of a run: the plan, compared with the committed block records.

A block is done when its record is whole and of its inputs: its tiles that are looked at, and the scenes that
reach them (`block_inputs`). It is done again when one of its tiles failed for a scene that could not be read,
and that can be read by now, or for any reason where `--retry-failed` asks for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from pipeline.run.block_inputs import why_again
from pipeline.run.earlier_start import needed_unread
from pipeline.run.infer.steps import RunContext
from pipeline.schema.tiling import BlockSpec
from pipeline.write.records.block_records import BlockSummaries, read_summaries
from pipeline.write.records.done_records import DoneBlocks, done_blocks, record_files
from pipeline.write.records.record_keys import RecordKeys, key_of
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


def todo(context: RunContext, *, retry_failed: bool, update: bool = False) -> Todo:
    """Find the blocks that have no usable record of their inputs, and those that needed a scene which can be
    read by now; with `retry_failed` all with a failed tile. `update`: say also what stays and what is new.
    """
    run_dir = RunDir(context.run_dir)
    planned = list(context.plan.blocks())
    done = done_blocks(run_dir, context.keys, [block.block_id for block in planned])
    touched = _touched(done, context.keys)
    notes = [
        f"block record {block_id} is done again: {why}"
        for block_id, why in sorted(done.unusable.items())
        if block_id not in touched
    ]
    finished = set(done.done)
    healed = _healed(context, run_dir)
    again = {
        block_id
        for block_id in finished
        if healed and needed_unread(_summaries(context, run_dir, block_id), healed)
    }
    notes += [f"block {block_id} is done again: a scene can be read now" for block_id in sorted(again)]
    if retry_failed:
        failed = {block_id for block_id in finished - again if _has_failed(context, run_dir, block_id)}
        notes += [f"block {block_id} has failed tiles and is done again" for block_id in sorted(failed)]
        again |= failed
    finished -= again
    if update or touched:
        n_new = len(planned) - len(done.done) - len(done.unusable)
        notes += _changes(n_stay=len(finished), touched=touched, n_new=n_new)
    if update:
        notes += _set_aside(run_dir, {block.block_id for block in planned})
    blocks = []
    done_tiles = 0
    for block in planned:
        if block.block_id in finished:
            done_tiles += len(block.tiles)
        else:
            blocks.append(block)
    redone = {block_id: done.done[block_id] for block_id in sorted(again)}
    return Todo(blocks=tuple(blocks), done_tiles=done_tiles, notes=tuple(notes), redone=redone)


def _touched(done: DoneBlocks, keys: RecordKeys) -> dict[str, str]:
    """block_id -> why it is done again, of blocks whose tiles or scenes have changed."""
    found = {name: why_again(inputs, key_of(keys, name)) for name, inputs in done.other_inputs.items()}
    return {name: why for name, why in found.items() if why}


def _changes(*, n_stay: int, touched: Mapping[str, str], n_new: int) -> list[str]:
    """Say how many blocks stay, how many are done again and why, and how many are new."""
    counts = Counter(touched.values()).most_common()
    whys = "; ".join(f"{count} for {why}" for why, count in counts)
    again = f"{len(touched)} done again" + (f" ({whys})" if whys else "")
    return [f"{n_stay} {'block stays' if n_stay == 1 else 'blocks stay'} as they are, {again}, {n_new} new"]


def _set_aside(run_dir: RunDir, planned: Set[str]) -> list[str]:
    """Say how many records are of blocks that are not planned any more."""
    n = sum(path.stem not in planned for path in record_files(run_dir))
    if not n:
        return []
    return [f"{n} block records lie outside of the area now: they are kept, and count when it reaches them"]


def _healed(context: RunContext, run_dir: RunDir) -> list[str]:
    """scene_ids of scenes that an earlier start could not read, and that can be read now."""
    readable = [source.scene.scene_id for source in context.scene_sources if not source.scene.failure]
    if not readable or not run_dir.run_json.is_file():
        return []
    unread = set(read_run_json(run_dir.run_json).unread)
    return [name for name in readable if name in unread]


def _has_failed(context: RunContext, run_dir: RunDir, block_id: str) -> bool:
    return any(tile.status == "failed" for tile in _summaries(context, run_dir, block_id).tiles)


def _summaries(context: RunContext, run_dir: RunDir, block_id: str) -> BlockSummaries:
    return read_summaries(run_dir.block(block_id), key_of(context.keys, block_id).fingerprint)
