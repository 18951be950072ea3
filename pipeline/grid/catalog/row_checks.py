"""Which rows of stac-geoparquet are sound as far as columns show; all others are read as documents are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from pipeline.grid.catalog.item_document import MOST_ASSETS, MOST_DEPTH, MOST_VALUES, MOST_VERTICES
from pipeline.grid.catalog.parquet_values import depth_of, is_finite, most_values

TIMES = ("datetime", "start_datetime", "end_datetime")


def is_regular(batch: pa.RecordBatch) -> bool:
    """Tell whether all columns have the types that items need, and hold nothing out of bounds."""
    fields = {field.name: field.type for field in batch.schema}
    assets = fields["assets"]
    regular = (
        pa.types.is_string(fields["id"])
        and _is_text(fields.get("collection", pa.string()))
        and (pa.types.is_binary(fields["geometry"]) or pa.types.is_large_binary(fields["geometry"]))
        and pa.types.is_struct(assets)
        and 0 < assets.num_fields <= MOST_ASSETS
        and all(_is_asset(field.type) for field in assets)
        and all(_is_time(fields[name]) for name in TIMES if name in fields)
    )
    rest = [batch.column(name) for name in fields if name != "geometry"]
    return (
        bool(regular)
        and max(depth_of(column.type) for column in rest) + 2 < MOST_DEPTH
        and sum(most_values(column) for column in rest) + 10 < MOST_VALUES
        and all(is_finite(column) for column in rest)
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind.value_type if pa.types.is_dictionary(kind) else kind))


def _is_asset(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_struct(kind)
        and kind.get_field_index("href") >= 0
        and pa.types.is_string(kind.field("href").type)
    )


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_string(kind) or pa.types.is_null(kind))


def are_plain_footprints(shapes: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Tell which footprints are valid polygons in degrees that need no care, (n,)."""
    polygons = np.isin(shapely.get_type_id(shapes), (3, 6)) & ~shapely.is_empty(shapes)
    polygons &= shapely.get_num_coordinates(shapes) <= MOST_VERTICES
    west, south, east, north = shapely.bounds(shapes).T
    with np.errstate(invalid="ignore"):
        placed = (west >= -180) & (east <= 180) & (east - west < 180) & (south >= -90) & (north <= 90)
    return np.asarray(polygons & placed & shapely.is_valid(shapes), dtype=np.bool_)
