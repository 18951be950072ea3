"""The rows of instances/: ids, parts, boxes, areas, tiles, scenes. They are read in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from pipeline.files.store.store_path import StorePath
from pipeline.files.store.stored_files import open_parquet, read_parquet
from pipeline.run.verify.findings import Findings
from pipeline.schema.tile_answers import TileStatus
from pipeline.schema.tiling import tile_id
from pipeline.stitch.supertiles import GHOST
from pipeline.write.georeference import to_pixels
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.instances import part_files
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo

BATCH_ROWS = 16_384
VERTEX_TOLERANCE_PX = 1e-2
"""How far rounding may move a vertex from its pixel's edge: coordinates in a CRS are large numbers."""

AREA_TOLERANCE = 1e-6
"""Relative difference up to which two geodesic areas are the same."""


@dataclass(frozen=True, kw_only=True)
class ObjectTable:
    """What the rasters are compared with: per object (n,), ascending by query and id."""

    query: NDArray[np.int64]
    id: NDArray[np.uint64]
    area_px: NDArray[np.int64]
    score: NDArray[np.float64]


def found_tiles(run_dir: RunDir) -> frozenset[tuple[str, int]]:
    """Read (tile_id, query_index) of the tiles in which something was found, from the ledger."""
    table = read_parquet(
        run_dir.coverage, ["tile_id", "query_index"], filters=[("status", "=", TileStatus.FOUND.value)]
    )
    return frozenset(zip(table["tile_id"].to_pylist(), table["query_index"].to_pylist(), strict=True))


def check_objects(run_dir: RunDir, info: RunInfo, found: Findings) -> ObjectTable | None:
    """Check all rows. Returns what the rasters must show; None: the rows cannot be read."""
    pieces = []
    n_parts = []
    try:
        tiles = found_tiles(run_dir)
        for table in row_batches(part_files(run_dir)):
            _check_batch(table, info, tiles, found)
            pieces.append(table.select(["query_index", "instance_id", "area_px", "score", "part_no"]))
            n_parts.append(table["n_parts"].combine_chunks())
    except (OSError, pa.ArrowException, KeyError, shapely.errors.ShapelyError) as error:
        found.add("objects", "instances", f"they cannot be read: {str(error).splitlines()[0]}")
        return None
    if not pieces:
        if info.counters.get("instances", 0):
            found.add("objects", "instances", f"no rows, and run.json counts {info.counters['instances']}")
        return _table_of(None)
    rows = pa.concat_tables(pieces).append_column("n_parts", pa.chunked_array(n_parts))
    check_parts(rows, found)
    table_of = _table_of(rows)
    if info.counters.get("instances") != table_of.id.size:
        text = f"run.json counts {info.counters.get('instances')}, the table holds {table_of.id.size}"
        found.add("objects", "counters.instances", text)
    return table_of


def row_batches(paths: Sequence[StorePath]) -> Iterator[pa.Table]:
    """Stream the rows of Parquet files, `BATCH_ROWS` at a time."""
    for path in paths:
        with open_parquet(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                yield pa.Table.from_batches([batch])


def pixel_shapes(table: pa.Table, info: RunInfo) -> NDArray[np.object_]:
    """Read geometries in pixel edges of the run grid, where all of their vertices are whole numbers."""
    moved = to_pixels(shapely.from_wkb(table["geometry"].to_numpy()), info.lattice.grid)
    return np.asarray(shapely.transform(moved, np.rint), dtype=object)


def names_of(table: pa.Table) -> list[str]:
    """Name the object of each row for people."""
    columns = (table["query_index"].to_pylist(), table["instance_id"].to_pylist())
    return [f"query {query}, id {number}" for query, number in zip(*columns, strict=True)]


def _check_batch(table: pa.Table, info: RunInfo, tiles: frozenset[tuple[str, int]], found: Findings) -> None:
    names = names_of(table)
    _check_shapes(table, info, names, found)
    _check_values(table, info, names, found)
    _check_tiles(table, info, tiles, names, found)


def _check_shapes(table: pa.Table, info: RunInfo, names: Sequence[str], found: Findings) -> None:
    """Geometry, bounding box and both areas."""
    grid = info.lattice.grid
    shapes = shapely.from_wkb(table["geometry"].to_numpy())
    sound = check_polygons(table, shapes, names, found)
    whole = pixel_shapes(table, info)
    strays = shapely.hausdorff_distance(to_pixels(shapes, grid), whole) > VERTEX_TOLERANCE_PX
    for row in np.flatnonzero(sound & strays):
        found.add("objects", names[row], "its vertices are not on pixel edges of the run grid")
    area_px = shapely.area(whole)
    stored = table["area_px"].to_numpy()
    for row in np.flatnonzero(sound & (area_px != stored)):
        found.add("objects", names[row], f"area_px says {stored[row]}, its polygon has {area_px[row]:.0f}")
    check_areas(table, geodesic_area_m2(np.where(sound, whole, shapely.Polygon()), grid), sound, names, found)


def check_polygons(
    table: pa.Table, shapes: NDArray[np.object_], names: Sequence[str], found: Findings
) -> NDArray[np.bool_]:
    """Check that geometries are sound polygons, with their boxes. Returns (n,) True where they are sound."""
    polygonal = np.isin(shapely.get_type_id(shapes), (3, 6))
    sound = np.asarray(shapely.is_valid(shapes) & ~shapely.is_empty(shapes) & polygonal)
    for row in np.flatnonzero(~sound):
        found.add("objects", names[row], f"no sound polygon: {shapely.is_valid_reason(shapes[row])}")
    box = table["bbox"].combine_chunks()
    edges = np.column_stack([box.field(edge).to_numpy() for edge in ("xmin", "ymin", "xmax", "ymax")])
    for row in np.flatnonzero(sound & (edges != shapely.bounds(shapes)).any(axis=1)):
        found.add("objects", names[row], "its column bbox is not the box around its geometry")
    return sound


def check_areas(
    table: pa.Table,
    ground: NDArray[np.float64],
    sound: NDArray[np.bool_],
    names: Sequence[str],
    found: Findings,
    *,
    tolerance: float = AREA_TOLERANCE,
) -> None:
    """Compare area_m2 with `ground` (n,) square metres, NaN: unknown. `tolerance` is relative."""
    stored = pc.fill_null(table["area_m2"].combine_chunks(), np.nan).to_numpy(zero_copy_only=False)
    known = np.isfinite(ground)
    off = known & ~(np.abs(ground - stored) <= tolerance * ground)
    for row in np.flatnonzero(sound & (off | (known != np.isfinite(stored)))):
        found.add("objects", names[row], f"area_m2 says {stored[row]:.6g}, not {ground[row]:.6g}")


def _check_values(table: pa.Table, info: RunInfo, names: Sequence[str], found: Findings) -> None:
    """Ids, scores, and what is the same for many rows."""
    grid = info.lattice.grid
    ids = table["instance_id"].to_numpy()
    pixels = np.uint64(grid.width * grid.height)
    for row in np.flatnonzero((ids == 0) | ((ids > pixels) & (ids <= np.uint64(GHOST)))):
        found.add("objects", names[row], "its id is not 1 + the number of a pixel of the grid")
    score = table["score"].to_numpy()
    for row in np.flatnonzero(~((score >= 0) & (score <= 1))):
        found.add("objects", names[row], f"score {score[row]} is not between 0 and 1")
    queries = dict(enumerate(info.queries))
    scenes = {scene.scene_id for scene in info.scenes}
    columns = ("query_index", "query", "run_id", "scene_ids")
    rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
    for name, (index, query, run_id, scene_ids) in zip(names, rows, strict=True):
        if queries.get(index) != query:
            found.add("objects", name, f"query {index} is {queries.get(index)!r}, not {query!r}")
        if run_id != info.run_id:
            found.add("objects", name, f"run_id {run_id} is not {info.run_id}")
        if not scenes.issuperset(scene_ids or ()):
            found.add("objects", name, f"scenes {sorted(set(scene_ids) - scenes)} are not in run.json")


def _check_tiles(
    table: pa.Table, info: RunInfo, tiles: frozenset[tuple[str, int]], names: Sequence[str], found: Findings
) -> None:
    """Tiles that an object is of: counted rightly, with a finding, and one of them owns the object's id."""
    lattice = info.lattice
    columns = ("query_index", "instance_id", "tile_ids", "n_tiles", "n_parts")
    rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
    for name, (query, number, tile_ids, n_tiles, n_parts) in zip(names, rows, strict=True):
        if len(tile_ids) != n_tiles or len(set(tile_ids)) != n_tiles or not tile_ids:
            found.add("objects", name, f"n_tiles is {n_tiles}, and tile_ids names {len(set(tile_ids))}")
        barren = [tile for tile in tile_ids if (tile, query) not in tiles]
        if barren:
            found.add("objects", name, f"tile {barren[0]} has no finding in the ledger")
        if n_parts == 1 and 0 < number <= lattice.grid.width * lattice.grid.height:
            row, col = divmod(number - 1, lattice.grid.width)
            owner = tile_id(row // lattice.core_px, col // lattice.core_px)
            if info.parameters.get("merge_mode") == "instances" and owner not in tile_ids:
                found.add("objects", name, f"its id is a pixel of tile {owner}, which is not in tile_ids")


def check_parts(rows: pa.Table, found: Findings) -> None:
    """Check that (query, id, part) is unique, and that an object of n parts has the parts 0 to n - 1."""
    keys = ["query_index", "instance_id"]
    groups = rows.group_by([*keys, "part_no"]).aggregate([([], "count_all")])
    for row in groups.filter(pc.greater(groups["count_all"], 1)).to_pylist():
        place = f"query {row['query_index']}, id {row['instance_id']}"
        found.add("objects", place, f"{row['count_all']} rows have this id and part")
    objects = groups.group_by(keys).aggregate([([], "count_all"), ("part_no", "max")])
    claimed = rows.group_by(keys).aggregate([("n_parts", "max"), ("n_parts", "min")])
    objects = objects.join(claimed, keys=keys)
    for row in objects.to_pylist():
        if not row["count_all"] == row["part_no_max"] + 1 == row["n_parts_max"] == row["n_parts_min"]:
            place = f"query {row['query_index']}, id {row['instance_id']}"
            found.add("objects", place, f"{row['count_all']} of {row['n_parts_max']} parts are there")


def _table_of(rows: pa.Table | None) -> ObjectTable:
    """Sum up the parts of every object."""
    if rows is None:
        nothing = np.zeros(0, dtype=np.int64)
        return ObjectTable(
            query=nothing, id=nothing.astype(np.uint64), area_px=nothing, score=nothing.astype(np.float64)
        )
    keys = ["query_index", "instance_id"]
    summed = rows.group_by(keys).aggregate([("area_px", "sum"), ("score", "max")])
    summed = summed.sort_by([(key, "ascending") for key in keys])
    return ObjectTable(
        query=summed["query_index"].to_numpy().astype(np.int64),
        id=summed["instance_id"].to_numpy(),
        area_px=summed["area_px_sum"].to_numpy(),
        score=summed["score_max"].to_numpy().astype(np.float64),
    )
