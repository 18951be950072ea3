"""Block records against the plan, and the ledger against the records: planned = found + empty + failed.

The ledger is a function of plan and records. So it is written once more, from them, and compared row by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import InputError, OtherInputsError, RecordError
from pipeline.files.store.stored_files import read_parquet
from pipeline.run.block_inputs import keys_of_run
from pipeline.run.verify.file_checks import differing_columns
from pipeline.run.verify.findings import Findings
from pipeline.schema.tiling import TileLattice, block_id, block_place
from pipeline.write.coverage import CLOUD_COLUMNS, GATE_COLUMNS, Conservation, write_coverage
from pipeline.write.plan_table import planned_blocks
from pipeline.write.records.block_records import check_record
from pipeline.write.records.done_records import done_blocks, record_files
from pipeline.write.records.record_keys import RecordKeys
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo

NO_RECORD = "the block is planned and has no record"


@dataclass(frozen=True, kw_only=True)
class Records:
    """Where the block records of a run lie: in its own directory, or in that of the run merged again."""

    run_dir: RunDir
    keys: RecordKeys
    replaced: frozenset[str] = frozenset()
    """block_ids of those that an update which has not ended has done again already."""


def records_of(run_dir: RunDir, info: RunInfo, inside: NDArray[np.bool_], found: Findings) -> Records | None:
    """Find the records of a run. None: run.json does not say of what they must be."""
    try:
        keys = keys_of_run(info, inside)
    except InputError as error:
        found.add("run.json", "records", str(error))
        return None
    merged_from = info.settings.get("merged_from")
    if isinstance(merged_from, dict) and not run_dir.blocks.is_dir():
        parent = RunDir(merged_from["run"])
        return Records(run_dir=run_dir.with_records(parent.blocks), keys=keys)
    return Records(run_dir=run_dir, keys=keys)


def check_records(records: Records, info: RunInfo, inside: NDArray[np.bool_], found: Findings) -> int:
    """Check that every planned block has one whole record of its inputs, and that there are no others, but
    those that this run has made for a larger area.

    Returns how many planned blocks have none: what depends on them can be checked where there are none of
    these. While a run has not ended, a block without a record, or with one of an earlier plan, is no damage.
    """
    planned = [block_id(*block) for block in planned_blocks(info.lattice, inside)]
    done = done_blocks(records.run_dir, records.keys, planned)
    left = sorted(set(planned) - set(done.done))
    for name in left:
        is_whole = records.keys.is_own(name, done.other_inputs.get(name, ""))
        if info.status != "running" or (name in done.unusable and not is_whole):
            found.add("records", name, done.unusable.get(name, NO_RECORD))
    check_unplanned(records, set(planned), found)
    return len(left)


def check_unplanned(records: Records, planned: Set[str], found: Findings) -> None:
    """Check that the other records are whole, and of this run at another time."""
    there = {path.stem for path in record_files(records.run_dir)}
    for name in sorted(there - planned):
        if not _is_kept(records, name):
            found.add("records", name, "the record is of a block that is not planned")


def _is_kept(records: Records, name: str) -> bool:
    """Whether a record of a block that is not planned is whole, and this run's own of another time."""
    try:
        check_record(records.run_dir.block(name), "")
    except OtherInputsError as error:
        return records.keys.is_own(name, error.inputs)
    except RecordError:
        return False
    return False


def check_ledger(
    records: Records, info: RunInfo, inside: NDArray[np.bool_], scratch: Path, found: Findings
) -> None:
    """Compare coverage.parquet with the ledger that plan and records give, and its counts with run.json.

    Of blocks whose records were replaced, the ledger cannot be made again.
    """
    path = records.run_dir.coverage
    try:
        table = read_parquet(path)
    except (OSError, pa.ArrowException) as error:
        found.add("ledger", path.name, f"it cannot be read: {error}")
        return
    more = [field for field in (*CLOUD_COLUMNS, *GATE_COLUMNS) if field.name in table.column_names]
    again = RunDir(scratch, records=records.run_dir.blocks)
    try:
        counted = write_coverage(
            again,
            info.lattice,
            inside & ~_tiles_of(records.replaced, info.lattice),
            keys=records.keys,
            queries=info.queries,
            more=more,
        )
    except RecordError as error:
        found.add("ledger", "records", str(error))
        return
    wanted = read_parquet(again.coverage)
    if records.replaced:
        wanted, table = (_without(rows, records.replaced) for rows in (wanted, table))
    for name, text in differing_columns(wanted, table):
        found.add("ledger", f"column {name}", text)
    if not records.replaced:
        _check_counts(counted, info, found)


def _tiles_of(blocks: Iterable[str], lattice: TileLattice) -> NDArray[np.bool_]:
    """(n_tile_rows, n_tile_cols), True = a tile of one of the blocks."""
    tiles = np.zeros((lattice.n_tile_rows, lattice.n_tile_cols), dtype=np.bool_)
    k = lattice.block_tiles
    for name in blocks:
        row, col = block_place(name)
        tiles[row * k : (row + 1) * k, col * k : (col + 1) * k] = True
    return tiles


def _without(table: pa.Table, blocks: Iterable[str]) -> pa.Table:
    """The rows of a ledger that are not of these blocks."""
    of_them = pc.is_in(table["block_id"], value_set=pa.array(sorted(blocks), pa.string()))
    return table.filter(pc.invert(of_them))


def _check_counts(counted: Conservation, info: RunInfo, found: Findings) -> None:
    if not counted.holds:
        text = f"{counted.planned} = {counted.found} + {counted.empty} + {counted.failed} does not hold"
        found.add("ledger", "planned = found + empty + failed", text)
    wanted = {
        "tiles_planned": counted.planned,
        "tiles_found": counted.found,
        "tiles_empty": counted.empty,
        "tiles_failed": counted.failed,
    }
    for name, count in wanted.items():
        if info.counters.get(name) != count:
            found.add(
                "ledger", f"counters.{name}", f"run.json says {info.counters.get(name)} instead of {count}"
            )
    if dict(info.reasons) != dict(counted.reasons):
        found.add(
            "ledger", "reasons", f"run.json says {dict(info.reasons)} instead of {dict(counted.reasons)}"
        )
    if info.status == "complete" and counted.failed:
        found.add("ledger", "status", f"run.json says complete, and {counted.failed} tiles failed")
    if counted.searched is not None and info.searched:
        for key, value in asdict(counted.searched).items():
            own = info.searched.get(key)
            if not _alike(own, value):
                found.add("ledger", f"searched.{key}", f"run.json says {own} instead of {value}")


def _alike(one: object, other: object) -> bool:
    """Compare numbers or lists of them up to rounding; None equals None alone."""
    if one is None or other is None:
        return one is other
    a = np.atleast_1d(np.asarray(one, dtype=np.float64))
    b = np.atleast_1d(np.asarray(other, dtype=np.float64))
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-9, atol=0))
