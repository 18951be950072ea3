"""items.parquet: STAC items as one table (stac-geoparquet 1.1), so that a search reads one file for all runs.

1. `item_columns` turns items into columns: members stay, properties stand beside them, times are timestamps.
2. What has another form in every item becomes JSON text: what a run was asked (`processing:expression`), its
   models, and each property whose values fit no common type. An empty object is a null, which is a missing
   member, because Parquet has no struct without fields.
3. `write_item_table` writes them as GeoParquet 1.1 in longitude and latitude, with the collection's own JSON
   in the metadata.

Where a box crosses the antimeridian (west > east, as STAC has it) the boxes are not declared as a covering: a
reader of GeoParquet would skip such rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from pipeline.errors import InputError
from pipeline.write.geo_parquet import BBOX, GEOPARQUET_VERSION
from pipeline.write.instances import timestamp_of

STAC_GEOPARQUET_VERSION = "1.1.0"

_MEMBERS = ("stac_version", "stac_extensions", "id", "collection", "links", "assets")
"""Of an item, as they are; geometry, bbox and properties are turned."""

_TIMES = ("datetime", "start_datetime", "end_datetime", "created", "updated", "processing:datetime")

_TEXTS = ("terraquery:models",)

_EXPRESSION = "processing:expression"

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def write_item_table(path: Path, items: Sequence[Mapping[str, Any]], collection: Mapping[str, Any]) -> None:
    """Write items, each a STAC Item's JSON with geometry and bbox, in their order.

    `collection`: JSON of the collection that they are in. Raises InputError when a property has the name of a
    member.
    """
    columns = item_columns(items)
    shapes = [shapely.geometry.shape(item["geometry"]) for item in items]
    boxes = np.array([_flat(item["bbox"]) for item in items], dtype=np.float64).reshape(-1, 4)
    columns["bbox"] = pa.StructArray.from_arrays([pa.array(side) for side in boxes.T], fields=list(BBOX))
    columns["geometry"] = pa.array([shapely.to_wkb(shape, flavor="iso") for shape in shapes], pa.binary())
    own = {"version": STAC_GEOPARQUET_VERSION, "collections": {collection["id"]: dict(collection)}}
    geo = _geo(
        sorted({shape.geom_type for shape in shapes}), crossing=bool((boxes[:, 0] > boxes[:, 2]).any())
    )
    metadata = {"geo": json.dumps(geo), "stac-geoparquet": json.dumps(own)}
    table = pa.table(columns).replace_schema_metadata(metadata)
    pq.write_table(table, path, compression="zstd")


def item_columns(items: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    """Make a column of every member and property, (items,); geometry and bbox are not among them."""
    properties = [dict(item["properties"]) for item in items]
    names = sorted({name for own in properties for name in own})
    taken = {*_MEMBERS, "type", "geometry", "bbox", "properties"} & set(names)
    if taken:
        raise InputError(
            "a property of an item has another name than a member",
            came=", ".join(sorted(taken)),
            remedy="rename it in item.json, or merge the run again with jobs/restitch_region.py",
        )
    columns = {name: pa.array([_dense(item.get(name)) for item in items]) for name in _MEMBERS}
    for name in names:
        columns[name] = _property(name, [own.get(name) for own in properties])
    return columns


def _property(name: str, values: Sequence[Any]) -> pa.Array:
    """One column of a property; None: the item has none."""
    if name in _TIMES:
        moments = [None if value is None else timestamp_of(value) for value in values]
        return pa.array(moments, pa.timestamp("us", tz="UTC"))
    if name in _TEXTS:
        return _texts(values)
    if name == _EXPRESSION:
        values = [_with_text(value) if isinstance(value, Mapping) else value for value in values]
    try:
        return pa.array([_dense(value) for value in values])
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return _texts(values)


def _with_text(expression: Mapping[str, Any]) -> dict[str, Any]:
    """An expression of the processing extension, which may be of any form, as text."""
    return {**expression, "expression": json.dumps(expression.get("expression"), ensure_ascii=False)}


def _texts(values: Iterable[Any]) -> pa.Array:
    return pa.array(
        [None if value is None else json.dumps(value, ensure_ascii=False) for value in values], pa.string()
    )


def _dense(value: Any) -> Any:
    """The value without objects that have no members."""
    if isinstance(value, Mapping):
        return {name: _dense(own) for name, own in value.items()} or None
    if isinstance(value, list):
        return [_dense(own) for own in value]
    return value


def _flat(bbox: Sequence[float]) -> Sequence[float]:
    """West, south, east, north, without heights."""
    return [*bbox[:2], *bbox[3:5]] if len(bbox) == 6 else bbox


def _geo(types: Sequence[str], *, crossing: bool) -> dict[str, object]:
    """The `geo` entry of GeoParquet 1.1, in longitude and latitude, which is its default CRS."""
    column: dict[str, object] = {"encoding": "WKB", "geometry_types": list(types)}
    if not crossing:
        column["covering"] = {"bbox": {side: ["bbox", side] for side in _SIDES}}
    return {"version": GEOPARQUET_VERSION, "primary_column": "geometry", "columns": {"geometry": column}}
