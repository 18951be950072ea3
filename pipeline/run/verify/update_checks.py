"""A run whose update has begun and not ended: the result before it counts, and is judged by its own plan.

1. run.json says what the update makes of the run (`block_inputs.aim_of`), and plan.parquet is the update's
   already. The plan of the result that counts is read from its ledger (`ledger_plan`).
2. A record may be of the older plan or of the update's. One that is missing is damage only where the older
   plan has its block, because an update removes none.
3. Zones are updated one after the other, and the result of all comes last. It is judged with the snapshots of
   the zones that it was made of.
4. What the update has replaced was the source of the ledger and the rasters that count. There these are
   compared with each other alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.run.block_inputs import keys_of_aim, keys_of_run
from pipeline.run.verify.findings import Findings
from pipeline.run.verify.record_checks import NO_RECORD, Records, check_unplanned
from pipeline.schema.tiling import block_id
from pipeline.write.ledger_plan import read_looked_at
from pipeline.write.plan_table import planned_blocks, read_inside
from pipeline.write.records.done_records import DoneBlocks, done_blocks
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, read_run_json
from pipeline.write.zoned.zoned_json import ZonedInfo

Inside = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class OpenUpdate:
    """How far an update is."""

    records: Records
    """Of the result that counts, with those that the update has replaced."""
    whole: bool
    """Whether every block of the older plan has a whole record, of whichever plan."""
    n_older: int
    """Blocks whose record is still of the older plan."""
    n_new: int
    """Blocks that only the update has, and that have no record yet."""


def update_text(n_older: int, n_new: int, others: Sequence[str] = ()) -> str:
    """Say that an update has not ended, and what is left of it: blocks of the older plan, new ones, and what
    `others` say.
    """
    left = [f"{n_older} {_blocks(n_older)} still of the older plan"] if n_older else []
    left += [f"{n_new} new {_blocks(n_new)} not done yet"] if n_new else []
    left += others
    what = ", ".join(left) or "all blocks are done, and the result is not published"
    return (
        f"an update is under way or was interrupted; {what}; start the same command again. Until it ends, "
        "the result before it counts, and is what is judged here"
    )


def zoned_update_text(run_dir: RunDir, info: ZonedInfo, opened: Mapping[str, OpenUpdate]) -> str:
    """Say how far the update of a run of several zones is. `opened`: how far those are that have begun and
    not ended.
    """
    coming = dict(info.update.get("zones", {}))
    before = {entry.name: entry.fingerprint for entry in info.zones}
    others = []
    n_new = sum(update.n_new for update in opened.values())
    for name, fingerprint in coming.items():
        place = RunDir(run_dir.zones / name)
        if name in opened or before.get(name) == fingerprint:
            continue
        if not place.has_run():
            others.append(f"zone {name} is not begun")
        elif (own := read_run_json(place.run_json)).status == "running" and name not in before:
            n_new += _n_missing(place, own)
        elif own.fingerprint != fingerprint:
            others.append(f"zone {name} is still of the older plan")
    return update_text(sum(update.n_older for update in opened.values()), n_new, others)


def _n_missing(run_dir: RunDir, info: RunInfo) -> int:
    """Count the blocks of a zone's plan that have no whole record."""
    try:
        inside = read_inside(run_dir.plan, info.lattice)
        names = _named(info, inside)
        return len(names) - len(done_blocks(run_dir, keys_of_run(info, inside), names).done)
    except InputError:  # it has just begun
        return 0


def plan_that_counts(run_dir: RunDir, info: RunInfo, found: Findings) -> Inside | None:
    """Read the plan of the result that counts. None: its ledger cannot be read."""
    try:
        return read_looked_at(run_dir.coverage, info.lattice)
    except InputError as error:
        found.add("ledger", run_dir.coverage.name, str(error))
        return None


def scenes_of_both(info: RunInfo) -> set[str]:
    """The scene_ids that plan.parquet may name."""
    coming = info.update.get("scenes", ())
    return {scene.scene_id for scene in info.scenes} | {str(scene[0]) for scene in coming}


def check_open_update(
    records: Records, info: RunInfo, inside: Inside, coming: Inside | None, found: Findings
) -> OpenUpdate:
    """Check the records of a run whose update has not ended. `inside`: the plan of the result that counts.
    `coming`: the update's; None: it cannot be read.
    """
    older = _named(info, inside)
    newer = older if coming is None else _named(info, coming)
    before = done_blocks(records.run_dir, records.keys, older)
    try:
        after = done_blocks(records.run_dir, keys_of_aim(info, inside if coming is None else coming), newer)
    except InputError as error:
        found.add("run.json", "update", str(error))
        after = before
    replaced = set()
    n_damaged = 0
    for name in sorted({*older, *newer} - set(before.done)):
        if name in after.done or _is_of_other_plan(records, name, before, after):
            replaced.add(name)
        elif name in older or name in after.unusable:
            n_damaged += 1
            why = after.unusable.get(name, NO_RECORD)
            found.add("records", name, before.unusable.get(name, why))
    check_unplanned(records, {*older, *newer}, found)
    waiting = set(newer) - set(after.done)
    there = set(before.done) | replaced
    return OpenUpdate(
        records=replace(records, replaced=frozenset(replaced.intersection(older))),
        whole=not n_damaged,
        n_older=len(waiting & there),
        n_new=len(waiting - there - set(older)),
    )


def _is_of_other_plan(records: Records, name: str, before: DoneBlocks, after: DoneBlocks) -> bool:
    """Whether a whole record is this run's, of a plan that is neither."""
    inputs = before.other_inputs.get(name, after.other_inputs.get(name, ""))
    return records.keys.is_own(name, inputs)


def _named(info: RunInfo, inside: Inside) -> list[str]:
    return [block_id(*block) for block in planned_blocks(info.lattice, inside)]


def _blocks(n: int) -> str:
    return "block is" if n == 1 else "blocks are"
