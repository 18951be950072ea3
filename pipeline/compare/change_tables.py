"""Changes as rows with shapes: changes.parquet, and registration.parquet for the squares.

`change_rows` joins what became of every object with shapes, scores and ground areas of both dates. A row's
geometry is the object's outline at the second date, or at the first where it has none there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from pipeline.compare.registration import Shift
from pipeline.compare.run_pair import DatedRun
from pipeline.files.store.stored_files import read_parquet
from pipeline.schema.tiling import RunGrid, Window
from pipeline.write.geo_parquet import with_geometry
from pipeline.write.georeference import Geometries, to_crs_coordinates
from pipeline.write.instances import part_files

CHANGES_SCHEMA = pa.schema(
    [
        ("query", pa.string()),
        ("change", pa.string()),
        ("reason", pa.string()),
        ("before_id", pa.uint64()),
        ("after_id", pa.uint64()),
        ("before_score", pa.float32()),
        ("after_score", pa.float32()),
        ("before_area_m2", pa.float64()),
        ("after_area_m2", pa.float64()),
        ("iou", pa.float64()),
        ("moved_m", pa.float64()),
    ]
)
"""Attribute columns; ids, scores and areas are null at a date without the object. `reason` says why an object
is not comparable. `iou` counts pixels that were judged at both dates. `moved_m` is the way of the middle, of
objects that moved."""

REGISTRATION_SCHEMA = pa.schema(
    [
        ("rows", pa.int32()),
        ("cols", pa.int32()),
        ("agreement", pa.float64()),
        ("unmoved", pa.float64()),
        ("state", pa.string()),
    ]
)
"""Per square: shift of the second date in pixels (down, right), agreement of the masks after and before the
second is moved back, and `registered`, `off` or `not known`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DatedObjects:
    """The objects of one date: a row per id, with score, area_px, area_m2 and geometry in the CRS."""

    rows: pd.DataFrame
    shapes: Geometries

    def middles_m(self, grid: RunGrid, pixel_m: float) -> pd.DataFrame:
        """Middles of the objects, x and y in metres from the grid's corner, by the pixel in its middle."""
        inverse = np.linalg.inv(np.array([grid.transform[0:2], grid.transform[3:5]]))
        middle = shapely.get_coordinates(shapely.centroid(self.shapes)).reshape(-1, 2)
        xy = (middle - (grid.transform[2], grid.transform[5])) @ inverse.T * pixel_m
        return pd.DataFrame({"x": xy[:, 0], "y": xy[:, 1]}, index=self.rows.index)


def read_objects(run: DatedRun) -> DatedObjects:
    """Read the objects of the compared query. Rows of one object that is split become one."""
    columns = ["instance_id", "query_index", "score", "area_px", "area_m2", "geometry"]
    wanted = [("query_index", "==", run.query_index)]
    parts = [read_parquet(file, columns, filters=wanted) for file in part_files(run.run_dir)]
    table = pa.concat_tables(parts)
    shapes = np.asarray(shapely.from_wkb(table["geometry"].to_numpy()), dtype=object)
    frame = table.drop_columns(["geometry", "query_index"]).to_pandas()
    ids = frame["instance_id"]
    totals = frame.groupby("instance_id").agg(
        score=("score", "first"),
        area_px=("area_px", "sum"),
        area_m2=("area_m2", lambda v: v.sum(skipna=False)),
    )
    if len(totals) == len(frame):
        order = np.argsort(ids.to_numpy())
        return DatedObjects(rows=totals, shapes=shapes[order])
    joined = gpd.GeoSeries(shapes).groupby(ids.to_numpy()).agg(lambda own: shapely.union_all(own.to_numpy()))
    return DatedObjects(rows=totals, shapes=np.asarray(joined.to_numpy(), dtype=object))


def change_rows(
    rows: pd.DataFrame,
    objects: tuple[DatedObjects, DatedObjects],
    *,
    query: str,
    grid: RunGrid,
    pixel_m: float,
) -> pa.Table:
    """Make the rows of changes.parquet from those of `pipeline.compare.match`, in the order of their ids."""
    rows = rows.sort_values(["after", "before"], ignore_index=True)
    sides = {"before": objects[0], "after": objects[1]}
    columns: dict[str, object] = {
        "query": [query] * len(rows),
        "change": rows["change"],
        "reason": rows["reason"].replace("", None),
        "iou": rows["iou"],
    }
    shapes = np.full(len(rows), None, dtype=object)
    for side, found in sides.items():
        there = (rows[side] > 0).to_numpy()
        at = found.rows.index.get_indexer(rows.loc[there, side])
        shapes[there] = found.shapes[at]
        columns[f"{side}_id"] = rows[side].where(there).astype("UInt64")
        for name in ("score", "area_m2"):
            values = np.full(len(rows), np.nan)
            values[there] = found.rows[name].to_numpy()[at]
            columns[f"{side}_{name}"] = values
    middles = [found.middles_m(grid, pixel_m) for found in objects]
    moved = (rows["change"] == "moved").to_numpy()
    way = np.full(len(rows), np.nan)
    steps = (
        middles[1].loc[rows.loc[moved, "after"]].to_numpy()
        - middles[0].loc[rows.loc[moved, "before"]].to_numpy()
    )
    way[moved] = np.hypot(steps[:, 0], steps[:, 1])
    columns["moved_m"] = way
    arrays = [pa.array(columns[field.name], type=field.type, from_pandas=True) for field in CHANGES_SCHEMA]
    return with_geometry(pa.table(arrays, schema=CHANGES_SCHEMA), shapes)


def registration_rows(
    squares: Sequence[Window], shifts: Sequence[Shift], *, most_shift_px: float, grid: RunGrid
) -> pa.Table:
    """Make the rows of registration.parquet, one per square in the order given."""
    boxes = np.array([shapely.box(w.col0, w.row0, w.col1, w.row1) for w in squares], dtype=object)
    return with_geometry(
        pa.table(
            [
                pa.array([shift.rows if shift.known else None for shift in shifts], pa.int32()),
                pa.array([shift.cols if shift.known else None for shift in shifts], pa.int32()),
                pa.array([shift.agreement for shift in shifts], pa.float64()),
                pa.array([shift.unmoved for shift in shifts], pa.float64()),
                pa.array([state_of(shift, most_shift_px) for shift in shifts], pa.string()),
            ],
            schema=REGISTRATION_SCHEMA,
        ),
        to_crs_coordinates(boxes, grid),
    )


def state_of(shift: Shift, most_shift_px: float) -> str:
    """What a square's shift means for comparing it."""
    if not shift.known:
        return "not known"
    return "off" if shift.px > most_shift_px else "registered"


def shift_lengths(shifts: Sequence[Shift]) -> NDArray[np.float64]:
    """(squares,) length of each shift in pixels; NaN where it is not known."""
    return np.array([shift.px if shift.known else np.nan for shift in shifts])
