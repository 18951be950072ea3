"""Block records that fell out of the plan when a run went on with another area (`--update`).

1. A block is needed when plan.parquet has it, which is the plan of an update that has not ended, too, or when
   the ledger of a snapshot that stays says that it was looked at.
2. A record of any other block counts for nothing until an area reaches it again. It may go once it is old
   enough: somebody may be merging the larger area into another directory.
3. Where a whole zone fell out of the area, none of its records is needed once no result of all zones has it.
4. What cannot be told is needed: where a plan or a ledger cannot be read, all records stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from pipeline.errors import InputError
from pipeline.files.store.store_path import StorePath
from pipeline.files.store.stored_files import read_parquet
from pipeline.schema.tiling import block_id
from pipeline.write.ledger_plan import read_looked_at
from pipeline.write.plan_table import planned_blocks, read_inside
from pipeline.write.records.done_records import record_files
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo
from pipeline.write.zoned.zoned_json import ZonedInfo, read_any_run

_MOST_NAMED = 8
"""Blocks that a line names."""


@dataclass(frozen=True, kw_only=True)
class OldRecords:
    """Records of blocks that no snapshot needs, or why they stay."""

    names: tuple[str, ...] = ()
    """block_ids, in order."""
    n_bytes: int = 0
    stays: str = ""
    """Why they stay. Empty: they go."""

    def text(self) -> str:
        """Name them: how many, how large, which."""
        more = len(self.names) - _MOST_NAMED
        listed = ", ".join(self.names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        what = "record" if len(self.names) == 1 else "records"
        return (
            f"{len(self.names)} {what} of blocks that fell out of the plan, {self.n_bytes:,} bytes: {listed}"
        )


def plan_records(run_dir: RunDir, *, kept: Collection[str], min_age_s: float) -> OldRecords:
    """Find the records that neither the plan nor a snapshot needs. `kept`: names of the snapshots that stay.

    Raises InputError for a damaged run.json.
    """
    info = read_any_run(run_dir.run_json)
    files = record_files(run_dir) if isinstance(info, RunInfo) else []  # zones have records of their own
    if not isinstance(info, RunInfo) or not files:
        return OldRecords()
    whole = whole_of(run_dir)
    fell_out = whole is not None and _fell_out(run_dir.path.name, *whole)
    try:
        needed = set() if fell_out else _needed(run_dir, info, kept)
    except InputError as error:
        return OldRecords(stays=f"which blocks are needed cannot be told: {error}")
    old = [path for path in files if path.stem not in needed]
    if not old:
        return OldRecords()
    # they may have been needed until run.json was written
    until = run_dir.run_json if whole is None else whole[0].run_json
    age_s = min(_age_s(path) for path in (until, run_dir.run_json, *old))
    young = f"younger than {min_age_s / 3600:g} h: somebody may be reading them"
    return OldRecords(
        names=tuple(path.stem for path in old),
        n_bytes=sum(path.size() for path in old),
        stays=young if age_s < min_age_s else "",
    )


def whole_of(run_dir: RunDir) -> tuple[RunDir, ZonedInfo] | None:
    """The run of all zones above a zone, and its run.json. None: it is no zone of one."""
    if run_dir.path.parent.name != run_dir.zones.name:
        return None
    root = RunDir(run_dir.path.parent.parent)
    info = read_any_run(root.run_json) if root.has_run() else None
    return (root, info) if isinstance(info, ZonedInfo) else None


def _fell_out(zone: str, root: RunDir, info: ZonedInfo) -> bool:
    """Whether a zone is no longer one of the run, nor of an update of it, nor in a result that is there."""
    if zone not in {entry.name for entry in info.left_zones} or zone in info.update.get("zones", {}):
        return False
    try:
        ledgers = [
            read_parquet(root.in_snapshot(name).coverage, ["zone"]) for name in root.snapshots.children()
        ]
    except (OSError, pa.ArrowException):
        return False
    return all(zone not in table["zone"].unique().to_pylist() for table in ledgers)


def remove_records(run_dir: RunDir, old: OldRecords, guard: Callable[[], None]) -> None:
    """Remove what goes of the records. `guard`: raises when another driver has taken over."""
    for name in () if old.stays else old.names:
        guard()
        run_dir.block(name).delete()


def _needed(run_dir: RunDir, info: RunInfo, kept: Collection[str]) -> set[str]:
    """The block_ids of the plan and of all snapshots that stay. Raises InputError."""
    plans = [read_inside(run_dir.plan, info.lattice)]
    plans += [read_looked_at(run_dir.in_snapshot(name).coverage, info.lattice) for name in sorted(kept)]
    return {block_id(*block) for inside in plans for block in planned_blocks(info.lattice, inside)}


def _age_s(path: StorePath) -> float:
    with suppress(FileNotFoundError):
        return path.store.age_s(path.key)
    return math.inf
