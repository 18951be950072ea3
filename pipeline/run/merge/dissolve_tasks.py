"""Step 5: objects that cross blocks, gathered by the super-tile that owns their id, become whole.

1. `_whole_components` folds what the super-tiles know of each component.
2. `dissolve_home` counts the pieces of all blocks. What misses the AOI or stays below the smallest area falls
   away, and the blocks that show it are told (`_tell_blocks`).
3. `_dissolved` makes one row of each object. One of more than `split_tiles` tiles is cut along squares of
   `part_tiles` tiles into parts, one row each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from pipeline.files.store.store_path import StorePath
from pipeline.run.merge.filed_tables import Filed, FiledTables
from pipeline.run.merge.finished_rows import LeftOut, RowCounts, finished_rows, row_counts
from pipeline.run.merge.merge_job import MergeJob
from pipeline.run.merge.object_scenes import ObjectScenes, from_arrow, united
from pipeline.run.merge.paint_tasks import RepaintKey
from pipeline.stitch.describe import member_columns
from pipeline.stitch.dissolve import dissolve
from pipeline.stitch.outlines import shared_edges
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.instance_rows import MergedColumns
from pipeline.write.merge_files import read_columns, read_tables, write_columns, write_table


@dataclass(frozen=True, kw_only=True)
class HomeKey:
    """An owner of ids, and the tables that were filed for it.

    The owner follows from the id (1 + smallest core pixel), so pieces of one object meet in one task whatever
    the size of super-tiles, and objects that lie near each other share a task.
    """

    query_index: int
    home: int
    """Number of the super-tile that owns the ids."""
    pieces: tuple[StorePath, ...]
    runs: tuple[StorePath, ...]
    crossing: tuple[StorePath, ...]
    members: tuple[StorePath, ...]


@dataclass(frozen=True, kw_only=True)
class _Components:
    """Crossing components of one owner, (n,) ascending by id."""

    id: NDArray[np.uint64]
    columns: dict[str, NDArray[Any]]
    member_row: NDArray[np.int64]
    """Component of each (component, tile) pair, ascending."""
    member_tile: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """Parts of the crossing objects that are shown, (p,) by (component, part_no)."""

    component: NDArray[np.int64]
    part_no: NDArray[np.int32]
    n_parts: NDArray[np.int32]
    square: NDArray[np.int64]
    """Number of the part square; -1 for a whole object."""
    area_px: NDArray[np.int64]
    polygons: NDArray[np.object_]
    scenes: ObjectScenes


@dataclass(frozen=True, kw_only=True)
class Dissolved:
    """What became of the crossing objects of one owner."""

    query_index: int
    rows: RowCounts
    filed: tuple[Filed, ...]
    """Rows; and ids that fell away, for the blocks that show them."""


def dissolve_keys(job: MergeJob, filed: FiledTables) -> list[HomeKey]:
    """The owners for which any block filed a piece."""
    return [
        HomeKey(
            query_index=query,
            home=home,
            pieces=filed.paths(job, "pieces", query, home),
            runs=filed.paths(job, "runs", query, home),
            crossing=filed.paths(job, "crossing", query, home),
            members=filed.paths(job, "crossing-members", query, home),
        )
        for query in range(len(job.queries))
        for home in filed.readers("pieces", query)
    ]


def repaint_keys(job: MergeJob, filed: FiledTables) -> list[RepaintKey]:
    """Blocks that show an object which fell away."""
    queries = range(len(job.queries))
    numbers = sorted({number for query in queries for number in filed.readers("dropped", query)})
    return [
        RepaintKey(
            block=divmod(number, job.lattice.n_block_cols),
            dropped=tuple(filed.paths(job, "dropped", query, number) for query in queries),
        )
        for number in numbers
    ]


def dissolve_home(job: MergeJob, key: HomeKey) -> Dissolved:
    """Step 5 for one owner. Raises RecordError for a table that is gone."""
    query = key.query_index
    components = _whole_components(key)
    pieces = read_tables(key.pieces).combine_chunks()
    pieces = pieces.take(pa.array(np.argsort(pieces["block"].to_numpy(), kind="stable")))
    stopped = pieces["stopped"].to_numpy(zero_copy_only=False)
    row = np.searchsorted(components.id, pieces["id"].to_numpy())
    assert (np.append(components.id, 0)[row] == pieces["id"].to_numpy()).all(), (
        "a piece must belong to a crossing component"
    )
    components.columns["truncated"][row[stopped]] = True
    drawn = np.flatnonzero(~stopped)
    pieces, row = pieces.take(pa.array(drawn)), row[drawn]
    area_px = np.bincount(row, weights=pieces["area_px"].to_numpy(), minlength=components.id.size).astype(
        np.int64
    )
    aoi_px = np.bincount(row, weights=pieces["aoi_px"].to_numpy(), minlength=components.id.size).astype(
        np.int64
    )
    kept = (area_px >= np.maximum(components.columns["least_px"], job.stitch.min_area_px)) & (aoi_px > 0)
    parts = _dissolved(job, key, components, pieces=pieces, row=row, kept=kept)
    area_m2 = geodesic_area_m2(parts.polygons, job.lattice.grid)
    whole_m2 = np.bincount(parts.component, weights=area_m2, minlength=kept.size)
    small = kept & (whole_m2 < job.min_area_m2)  # one whose area is unknown stays
    shown = area_px > 0
    left_out = LeftOut.counted(
        outside=shown & (aoi_px == 0),
        few_px=shown & (area_px < job.stitch.min_area_px),
        covered=shown & (area_px < components.columns["least_px"]),
        few_m2=int(small.sum()),
    )
    kept &= ~small
    filed = _tell_blocks(job, key, pieces["id"].to_numpy(), pieces["block"].to_numpy(), gone=~kept[row])
    merged = _columns(job, components, parts, area_m2, kept[parts.component])
    rows = finished_rows(job, merged, query)
    if rows is not None:
        filed.append(Filed("whole-rows", query, key.home))
        write_table(filed[-1].path(job), rows)
    counts = replace(row_counts(job, merged, rows), left_out=left_out)
    return Dissolved(query_index=query, rows=counts, filed=tuple(filed))


def _whole_components(key: HomeKey) -> _Components:
    """The components as all super-tiles together know them: flags or'ed, tiles united.

    Key, representative and score are the same in all super-tiles: the union-find already settled those.
    """
    files = [read_columns(path) for path in key.crossing]
    columns = {name: np.concatenate([file[name] for file in files]) for name in files[0]}
    ids, first, where = np.unique(columns["id"], return_index=True, return_inverse=True)
    whole = {name: columns[name][first] for name in ("rep_place", "rep_prompt", "score", "least_px")}
    for name in ("truncated", "one_sided"):
        whole[name] = np.bincount(where.reshape(-1), weights=columns[name], minlength=ids.size) > 0
    members = [read_columns(path) for path in key.members]
    member_id = np.concatenate([file["id"] for file in members])
    tile = np.concatenate([file["tile"] for file in members])
    pairs = member_columns(np.zeros_like(tile), member_id, tile)
    return _Components(
        id=ids, columns=whole, member_row=np.searchsorted(ids, pairs.id), member_tile=pairs.tile
    )


def _squares(job: MergeJob, block: NDArray[np.int64]) -> NDArray[np.int64]:
    """Part square of each block number."""
    lattice = job.lattice
    side = -(-job.stitch.part_tiles // lattice.block_tiles)
    row = block // lattice.n_block_cols // side
    col = block % lattice.n_block_cols // side
    return np.asarray(row * (-(-lattice.n_block_cols // side)) + col, dtype=np.int64)


def _dissolved(
    job: MergeJob,
    key: HomeKey,
    components: _Components,
    *,
    pieces: pa.Table,
    row: NDArray[np.int64],
    kept: NDArray[np.bool_],
) -> _Parts:
    n_tiles = np.bincount(components.member_row, minlength=components.id.size)
    split = n_tiles > job.stitch.split_tiles
    use = np.flatnonzero(kept[row])
    square = np.where(split[row], _squares(job, pieces["block"].to_numpy()), -1)[use]
    keys, group = np.unique(np.stack([row[use], square]), axis=1, return_inverse=True)
    group = group.reshape(-1)
    n = keys.shape[1]
    area_px = np.bincount(group, weights=pieces["area_px"].to_numpy()[use], minlength=n).astype(np.int64)
    shared = _shared(job, key, components, split=split, keys=keys)
    scenes = united(from_arrow(pieces["scenes"].combine_chunks().take(pa.array(use))), group, n)
    outlines = shapely.from_wkb(pieces["outline"].to_numpy(zero_copy_only=False)[use])
    order = np.argsort(group, kind="stable")
    bounds = np.searchsorted(group[order], np.arange(n + 1)).tolist()
    polygons = np.empty(n, dtype=np.object_)
    for i in range(n):
        polygons[i] = dissolve(
            outlines[order[bounds[i] : bounds[i + 1]]], area_px=int(area_px[i]), shared_px=int(shared[i])
        )
    first = np.searchsorted(keys[0], keys[0])
    n_parts = np.searchsorted(keys[0], keys[0], side="right") - first
    return _Parts(
        component=keys[0],
        part_no=(np.arange(n) - first).astype(np.int32),
        n_parts=n_parts.astype(np.int32),
        square=keys[1],
        area_px=area_px,
        polygons=polygons,
        scenes=scenes,
    )


def _shared(
    job: MergeJob,
    key: HomeKey,
    components: _Components,
    *,
    split: NDArray[np.bool_],
    keys: NDArray[np.int64],
) -> NDArray[np.int64]:
    """(p,) pixel edges that pieces of one part share."""
    files = [read_columns(path) for path in key.runs]
    if not files or not keys.shape[1]:
        return np.zeros(keys.shape[1], dtype=np.int64)
    run = np.concatenate([file["run"] for file in files])
    block = np.concatenate([file["block"] for file in files])
    row = np.searchsorted(components.id, np.concatenate([file["id"] for file in files]))
    square = np.where(split[row], _squares(job, block), -1)
    # one number per (component, square); those of components that are not shown find no key
    width = int(max(keys[1].max(), square.max())) + 2
    wanted = keys[0] * width + keys[1] + 1
    asked = row * width + square + 1
    group = np.searchsorted(wanted, asked)
    known = np.append(wanted, -1)[group] == asked
    return shared_edges(group[known], run[known], keys.shape[1])


def _tell_blocks(
    job: MergeJob,
    key: HomeKey,
    ids: NDArray[np.uint64],
    block: NDArray[np.int64],
    *,
    gone: NDArray[np.bool_],
) -> list[Filed]:
    filed = []
    for number in np.unique(block[gone]).tolist():
        filed.append(Filed("dropped", key.query_index, key.home, number))
        write_columns(filed[-1].path(job), {"id": ids[gone & (block == number)]})
    return filed


def _columns(
    job: MergeJob,
    components: _Components,
    parts: _Parts,
    area_m2: NDArray[np.float64],
    keep: NDArray[np.bool_],
) -> MergedColumns:
    rows = np.flatnonzero(keep)
    component = parts.component[rows]
    start, tiles = _tiles_of(
        job, components, component, np.where(parts.n_parts[rows] > 1, parts.square[rows], -1)
    )
    scenes = parts.scenes.take(rows)
    return MergedColumns(
        instance_id=components.id[component],
        area_px=parts.area_px[rows],
        area_m2=area_m2[rows],
        polygons=parts.polygons[rows],
        part_no=parts.part_no[rows],
        n_parts=parts.n_parts[rows],
        tile_start=start,
        tiles=tiles,
        scene_start=scenes.start,
        scenes=scenes.scene,
        **{
            name: components.columns[name][component]
            for name in ("score", "truncated", "one_sided", "rep_place", "rep_prompt")
        },
    )


def _tiles_of(
    job: MergeJob, components: _Components, component: NDArray[np.int64], square: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(offsets, tiles) of each row: all of its component's, or those whose read window reaches the part's
    square.
    """
    first = np.searchsorted(components.member_row, component)
    last = np.searchsorted(components.member_row, component, side="right")
    found = [components.member_tile[i:j] for i, j in zip(first.tolist(), last.tolist(), strict=True)]
    for i in np.flatnonzero(square >= 0).tolist():
        found[i] = found[i][_reaches(job, found[i], int(square[i]))]
    start = np.concatenate(
        [np.zeros(1, dtype=np.int64), np.cumsum([tiles.size for tiles in found], dtype=np.int64)]
    )
    return start, np.concatenate([np.zeros(0, dtype=np.int64), *found])


def _reaches(job: MergeJob, tile: NDArray[np.int64], square: int) -> NDArray[np.bool_]:
    lattice = job.lattice
    blocks = -(-job.stitch.part_tiles // lattice.block_tiles)
    row, col = divmod(square, -(-lattice.n_block_cols // blocks))
    side = blocks * lattice.shard_px
    core = lattice.core_px
    halo = lattice.halo_px
    inside = np.ones(tile.size, dtype=np.bool_)
    for at, begin in (
        (tile // lattice.n_tile_cols * core, row * side),
        (tile % lattice.n_tile_cols * core, col * side),
    ):
        inside &= (at - halo < begin + side) & (at + core + halo > begin)
    return inside
