"""Ledger, plan and scenes of several zones as one table each, in longitude and latitude.

1. The rows of every zone are streamed from its own file, with the zone's name in a column `zone`.
2. Outlines are moved to OGC:CRS84 and cut at 180. The bbox column follows them.
3. In the ledger `searched_km2` counts only what the zone judged on ground where it has the say
   (`CoreShares`). So every place counts once, and sums over the whole file are true.
4. A scene is there once, with the zone that looks at it, or with the reason why none does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from pipeline.files.store.store_path import Place
from pipeline.files.store.stored_files import open_parquet
from pipeline.geo.globe import LONLAT_CRS, polygons_to_lonlat
from pipeline.schema.tile_answers import Reason
from pipeline.schema.tiling import RunGrid
from pipeline.write.geo_parquet import with_geometry, write_geo_parquet
from pipeline.write.georeference import Geometries
from pipeline.write.run_dir import RunDir
from pipeline.write.scene_table import SCHEMA as SCENES
from pipeline.write.scene_table import SceneRow, scene_table

ZONE = pa.field("zone", pa.string())
"""First column of tables of several zones."""

_DEGREE_PX = 10_000
"""Pixels of `LONLAT_GRID` per degree: about eleven metres, finer than edges need to be split."""

LONLAT_GRID = RunGrid(
    crs_wkt=str(CRS.from_user_input(LONLAT_CRS).to_wkt(version="WKT2_2019")),
    transform=(1 / _DEGREE_PX, 0.0, -180.0, 0.0, -1 / _DEGREE_PX, 90.0),
    width=360 * _DEGREE_PX,
    height=180 * _DEGREE_PX,
)
"""The globe as a grid: only its CRS and its measures of ground are used, nothing is drawn on it."""

BATCH_ROWS = 16_384
"""Rows in memory at once."""

_EDGE_STEPS = 8
"""Pieces into which an edge of a tile is cut, so that it can bend."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CoreShares:
    """Which shares of some cores of a zone count for it; arrays (n,). All others count whole."""

    tile_row: NDArray[np.int64]
    tile_col: NDArray[np.int64]
    share: NDArray[np.float64]
    """0..1."""

    def of(self, tile_row: NDArray[np.int64], tile_col: NDArray[np.int64]) -> NDArray[np.float64]:
        """Look up the shares (m,) of cores (m,)."""
        order = np.argsort(known := _core_keys(self.tile_row, self.tile_col))
        keys = _core_keys(tile_row, tile_col)
        share = np.ones(len(keys))
        if len(known):
            place = order[np.searchsorted(known, keys, sorter=order).clip(max=len(known) - 1)]
            found = known[place] == keys
            share[found] = self.share[place[found]]
        return share


@dataclass(frozen=True, kw_only=True)
class OwnedLedger:
    """The ledger of one zone, and what of it counts."""

    zone: str
    run_dir: RunDir
    crs_wkt: str
    planned: CoreShares
    """Of the cores that touch AOI and imagery."""
    searched: tuple[CoreShares, ...]
    """Of what was judged in cores, per query."""


def write_zoned_plan(path: Place, zones: Sequence[tuple[str, RunDir]]) -> int:
    """Write the plan of all zones, from their (name, directory); returns the number of rows."""
    files = [run_dir.plan for _, run_dir in zones]
    schema = zoned_schema(files)

    def tables() -> Iterator[pa.Table]:
        for (name, _), file in zip(zones, files, strict=True):
            for table in _batches(file):
                yield _placed(_named(table, name, schema), lonlat_of(table, crs_of_file(file)))

    return write_geo_parquet(path, tables(), schema=schema, grid=LONLAT_GRID)


def write_zoned_scenes(path: Place, rows: Sequence[tuple[str | None, SceneRow]]) -> int:
    """Write the scenes of all zones, from their (zone, row); returns the number of rows. None: no zone looks
    at it.
    """
    table = scene_table([row for _, row in rows])
    named = table.add_column(0, ZONE, pa.array([zone for zone, _ in rows], pa.string()))
    return write_geo_parquet(path, [named], schema=pa.schema([ZONE, *SCENES]), grid=LONLAT_GRID)


@dataclass(frozen=True, kw_only=True)
class OwnedKm2:
    """Ground of all zones, every place once; NaN where a zone has no areas."""

    planned: float
    """In the cores of tiles that touch AOI and imagery."""
    searched: tuple[float, ...]
    """Of these, what was judged, per query."""


def write_zoned_coverage(path: Place, zones: Sequence[OwnedLedger]) -> OwnedKm2:
    """Write the ledger of all zones; returns the ground that counts of it.

    Areas are those of the zones' ledgers, of which the shares count.
    """
    files = [zone.run_dir.coverage for zone in zones]
    schema = zoned_schema(files)
    planned = 0.0
    searched = np.zeros(len(zones[0].searched))

    def tables() -> Iterator[pa.Table]:
        nonlocal planned, searched
        for zone, file in zip(zones, files, strict=True):
            for table in _batches(file):
                planned += _planned_km2(table, zone)
                km2 = _searched_km2(table, zone)
                searched += np.bincount(table["query_index"].to_numpy(), weights=km2, minlength=len(searched))
                at = schema.get_field_index("searched_km2")
                named = _named(table, zone.zone, schema)
                named = named.set_column(at, schema.field(at), pa.array(km2, from_pandas=True))
                yield _placed(named, lonlat_of(table, zone.crs_wkt))

    write_geo_parquet(path, tables(), schema=schema, grid=LONLAT_GRID)
    return OwnedKm2(planned=planned, searched=tuple(searched.tolist()))


def _planned_km2(table: pa.Table, zone: OwnedLedger) -> float:
    """Sum the ground of planned cores that counts; a core has a row per query, and counts once."""
    first = pc.equal(table["query_index"], 0)
    cores = table.filter(pc.and_(first, pc.not_equal(table["reason"], Reason.OUTSIDE_AOI.value)))
    share = zone.planned.of(cores["tile_row"].to_numpy(), cores["tile_col"].to_numpy())
    return float((cores["km2"].to_numpy() * share).sum())


def _searched_km2(table: pa.Table, zone: OwnedLedger) -> NDArray[np.float64]:
    """(n,) judged ground of rows that counts, in km2."""
    query = table["query_index"].to_numpy()
    tile_row, tile_col = (table[name].to_numpy() for name in ("tile_row", "tile_col"))
    km2 = table["searched_km2"].to_numpy().copy()
    for number, shares in enumerate(zone.searched):
        rows = np.flatnonzero(query == number)
        km2[rows] *= shares.of(tile_row[rows], tile_col[rows])
    return np.asarray(km2, dtype=np.float64)


def _core_keys(tile_row: NDArray[np.int64], tile_col: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) one number per core."""
    return (tile_row.astype(np.int64) << 32) | tile_col.astype(np.int64)


def zoned_schema(files: Sequence[Place]) -> pa.Schema:
    """Attribute columns of the joint table: the zone, then what the zones' files have."""
    with open_parquet(files[0]) as file:
        fields = [field for field in file.schema_arrow if field.name not in ("bbox", "geometry")]
    return pa.schema([ZONE, *(pa.field(field.name, field.type) for field in fields)])


def crs_of_file(path: Place) -> str:
    """Read the CRS (WKT) of a GeoParquet file."""
    with open_parquet(path) as file:
        geo = json.loads(file.metadata.metadata[b"geo"])
    return str(CRS.from_json_dict(geo["columns"]["geometry"]["crs"]).to_wkt(version="WKT2_2019"))


def lonlat_of(table: pa.Table, crs_wkt: str) -> Geometries:
    """Outlines of a table's rows in longitude and latitude, cut at 180. Straight edges are split before."""
    shapes = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
    bounds = shapely.bounds(shapes).reshape(-1, 4)
    sides = np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1])
    return polygons_to_lonlat(shapely.segmentize(shapes, sides / _EDGE_STEPS), crs_wkt)


def _batches(file: Place) -> Iterator[pa.Table]:
    with open_parquet(file) as parquet:
        for batch in parquet.iter_batches(batch_size=BATCH_ROWS):
            if batch.num_rows:
                yield pa.Table.from_batches([batch])


def _named(table: pa.Table, zone: str, schema: pa.Schema) -> pa.Table:
    plain = table.drop_columns(["bbox", "geometry"])
    column = pa.repeat(pa.scalar(zone, pa.string()), table.num_rows)
    return plain.add_column(0, ZONE, column).cast(schema)


def _placed(table: pa.Table, shapes: Geometries) -> pa.Table:
    return with_geometry(table, np.asarray(shapely.orient_polygons(shapes), dtype=object))
