"""Objects of the zones in longitude and latitude: those near a seam apart from the rest.

1. `seam_ground` is where more than one zone looked. `judged_ground` says, for one zone and query, which part
   of it a model judged, by the ledger. `judged_twice` is what several zones have in common of that.
2. `true_ground` corrects ownership by what was judged: ground whose owner has no answer, because its tiles
   failed, it has no imagery there or clouds hide it, goes to a zone that has one.
3. `split_rows` streams a zone's instances. Rows that lie on the zone's own ground, away from the seams, are
   handed on batch by batch, moved and renamed; the few near a seam are kept for `zone_match`.

Coordinates are rounded to `SNAP_DEG`, so that outlines which touch in a zone's pixels touch afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import rasterio.features
import shapely
import zarr
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.files.store.stored_files import open_parquet, read_parquet, zarr_store
from pipeline.geo.globe import polygonal, polygons_to_lonlat
from pipeline.grid.pixel_size import pixel_side, unit_of
from pipeline.run.report_imagery import Imagery
from pipeline.run.zones.zone_plan import SNAP_DEG, Zone, grown
from pipeline.schema.tile_answers import TileStatus
from pipeline.write.coverage import Conservation
from pipeline.write.ground_area import EDGE_M
from pipeline.write.instances import part_files
from pipeline.write.masks_zarr import MASK_FILL
from pipeline.write.records.record_source import NOT_LOOKED_AT
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo

BATCH_ROWS = 32_768
"""Rows in memory at once, beside those near a seam."""

_PER_DEGREE = round(1 / SNAP_DEG)
_BOX_STEPS = 4
_NEAR_DEG = 1e-4
"""How far boxes may bend when they are moved, in degrees; more only costs time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ZoneResult:
    """A zone whose run has ended."""

    zone: Zone
    run_dir: RunDir
    info: RunInfo
    id_offset: int
    """Added to its instance ids."""
    conservation: Conservation
    imagery: Imagery | None = None
    """Its scenes, for pictures. None: they are not at hand."""


@dataclass(frozen=True, kw_only=True)
class SeamRows:
    """Rows of one zone near a seam, as their file has them, and their outlines."""

    rows: pa.Table
    polygons: NDArray[np.object_]
    """(n,) in degrees, cut at 180, rounded."""


def seam_ground(results: Sequence[ZoneResult]) -> BaseGeometry:
    """Unite the ground where more than one zone looked, with the tiles around it."""
    shared = [
        shapely.intersection(one.zone.area.geometry, other.zone.area.geometry)
        for one, other in combinations(results, 2)
    ]
    near = polygonal(shapely.union_all([polygonal(part) for part in shared], grid_size=SNAP_DEG))
    if near.is_empty:
        return near
    return polygonal(
        shapely.union_all(
            [grown(near, each.zone.crs_wkt, metres=1.5 * _core_m(each)) for each in results],
            grid_size=SNAP_DEG,
        )
    )


def _core_m(result: ZoneResult) -> float:
    """Side of a tile's core in metres, as the zone's CRS has them."""
    lattice = result.info.lattice
    _, metres = unit_of(result.zone.crs_wkt)
    return lattice.core_px * pixel_side(lattice.grid.transform) * (metres or 1.0)


def judged_ground(result: ZoneResult, query_index: int, near: BaseGeometry) -> BaseGeometry:
    """Unite the ground near the seams that was judged for the query, in degrees.

    It is made of the cores that have an answer. Of a core that is imagery only in part, the pixels count that
    were judged: what lacks imagery there, or lies under clouds, may have been judged by another zone.
    """
    shapely.prepare(near)
    cores: list[NDArray[np.object_]] = []
    columns = ["query_index", "status", "reason", "tile_row", "tile_col", "valid_share", "geometry"]
    with open_parquet(result.run_dir.coverage) as ledger:
        for batch in ledger.iter_batches(batch_size=BATCH_ROWS, columns=columns):
            table = pa.Table.from_batches([batch]).filter(
                (pc.field("query_index") == query_index)
                & (pc.field("status") != TileStatus.FAILED.value)
                & ~pc.field("reason").isin([reason.value for reason in NOT_LOOKED_AT])
            )
            shapes = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
            moved = rounded_lonlat(shapes, result.zone.crs_wkt)
            here = shapely.intersects(near, moved)
            whole = table["valid_share"].fill_null(1.0).to_numpy() >= 1.0
            cores.append(moved[here & whole])
            tiles = table.select(["tile_row", "tile_col"]).filter(pa.array(here & ~whole)).to_pylist()
            cores += [_judged_pixels(result, query_index, **tile) for tile in tiles]
    united = shapely.union_all(np.concatenate([np.zeros(0, dtype=object), *cores]), grid_size=SNAP_DEG)
    return polygonal(shapely.intersection(united, result.zone.cover, grid_size=SNAP_DEG))


def _judged_pixels(
    result: ZoneResult, query_index: int, *, tile_row: int, tile_col: int
) -> NDArray[np.object_]:
    """Outlines of the pixels of a core that the mask raster has as judged, in degrees."""
    lattice = result.info.lattice
    core = lattice.tile(tile_row, tile_col).core
    mask: Any = zarr.open_group(zarr_store(result.run_dir.masks, read_only=True), mode="r")["mask"]
    judged = np.asarray(mask[query_index, core.row0 : core.row1, core.col0 : core.col1]) != MASK_FILL
    place = Affine(*lattice.grid.transform) @ Affine.translation(core.col0, core.row0)
    found = rasterio.features.shapes(judged.astype(np.uint8), mask=judged, transform=place)
    outlines = [shapely.geometry.shape(outline) for outline, _ in found]
    return rounded_lonlat(np.array(outlines, dtype=object), result.zone.crs_wkt)


def judged_twice(judged: Sequence[Sequence[BaseGeometry]]) -> BaseGeometry:
    """Unite the ground that more than one zone judged for any query. `judged`: per query and zone."""
    shared = [
        polygonal(shapely.intersection(one, other, grid_size=SNAP_DEG))
        for zones in judged
        for one, other in combinations(zones, 2)
    ]
    return polygonal(shapely.union_all(shared, grid_size=SNAP_DEG))


def true_ground(owned: Sequence[BaseGeometry], judged: Sequence[BaseGeometry]) -> list[BaseGeometry]:
    """Correct ownership by what was judged: the ground (n,) of each zone, none of it twice.

    `owned` and `judged` (n,) in degrees. What an owner judged stays its own. What it did not, and another
    zone did, goes to the first such zone.
    """
    kept = [
        polygonal(shapely.intersection(own, seen, grid_size=SNAP_DEG))
        for own, seen in zip(owned, judged, strict=True)
    ]
    taken = shapely.union_all(kept, grid_size=SNAP_DEG)
    given = []
    for seen in judged:
        more = polygonal(shapely.difference(seen, taken, grid_size=SNAP_DEG))
        given.append(more)
        taken = shapely.union_all([taken, more], grid_size=SNAP_DEG)
    ground = []
    for zone, own in enumerate(owned):
        lost = shapely.union_all([part for other, part in enumerate(given) if other != zone])
        rest = shapely.difference(own, lost, grid_size=SNAP_DEG)
        ground.append(polygonal(shapely.union_all([polygonal(rest), given[zone]], grid_size=SNAP_DEG)))
    return ground


def split_rows(
    result: ZoneResult, foreign: BaseGeometry, *, far: Callable[[pa.Table, NDArray[np.object_]], None]
) -> SeamRows:
    """Hand the rows of a zone that do not meet `foreign` to `far`, with their outlines; returns the others.

    `foreign`: the ground of other zones, and what several judged, in degrees. All rows of an object that is
    published in several go the same way.
    """
    reach = polygonal(shapely.buffer(foreign, _NEAR_DEG, quad_segs=1))
    shapely.prepare(reach)
    split = _split_objects(result, reach)
    tables: list[pa.Table] = []
    shapes: list[NDArray[np.object_]] = []
    for table in instance_batches(result):
        near = _near(table, result, reach) | _is_one_of(table, split)
        if near.any():
            mine = table.filter(pa.array(near))
            tables.append(mine)
            shapes.append(_outlines(mine, result))
        if not near.all():
            others = table.filter(pa.array(~near))
            far(others, _outlines(others, result))
    with open_parquet(part_files(result.run_dir)[0]) as part:
        empty = part.schema_arrow.empty_table()
    return SeamRows(
        rows=pa.concat_tables([empty, *tables]).combine_chunks(),
        polygons=np.concatenate([np.zeros(0, dtype=object), *shapes]),
    )


def instance_batches(result: ZoneResult) -> Iterator[pa.Table]:
    """Stream the instances of a zone, in the order of its files."""
    for path in part_files(result.run_dir):
        with open_parquet(path) as part:
            for batch in part.iter_batches(batch_size=BATCH_ROWS):
                if batch.num_rows:
                    yield pa.Table.from_batches([batch])


def rounded_lonlat(polygons: NDArray[np.object_], crs_wkt: str) -> NDArray[np.object_]:
    """Move polygons (n,) of a zone to longitude and latitude, cut at 180, rounded to `SNAP_DEG`.

    Edges longer than `EDGE_M` are split before, because straight lines of one map are curves on the other.
    """
    _, metres = unit_of(crs_wkt)
    dense = shapely.segmentize(polygons, EDGE_M / (metres or 1.0))
    lonlat = polygons_to_lonlat(dense, crs_wkt)
    moved = shapely.transform(lonlat, lambda xy: np.round(xy * _PER_DEGREE) / _PER_DEGREE)
    bad = np.flatnonzero(~shapely.is_valid(moved))
    for place in bad.tolist():
        moved[place] = polygonal(shapely.set_precision(lonlat[place], SNAP_DEG))
    return np.asarray(moved, dtype=object)


def _outlines(table: pa.Table, result: ZoneResult) -> NDArray[np.object_]:
    shapes = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
    return rounded_lonlat(shapes, result.zone.crs_wkt)


def _near(table: pa.Table, result: ZoneResult, reach: BaseGeometry) -> NDArray[np.bool_]:
    """(n,) whether the bounding box of a row meets `reach` on the ground."""
    box = table["bbox"].combine_chunks()
    edges = [
        box.field(name).to_numpy(zero_copy_only=False).astype(np.float64)
        for name in ("xmin", "ymin", "xmax", "ymax")
    ]
    sides = np.maximum(edges[2] - edges[0], edges[3] - edges[1])
    boxes = shapely.segmentize(shapely.box(*edges), np.maximum(sides / _BOX_STEPS, 1e-12))
    return np.asarray(
        shapely.intersects(reach, polygons_to_lonlat(boxes, result.zone.crs_wkt)), dtype=np.bool_
    )


def _split_objects(result: ZoneResult, reach: BaseGeometry) -> set[tuple[int, int]]:
    """(query_index, instance_id) of objects in several rows of which one is near."""
    found: set[tuple[int, int]] = set()
    for path in part_files(result.run_dir):
        table = read_parquet(path, ["query_index", "instance_id", "bbox"], filters=[("n_parts", ">", 1)])
        if table.num_rows:
            near = table.filter(pa.array(_near(table, result, reach)))
            found |= set(zip(near["query_index"].to_pylist(), near["instance_id"].to_pylist(), strict=True))
    return found


def _is_one_of(table: pa.Table, objects: set[tuple[int, int]]) -> NDArray[np.bool_]:
    if not objects:
        return np.zeros(table.num_rows, dtype=np.bool_)
    pairs = zip(table["query_index"].to_pylist(), table["instance_id"].to_pylist(), strict=True)
    return np.array([pair in objects for pair in pairs], dtype=np.bool_)
