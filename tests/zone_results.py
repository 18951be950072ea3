"""Zones as finished runs leave them, written by hand: a ledger, a plan, instances and a run.json each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from pyproj import CRS, Geod, Transformer

from pipeline.files.fingerprint import fingerprint
from pipeline.grid.aoi import Aoi
from pipeline.run.zones.zone_objects import ZoneResult
from pipeline.run.zones.zone_plan import Zone
from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.write.coverage import SCHEMA as LEDGER
from pipeline.write.coverage import Conservation, SearchedArea
from pipeline.write.geo_parquet import with_geometry, write_geo_parquet
from pipeline.write.instances import SCHEMA, write_part
from pipeline.write.plan_table import core_polygons, write_plan
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo, write_run_json
from pipeline.write.zoned.zoned_json import ZonedInfo, ZoneEntry

SIDE_PX = 200
CORE_PX = 50

PARAMETERS: dict[str, Any] = {
    "stitch": {},
    "merge_mode": "instances",
    "prompter": {"kind": "oracle"},
    "min_area_m2": 0.0,
}


@dataclass(frozen=True)
class Seen:
    """An object as a zone published it, in metres east and north of (0 E, 45 N), where the seam is."""

    number: int
    shape: shapely.Geometry
    truncated: bool = False
    part_no: int = 0
    n_parts: int = 1


def ground_of(west_m: float, south_m: float, east_m: float, north_m: float) -> shapely.Geometry:
    """A rectangle of metres around the middle, in degrees."""
    box = shapely.segmentize(shapely.box(west_m, south_m, east_m, north_m), 20)
    move = Transformer.from_crs("+proj=laea +lon_0=0 +lat_0=45 +datum=WGS84", "OGC:CRS84", always_xy=True)
    return shapely.transform(box, lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1])))


def write_zone(
    root: Path,
    *,
    west: bool,
    objects: Sequence[Seen],
    failed: Sequence[tuple[int, int]] = (),
    id_offset: int = 0,
) -> ZoneResult:
    """A zone of one metre of UTM 30 (west) or 31, in which all 4 x 4 tiles were judged but the `failed`.

    Its scene reaches 40 m over the seam, and it owns its own side of the meridian.
    """
    crs = CRS.from_epsg(32630 if west else 32631)
    name = f"EPSG_{crs.to_epsg()}"
    run_dir = RunDir(root / "zones" / name)
    to_crs = Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    x, y = to_crs.transform(0.0, 45.0)
    left = round(x) - 160.0 if west else round(x) - 40.0
    grid = RunGrid(
        crs_wkt=crs.to_wkt(),
        transform=(1.0, 0.0, left, 0.0, -1.0, round(y) + SIDE_PX / 2),
        width=SIDE_PX,
        height=SIDE_PX,
    )
    lattice = TileLattice(grid=grid, tile_px=CORE_PX + 20, halo_px=10, block_tiles=2)
    inside = np.ones((lattice.n_tile_rows, lattice.n_tile_cols), dtype=np.bool_)
    write_plan(run_dir.plan, lattice, inside)
    _write_ledger(run_dir, lattice, failed)
    _write_instances(run_dir, grid, objects)
    info = RunInfo(
        run_id=name,
        fingerprint=name,
        status="incomplete" if failed else "complete",
        parameters=PARAMETERS,
        queries=("roofs",),
        lattice=lattice,
        scenes=(),
        model_ids={"prompter": "p", "segmenter": "s"},
        counters={"tiles_planned": 16},
    )
    write_run_json(run_dir.run_json, info)
    corners = shapely.segmentize(shapely.box(left, round(y) - 100, left + 200, round(y) + 100), 10)
    back = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    cover = shapely.transform(corners, lambda xy: np.column_stack(back.transform(xy[:, 0], xy[:, 1])))
    half = shapely.box(-1, 44, 0, 46) if west else shapely.box(0, 44, 1, 46)
    owned = shapely.intersection(cover, half, grid_size=1e-9)
    return ZoneResult(
        zone=Zone(
            name=name,
            crs_wkt=str(grid.crs_wkt),
            scenes=(),
            cover=cover,
            owned=owned,
            area=Aoi(geometry=cover, source="test"),
        ),
        run_dir=run_dir,
        info=info,
        id_offset=id_offset,
        conservation=Conservation(
            planned=16,
            found=16 - len(failed),
            empty=0,
            failed=len(failed),
            reasons={"found": 16 - len(failed)} | ({"failed/malformed": len(failed)} if failed else {}),
            searched=SearchedArea(planned_px=40_000, searched_px=(40_000,)),
        ),
    )


def two_zones(
    root: Path, west: Sequence[Seen], east: Sequence[Seen], *, failed: Sequence[tuple[int, int]] = ()
) -> list[ZoneResult]:
    """Both zones; `failed`: tiles (row, column) of the western one."""
    return [
        write_zone(root, west=True, objects=west, failed=failed),
        write_zone(root, west=False, objects=east, id_offset=SIDE_PX * SIDE_PX),
    ]


@lru_cache(maxsize=8)
def _to_lonlat(crs: str) -> Transformer:
    return Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)


def lonlat_from(shape: shapely.Geometry, crs: str) -> shapely.Geometry:
    """Shapes of a CRS in metres, in degrees (pyproj and shapely alone)."""
    move = _to_lonlat(crs)
    return shapely.transform(
        shapely.segmentize(shape, 5), lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1]))
    )


def geodesic_km2(shape: shapely.Geometry, crs: str) -> float:
    """Area on WGS 84 of a shape of a CRS in metres."""
    moved = shapely.orient_polygons(lonlat_from(shape, crs))
    return float(Geod(ellps="WGS84").geometry_area_perimeter(moved)[0]) / 1e6


def _write_ledger(run_dir: RunDir, lattice: TileLattice, failed: Sequence[tuple[int, int]]) -> None:
    rows = []
    places = [(r, c) for r in range(lattice.n_tile_rows) for c in range(lattice.n_tile_cols)]
    tile_row, tile_col = (np.array(values) for values in zip(*places, strict=True))
    cores = core_polygons(lattice, tile_row, tile_col)
    for (row, col), core in zip(places, cores, strict=True):
        bad = (row, col) in failed
        km2 = geodesic_km2(core, str(lattice.grid.crs_wkt))
        rows.append(
            {field.name: None for field in LEDGER}
            | {
                "tile_id": f"r{row:05d}c{col:05d}",
                "tile_row": row,
                "tile_col": col,
                "query_index": 0,
                "query": "roofs",
                "status": "failed" if bad else "found",
                "reason": "malformed" if bad else "",
                "km2": km2,
                "searched_km2": 0.0 if bad else km2,
            }
        )
    table = pa.Table.from_pylist(rows, schema=LEDGER)
    placed = with_geometry(table, cores)
    write_geo_parquet(run_dir.coverage, [placed], schema=LEDGER, grid=lattice.grid)


def _write_instances(run_dir: RunDir, grid: RunGrid, objects: Sequence[Seen]) -> None:
    move = Transformer.from_crs("+proj=laea +lon_0=0 +lat_0=45 +datum=WGS84", grid.crs_wkt, always_xy=True)
    shapes = [
        shapely.transform(
            shapely.segmentize(each.shape, 5), lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1]))
        )
        for each in objects
    ]
    rows = [
        {field.name: None for field in SCHEMA}
        | {
            "instance_id": each.number,
            "query_index": 0,
            "query": "roofs",
            "label": f"{each.number}",
            "rationale": "",
            "score": 0.5,
            "area_px": max(round(each.shape.area), 1),
            "area_m2": each.shape.area,
            "tile_ids": ["r00000c00000"],
            "n_tiles": 1,
            "truncated": each.truncated,
            "one_sided": False,
            "part_no": each.part_no,
            "n_parts": each.n_parts,
            "scene_ids": ["a"],
        }
        for each in objects
    ]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    placed = with_geometry(table, np.array(shapes, dtype=object)) if rows else []
    write_part(run_dir, 0, [placed] if rows else [], grid=grid)


def zoned_info(parameters: dict[str, Any]) -> ZonedInfo:
    """run.json of a whole with two zones."""
    return ZonedInfo(
        run_id="whole",
        fingerprint=fingerprint(parameters),
        status="complete",
        parameters=parameters,
        queries=("roofs",),
        crs="OGC:CRS84",
        zones=tuple(
            ZoneEntry(
                name=name,
                crs=name.replace("_", ":"),
                path=f"zones/{name}",
                fingerprint="a",
                id_offset=0,
                n_scenes=1,
                n_tiles=2,
                owned_wkb="",
            )
            for name in ("EPSG_32630", "EPSG_32631")
        ),
        warnings=("https://h/a.tif?token=1 is old",),
    )
