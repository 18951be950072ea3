"""coverage.parquet is the ledger: a row per tile and query says what became of it, and on how much ground.

1. `write_coverage` streams the rows from the block records, then adds the tiles outside the AOI or every
   scene.
2. `overall_row` gives a tile one status from those of its queries: planned = found + empty + failed counts
   tiles.
3. A planned tile without a record counts as missing, and `Conservation.require` raises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from pipeline.errors import IncompleteRunError, MissingRecordError
from pipeline.files.public_text import public_text
from pipeline.schema.tile_answers import Reason, TileRecord, TileStatus
from pipeline.schema.tiling import TileLattice, block_id, tile_id
from pipeline.write.geo_parquet import with_geometry, write_geo_parquet
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.plan_table import core_edges, core_polygons, planned_blocks
from pipeline.write.records.block_records import BlockCounts, TileCounts, read_counts
from pipeline.write.records.record_keys import BlockKey, RecordKeys, key_of
from pipeline.write.records.record_source import NOT_LOOKED_AT
from pipeline.write.run_dir import RunDir

SCHEMA = pa.schema(
    [
        ("tile_id", pa.string()),
        ("tile_row", pa.int32()),
        ("tile_col", pa.int32()),
        ("block_id", pa.string()),
        ("query_index", pa.int32()),
        ("query", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("error", pa.string()),
        ("n_fragments", pa.int32()),
        ("n_prompts", pa.int32()),
        ("n_dropped", pa.int32()),
        ("n_calls", pa.int32()),
        ("truncated_reply", pa.bool_()),
        ("valid_share", pa.float32()),
        ("km2", pa.float64()),
        ("searched_km2", pa.float64()),
    ]
)
"""The ledger's columns. valid_share is the share of the core's pixels that are imagery and not under clouds.
km2 is the geodesic area of the core, searched_km2 the part of it that was judged for the query: imagery of a
tile that is neither failed nor empty for want of imagery. Both are null where the run grid is nowhere on
Earth."""

GATE_COLUMNS = (pa.field("gate_p", pa.float64()), pa.field("audited", pa.bool_()))
"""Columns that a run with a gate adds at the end: the gate's probability (null: not judged), and whether the
tile was rejected and still examined for the audit."""

SCENE_COLUMNS = (pa.field("scene_ids", pa.list_(pa.string())),)
"""Column that a run adds at the end: the scenes that gave the core's valid pixels, in order of priority."""

CLOUD_COLUMNS = (pa.field("cloud_share", pa.float32()),)
"""Column that a run with quality masks adds at the end: the share of the core's pixels that are imagery under
clouds in every scene. With valid_share and what has no imagery it adds up to 1."""

_OUTSIDE_TILES = 10_000
"""Tiles outside the AOI made into rows at a time, so that memory stays bounded."""

_SEVERITY = (TileStatus.FAILED, TileStatus.FOUND, TileStatus.EMPTY)


@dataclass(frozen=True, kw_only=True)
class SearchedArea:
    """How much ground the tiles of the plan cover, and how much of it was judged."""

    planned_px: int
    """Pixels in the cores of all tiles that touch AOI and imagery."""
    searched_px: tuple[int, ...]
    """Those of them that were judged, per query."""
    planned_km2: float | None = None
    """None: the run grid is nowhere on Earth."""
    searched_km2: tuple[float, ...] = ()
    """Per query; empty where `planned_km2` is None."""

    def text(self, queries: Sequence[str]) -> str:
        """Say how much was judged, in km2 or else in pixels; per query where they differ."""
        known = self.planned_km2 is not None
        planned = float(self.planned_px) if self.planned_km2 is None else self.planned_km2
        judged: Sequence[float] = self.searched_km2 if known else self.searched_px
        unit = "km2" if known else "px"
        parts = [
            f"{_figure(area)} {unit} ({100 * area / planned if planned else 0:.1f} %)" for area in judged
        ]
        if len(set(parts)) > 1:
            parts = [f'{part} for "{query}"' for query, part in zip(queries, parts, strict=True)]
        return f"{'; '.join(dict.fromkeys(parts))} of {_figure(planned)} {unit} in the plan's tiles"


@dataclass(frozen=True, kw_only=True)
class Conservation:
    """The count of the ledger, in tiles."""

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
    searched: SearchedArea | None = None
    """None: nobody measured it."""

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
    keys: RecordKeys,
    queries: Sequence[str],
    more: Sequence[pa.Field] = (),
    scene_ids: Sequence[str] = (),
    on_block: Callable[[BlockCounts], None] = lambda _: None,
) -> Conservation:
    """Write coverage.parquet from the plan and the block records; returns the count.

    `inside`: (n_tile_rows, n_tile_cols), True = planned. `more`: columns that this run adds, of
    `SCENE_COLUMNS` (then `scene_ids` are the run's scenes in order), `CLOUD_COLUMNS` and `GATE_COLUMNS`.
    `on_block` is called with what was read of each record. Raises RecordError for a record that is damaged or
    foreign. The caller decides when to `require()`.
    """
    schema = pa.schema([*SCHEMA, *more])
    ledger = _Ledger(lattice, inside, queries, schema, scene_ids)

    def tables() -> Iterator[pa.Table]:
        for block in planned_blocks(lattice, inside):
            name = block_id(*block)
            try:
                key = key_of(keys, name)
                counts = read_counts(run_dir.block(name), key.fingerprint, key.seal)
                on_block(counts)
                yield ledger.table(counts, key)
            except MissingRecordError:
                continue  # the ledger says so
        yield from ledger.outside()

    write_geo_parquet(run_dir.coverage, tables(), schema=schema, grid=lattice.grid)
    return ledger.conservation()


def overall_row[Row: (TileRecord, TileCounts)](rows: Sequence[Row]) -> Row:
    """Choose the query whose status, reason and error stand for the whole tile. `rows`: one per query.

    It is the first that failed, else the first that found something, else the first.
    """
    return next(row for status in _SEVERITY for row in rows if row.status is status)


class _Ledger:
    """Counts while tables are made, so that the records are read once."""

    def __init__(
        self,
        lattice: TileLattice,
        inside: NDArray[np.bool_],
        queries: Sequence[str],
        schema: pa.Schema,
        scene_ids: Sequence[str],
    ) -> None:
        self._schema = schema
        self._scene_ids = scene_ids
        self._lattice = lattice
        self._inside = inside
        self._queries = list(queries)
        self._seen = np.zeros_like(inside)
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._unplanned: list[str] = []
        self._planned_px = 0
        self._planned_km2 = 0.0
        self._searched_px = np.zeros(len(queries), dtype=np.int64)
        self._searched_km2 = np.zeros(len(queries), dtype=np.float64)

    def table(self, block: BlockCounts, key: BlockKey) -> pa.Table:
        """Make the rows of one block, in the order of its record.

        Tiles that are unplanned or come twice are noted and left out.
        """
        tiles = [rows for rows in _by_tile(block.tiles) if self._accept(rows)]
        rows = [row for tile in tiles for row in tile]
        entries = [_entry(row, block.block_id, self._queries[row.query_index]) for row in rows]
        place = np.array([(t[0].tile.tile_row, t[0].tile.tile_col) for t in tiles], dtype=np.int64)
        tile_row, tile_col = place.reshape(-1, 2).T
        km2 = self._core_km2(tile_row, tile_col)
        judged = np.array([row.valid_px * _is_judged(row) for row in rows], dtype=np.int64)
        core_px = np.array([tile[0].tile.core.area_px for tile in tiles], dtype=np.int64)
        n = len(self._queries)
        searched_km2 = np.repeat(km2, n) * judged / np.maximum(np.repeat(core_px, n), 1)
        self._planned_px += int(core_px.sum())
        self._planned_km2 += float(km2.sum())
        self._searched_px += judged.reshape(-1, n).sum(axis=0)
        self._searched_km2 += searched_km2.reshape(-1, n).sum(axis=0)
        if self._scene_ids:
            numbers = [key.run_numbers(tile[0].scene_numbers) for tile in tiles for _ in tile]
            for entry, own in zip(entries, numbers, strict=True):
                entry["scene_ids"] = [self._scene_ids[number] for number in own]
        columns = pa.Table.from_pylist(entries, schema=self._schema)
        areas = {"km2": np.repeat(km2, n), "searched_km2": searched_km2}
        return self._placed(columns, areas, np.repeat(tile_row, n), np.repeat(tile_col, n))

    def outside(self) -> Iterator[pa.Table]:
        """Make rows for the tiles outside the AOI or every scene. They have no record: empty(outside_aoi)."""
        k = self._lattice.block_tiles
        n_queries = len(self._queries)
        tiles = np.argwhere(~self._inside)
        for start in range(0, len(tiles), _OUTSIDE_TILES):
            here = tiles[start : start + _OUTSIDE_TILES]
            km2 = np.repeat(self._core_km2(*here.T), n_queries)
            rows, cols = np.repeat(here, n_queries, axis=0).T
            n = len(rows)
            pairs = list(zip(rows.tolist(), cols.tolist(), strict=True))
            columns = {
                "tile_id": [tile_id(row, col) for row, col in pairs],
                "tile_row": rows,
                "tile_col": cols,
                "block_id": [block_id(row // k, col // k) for row, col in pairs],
                "query_index": np.tile(np.arange(n_queries), len(here)),
                "query": self._queries * len(here),
                "status": [TileStatus.EMPTY.value] * n,
                "reason": [Reason.OUTSIDE_AOI.value] * n,
                "error": [""] * n,
                **dict.fromkeys(("n_fragments", "n_prompts", "n_dropped", "n_calls"), [0] * n),
                "truncated_reply": [False] * n,
                **dict.fromkeys(("valid_share", "cloud_share", "km2", "searched_km2"), np.zeros(n)),
                "gate_p": [None] * n,
                "audited": [False] * n,
                "scene_ids": [[]] * n,
            }
            arrays = [pa.array(columns[field.name], type=field.type) for field in self._schema]
            areas = {"km2": km2, "searched_km2": km2 * 0}
            yield self._placed(pa.table(arrays, schema=self._schema), areas, rows, cols)
            self._counts[TileStatus.EMPTY] += len(here)
            self._reasons[f"{TileStatus.EMPTY.value}/{Reason.OUTSIDE_AOI.value}"] += len(here)

    def conservation(self) -> Conservation:
        missing = np.argwhere(self._inside & ~self._seen)
        known = bool(np.isfinite(self._planned_km2))
        return Conservation(
            planned=int(self._inside.size),
            found=self._counts[TileStatus.FOUND],
            empty=self._counts[TileStatus.EMPTY],
            failed=self._counts[TileStatus.FAILED],
            missing=tuple(tile_id(row, col) for row, col in missing[:100].tolist()),
            n_missing=len(missing),
            unplanned=tuple(self._unplanned),
            reasons=dict(sorted(self._reasons.items())),
            searched=SearchedArea(
                planned_px=self._planned_px,
                searched_px=tuple(self._searched_px.tolist()),
                planned_km2=self._planned_km2 if known else None,
                searched_km2=tuple(self._searched_km2.tolist()) if known else (),
            ),
        )

    def _accept(self, rows: Sequence[TileCounts]) -> bool:
        """Count one tile, unless it is not in the plan, came before, or has not one row per query."""
        tile = rows[0].tile
        place = (tile.tile_row, tile.tile_col)
        known = self._inside[place] and not self._seen[place]
        if not known or [row.query_index for row in rows] != list(range(len(self._queries))):
            self._unplanned.append(tile.tile_id)
            return False
        self._seen[place] = True
        main = overall_row(rows)
        self._counts[main.status] += 1
        self._reasons[f"{main.status.value}/{main.reason.value}".rstrip("/")] += 1
        return True

    def _core_km2(self, tile_row: NDArray[np.int64], tile_col: NDArray[np.int64]) -> NDArray[np.float64]:
        """Measure the cores of some tiles, (n,); NaN where the grid is nowhere on Earth."""
        row0, col0, row1, col1 = core_edges(self._lattice, tile_row, tile_col)
        return geodesic_area_m2(shapely.box(col0, row0, col1, row1), self._lattice.grid) / 1e6

    def _placed(
        self,
        table: pa.Table,
        areas: Mapping[str, NDArray[np.float64]],
        tile_row: NDArray[np.int64],
        tile_col: NDArray[np.int64],
    ) -> pa.Table:
        """Fill in the areas (NaN becomes null), and append the cores' polygons."""
        for name, values in areas.items():
            at = self._schema.get_field_index(name)
            table = table.set_column(at, self._schema.field(at), pa.array(values, from_pandas=True))
        return with_geometry(table, core_polygons(self._lattice, tile_row, tile_col))


def _figure(value: float) -> str:
    """Four significant digits, never in exponent form."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}" if value >= 1e-4 else f"{value:.6f}"


def _is_judged(row: TileCounts) -> bool:
    """Whether a model or a gate looked at the tile's imagery."""
    return row.status is not TileStatus.FAILED and row.reason not in NOT_LOOKED_AT


def _entry(row: TileCounts, block_id: str, query: str) -> dict[str, Any]:
    tile = row.tile
    return {
        "tile_id": tile.tile_id,
        "tile_row": tile.tile_row,
        "tile_col": tile.tile_col,
        "block_id": block_id,
        "query_index": row.query_index,
        "query": query,
        "status": row.status.value,
        "reason": row.reason.value,
        "error": public_text(row.error),
        **{name: getattr(row, name) for name in ("n_fragments", "n_prompts", "n_dropped", "n_calls")},
        "truncated_reply": row.truncated_reply,
        "valid_share": row.valid_px / max(tile.core.area_px, 1),
        "cloud_share": row.cloud_px / max(tile.core.area_px, 1),
        "gate_p": row.gate_p,
        "audited": row.audited,
    }


def _by_tile(tiles: Sequence[TileCounts]) -> list[list[TileCounts]]:
    """Rows grouped by tile, queries in order within each."""
    groups: dict[str, list[TileCounts]] = {}
    for row in tiles:
        groups.setdefault(row.tile.tile_id, []).append(row)
    return [sorted(rows, key=lambda row: row.query_index) for rows in groups.values()]
