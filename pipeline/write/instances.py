"""instances/*.parquet: one row per object, GeoParquet 1.1.

1. Rows have integer pixel-edge polygons until the affine is applied to them, once, last; ground area is
   integrated on the ellipsoid. `instance_rows` makes rows from what a merge task holds, `write_instances`
   from an `InstanceTable`.
2. Rows are sorted along a Hilbert curve (then by query, id and part, so that equal input gives equal files)
   and written in row groups of 32k with a bbox covering, so that `geopandas.read_parquet(dir, bbox=...)`
   reads little.

A file holds a million rows; files of an earlier, longer result are removed. `instance_id` is unique within a
query and is the value in the `instance_id` raster. An object of more tiles than `[stitch] split_tiles` comes
as several rows with one instance_id, part_no 0 .. n_parts - 1 and disjoint geometries: each row's area and
tiles are its own, so sums over rows stay true. There is no summary row: it would count every pixel twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.schema import AffineTuple, RunGrid, Scene
from pipeline.write.geo_parquet import ROW_GROUP_ROWS, with_geometry, write_geo_parquet
from pipeline.write.georeference import (
    Geometries,
    affine_of,
    geodesic_area_m2,
    to_crs_coordinates,
    transformer,
)
from pipeline.write.records.record_columns import POINT
from pipeline.write.run_dir import RunDir

PART_ROWS = 1_000_000
"""Rows per part file."""

SCHEMA = pa.schema(
    [
        ("instance_id", pa.uint64()),
        ("query_index", pa.int32()),
        ("query", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("area_px", pa.int64()),
        ("area_m2", pa.float64()),
        ("rationale", pa.string()),
        ("box_px", pa.list_(pa.float64())),
        ("points", pa.list_(POINT)),
        ("tile_ids", pa.list_(pa.string())),
        ("n_tiles", pa.int32()),
        ("truncated", pa.bool_()),
        ("one_sided", pa.bool_()),
        ("part_no", pa.int32()),
        ("n_parts", pa.int32()),
        ("scene_ids", pa.list_(pa.string())),
        ("datetime", pa.timestamp("ms", tz="UTC")),
        ("prompter_id", pa.string()),
        ("segmenter_id", pa.string()),
        ("run_id", pa.string()),
    ]
)
"""Attribute columns; `bbox` and `geometry` follow. box_px is (x0, y0, x1, y1) and points are (x, y), in
pixel-edge coordinates of the run grid; box_px is null for an object prompted by points alone.
"""

VERIFIED = pa.field("verified", pa.float32())
"""Last attribute column of a run with a verifier: its probability for the piece that gave label, box and
rationale; null: not judged.
"""

Point = tuple[float, float, int]
"""(x, y, label) in pixel-edge coordinates of the run grid; label 1 = inside the object."""


@dataclass(frozen=True, kw_only=True)
class InstanceTable:
    """Objects as columns, all of the same length n."""

    instance_id: NDArray[np.uint64]
    """(n,), > 0, unique within a query."""
    query_index: NDArray[np.int32]
    label: Sequence[str]
    score: NDArray[np.float32]
    """(n,), 0..1."""
    area_px: NDArray[np.int64]
    """(n,), pixels in the id raster."""
    polygons: Geometries
    """(n,) shapely Polygon or MultiPolygon in pixel-edge coordinates of the run grid, x = column, y = row."""
    rationale: Sequence[str]
    box_px: NDArray[np.float64]
    """(n, 4) prompt box x0, y0, x1, y1 in the run grid; a row of NaN = no box."""
    points: Sequence[Sequence[Point]]
    tile_ids: Sequence[Sequence[str]]
    """Tiles whose fragments make up the object."""
    truncated: NDArray[np.bool_]
    """The object runs on where no tile could follow it."""
    one_sided: NDArray[np.bool_]
    """A neighbouring tile that sees the same ground found nothing there."""
    scene_ids: Sequence[Sequence[str]]
    datetime: Sequence[str | None]
    """RFC 3339 acquisition time, when known."""

    def __post_init__(self) -> None:
        lengths = {item.name: len(getattr(self, item.name)) for item in fields(self)}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the columns of an InstanceTable must have one length, got {lengths}")
        if self.box_px.ndim != 2 or self.box_px.shape[1] != 4:
            raise ValueError(f"box_px must have shape (n, 4), got {self.box_px.shape}")
        keys = np.stack([self.query_index.astype(np.uint64), self.instance_id.astype(np.uint64)], axis=1)
        if np.any(self.instance_id == 0) or len(np.unique(keys, axis=0)) != len(keys):
            raise ValueError("instance_id must be positive and unique within a query")

    def __len__(self) -> int:
        return len(self.instance_id)

    def take(self, rows: NDArray[Any]) -> InstanceTable:
        """The rows at integer positions or where a boolean array is True, in that order."""
        positions = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        picked: dict[str, Any] = {}
        for item in fields(self):
            column = getattr(self, item.name)
            picked[item.name] = (
                column[positions] if isinstance(column, np.ndarray) else [column[int(i)] for i in positions]
            )
        return InstanceTable(**picked)


@dataclass(frozen=True, kw_only=True)
class InstanceMeta:
    """What is the same for all rows of a run."""

    queries: tuple[str, ...]
    prompter_id: str
    segmenter_id: str
    run_id: str
    verified: bool = False
    """The run had a verifier."""

    @property
    def schema(self) -> pa.Schema:
        """Attribute columns of the run's instances."""
        return SCHEMA.append(VERIFIED) if self.verified else SCHEMA


def write_instances(run_dir: RunDir, table: InstanceTable, *, grid: RunGrid, meta: InstanceMeta) -> int:
    """Write instances/part-00000.parquet, ...; returns the number of rows. An empty table gives one valid,
    empty part.
    """
    world = to_crs_coordinates(table.polygons, grid)
    area_m2 = geodesic_area_m2(table.polygons, grid)
    order = _hilbert_order(table, world)
    n_parts = max(-(-len(table) // PART_ROWS), 1)
    for part in range(n_parts):
        rows = order[part * PART_ROWS : (part + 1) * PART_ROWS]
        slabs = _slabs(table, rows, world=world, area_m2=area_m2, meta=meta)
        write_geo_parquet(run_dir.instances / f"part-{part:05d}.parquet", slabs, schema=SCHEMA, grid=grid)
    remove_parts_from(run_dir, n_parts)
    return len(table)


def remove_parts_from(run_dir: RunDir, n_parts: int) -> None:
    """Remove the part files of an earlier, longer result."""
    for path in run_dir.instances.glob("part-*.parquet"):
        if int(path.stem.removeprefix("part-")) >= n_parts:
            path.unlink()


def write_part(
    run_dir: RunDir, part: int, tables: Iterable[pa.Table], *, grid: RunGrid, schema: pa.Schema = SCHEMA
) -> int:
    """Write one part file from finished rows (attributes, bbox, geometry) in their final order; returns their
    number.
    """
    return write_geo_parquet(run_dir.instances / f"part-{part:05d}.parquet", tables, schema=schema, grid=grid)


def hilbert_keys(rows: pa.Table, bounds: NDArray[np.float64]) -> NDArray[np.uint32]:
    """(n,) place of each row along the Hilbert curve over `bounds` (xmin, ymin, xmax, ymax over the
    centres of ALL rows' bounding boxes, CRS coordinates)."""
    box = rows["bbox"].combine_chunks()
    edges = [
        np.asarray(box.field(name).to_numpy(zero_copy_only=False))
        for name in ("xmin", "ymin", "xmax", "ymax")
    ]
    if rows.num_rows == 0:
        return np.zeros(0, dtype=np.uint32)
    return np.asarray(
        geopandas.GeoSeries(shapely.box(*edges)).hilbert_distance(total_bounds=bounds).to_numpy(),
        dtype=np.uint32,
    )


def file_order(rows: pa.Table, bounds: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) positions that sort rows as the files have them."""
    part, instance, query = (rows[name].to_numpy() for name in ("part_no", "instance_id", "query_index"))
    return np.asarray(np.lexsort((part, instance, query, hilbert_keys(rows, bounds))), dtype=np.int64)


def read_instances(
    run_dir: RunDir,
    *,
    bbox: tuple[float, float, float, float] | None = None,
    columns: Sequence[str] | None = None,
) -> geopandas.GeoDataFrame:
    """The instances of a run, or those whose bounds meet `bbox` (CRS coordinates). Raises InputError when
    there are none yet.
    """
    try:
        return geopandas.read_parquet(
            run_dir.instances, bbox=bbox, columns=None if columns is None else list(columns)
        )
    except (OSError, pa.ArrowException, ValueError) as error:
        remedy = "let the run finish, or merge its block records again"
        raise InputError(
            f"{run_dir.instances} must hold the instances of a finished run", came=str(error), remedy=remedy
        ) from error


def scene_columns(
    polygons: Geometries, *, grid: RunGrid, scenes: Sequence[Scene]
) -> tuple[list[list[str]], list[str | None]]:
    """(scene_ids, datetime) per polygon: the scenes whose footprint it overlaps, and the earliest time among
    them.

    Footprints are the scenes' full rectangles, so in a mosaic this names every scene that could have given a
    pixel.
    """
    found: list[list[int]] = [[] for _ in polygons]
    for polygon, scene in footprint_index(scenes, grid).query(polygons, predicate="intersects").T.tolist():
        found[polygon].append(scene)
    ids = [[scenes[i].scene_id for i in sorted(rows)] for rows in found]
    times = [
        sorted((t for i in rows if (t := scenes[i].datetime) is not None), key=timestamp_of) for rows in found
    ]
    return ids, [row[0] if row else None for row in times]


def _slabs(
    table: InstanceTable,
    rows: NDArray[np.int64],
    *,
    world: Geometries,
    area_m2: NDArray[np.float64],
    meta: InstanceMeta,
) -> Iterator[pa.Table]:
    """Arrow tables of bounded length, in the order of `rows`."""
    for start in range(0, len(rows), ROW_GROUP_ROWS):
        here = rows[start : start + ROW_GROUP_ROWS]
        yield with_geometry(_attributes(table.take(here), area_m2[here], meta), world[here])


def _attributes(part: InstanceTable, area_m2: NDArray[np.float64], meta: InstanceMeta) -> pa.Table:
    has_box = np.logical_not(np.isnan(part.box_px)).all(axis=1).tolist()
    columns: dict[str, Any] = {
        "instance_id": part.instance_id,
        "query_index": part.query_index,
        "query": [meta.queries[i] for i in part.query_index],
        "label": list(part.label),
        "score": part.score.astype(np.float32, copy=False),
        "area_px": part.area_px,
        "area_m2": pa.array(area_m2, from_pandas=True),
        "rationale": list(part.rationale),
        "box_px": [box if known else None for box, known in zip(part.box_px.tolist(), has_box, strict=True)],
        "points": [[{"x": x, "y": y, "label": label} for x, y, label in points] for points in part.points],
        "tile_ids": [list(ids) for ids in part.tile_ids],
        "n_tiles": [len(ids) for ids in part.tile_ids],
        "truncated": part.truncated,
        "one_sided": part.one_sided,
        "part_no": np.zeros(len(part), dtype=np.int32),
        "n_parts": np.ones(len(part), dtype=np.int32),
        "scene_ids": [list(ids) for ids in part.scene_ids],
        "datetime": [None if text is None else timestamp_of(text) for text in part.datetime],
        "prompter_id": [meta.prompter_id] * len(part),
        "segmenter_id": [meta.segmenter_id] * len(part),
        "run_id": [meta.run_id] * len(part),
    }
    return pa.table([pa.array(columns[field.name], type=field.type) for field in SCHEMA], schema=SCHEMA)


def _hilbert_order(table: InstanceTable, world: Geometries) -> NDArray[np.int64]:
    if len(table) == 0:
        return np.zeros(0, dtype=np.int64)
    distance = geopandas.GeoSeries(world).hilbert_distance().to_numpy()
    return np.asarray(np.lexsort((table.instance_id, table.query_index, distance)), dtype=np.int64)


ScenePlace = tuple[str | None, AffineTuple, int, int]
"""CRS, affine, width and height of a scene: all that its footprint depends on."""


def footprint_index(scenes: Sequence[Scene], grid: RunGrid) -> shapely.STRtree:
    """Index of the scenes' footprints, in their order. Built once per process and run: every block and query
    asks for it again, on Ray with scenes that were unpickled anew.
    """
    return _footprint_index(
        tuple((scene.crs_wkt, scene.transform, scene.width, scene.height) for scene in scenes), grid
    )


@lru_cache(maxsize=4)
def _footprint_index(places: tuple[ScenePlace, ...], grid: RunGrid) -> shapely.STRtree:
    return shapely.STRtree(np.array([_footprint(place, grid) for place in places], dtype=object))


def _footprint(place: ScenePlace, grid: RunGrid) -> shapely.Geometry:
    """The scene's rectangle as a polygon in pixels of the run grid; each edge is split in 21 before it is
    reprojected.
    """
    crs_wkt, own, width, height = place
    a, b, c, d, e, f = own if grid.crs_wkt is not None else affine_of(grid)
    outline = shapely.segmentize(shapely.box(0, 0, width, height), max(width, height) / 21)
    xy = shapely.get_coordinates(outline)
    x = a * xy[:, 0] + b * xy[:, 1] + c
    y = d * xy[:, 0] + e * xy[:, 1] + f
    if grid.crs_wkt is not None and crs_wkt is not None and crs_wkt != grid.crs_wkt:
        x, y = transformer(crs_wkt, grid.crs_wkt).transform(x, y)
    ga, gb, gc, gd, ge, gf = affine_of(grid)
    inverse = np.linalg.inv(np.array([[ga, gb], [gd, ge]]))
    return shapely.make_valid(shapely.Polygon(np.column_stack([x - gc, y - gf]) @ inverse.T))


def timestamp_of(text: str) -> datetime:
    """RFC 3339 text as UTC; a time without zone counts as UTC."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
