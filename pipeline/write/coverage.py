"""coverage.parquet is the ledger: one row per tile says what became of it. planned = found + empty + failed.

1. `write_coverage` streams the rows from the block records, then adds the tiles outside the AOI or every
   scene.
2. `overall_row` gives the tile its own status from those of its queries.
3. A planned tile without a record counts as missing, and `Conservation.require` raises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import IncompleteRunError
from pipeline.files.hrefs import public_text
from pipeline.schema import Reason, TileLattice, TileRecord, TileStatus, block_id, tile_id
from pipeline.write.geo_parquet import with_geometry, write_geo_parquet
from pipeline.write.plan_table import core_polygons, planned_blocks
from pipeline.write.records.block_records import BlockCounts, TileCounts, read_counts
from pipeline.write.run_dir import RunDir

SCHEMA = pa.schema(
    [
        ("tile_id", pa.string()),
        ("tile_row", pa.int32()),
        ("tile_col", pa.int32()),
        ("block_id", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("error", pa.string()),
        ("statuses", pa.list_(pa.string())),
        ("reasons", pa.list_(pa.string())),
        ("errors", pa.list_(pa.string())),
        ("n_fragments", pa.list_(pa.int32())),
        ("n_prompts", pa.int32()),
        ("n_dropped", pa.int32()),
        ("n_calls", pa.int32()),
        ("truncated_reply", pa.bool_()),
        ("valid_share", pa.float32()),
    ]
)
"""The ledger's columns. Lists have one entry per query, in order. n_prompts, n_dropped and n_calls are sums
over queries; truncated_reply says whether any reply was cut off; valid_share is the share of the core's
pixels that are imagery."""

GATE_COLUMNS = (pa.field("gate_p", pa.list_(pa.float64())), pa.field("audited", pa.list_(pa.bool_())))
"""Columns that a run with a gate adds at the end, one entry per query: the gate's probability (null: not
judged), and whether the tile was rejected and still examined for the audit."""

_OUTSIDE_ROWS = 50_000
"""Rows of tiles outside the AOI made at a time, so that memory stays bounded."""

_SEVERITY = (TileStatus.FAILED, TileStatus.FOUND, TileStatus.EMPTY)


@dataclass(frozen=True, kw_only=True)
class Conservation:
    """The count of the ledger."""

    planned: int
    found: int
    empty: int
    failed: int
    missing: tuple[str, ...] = ()
    """Planned tiles without a record (the first hundred)."""
    n_missing: int = 0
    unplanned: tuple[str, ...] = ()
    """Recorded tiles that are not in the plan, are recorded twice, or lack a query or repeat one."""
    reasons: Mapping[str, int]
    """`status/reason` -> number of tiles."""

    @property
    def holds(self) -> bool:
        """Whether planned = found + empty + failed, with one record per planned tile."""
        return (
            self.planned == self.found + self.empty + self.failed
            and not self.n_missing
            and not self.unplanned
        )

    def require(self) -> None:
        """Raise IncompleteRunError, with counts and the first offending tiles, unless the law holds."""
        if self.holds:
            return
        counts = f"planned {self.planned}, found {self.found} + empty {self.empty} + failed {self.failed}"
        missing = (
            f"; {self.n_missing} planned tiles have no record, e.g. {', '.join(self.missing[:5])}"
            if self.n_missing
            else ""
        )
        extra = (
            f"; {len(self.unplanned)} recorded tiles are unplanned, doubled or lack a query, "
            f"e.g. {', '.join(self.unplanned[:5])}"
        )
        raise IncompleteRunError(
            f"the coverage ledger does not add up: {counts}{missing}{extra if self.unplanned else ''}. "
            "To fix: start the run again on the same --out; only missing blocks are done again"
        )


def write_coverage(
    run_dir: RunDir,
    lattice: TileLattice,
    inside: NDArray[np.bool_],
    *,
    fingerprint: str,
    n_queries: int,
    gated: bool = False,
) -> Conservation:
    """Write coverage.parquet from the plan and the block records; returns the count.

    `inside`: (n_tile_rows, n_tile_cols), True = planned. `gated`: the run had a gate, so add `GATE_COLUMNS`.
    Raises RecordError for a record that is damaged or foreign. The caller decides when to `require()`.
    """
    schema = pa.schema([*SCHEMA, *GATE_COLUMNS]) if gated else SCHEMA
    ledger = _Ledger(lattice, inside, n_queries, schema)

    def tables() -> Iterator[pa.Table]:
        for block in planned_blocks(lattice, inside):
            path = run_dir.block(block_id(*block))
            if path.exists():
                yield ledger.table(read_counts(path, fingerprint))
        yield from ledger.outside()

    write_geo_parquet(run_dir.coverage, tables(), schema=schema, grid=lattice.grid)
    return ledger.conservation()


def overall_row[Row: (TileRecord, TileCounts)](rows: Sequence[Row]) -> Row:
    """Choose the row that gives a tile its status, reason and error. `rows`: one per query, in order.

    It is the first that failed, else the first that found something, else the first.
    """
    return next(row for status in _SEVERITY for row in rows if row.status is status)


class _Ledger:
    """Counts while tables are made, so that the records are read once."""

    def __init__(
        self, lattice: TileLattice, inside: NDArray[np.bool_], n_queries: int, schema: pa.Schema
    ) -> None:
        self._schema = schema
        self._lattice = lattice
        self._inside = inside
        self._n_queries = n_queries
        self._seen = np.zeros_like(inside)
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._unplanned: list[str] = []

    def table(self, block: BlockCounts) -> pa.Table:
        """Make the rows of one block, tiles in the order of the record. Unplanned or repeated tiles are noted
        and left out."""
        entries = []
        for rows in _by_tile(block.tiles):
            tile = rows[0].tile
            known = (
                self._inside[tile.tile_row, tile.tile_col] and not self._seen[tile.tile_row, tile.tile_col]
            )
            if not known or [row.query_index for row in rows] != list(range(self._n_queries)):
                self._unplanned.append(tile.tile_id)
                continue
            self._seen[tile.tile_row, tile.tile_col] = True
            entries.append(_entry(rows, block.block_id))
            self._counts[entries[-1]["status"]] += 1
            self._reasons[f"{entries[-1]['status']}/{entries[-1]['reason']}".rstrip("/")] += 1
        table = pa.Table.from_pylist(entries, schema=self._schema)
        rows_cols = (
            np.array([entry[name] for entry in entries], dtype=np.int64) for name in ("tile_row", "tile_col")
        )
        return with_geometry(table, core_polygons(self._lattice, *rows_cols))

    def outside(self) -> Iterator[pa.Table]:
        """Make rows for the tiles outside the AOI or every scene. They have no record: empty(outside_aoi)."""
        k = self._lattice.block_tiles
        tiles = np.argwhere(~self._inside)
        for start in range(0, len(tiles), _OUTSIDE_ROWS):
            rows, cols = tiles[start : start + _OUTSIDE_ROWS].T
            n = len(rows)
            columns = {
                "tile_id": [tile_id(row, col) for row, col in zip(rows.tolist(), cols.tolist(), strict=True)],
                "tile_row": rows,
                "tile_col": cols,
                "block_id": [
                    block_id(row // k, col // k)
                    for row, col in zip(rows.tolist(), cols.tolist(), strict=True)
                ],
                "status": [TileStatus.EMPTY.value] * n,
                "reason": [Reason.OUTSIDE_AOI.value] * n,
                "error": [""] * n,
                "statuses": [[TileStatus.EMPTY.value] * self._n_queries] * n,
                "reasons": [[Reason.OUTSIDE_AOI.value] * self._n_queries] * n,
                "errors": [[""] * self._n_queries] * n,
                "n_fragments": [[0] * self._n_queries] * n,
                **dict.fromkeys(("n_prompts", "n_dropped", "n_calls"), [0] * n),
                "truncated_reply": [False] * n,
                "valid_share": [0.0] * n,
                "gate_p": [[None] * self._n_queries] * n,
                "audited": [[False] * self._n_queries] * n,
            }
            arrays = [pa.array(columns[field.name], type=field.type) for field in self._schema]
            yield with_geometry(
                pa.table(arrays, schema=self._schema), core_polygons(self._lattice, rows, cols)
            )
            self._counts[TileStatus.EMPTY] += n
            self._reasons[f"{TileStatus.EMPTY.value}/{Reason.OUTSIDE_AOI.value}"] += n

    def conservation(self) -> Conservation:
        missing = np.argwhere(self._inside & ~self._seen)
        return Conservation(
            planned=int(self._inside.size),
            found=self._counts[TileStatus.FOUND],
            empty=self._counts[TileStatus.EMPTY],
            failed=self._counts[TileStatus.FAILED],
            missing=tuple(tile_id(row, col) for row, col in missing[:100].tolist()),
            n_missing=len(missing),
            unplanned=tuple(self._unplanned),
            reasons=dict(sorted(self._reasons.items())),
        )


def _entry(rows: Sequence[TileCounts], block_id: str) -> dict[str, Any]:
    tile = rows[0].tile
    main = overall_row(rows)
    return {
        "tile_id": tile.tile_id,
        "tile_row": tile.tile_row,
        "tile_col": tile.tile_col,
        "block_id": block_id,
        "status": main.status.value,
        "reason": main.reason.value,
        "error": public_text(main.error),
        "statuses": [row.status.value for row in rows],
        "reasons": [row.reason.value for row in rows],
        "errors": [public_text(row.error) for row in rows],
        "n_fragments": [row.n_fragments for row in rows],
        "n_prompts": sum(row.n_prompts for row in rows),
        "n_dropped": sum(row.n_dropped for row in rows),
        "n_calls": sum(row.n_calls for row in rows),
        "truncated_reply": any(row.truncated_reply for row in rows),
        "valid_share": rows[0].valid_px / max(tile.core.area_px, 1),
        "gate_p": [row.gate_p for row in rows],
        "audited": [row.audited for row in rows],
    }


def _by_tile(tiles: Sequence[TileCounts]) -> list[list[TileCounts]]:
    """Rows grouped by tile, queries in order within each."""
    groups: dict[str, list[TileCounts]] = {}
    for row in tiles:
        groups.setdefault(row.tile.tile_id, []).append(row)
    return [sorted(rows, key=lambda row: row.query_index) for rows in groups.values()]
