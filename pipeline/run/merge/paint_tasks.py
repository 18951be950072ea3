"""Step 4: one block -> its raster shard, the rows of objects that end in it, the pieces of those that may go
on.

1. `paint_query` paints every query from the fragments of the block and its neighbours.
2. Objects local to the block are final: those that touch the AOI and reach the smallest area become rows.
3. The block hands on its part of every other object, to the super-tile that owns its id. Should the whole
   object fall away, `repaint_block` writes the shard again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from pipeline.run.merge.finished_rows import LeftOut, RowCounts, SeamDensity, publish_rows, seam_zone
from pipeline.run.merge.merge_job import MergeJob
from pipeline.run.merge.object_scenes import ObjectScenes, scenes_under
from pipeline.scene_pixels import ScenePixels
from pipeline.schema import SCORE_SCALE, block_id
from pipeline.stitch.block_picture import BlockPainter, BlockPicture, concatenate_paint, near_blocks
from pipeline.stitch.describe import PaintColumns
from pipeline.stitch.outlines import BlockObjects, border_runs, measure_block
from pipeline.stitch.sources import TileCache
from pipeline.stitch.supertile_regions import RegionPaint, region_picture
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.instance_rows import MergedColumns
from pipeline.write.masks_zarr import ShardPixels, open_masks, write_shard
from pipeline.write.merge_files import files_in, read_columns, write_batches, write_columns
from pipeline.write.records.record_source import RecordSource

Block = tuple[int, int]
"""(block_row, block_col)."""

PIECES = pa.schema(
    [
        ("id", pa.uint64()),
        ("block", pa.int64()),
        ("area_px", pa.int64()),
        ("aoi_px", pa.int64()),
        ("stopped", pa.bool_()),
        ("outline", pa.binary()),
        ("scenes", pa.list_(pa.int64())),
    ]
)
"""One block's part of a crossing object; outline is WKB in pixel-edge coordinates, null where only `stopped`
is said; scenes are those that gave the pixels under it.
"""


@dataclass(frozen=True, kw_only=True)
class PaintCounts:
    """What became of one block: rows per query, the ground its tiles saw, and where its pieces of crossing
    objects went.
    """

    rows: tuple[RowCounts, ...]
    ground: tuple[SeamDensity, ...]
    handed_on: tuple[tuple[int, int], ...]
    """(query_index, super-tile that owns the ids) of every file of pieces that was written."""


def paint_block(job: MergeJob, block: Block) -> PaintCounts:
    """Step 4 for one block."""
    rows = []
    ground = []
    handed_on = []
    pictures = []
    writes = job.writes(*block)
    scenes = job.source(0).scenes(*block)
    for query in range(len(job.queries)):
        source = job.source(query)
        picture = paint_query(job, source, block)
        counts, shown, homes = _split(job, query, block, picture, scenes)
        rows.append(counts)
        handed_on += [(query, home) for home in homes]
        ground.append(seam_zone(job.lattice, source, block))
        pictures.append((source, picture, shown))
    if writes:
        _write(job, block, pictures)
    return PaintCounts(rows=tuple(rows), ground=tuple(ground), handed_on=tuple(handed_on))


def repaint_block(job: MergeJob, block: Block) -> None:
    """Step 6 for one block: the same shard without the crossing objects that fell away."""
    pictures = []
    for query in range(len(job.queries)):
        source = job.source(query)
        picture = paint_query(job, source, block)
        kept = read_columns(job.table("shown", query, block_id(*block)))["id"]
        dropped = [
            read_columns(path)["id"]
            for path in files_in(job.table("dropped", query, "x").parent / block_id(*block))
        ]
        gone = np.concatenate([np.zeros(0, dtype=np.uint64), *dropped])
        pictures.append((source, picture, np.isin(picture.ids, np.setdiff1d(kept, gone))))
    if job.writes(*block):
        _write(job, block, pictures)


def paint_query(job: MergeJob, source: RecordSource, block: Block) -> BlockPicture:
    """The picture of one block for one query."""
    cache = TileCache(source, job.lattice)
    if job.mode == "semantic":
        tile, batch = job.batch_of(*block)
        paint = RegionPaint(**read_columns(job.table("paint", source.query_index, tile.name), batch))
        return region_picture(job.supers, cache, paint, block=block)
    parts = []
    for near in near_blocks(job.lattice, *block):
        tile, batch = job.batch_of(*near)
        parts.append(PaintColumns(**read_columns(job.table("paint", source.query_index, tile.name), batch)))
    fragments = concatenate_paint(parts)
    return BlockPainter(job.lattice, cache, fragments, job.stitch.keep_share).picture(*block)


def _split(
    job: MergeJob, query: int, block: Block, picture: BlockPicture, scenes: ScenePixels
) -> tuple[RowCounts, NDArray[np.bool_], list[int]]:
    """(counts of the rows written, (n + 1,) numbers that the shard shows, owners to which pieces were handed
    on).
    """
    core = job.lattice.block_core(*block)
    found = measure_block(picture.image, core, job.aoi_mask(core) if picture.image.any() else None)
    tile, batch = job.batch_of(*block)
    components = read_columns(job.table("components", query, tile.name), batch)
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
    counts = _local_rows(
        job,
        query,
        block,
        found,
        rows=rows,
        ids=ids[rows],
        area_m2=area_m2,
        components=components,
        scenes=judged_on.take(rows),
    )
    counts = replace(counts, left_out=left_out)
    homes = _hand_on(
        job,
        query,
        block,
        picture,
        found,
        crossing=~local,
        stopped=picture.blocked[~here],
        scenes=judged_on.take(np.flatnonzero(~local)),
    )
    shown = np.zeros(picture.ids.size, dtype=np.bool_)
    shown[found.number[rows]] = True
    shown[found.number[~local]] = True
    write_columns(job.table("shown", query, block_id(*block)), {"id": picture.ids[shown]})
    return counts, shown, homes


def _local_rows(
    job: MergeJob,
    query: int,
    block: Block,
    found: BlockObjects,
    *,
    rows: NDArray[np.int64],
    ids: NDArray[np.uint64],
    area_m2: NDArray[np.float64],
    components: dict[str, NDArray[Any]],
    scenes: ObjectScenes,
) -> RowCounts:
    tile, batch = job.batch_of(*block)
    members = read_columns(job.table("members", query, tile.name), batch)
    at = np.searchsorted(components["id"], ids)
    first = np.searchsorted(members["id"], ids)
    last = np.searchsorted(members["id"], ids, side="right")
    start = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(last - first)])
    take = np.repeat(first - start[:-1], last - first) + np.arange(int(start[-1]))
    merged = MergedColumns(
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
    return publish_rows(job, query, merged, name=block_id(*block))


def _hand_on(
    job: MergeJob,
    query: int,
    block: Block,
    picture: BlockPicture,
    found: BlockObjects,
    *,
    crossing: NDArray[np.bool_],
    stopped: NDArray[np.uint64],
    scenes: ObjectScenes,
) -> list[int]:
    """Pieces and border runs of crossing objects, one file per super-tile that owns ids among them; returns
    these.
    """
    core = job.lattice.block_core(*block)
    number = block[0] * job.lattice.n_block_cols + block[1]
    runs = border_runs(picture.image, core)
    table = np.zeros(picture.ids.size, dtype=np.bool_)
    table[found.number[crossing]] = True
    runs = runs[table[runs[:, 0]]]
    ids = picture.ids[found.number[crossing]]
    run_ids = picture.ids[runs[:, 0]]
    all_ids = np.concatenate([ids, stopped])
    if not all_ids.size:
        return []
    n = ids.size
    stops = stopped.size
    nothing = np.zeros(stops, dtype=np.int64)
    outline = pa.array([*shapely.to_wkb(found.polygons[crossing]), *([None] * stops)], type=pa.binary())
    pieces = pa.RecordBatch.from_arrays(
        [
            pa.array(all_ids),
            pa.array(np.full(n + stops, number)),
            pa.array(np.concatenate([found.area_px[crossing], nothing])),
            pa.array(np.concatenate([found.aoi_px[crossing], nothing])),
            pa.array(np.arange(n + stops) >= n),
            outline,
            pa.concat_arrays([scenes.to_arrow(), pa.nulls(stops, pa.list_(pa.int64()))]),
        ],
        schema=PIECES,
    )
    owner = job.supers.home(all_ids.astype(np.int64) - 1)
    run_owner = job.supers.home(run_ids.astype(np.int64) - 1)
    homes: list[int] = np.unique(owner).tolist()
    for home in homes:
        part = pieces.take(pa.array(np.flatnonzero(owner == home)))
        write_batches(job.table(f"pieces/{home}", query, block_id(*block)), [part], compression=None)
        mine = run_owner == home
        if mine.any():
            columns = {"id": run_ids[mine], "block": np.full(int(mine.sum()), number), "run": runs[mine, 1:]}
            write_columns(job.table(f"runs/{home}", query, block_id(*block)), columns)
    return homes


def _write(
    job: MergeJob, block: Block, pictures: Sequence[tuple[RecordSource, BlockPicture, NDArray[np.bool_]]]
) -> None:
    """One shard of every array, all queries; `pictures`: source, picture and (n + 1,) numbers to show, per
    query.
    """
    ids = []
    scores = []
    looked_at = []
    for source, picture, shown in pictures:
        ids.append(np.where(shown, picture.ids, 0).astype(np.uint64)[picture.image])
        scores.append(
            np.round(picture.score.astype(np.float64) * SCORE_SCALE).astype(np.uint8)[picture.image]
        )
        looked_at.append(source.looked_at(*block))
    pixels = ShardPixels(ids=np.stack(ids), scores=np.stack(scores), looked_at=np.stack(looked_at))
    write_shard(open_masks(job.run_dir.masks, job.lattice), *block, pixels)
