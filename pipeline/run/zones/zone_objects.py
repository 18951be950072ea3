"""Objects of the zones in longitude and latitude: those near a seam apart from the rest.

`split_rows` streams a zone's instances. Rows that lie on the zone's own ground, away from the seams, are
handed on batch by batch, moved and renamed; the few near a seam are kept for `zone_match`.

Coordinates are rounded to `SNAP_DEG`, so that outlines which touch in a zone's pixels touch afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.files.store.stored_files import open_parquet, read_parquet
from pipeline.geo.globe import polygonal, polygons_to_lonlat
from pipeline.grid.pixel_size import unit_of
from pipeline.run.report_imagery import Imagery
from pipeline.run.zones.zone_plan import SNAP_DEG, Zone
from pipeline.write.coverage import Conservation
from pipeline.write.ground_area import EDGE_M
from pipeline.write.instances import part_files
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
