"""What items of one kind have in common: their collection, and how their files are described.

Items of a collection differ in ids, times and places, and hardly ever in which files they have and which
bands these hold. What depends on that alone is decided once per layout (`scene_choice`), not once per item.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.grid.catalog.asset_choice import is_geotiff, pixel_size
from pipeline.grid.catalog.item import Item

BAND_LISTS = ("bands", "eo:bands", "raster:bands")
PLAIN_FIELDS = ("data_type", "raster:scale", "raster:offset", "unit", "gsd")
FIELDS = (*BAND_LISTS, *PLAIN_FIELDS)
"""Fields of items and assets that decide; of `proj:transform` the size of a pixel does."""

BAND_FIELDS = (
    "name",
    "common_name",
    "eo:common_name",
    "data_type",
    "scale",
    "raster:scale",
    "offset",
    "raster:offset",
    "unit",
)
"""Fields of a band that decide. Statistics, histograms and the like do not."""


def layout_of(item: Item) -> bytes | None:
    """Name the layout of an item: two with the same name are decided alike. None: it is like no other."""
    assets = [
        (
            asset.key,
            asset.media_type,
            asset.roles,
            is_geotiff(asset),
            pixel_size(item, asset),
            _deciding(asset.fields),
        )
        for asset in item.assets.values()
    ]
    try:
        return json.dumps((item.collection, _deciding(item.properties), assets)).encode()
    except (ValueError, TypeError, RecursionError):
        return None


def _deciding(fields: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for name in PLAIN_FIELDS:
        if name in fields:
            found += name, fields[name]
    for name in BAND_LISTS:
        if name in fields:
            found += name, deciding_bands(fields[name])
    return found


def deciding_bands(value: Any) -> Any:
    """Reduce a list of bands to what decides; other values stay."""
    if not isinstance(value, list | tuple):
        return value
    return [
        [(name, entry[name]) for name in BAND_FIELDS if name in entry] if isinstance(entry, dict) else entry
        for entry in value
    ]
