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
class Changes:
    """What a start makes of the blocks of a run. The planned ones stay, are done again or have no record."""

    n_stay: int
    again: Mapping[str, str]
    """block_id -> why it is done again."""
    n_new: int
    n_out: int
    """Records of blocks that are not planned any more."""
    n_more: int = 0
    """Blocks that are asked added queries alone: their answers to the others stay."""

    def text(self, *, would: bool = False, new: str = "new") -> str:
        """Tell the counts, as what is done or `would` be. `new`: what blocks without a record are called."""
        stay = f"{self.n_stay} {_blocks(self.n_stay)}"
        stays = "would stay" if would else "stays" if self.n_stay == 1 else "stay"
        whys = "; ".join(f"{count} for {why}" for why, count in Counter(self.again.values()).most_common())
        again = f"{len(self.again)} {'would be ' if would else ''}done again" + (f" ({whys})" if whys else "")
        more = f"{self.n_more} asked the added queries alone, " if self.n_more else ""
        return f"{stay} {stays} as they are, {more}{again}, {self.n_new} {new}"

    def set_aside_text(self) -> str:
        """Say what becomes of records of blocks that are not planned any more. Empty: there are none."""
        if not self.n_out:
            return ""
        return (
            f"{self.n_out} block records lie outside of the area now: they are kept, and count when it "
            "reaches them; jobs/clean_run.py removes them"
        )


@dataclass(frozen=True, kw_only=True)
class Todo:
    """What is left of a run."""

    blocks: tuple[BlockSpec, ...]
    done_tiles: int
    """Tiles of blocks that an earlier start committed."""
    changes: Changes
    notes: tuple[str, ...] = ()
    redone: Mapping[str, str] = field(default_factory=dict)
    """block_id -> seal of the record of a block that is done although it has one."""
    asked_more: frozenset[str] = frozenset()
    """block_ids of `blocks` that are asked added queries alone."""


def todo(
    context: RunContext, *, retry_failed: bool, update: bool = False, before: RecordKeys | None = None
) -> Todo:
    """Find the blocks that have no usable record of their inputs, and those that needed a scene which can be
    read by now; with `retry_failed` all with a failed tile. `update`: say also what stays and what is new.
    `before`: what records are of that lack nothing but added queries. Writes nothing.
    """
    run_dir = RunDir(context.run_dir)
    planned = list(context.plan.blocks())
    done = done_blocks(run_dir, context.keys, [block.block_id for block in planned])
    more = frozenset() if before is None else _of_inputs(done, before)
    touched = _touched(done, context.keys)
    damaged = {
        name: why for name, why in sorted(done.unusable.items()) if name not in touched and name not in more
    }
    notes = [f"block record {name} is done again: {why}" for name, why in damaged.items()]
    healed = _healed(context, run_dir)
    again = {
        name: "a scene that can be read now"
        for name in sorted(done.done)
        if healed and needed_unread(_summaries(context, run_dir, name), healed)
    }
    notes += [f"block {name} is done again: a scene can be read now" for name in again]
    if retry_failed:
        failed = sorted(name for name in done.done.keys() - again if _has_failed(context, run_dir, name))
        notes += [f"block {name} has failed tiles and is done again" for name in failed]
        again |= dict.fromkeys(failed, "failed tiles")
    left = [block for block in planned if block.block_id not in done.done or block.block_id in again]
    changes = Changes(
        n_stay=len(planned) - len(left),
        again=touched | dict.fromkeys(damaged, "a record that is not usable") | again,
        n_new=len(planned) - len(done.done) - len(done.unusable),
        n_out=_n_out(run_dir, {block.block_id for block in planned}) if update else 0,
        n_more=len(more),
    )
    if update or touched:
        notes += [text for text in (changes.text(), changes.set_aside_text()) if text]
    n_left = sum(len(block.tiles) for block in left)
    return Todo(
        blocks=tuple(left),
        done_tiles=sum(len(block.tiles) for block in planned) - n_left,
        changes=changes,
        notes=tuple(notes),
        redone={name: done.done[name] for name in sorted(again)},
        asked_more=more,
    )


def _blocks(n: int) -> str:
    return "block" if n == 1 else "blocks"


def _touched(done: DoneBlocks, keys: RecordKeys) -> dict[str, str]:
    """block_id -> why it is done again, of blocks whose tiles or scenes have changed."""
    found = {name: why_again(inputs, key_of(keys, name)) for name, inputs in done.other_inputs.items()}
    return {name: why for name, why in found.items() if why}


def _of_inputs(done: DoneBlocks, keys: RecordKeys) -> frozenset[str]:
    """The block_ids of records that are whole and of these inputs."""
    return frozenset(
        name for name, inputs in done.other_inputs.items() if key_of(keys, name).inputs == inputs
    )


def _n_out(run_dir: RunDir, planned: Set[str]) -> int:
    """Count the records of blocks that are not planned any more."""
    return sum(path.stem not in planned for path in record_files(run_dir))


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
