"""Step 4: blocks -> raster shards, the rows of objects that end in one of them, the pieces of those that may
go on.

1. `paint_blocks` takes a square of blocks, one after the other. `_read_tables` reads what the earlier steps
   said of a block and its neighbours.
2. `paint` paints the picture of one query, and `_split` sorts its objects. Those local to the block are
   final: they become rows if they touch the AOI and reach the smallest area. All others become pieces.
3. `_write_shard` writes the rasters of the block. Rows and pieces of all blocks are filed at once
   (`for_later`).

Should a whole object fall away later, `repaint_block` writes the shard again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from pipeline.files.store.store_path import StorePath
from pipeline.files.store.zarr_adapter import Written
from pipeline.run.merge.filed_tables import Filed
from pipeline.run.merge.finished_rows import (
    LeftOut,
    RowCounts,
    SeamDensity,
    finished_rows,
    row_counts,
    seam_zone,
)
from pipeline.run.merge.for_later import PIECES, ForLater
from pipeline.run.merge.merge_job import MergeJob
from pipeline.run.merge.object_scenes import ObjectScenes, scenes_under
from pipeline.schema.imagery import ScenePixels
from pipeline.schema.tile_answers import SCORE_SCALE
from pipeline.stitch.block_picture import (
    BlockPainter,
    BlockPicture,
    FoundPixels,
    concatenate_paint,
    near_blocks,
)
from pipeline.stitch.describe import PaintColumns
from pipeline.stitch.outlines import BlockObjects, border_runs, measure_block
from pipeline.stitch.sources import TileCache
from pipeline.stitch.supertile_regions import RegionPaint, region_picture
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.instance_rows import MergedColumns
from pipeline.write.masks_zarr import ShardPixels, open_masks, write_shard
from pipeline.write.merge_files import (
    read_batches,
    read_columns,
)
from pipeline.write.records.record_source import RecordSource

Block = tuple[int, int]
"""(block_row, block_col)."""


@dataclass(frozen=True, kw_only=True)
class PaintCounts:
    """What became of one block, each per query: its rows, the ground that its tiles saw, the pixels that they
    found.
    """

    rows: tuple[RowCounts, ...]
    ground: tuple[SeamDensity, ...]
    found: tuple[FoundPixels, ...]
    files: tuple[Written, ...]
    """The shards that were written, by their key in masks.zarr."""


@dataclass(frozen=True, kw_only=True)
class PaintedBlocks:
    """What became of some blocks, and the tables that were written for later tasks."""

    blocks: tuple[PaintCounts, ...]
    filed: tuple[Filed, ...]
    """Rows; and pieces and border runs of crossing objects, for the super-tile that owns the ids."""


@dataclass(frozen=True, kw_only=True)
class RepaintKey:
    """A block that shows objects which fell away."""

    block: Block
    dropped: tuple[tuple[StorePath, ...], ...]
    """Per query: tables of the ids that fell away."""


@dataclass(frozen=True, kw_only=True)
class _Tables:
    """What steps 1 to 3 said of one block and one query."""

    paint: tuple[dict[str, NDArray[Any]], ...]
    """Columns for painting of the blocks that `_paint_blocks` names."""
    components: dict[str, NDArray[Any]]
    """Components local to the block, ascending by id."""
    members: dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class _PaintedQuery:
    """One painted query of a block before anything of it is written."""

    picture: BlockPicture
    shown: NDArray[np.bool_]
    """(n + 1,) numbers of the picture that the shard shows."""
    rows: MergedColumns
    """Objects that are final here."""
    left_out: LeftOut
    pieces: pa.RecordBatch
    """As PIECES."""
    piece_owner: NDArray[np.int64]
    """Super-tile that owns each piece."""
    runs: dict[str, NDArray[Any]]
    """Runs of the pieces along the block's border."""
    run_owner: NDArray[np.int64]


def paint_blocks(job: MergeJob, blocks: Sequence[Block]) -> PaintedBlocks:
    """Step 4 for some blocks: read, paint, write."""
    sources = [job.source(query) for query in range(len(job.queries))]
    later = [ForLater() for _ in sources]
    counts = tuple(_paint_block(job, block, sources, later) for block in blocks)
    number = blocks[0][0] * job.lattice.n_block_cols + blocks[0][1]
    filed = [table for query, tables in enumerate(later) for table in tables.file(job, query, number)]
    return PaintedBlocks(blocks=counts, filed=tuple(filed))


def _paint_block(
    job: MergeJob, block: Block, sources: Sequence[RecordSource], later: Sequence[ForLater]
) -> PaintCounts:
    scenes = sources[0].scenes(*block)
    outcomes = [_paint_query(job, block, source, scenes) for source in sources]
    counts = []
    for query, (outcome, tables) in enumerate(zip(outcomes, later, strict=True)):
        rows = finished_rows(job, outcome.rows, query)
        tables.add(
            rows,
            pieces=(outcome.pieces, outcome.piece_owner),
            runs=(outcome.runs, outcome.run_owner),
        )
        counts.append(replace(row_counts(job, outcome.rows, rows), left_out=outcome.left_out))
    return PaintCounts(
        rows=tuple(counts),
        ground=tuple(seam_zone(job.lattice, source, block) for source in sources),
        found=tuple(outcome.picture.found for outcome in outcomes),
        files=_write_shard(job, block, sources, [(outcome.picture, outcome.shown) for outcome in outcomes]),
    )


def _paint_query(job: MergeJob, block: Block, source: RecordSource, scenes: ScenePixels) -> _PaintedQuery:
    tables = _read_tables(job, source.query_index, block)
    return _split(job, block, paint(job, source, tables.paint, block), tables, scenes)


def repaint_block(job: MergeJob, key: RepaintKey) -> tuple[Written, ...]:
    """Step 6 for one block: the same shard without the crossing objects that fell away. Returns the shards
    that were written.
    """
    block = key.block
    sources = [job.source(query) for query in range(len(job.queries))]
    scenes = sources[0].scenes(*block)
    pictures = []
    for source in sources:
        outcome = _paint_query(job, block, source, scenes)
        dropped = [read_columns(path)["id"] for path in key.dropped[source.query_index]]
        gone = np.concatenate([np.zeros(0, dtype=np.uint64), *dropped])
        pictures.append((outcome.picture, outcome.shown & ~np.isin(outcome.picture.ids, gone)))
    return _write_shard(job, block, sources, pictures)


def _paint_blocks(job: MergeJob, block: Block) -> list[Block]:
    """Blocks whose fragments can show in a block; regions show in their own."""
    return [block] if job.mode == "semantic" else near_blocks(job.lattice, *block)


def _read_paint(job: MergeJob, query: int, block: Block) -> tuple[dict[str, NDArray[Any]], ...]:
    """Columns for painting, block by block of `_paint_blocks`; each table is opened once."""
    places = [job.batch_of(*near) for near in _paint_blocks(job, block)]
    batches: dict[str, list[int]] = {}
    for tile, batch in places:
        batches.setdefault(tile.name, []).append(batch)
    read = {
        (name, batch): columns
        for name, wanted in batches.items()
        for batch, columns in zip(
            wanted, read_batches(job.table_at_hand("paint", query, name), wanted), strict=True
        )
    }
    return tuple(read[tile.name, batch] for tile, batch in places)


def _read_tables(job: MergeJob, query: int, block: Block) -> _Tables:
    return _Tables(
        paint=_read_paint(job, query, block),
        components=_read(job, "components", query, block),
        members=_read(job, "members", query, block),
    )


def _read(job: MergeJob, kind: str, query: int, block: Block) -> dict[str, NDArray[Any]]:
    """The batch of one block in its super-tile's table."""
    tile, batch = job.batch_of(*block)
    return read_columns(job.table_at_hand(kind, query, tile.name), batch)


def paint(
    job: MergeJob, source: RecordSource, columns: Sequence[dict[str, NDArray[Any]]], block: Block
) -> BlockPicture:
    """The picture of one block for one query, from the columns of `_paint_blocks` and the labels near it."""
    cache = TileCache(source, job.lattice)
    if job.mode == "semantic":
        return region_picture(job.supers, cache, RegionPaint(**columns[0]), block=block)
    fragments = concatenate_paint([PaintColumns(**part) for part in columns])
    return BlockPainter(job.lattice, cache, fragments, job.stitch.keep_share).picture(*block)


def _split(
    job: MergeJob, block: Block, picture: BlockPicture, tables: _Tables, scenes: ScenePixels
) -> _PaintedQuery:
    """Sort the objects of a picture into rows, pieces, and what is dropped."""
    core = job.lattice.block_core(*block)
    found = measure_block(picture.image, core, job.aoi_mask(core) if picture.image.any() else None)
    components = tables.components
    ids = picture.ids[found.number]
    local = np.isin(ids, components["id"])
    least = np.ones(ids.size, dtype=np.int64)
    least[local] = components["least_px"][np.searchsorted(components["id"], ids[local])]
    enough = (found.area_px >= np.maximum(least, job.stitch.min_area_px)) & (found.aoi_px > 0)
    rows = np.flatnonzero(local & enough)
    area_m2 = geodesic_area_m2(found.polygons[rows], job.lattice.grid)
    small = area_m2 < job.min_area_m2  # one whose area is unknown stays
    left_out = LeftOut.counted(
        outside=local & (found.aoi_px == 0),
        few_px=local & (found.area_px < job.stitch.min_area_px),
        covered=local & (found.area_px < least),
        few_m2=int(small.sum()),
    )
    rows, area_m2 = rows[~small], area_m2[~small]
    here = np.isin(picture.blocked, components["id"])
    components["truncated"] = components["truncated"] | np.isin(components["id"], picture.blocked[here])
    judged_on = scenes_under(picture.image, found.number, scenes)
    shown = np.zeros(picture.ids.size, dtype=np.bool_)
    shown[found.number[rows]] = True
    shown[found.number[~local]] = True
    pieces = _pieces(
        job, block, picture, found, crossing=~local, stopped=picture.blocked[~here], scenes=judged_on
    )
    runs = _runs(job, block, picture, found.number[~local])
    return _PaintedQuery(
        picture=picture,
        shown=shown,
        rows=_local_rows(
            found, tables, rows=rows, ids=ids[rows], area_m2=area_m2, scenes=judged_on.take(rows)
        ),
        left_out=left_out,
        pieces=pieces,
        piece_owner=job.supers.home(pieces["id"].to_numpy().astype(np.int64) - 1),
        runs=runs,
        run_owner=job.supers.home(runs["id"].astype(np.int64) - 1),
    )


def _local_rows(
    found: BlockObjects,
    tables: _Tables,
    *,
    rows: NDArray[np.int64],
    ids: NDArray[np.uint64],
    area_m2: NDArray[np.float64],
    scenes: ObjectScenes,
) -> MergedColumns:
    components = tables.components
    members = tables.members
    at = np.searchsorted(components["id"], ids)
    first = np.searchsorted(members["id"], ids)
    last = np.searchsorted(members["id"], ids, side="right")
    start = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(last - first)])
    take = np.repeat(first - start[:-1], last - first) + np.arange(int(start[-1]))
    return MergedColumns(
        instance_id=ids,
        score=components["score"][at],
        area_px=found.area_px[rows],
        area_m2=area_m2,
        polygons=found.polygons[rows],
        truncated=components["truncated"][at],
        one_sided=components["one_sided"][at],
        part_no=np.zeros(rows.size, dtype=np.int32),
        n_parts=np.ones(rows.size, dtype=np.int32),
        rep_place=components["rep_place"][at],
        rep_prompt=components["rep_prompt"][at],
        tile_start=start,
        tiles=members["tile"][take],
        scene_start=scenes.start,
        scenes=scenes.scene,
    )


def _pieces(
    job: MergeJob,
    block: Block,
    picture: BlockPicture,
    found: BlockObjects,
    *,
    crossing: NDArray[np.bool_],
    stopped: NDArray[np.uint64],
    scenes: ObjectScenes,
) -> pa.RecordBatch:
    """The block's part of every crossing object, and the ids of those that were stopped in it."""
    number = block[0] * job.lattice.n_block_cols + block[1]
    n = int(crossing.sum())
    stops = stopped.size
    nothing = np.zeros(stops, dtype=np.int64)
    judged_on = scenes.take(np.flatnonzero(crossing)).to_arrow()
    return pa.RecordBatch.from_arrays(
        [
            pa.array(np.concatenate([picture.ids[found.number[crossing]], stopped])),
            pa.array(np.full(n + stops, number)),
            pa.array(np.concatenate([found.area_px[crossing], nothing])),
            pa.array(np.concatenate([found.aoi_px[crossing], nothing])),
            pa.array(np.arange(n + stops) >= n),
            pa.array([*shapely.to_wkb(found.polygons[crossing]), *([None] * stops)], type=pa.binary()),
            pa.concat_arrays([judged_on, pa.nulls(stops, pa.list_(pa.int64()))]),
        ],
        schema=PIECES,
    )


def _runs(
    job: MergeJob, block: Block, picture: BlockPicture, crossing: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Runs along the block's border of the numbers `crossing`: id, block, and axis, line, start, stop."""
    runs = border_runs(picture.image, job.lattice.block_core(*block))
    runs = runs[np.isin(runs[:, 0], crossing)]
    number = block[0] * job.lattice.n_block_cols + block[1]
    return {"id": picture.ids[runs[:, 0]], "block": np.full(len(runs), number), "run": runs[:, 1:]}


def _write_shard(
    job: MergeJob,
    block: Block,
    sources: Sequence[RecordSource],
    pictures: Sequence[tuple[BlockPicture, NDArray[np.bool_]]],
) -> tuple[Written, ...]:
    """One shard of every array, all queries, if a tile of the block was looked at.

    `pictures`: the picture and (n + 1,) numbers to show, per query.
    """
    if not job.writes(*block):
        return ()
    ids = []
    scores = []
    for picture, shown in pictures:
        ids.append(np.where(shown, picture.ids, 0).astype(np.uint64)[picture.image])
        scores.append(
            np.round(picture.score.astype(np.float64) * SCORE_SCALE).astype(np.uint8)[picture.image]
        )
    inside = job.aoi_mask(job.lattice.block_core(*block))
    looked_at = [source.looked_at(*block) for source in sources]
    if inside is not None:  # beside the area objects are dropped, so an empty pixel says nothing there
        looked_at = [looked & inside for looked in looked_at]
    pixels = ShardPixels(ids=np.stack(ids), scores=np.stack(scores), looked_at=np.stack(looked_at))
    store = open_masks(job.run_dir.masks, job.lattice, job.queries)
    write_shard(store, *block, pixels)
    return store.written()
