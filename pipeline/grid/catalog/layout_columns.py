"""Which columns of a table tell items of different layouts apart (item_layout.py), and which rows agree."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.grid.catalog.item_layout import BAND_LISTS, PLAIN_FIELDS, deciding_bands
from pipeline.grid.catalog.parquet_values import values_of


def deciding_columns(arrays: Mapping[str, pa.Array], also: tuple[str, ...] = ()) -> Iterator[pa.Array]:
    """Of columns of properties or of an asset, those that `layout_of` looks at."""
    for name in (*also, *PLAIN_FIELDS, *BAND_LISTS):
        if name in arrays:
            yield arrays[name]
    transform = arrays.get("proj:transform")
    if transform is None:
        return
    if pa.types.is_list(transform.type) and _shortest(transform) >= 6:
        yield pc.list_element(transform, 0)
        yield pc.list_element(transform, 3)
    else:
        yield transform


def _shortest(lists: pa.Array) -> int:
    return int(pc.min(pc.list_value_length(lists)).as_py() or 0)


def is_constant(column: pa.Array) -> bool:
    """Tell whether all rows of a column are the same."""
    return bool(column.slice(1).equals(column.slice(0, max(len(column) - 1, 0))))


def codes_of(column: pa.Array) -> NDArray[np.int64]:
    """Number the different values of a column, (n,); what of a band decides nothing does not count."""
    if not pa.types.is_nested(column.type) and not pa.types.is_null(column.type):
        return np.asarray(column.dictionary_encode(null_encoding="encode").indices.to_numpy(), dtype=np.int64)
    seen: dict[str, int] = {}
    texts = [json.dumps(deciding_bands(value), default=repr) for value in values_of(column)]
    return np.array([seen.setdefault(text, len(seen)) for text in texts], dtype=np.int64)
