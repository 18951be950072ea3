"""The rules of GeoParquet 1.1 that a reader depends on, checked on a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely

_TYPES = {
    "Point",
    "LineString",
    "Polygon",
    "MultiPoint",
    "MultiLineString",
    "MultiPolygon",
    "GeometryCollection",
}


def checked_geo(path: Path) -> dict[str, Any]:
    """Assert the rules; returns the entry of the geometry column."""
    file = pq.ParquetFile(path)
    geo = json.loads(file.metadata.metadata[b"geo"])
    assert set(geo) == {"version", "primary_column", "columns"}
    assert geo["version"] == "1.1.0"
    assert geo["primary_column"] == "geometry"
    assert list(geo["columns"]) == ["geometry"]
    column: dict[str, Any] = geo["columns"]["geometry"]
    assert set(column) <= {
        "encoding",
        "geometry_types",
        "crs",
        "edges",
        "orientation",
        "bbox",
        "covering",
        "epoch",
    }
    assert column["encoding"] == "WKB"
    assert column["edges"] == "planar"
    assert column["orientation"] == "counterclockwise"
    assert len(set(column["geometry_types"])) == len(column["geometry_types"])
    assert column["crs"] is None or pyproj.CRS.from_json_dict(column["crs"]).name
    table = file.read()
    geometries = shapely.from_wkb(table["geometry"].to_pylist())
    assert {g.geom_type for g in geometries} == set(column["geometry_types"]) <= _TYPES
    assert all(ring.is_ccw for g in shapely.get_parts(geometries) for ring in [g.exterior])
    assert not any(ring.is_ccw for g in shapely.get_parts(geometries) for ring in g.interiors)
    _check_covering(column, table, geometries)
    assert pa.types.is_binary(table.schema.field("geometry").type)
    assert "geometry" in table.schema.names  # at the root of the schema, not nested, not repeated
    for index in range(file.metadata.num_row_groups):
        assert file.metadata.row_group(index).num_rows <= 50_000
        assert file.metadata.row_group(index).column(0).compression == "ZSTD"
    return column


def _check_covering(column: dict[str, Any], table: pa.Table, geometries: Any) -> None:
    names = ["xmin", "ymin", "xmax", "ymax"]
    assert column["covering"] == {"bbox": {name: ["bbox", name] for name in names}}
    field = table.schema.field("bbox").type
    assert pa.types.is_struct(field)
    assert [field.field(i).name for i in range(field.num_fields)] == names
    assert {field.field(i).type for i in range(field.num_fields)} == {pa.float64()}
    if len(geometries) == 0:
        assert "bbox" not in column
        return
    boxes = np.array([[row[name] for name in names] for row in table["bbox"].to_pylist()])
    np.testing.assert_array_equal(boxes, shapely.bounds(geometries))
    np.testing.assert_array_equal(column["bbox"], shapely.total_bounds(geometries))
