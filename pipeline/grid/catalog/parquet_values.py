"""Values of Arrow columns as JSON has them, and what can be told of them without decoding."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from pipeline.grid.catalog.time_range import rfc3339_utc

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_UNUSED = ("type", "stac_version", "stac_extensions")
_MEMBERS = frozenset(("id", "geometry", "bbox", "links", "assets", "collection"))


def values_of(column: pa.Array) -> list[Any]:
    """Decode a column: None for a null, times as RFC 3339 text, and no nulls and NaN in objects."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return values_of(undictionaried(column))
    if pa.types.is_timestamp(kind):
        return text_of_moments(column)
    if pa.types.is_struct(kind):
        return _objects(column)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _lists(column)
    if not column.null_count and (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        return list(column.to_numpy().tolist())
    return [plain(value) for value in column.to_pylist()]


def undictionaried(column: pa.Array) -> pa.Array:
    """Write out a column that is stored as numbers of its different values."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def packed(column: pa.Array) -> pa.Array:
    """Store text as numbers of its different values, where these are few. `undictionaried` undoes it."""
    found = column.dictionary_encode()
    return found if len(found.dictionary) <= len(column) // 4 else column


def _objects(column: pa.StructArray) -> list[Any]:
    names = [field.name for field in column.type]
    columns = [values_of(own) for own in column.flatten()]
    rows = zip(*columns, strict=True) if columns else iter([()] * len(column))
    found: list[Any] = [
        {name: value for name, value in zip(names, row, strict=True) if value is not None and value == value}
        for row in rows
    ]
    if column.null_count:
        found = [
            row if valid else None for row, valid in zip(found, column.is_valid().to_pylist(), strict=True)
        ]
    return found


def _lists(column: pa.Array) -> list[Any]:
    lengths = pc.list_value_length(column)
    flat = column.flatten()
    if not column.null_count and len(column) and len(flat) == len(column) * (lengths[0].as_py() or 0):
        whole = pa.types.is_floating(flat.type) or pa.types.is_integer(flat.type)
        if whole and not flat.null_count and pc.all(pc.equal(lengths, lengths[0])).as_py():
            return list(flat.to_numpy().reshape(len(column), -1).tolist())
    values = values_of(flat)
    found: list[Any] = []
    at = 0
    for length in lengths.to_pylist():
        found.append(None if length is None else values[at : at + length])
        at += length or 0
    return found


def text_of_moments(column: pa.Array) -> list[str | None]:
    """Write timestamps in UTC as `rfc3339_utc` does; those without a zone are UTC."""
    moments = pc.cast(column, pa.timestamp("us"), safe=False).to_numpy(zero_copy_only=False)
    found = moments.astype("datetime64[us]").tolist()
    return [
        None if moment is None else f"{moment.isoformat()}Z" if isinstance(moment, datetime) else str(moment)
        for moment in found
    ]


def documents(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Give the items of a batch, as JSON would; only the geometry is shapely's, or None."""
    index = batch.schema.get_field_index("geometry")
    wkb = batch.column(index)
    if pa.types.is_binary(wkb.type) or pa.types.is_large_binary(wkb.type):
        shapes = shapely.from_wkb(np.asarray(wkb.to_pylist(), dtype=object), on_invalid="ignore")
    else:
        shapes = np.full(batch.num_rows, None)
    rest = batch.select([name for name in batch.schema.names if name not in ("geometry", *_UNUSED)])
    for row, shape in zip(rest.to_pylist(), shapes, strict=True):
        properties = {"datetime": None}
        members = {"properties": properties, "geometry": shape}
        for name, value in row.items():
            if value is not None and value == value:
                kind = members if name in _MEMBERS else properties
                kind[name] = plain(value)
        bbox = members.get("bbox")
        if isinstance(bbox, dict):
            keys = ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax") if "zmin" in bbox else _SIDES
            members["bbox"] = [bbox.get(key) for key in keys]
        yield members


def plain(value: Any) -> Any:
    """Turn a value of Arrow into one of JSON: no nulls and NaN in objects, times as text."""
    kind = value.__class__
    if kind is dict:
        return {key: plain(inner) for key, inner in value.items() if inner is not None and inner == inner}
    if kind is list:
        return [plain(inner) for inner in value]
    if isinstance(value, datetime):
        return rfc3339_utc(value if value.tzinfo is not None else value.replace(tzinfo=UTC))
    return value


def depth_of(kind: pa.DataType) -> int:
    """Count the levels of nesting of a type; 0: a plain value."""
    inner = [kind.field(index).type for index in range(kind.num_fields)] if pa.types.is_nested(kind) else []
    return 1 + max((depth_of(own) for own in inner), default=0) if pa.types.is_nested(kind) else 0


def most_values(column: pa.Array) -> int:
    """Bound how many values any row of a column holds, all levels together."""
    kind = column.type
    if pa.types.is_struct(kind):
        return 1 + sum(most_values(own) for own in column.flatten())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        longest = int(pc.max(pc.list_value_length(column)).as_py() or 0)
        return 1 + (longest * most_values(column.flatten()) if longest else 0)
    return 1


def is_finite(column: pa.Array, *, in_list: bool = False) -> bool:
    """Tell whether a column holds no number without end, and no NaN in a list; elsewhere NaN is a null."""
    kind = column.type
    if pa.types.is_struct(kind):
        return all(is_finite(own, in_list=in_list) for own in column.flatten())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return is_finite(column.flatten(), in_list=True)
    if pa.types.is_nested(kind):
        return False
    if not pa.types.is_floating(kind):
        return True
    wrong = pc.invert(pc.is_finite(column)) if in_list else pc.is_inf(column)
    return not pc.any(wrong).as_py()
