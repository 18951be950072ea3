"""Whose ground is whose once it was looked at.

1. `seam_ground` is where more than one zone looked. `judged_cores` says, for one zone and query, which part
   of every core there a model judged, by the ledger and the mask raster; `judged_ground` unites them.
   `planned_cores` says what the zone was to look at.
2. `judged_twice` is what several zones judged.
3. `true_ground` corrects ownership by what was judged: ground whose owner has no answer, because its tiles
   failed, it has no imagery there or clouds hide it, goes to a zone that has one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

from pipeline.files.store.stored_files import open_parquet, zarr_store
from pipeline.geo.globe import polygonal
from pipeline.grid.pixel_size import pixel_side, unit_of
from pipeline.run.zones.zone_objects import BATCH_ROWS, ZoneResult, rounded_lonlat
from pipeline.run.zones.zone_plan import SNAP_DEG, grown
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.schema.tiling import TileLattice
from pipeline.write.masks_zarr import MASK_FILL
from pipeline.write.records.record_source import NOT_LOOKED_AT
from pipeline.write.run_dir import RunDir


@dataclass(frozen=True, kw_only=True, eq=False)
class ZoneFiles:
    """A zone as its files have it, and the ground that it owns."""

    name: str
    run_dir: RunDir
    lattice: TileLattice
    owned: BaseGeometry
    """In degrees, cut at 180."""

    @property
    def crs_wkt(self) -> str:
        """CRS of its pixels."""
        assert self.lattice.grid.crs_wkt is not None  # without one it would be no zone
        return self.lattice.grid.crs_wkt


@dataclass(frozen=True, kw_only=True, eq=False)
class ZoneCores:
    """Some cores of one zone; arrays (n,)."""

    tile_row: NDArray[np.int64]
    tile_col: NDArray[np.int64]
    shapes: NDArray[np.object_]
    """What counts of each, in degrees."""


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


def judged_cores(zone: ZoneFiles, query_index: int, near: BaseGeometry) -> ZoneCores:
    """Outline what was judged for the query of the cores that have an answer and meet `near` (degrees).

    Of a core that is imagery only in part, the pixels count that were judged: what lacks imagery there, or
    lies under clouds, may have been judged by another zone.
    """

    def judged(table: pa.Table, moved: NDArray[np.object_]) -> NDArray[np.object_]:
        partial = table["valid_share"].fill_null(1.0).to_numpy() < 1.0
        places = table.select(["tile_row", "tile_col"]).to_pylist()
        for number in np.flatnonzero(partial).tolist():
            moved[number] = _judged_pixels(zone, query_index, **places[number])
        return moved

    answered = (
        (pc.field("query_index") == query_index)
        & (pc.field("status") != TileStatus.FAILED.value)
        & ~pc.field("reason").isin([reason.value for reason in NOT_LOOKED_AT])
    )
    return _cores(zone, answered, near, judged)


def planned_cores(zone: ZoneFiles, near: BaseGeometry) -> ZoneCores:
    """Outline the cores that were to be looked at and meet `near` (degrees)."""
    inside = (pc.field("query_index") == 0) & (pc.field("reason") != Reason.OUTSIDE_AOI.value)
    return _cores(zone, inside, near, lambda _, moved: moved)


def _cores(
    zone: ZoneFiles,
    rows: pc.Expression,
    near: BaseGeometry,
    outlined: Callable[[pa.Table, NDArray[np.object_]], NDArray[np.object_]],
) -> ZoneCores:
    """Read rows of a zone's ledger. `outlined` makes their cores (n,) what counts of them."""
    shapely.prepare(near)
    shapes: list[NDArray[np.object_]] = [np.zeros(0, dtype=object)]
    places: list[NDArray[np.int64]] = [np.zeros((0, 2), dtype=np.int64)]
    columns = ["query_index", "status", "reason", "tile_row", "tile_col", "valid_share", "geometry"]
    with open_parquet(zone.run_dir.coverage) as ledger:
        for batch in ledger.iter_batches(batch_size=BATCH_ROWS, columns=columns):
            table = pa.Table.from_batches([batch]).filter(rows)
            cores = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
            moved = rounded_lonlat(cores, zone.crs_wkt)
            here = shapely.intersects(near, moved)
            mine = table.filter(pa.array(here))
            shapes.append(outlined(mine, moved[here]))
            places.append(np.column_stack([mine["tile_row"].to_numpy(), mine["tile_col"].to_numpy()]))
    tile_row, tile_col = np.concatenate(places).astype(np.int64).T
    return ZoneCores(tile_row=tile_row, tile_col=tile_col, shapes=np.concatenate(shapes))


def _judged_pixels(zone: ZoneFiles, query_index: int, *, tile_row: int, tile_col: int) -> BaseGeometry:
    """Outline the pixels of a core that the mask raster has as judged, in degrees."""
    lattice = zone.lattice
    core = lattice.tile(tile_row, tile_col).core
    mask: Any = zarr.open_group(zarr_store(zone.run_dir.masks, read_only=True), mode="r")["mask"]
    judged = np.asarray(mask[query_index, core.row0 : core.row1, core.col0 : core.col1]) != MASK_FILL
    place = Affine(*lattice.grid.transform) @ Affine.translation(core.col0, core.row0)
    found = rasterio.features.shapes(judged.astype(np.uint8), mask=judged, transform=place)
    outlines = [shapely.geometry.shape(outline) for outline, _ in found]
    moved = rounded_lonlat(np.array(outlines, dtype=object), zone.crs_wkt)
    return polygonal(shapely.union_all(moved, grid_size=SNAP_DEG))


def judged_ground(result: ZoneResult, query_index: int, near: BaseGeometry) -> BaseGeometry:
    """Unite the ground near the seams that was judged for the query, in degrees."""
    cores = judged_cores(files_of(result), query_index, near)
    united = shapely.union_all(cores.shapes, grid_size=SNAP_DEG)
    return polygonal(shapely.intersection(united, result.zone.cover, grid_size=SNAP_DEG))


def files_of(result: ZoneResult) -> ZoneFiles:
    """What of a zone's result is in its files."""
    return ZoneFiles(
        name=result.zone.name,
        run_dir=result.run_dir,
        lattice=result.info.lattice,
        owned=result.zone.owned,
    )


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
