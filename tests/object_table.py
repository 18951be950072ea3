"""Objects as columns, and instances/ written from them in the shipping order, without a merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from pipeline.schema.tiling import RunGrid
from pipeline.write.geo_parquet import ROW_GROUP_ROWS, with_geometry
from pipeline.write.georeference import to_crs_coordinates
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.instances import (
    PART_ROWS,
    SCHEMA,
    InstanceMeta,
    file_order,
    timestamp_of,
    write_part,
)
from pipeline.write.run_dir import RunDir

Point = tuple[float, float, int]
"""(x, y, label) in pixel-edge coordinates of the run grid; label 1 = inside the object."""


@dataclass(frozen=True, kw_only=True)
class ObjectTable:
    """Objects as columns, all of the same length n; `pipeline.write.instances.SCHEMA` says what they mean."""

    instance_id: NDArray[np.uint64]
    query_index: NDArray[np.int32]
    label: Sequence[str]
    score: NDArray[np.float32]
    area_px: NDArray[np.int64]
    polygons: NDArray[np.object_]
    """(n,) shapely geometries in pixel-edge coordinates of the run grid."""
    rationale: Sequence[str]
    box_px: NDArray[np.float64]
    """(n, 4); a row of NaN = no box."""
    points: Sequence[Sequence[Point]]
    tile_ids: Sequence[Sequence[str]]
    truncated: NDArray[np.bool_]
    one_sided: NDArray[np.bool_]
    scene_ids: Sequence[Sequence[str]]
    datetime: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.instance_id)

    def take(self, positions: NDArray[np.int64]) -> ObjectTable:
        picked: dict[str, Any] = {}
        for item in fields(self):
            column = getattr(self, item.name)
            picked[item.name] = (
                column[positions] if isinstance(column, np.ndarray) else [column[int(i)] for i in positions]
            )
        return ObjectTable(**picked)


def object_rows(table: ObjectTable, *, grid: RunGrid, meta: InstanceMeta) -> pa.Table:
    """The published rows in the order of the table, one Python value at a time."""
    n = len(table)
    columns: dict[str, Any] = {
        "instance_id": table.instance_id,
        "query_index": table.query_index,
        "query": [meta.queries[i] for i in table.query_index],
        "label": list(table.label),
        "score": table.score,
        "area_px": table.area_px,
        "area_m2": pa.array(geodesic_area_m2(table.polygons, grid), from_pandas=True),
        "rationale": list(table.rationale),
        "box_px": [None if np.isnan(box).any() else box.tolist() for box in table.box_px],
        "points": [[{"x": x, "y": y, "label": label} for x, y, label in points] for points in table.points],
        "tile_ids": [list(ids) for ids in table.tile_ids],
        "n_tiles": [len(ids) for ids in table.tile_ids],
        "truncated": table.truncated,
        "one_sided": table.one_sided,
        "part_no": [0] * n,
        "n_parts": [1] * n,
        "scene_ids": [list(ids) for ids in table.scene_ids],
        "datetime": [None if text is None else timestamp_of(text) for text in table.datetime],
        "prompter_id": [meta.prompter_id] * n,
        "segmenter_id": [meta.segmenter_id] * n,
        "run_id": [meta.run_id] * n,
    }
    attributes = pa.table([pa.array(columns[field.name], type=field.type) for field in SCHEMA], schema=SCHEMA)
    return with_geometry(attributes, to_crs_coordinates(table.polygons, grid))


def write_objects(
    run_dir: RunDir, table: ObjectTable, *, grid: RunGrid, meta: InstanceMeta, part_rows: int = PART_ROWS
) -> None:
    """instances/ as a run leaves it: in file order, `part_rows` rows a file.

    An empty table gives one empty part.
    """
    rows = object_rows(table, grid=grid, meta=meta)
    if len(table):
        edges = shapely.bounds(to_crs_coordinates(table.polygons, grid))
        centres = (edges[:, :2] + edges[:, 2:]) / 2
        bounds = np.concatenate([centres.min(axis=0), centres.max(axis=0)])
        rows = rows.take(pa.array(file_order(rows, bounds)))
    n_parts = max(-(-len(table) // part_rows), 1)
    for part in range(n_parts):
        mine = rows.slice(part * part_rows, part_rows)
        groups = (mine.slice(i, ROW_GROUP_ROWS) for i in range(0, mine.num_rows, ROW_GROUP_ROWS))
        write_part(run_dir, part, groups, grid=grid, schema=SCHEMA)
