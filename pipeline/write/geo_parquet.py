"""Write GeoParquet 1.1 with pyarrow: WKB, CRS as PROJJSON, zstd, and a bbox column as covering.

Plan, coverage and instances share this writer. Rows keep their order, in row groups of at most
`ROW_GROUP_ROWS`, so a reader with `bbox=` can skip groups. The `geo` metadata holds exact geometry types,
bounds (left out without rows), planar edges and counter-clockwise shells. An empty file is valid.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from pipeline.files.store.store_path import Place, store_path
from pipeline.schema.tiling import RunGrid
from pipeline.write.georeference import Geometries, projjson_of

GEOPARQUET_VERSION = "1.1.0"

ROW_GROUP_ROWS = 32_768
"""Rows per group. Readers prune best with 20,000 to 50,000."""

BBOX = pa.struct([(name, pa.float64()) for name in ("xmin", "ymin", "xmax", "ymax")])
"""The covering column."""

_GEOMETRY_FIELDS = (pa.field("bbox", BBOX), pa.field("geometry", pa.binary()))


def with_geometry(table: pa.Table, geometries: Geometries) -> pa.Table:
    """Append the columns `bbox` and `geometry` (WKB) to `table`. `geometries`: one per row, in CRS
    coordinates."""
    bounds = shapely.bounds(geometries).reshape(-1, 4)
    bbox = pa.StructArray.from_arrays(
        [pa.array(bounds[:, i], type=pa.float64()) for i in range(4)], fields=list(BBOX)
    )
    wkb = pa.array(shapely.to_wkb(geometries, flavor="iso"), type=pa.binary())
    return table.append_column(_GEOMETRY_FIELDS[0], bbox).append_column(_GEOMETRY_FIELDS[1], wkb)


def write_geo_parquet(path: Place, tables: Iterable[pa.Table], *, schema: pa.Schema, grid: RunGrid) -> int:
    """Stream tables made by `with_geometry` into one atomic file; returns the number of rows.

    `schema`: the attribute columns, without `bbox` and `geometry`.
    """
    full = schema.append(_GEOMETRY_FIELDS[0]).append(_GEOMETRY_FIELDS[1])
    types: set[str] = set()
    bounds: NDArray[np.float64] | None = None
    n_rows = 0
    # Without an embedded Arrow schema, readers take types and metadata from Parquet itself, and so see the
    # `geo` entry that is known only at the end; with one, a directory of parts would be read by its schema,
    # which has no `geo`.
    options = {"compression": "zstd", "write_page_checksum": True, "store_schema": False}
    with (
        store_path(path).being_written() as temporary,
        pq.ParquetWriter(temporary, full, **options) as writer,
    ):
        for table in _regrouped(tables, full):
            writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
            types |= _geometry_types(table)
            bounds = _grown(bounds, table)
            n_rows += table.num_rows
        geo = geo_metadata(grid, geometry_types=types, bounds=bounds)
        writer.add_key_value_metadata({"geo": json.dumps(geo)})
    return n_rows


def geo_metadata(
    grid: RunGrid, *, geometry_types: Iterable[str], bounds: NDArray[np.float64] | None
) -> dict[str, object]:
    """Make the `geo` entry of GeoParquet 1.1. `crs` is null for a run in pixel space."""
    column: dict[str, object] = {
        "encoding": "WKB",
        "geometry_types": sorted(geometry_types),
        "crs": projjson_of(grid),
        "edges": "planar",
        "orientation": "counterclockwise",
        "covering": {"bbox": {name: ["bbox", name] for name in ("xmin", "ymin", "xmax", "ymax")}},
    }
    if bounds is not None:
        column["bbox"] = [float(value) for value in bounds]
    return {"version": GEOPARQUET_VERSION, "primary_column": "geometry", "columns": {"geometry": column}}


def _regrouped(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterable[pa.Table]:
    """Cut tables of any length into tables of ROW_GROUP_ROWS rows; the last one may be shorter."""
    pending: list[pa.Table] = []
    n_pending = 0
    for table in tables:
        pending.append(table.cast(schema))
        n_pending += table.num_rows
        if n_pending >= ROW_GROUP_ROWS:
            joined = pa.concat_tables(pending)
            whole = n_pending - n_pending % ROW_GROUP_ROWS
            yield joined.slice(0, whole)
            pending, n_pending = [joined.slice(whole)], n_pending - whole
    if n_pending:
        yield pa.concat_tables(pending)


def _geometry_types(table: pa.Table) -> set[str]:
    """List the GeoParquet names of the types present, read from the WKB headers (ISO, little-endian, 2-D)."""
    names = {
        1: "Point",
        2: "LineString",
        3: "Polygon",
        4: "MultiPoint",
        5: "MultiLineString",
        6: "MultiPolygon",
        7: "GeometryCollection",
    }
    codes = {blob[1:5] for blob in table["geometry"].to_pylist() if blob is not None}
    return {names[int.from_bytes(code, "little")] for code in codes}


def _grown(bounds: NDArray[np.float64] | None, table: pa.Table) -> NDArray[np.float64] | None:
    box = table["bbox"].combine_chunks()
    if len(box) == 0:
        return bounds
    columns = [box.field(i).to_numpy(zero_copy_only=False) for i in range(4)]
    if not np.isfinite(columns[0]).any():  # no row has a geometry
        return bounds
    here = np.array(
        [np.nanmin(columns[0]), np.nanmin(columns[1]), np.nanmax(columns[2]), np.nanmax(columns[3])]
    )
    return (
        here
        if bounds is None
        else np.concatenate([np.minimum(bounds[:2], here[:2]), np.maximum(bounds[2:], here[2:])])
    )
