"""Phase two: committed block records -> rasters, instances, coverage, catalogue entry and report.

A pure function of the records and the plan: it can be run again at any time and gives the same bytes.

1. `write_coverage` counts the ledger; planned = found + empty + failed must hold.
2. Per query, `merge_region` joins the fragments of all tiles into instances (pipeline.stitch).
3. `select` keeps instances that touch the AOI and reach the smallest area. Objects are never cut at the AOI: what begins
   inside is kept whole as far as tiles saw it.
4. `write_rasters` paints every block once, for all queries, shard by shard.
5. `instance_table` adds what a person wants to know: the prompt that gave the mask, the model's rationale, tiles, scenes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import rasterio.features
from numpy.typing import NDArray
from rasterio.transform import Affine

from pipeline.load.overview import read_overview
from pipeline.load.reader import CogReader
from pipeline.schema import BlockSpec, TileLattice, TileRecord, Window
from pipeline.steps import RunContext
from pipeline.stitch.merge import Merge, merge_region
from pipeline.write.block_records import read_summaries
from pipeline.write.coverage import Conservation, write_coverage
from pipeline.write.georeference import geodesic_area_m2
from pipeline.write.instances import InstanceMeta, InstanceTable, Point, scene_columns, write_instances
from pipeline.write.masks_zarr import ShardPixels, create_masks, finalise, score_bytes, write_shard
from pipeline.write.record_source import RecordSource
from pipeline.write.report import OVERVIEW_PX, ReportInputs, write_report
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo
from pipeline.write.stac_item import ItemInputs, write_item

Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Merged:
    """One query's instances after selection."""

    query_index: int
    source: RecordSource
    merge: Merge
    keep: NDArray[np.uint64]
    """Sorted ids that are published."""
    polygons: NDArray[Any]
    """Shapely polygons of `keep`, in pixel-edge coordinates of the run grid."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a finished run left behind."""

    conservation: Conservation
    n_instances: tuple[int, ...]
    """Per query."""
    elapsed_s: float


def publish(context: RunContext, *, note: Note) -> Published:
    """Merge and write everything that is derived from the block records. Raises RecordError, IncompleteRunError."""
    start = time.monotonic()
    run_dir, lattice, queries = RunDir(context.run_dir), context.lattice, context.config.queries
    conservation = write_coverage(run_dir, lattice, context.plan.inside, fingerprint=context.fingerprint, n_queries=len(queries))
    conservation.require()
    merged = []
    for index, query in enumerate(queries):
        note(f"merging {index + 1}/{len(queries)}: {query}")
        merged.append(merge_query(context, index))
    note("writing rasters")
    write_rasters(context, merged)
    note("writing instances")
    tables = [instance_table(context, item) for item in merged]
    meta = InstanceMeta(
        queries=queries,
        prompter_id=context.model_ids["prompter"],
        segmenter_id=context.model_ids["segmenter"],
        run_id=context.fingerprint[:16],
    )
    write_instances(run_dir, concatenate(tables), grid=lattice.grid, meta=meta)
    return Published(conservation=conservation, n_instances=tuple(len(item.keep) for item in merged), elapsed_s=time.monotonic() - start)


def illustrate(context: RunContext, info: RunInfo, conservation: Conservation) -> None:
    """report.html and item.json, from the finished run; the Item comes last because it holds checksums."""
    run_dir, grid = RunDir(context.run_dir), context.lattice.grid
    reader = CogReader(context.scene_sources, grid, options=context.config.load)

    def read_rgb(window: Window) -> NDArray[np.uint8]:
        return reader.read(BlockSpec(block_row=0, block_col=0, core=window, read=window, tiles=())).rgb

    overview = read_overview(context.scene_sources, grid, side_px=OVERVIEW_PX)
    write_report(run_dir, ReportInputs(info=info, conservation=conservation, overview_rgb=overview, read_rgb=read_rgb))
    write_item(run_dir, ItemInputs(info=info, inside=context.plan.inside))
    reader.close()


def merge_query(context: RunContext, query_index: int) -> Merged:
    """All instances of one query, selected."""
    lattice, config = context.lattice, context.config
    source = RecordSource(RunDir(context.run_dir), lattice, fingerprint=context.fingerprint, query_index=query_index)
    aoi_mask = partial(aoi_mask_of, lattice, context.plan.aoi_grid) if context.plan.aoi_grid is not None else None
    merge = merge_region(lattice, source, config.stitch, mode=config.merge_mode, aoi_mask=aoi_mask)
    table = merge.instances
    keep = table.instance_id[(table.area_px > 0) & (table.aoi_px > 0)]
    ids, polygons = all_polygons(merge, keep)
    if config.min_area_m2 > 0 and len(ids):
        big = geodesic_area_m2(polygons, lattice.grid) >= config.min_area_m2
        ids, polygons = ids[big], polygons[big]
    return Merged(query_index=query_index, source=source, merge=merge, keep=ids, polygons=polygons)


def all_polygons(merge: Merge, keep: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.object_]]:
    """Ids of `keep`, ascending, and their polygons in the same order."""
    batches = list(merge.polygons(keep))
    ids = np.concatenate([np.zeros(0, dtype=np.uint64), *(ids for ids, _ in batches)])
    polygons = np.concatenate([np.zeros(0, dtype=object), *(geometries for _, geometries in batches)])
    order = np.argsort(ids)
    return ids[order], polygons[order]


def aoi_mask_of(lattice: TileLattice, aoi_grid: Any, window: Window) -> NDArray[np.bool_]:
    """(h, w) True where a pixel of `window` touches the AOI."""
    affine = Affine(*lattice.grid.transform) @ Affine.translation(window.col0, window.row0)
    burnt: NDArray[np.uint8] = rasterio.features.rasterize(
        [aoi_grid], out_shape=window.shape, transform=affine, fill=0, default_value=1, all_touched=True, dtype="uint8"
    )
    return burnt.astype(np.bool_)


def write_rasters(context: RunContext, merged: Sequence[Merged]) -> None:
    """masks.zarr: every block painted once for all queries."""
    lattice = context.lattice
    store = create_masks(RunDir(context.run_dir).masks, lattice, context.config.queries)
    for block_row, block_col in block_indexes(context):
        ids = [item.merge.paint_block(block_row, block_col, item.keep) for item in merged]
        scores = [
            score_bytes(plane, instance_id=item.merge.instances.instance_id, score=item.merge.instances.score.astype(np.float32))
            for plane, item in zip(ids, merged, strict=True)
        ]
        looked_at = [item.source.looked_at(block_row, block_col) for item in merged]
        write_shard(store, block_row, block_col, ShardPixels(ids=np.stack(ids), scores=np.stack(scores), looked_at=np.stack(looked_at)))
    finalise(store)


def instance_table(context: RunContext, item: Merged) -> InstanceTable:
    """The published columns of one query's instances."""
    table = item.merge.instances
    rows = np.searchsorted(table.instance_id, item.keep)
    details = representative_details(context, item, rows)
    scene_ids, times = scene_columns(item.polygons, grid=context.lattice.grid, scenes=context.plan.scenes)
    lattice = context.lattice
    return InstanceTable(
        instance_id=item.keep,
        query_index=np.full(len(rows), item.query_index, dtype=np.int32),
        label=[detail.label for detail in details],
        score=table.score[rows].astype(np.float32),
        area_px=table.area_px[rows],
        polygons=item.polygons,
        rationale=[detail.rationale for detail in details],
        box_px=np.array([detail.box_px for detail in details], dtype=np.float64).reshape(-1, 4),
        points=[detail.points for detail in details],
        tile_ids=[[lattice.tile(r, c).tile_id for r, c in table.tiles_of(row)] for row in rows.tolist()],
        truncated=table.truncated[rows],
        one_sided=table.one_sided[rows],
        scene_ids=scene_ids,
        datetime=times,
    )


@dataclass(frozen=True, kw_only=True)
class Detail:
    """What the representative fragment's prompt and reply add to an instance; run-grid pixel coordinates."""

    label: str
    rationale: str
    box_px: tuple[float, float, float, float]
    points: tuple[Point, ...]


def representative_details(context: RunContext, item: Merged, rows: NDArray[np.int64]) -> list[Detail]:
    """Details of the representative of every instance at `rows`; each block record is opened once."""
    table, k = item.merge.instances, context.lattice.block_tiles
    places = [(int(table.rep_tile_row[i]), int(table.rep_tile_col[i]), int(table.rep_local[i])) for i in rows.tolist()]
    wanted: dict[tuple[int, int], list[int]] = {}
    for position, (tile_row, tile_col, _) in enumerate(places):
        wanted.setdefault((tile_row // k, tile_col // k), []).append(position)
    details: list[Detail | None] = [None] * len(places)
    for (block_row, block_col), positions in sorted(wanted.items()):
        path = RunDir(context.run_dir).block(f"b{block_row:05d}_{block_col:05d}")
        tiles = {
            (row.tile.tile_row, row.tile.tile_col): row
            for row in read_summaries(path, context.fingerprint).tiles
            if row.query_index == item.query_index
        }
        for position in positions:
            tile_row, tile_col, local = places[position]
            details[position] = detail_of(tiles[tile_row, tile_col], local)
    return [detail for detail in details if detail is not None]


def detail_of(record: TileRecord, local: int) -> Detail:
    """Prompt and rationale behind one local instance of a tile."""
    prompt = record.prompts[record.fragments[local - 1].prompt_index]
    x, y = record.tile.read.col0, record.tile.read.row0
    nan = float("nan")
    box = prompt.box_xyxy
    return Detail(
        label=prompt.label,
        rationale=record.rationale,
        box_px=(nan, nan, nan, nan) if box is None else (box[0] + x, box[1] + y, box[2] + x, box[3] + y),
        points=tuple((px + x, py + y, label) for (px, py), label in zip(prompt.points_xy, prompt.point_labels, strict=True)),
    )


def concatenate(tables: Sequence[InstanceTable]) -> InstanceTable:
    """The instances of all queries in one table."""
    columns: dict[str, Any] = {}
    for name in InstanceTable.__dataclass_fields__:
        parts = [getattr(table, name) for table in tables]
        columns[name] = np.concatenate(parts) if isinstance(parts[0], np.ndarray) else [value for part in parts for value in part]
    return InstanceTable(**columns)


def block_indexes(context: RunContext) -> Iterator[tuple[int, int]]:
    """(block_row, block_col) of every block with a tile inside, row-major."""
    k = context.lattice.block_tiles
    rows, cols = np.nonzero(context.plan.inside)
    yield from np.unique(np.column_stack([rows // k, cols // k]), axis=0).tolist()
