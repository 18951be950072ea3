"""Which files of an item show it in colour: one with red, green and blue, or three of one band each.

`choose_assets` takes what --assets names. Without it, the first of these that an item has decides:

1. one file whose bands are named red, green and blue (NAIP `image`, Sentinel-2 `visual`);
2. a file that is called a picture (`visual`, `image`, `tci`) and does not name its bands;
3. three files of one band each, by the name of their band or by their key (`red`, `B04`);
4. a coarse overview of 1., or the only GeoTIFF there is.

Only GeoTIFFs count. Names come from `bands` (STAC 1.1), else from `eo:bands`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pipeline.errors import InputError
from pipeline.grid.band_names import band_colours, colour_of
from pipeline.grid.bands import RGB_NAMES
from pipeline.grid.catalog.item import Asset, Item

_TIFF_TYPES = ("image/tiff", "image/vnd.stac.geotiff", "image/geotiff", "application/x-geotiff")
_TIFF_SUFFIXES = (".tif", ".tiff", ".gtiff")
_PATH = re.compile(r"(?:[a-z][a-z\d+.-]*:)?(?://[^/?#]*)?([^?#]*)", re.IGNORECASE)
"""Finds the path of an href, or all of a local one (RFC 3986, appendix B)."""

_NO_IMAGERY = frozenset(
    ("thumbnail", "metadata", "cloud", "cloud-shadow", "snow-ice", "water-mask", "land-water", "data-mask",
     "saturation", "date", "angle", "sun-azimuth", "sun-elevation", "sensor-azimuth", "incidence-angle")
)  # fmt: skip
"""Roles of files that show something else than the ground, or a stamp of it."""

_PICTURE_KEYS = ("visual", "image", "tci", "rgb", "true_color", "true-color", "truecolor", "ortho_visual")
"""Keys that catalogues give to a picture in colour, the usual first."""

_MOST_SHOWN = 12
"""Assets that a message lists."""


@dataclass(frozen=True, kw_only=True)
class ChosenAssets:
    """The files that show an item in colour."""

    assets: tuple[Asset, ...]
    """One, or red, green and blue."""
    indexes: tuple[int, int, int] | None
    """1-based bands of red, green and blue in the one file. None: three files, or the header has to say."""
    how: str
    """Who says so, for people."""


def check_asset_names(names: Sequence[str]) -> tuple[str, ...]:
    """Check what --assets names: one file, or red, green and blue. Raises InputError."""
    cleaned = tuple(name.strip() for name in names)
    if len(cleaned) not in (1, 3) or not all(cleaned):
        raise InputError(
            "--assets must name one file with all colours, or three files: red, green, blue",
            came=repr(",".join(names)),
            remedy="e.g. --assets visual, or --assets B04,B03,B02",
        )
    return cleaned


def choose_assets(item: Item, wanted: Sequence[str] | None = None, *, one_file: bool = False) -> ChosenAssets:
    """Choose the files of one item.

    `wanted`: what --assets names (`check_asset_names`). `one_file`: three files will not do, because --bands
    chooses among the bands of one. Raises InputError where the item does not have them.
    """
    if wanted is not None:
        found = tuple(_named(item, name) for name in wanted)
        indexes = rgb_indexes(found[0]) if len(found) == 1 else None
        return ChosenAssets(assets=found, indexes=indexes, how="--assets")
    rasters = [asset for asset in item.assets.values() if is_geotiff(asset) and not _shows_else(asset)]
    coloured = [asset for asset in rasters if rgb_indexes(asset) is not None]
    if len(coloured) > 1:
        coloured.sort(key=lambda asset: (not _is_picture(asset), pixel_size(item, asset)))
    for asset in coloured:
        if "overview" not in asset.roles:
            return _one(asset, "the item's bands")
    keys = {asset.key.lower(): asset for asset in reversed(rasters)}
    for key in _PICTURE_KEYS:
        if key in keys and not band_names(keys[key]):
            return _one(keys[key], "the asset's key")
    three = None if one_file else _three_files(item, rasters)
    if three is not None:
        return ChosenAssets(assets=three, indexes=None, how="the item's assets")
    if coloured or len(rasters) == 1:
        return _one((coloured or rasters)[0], "the item's bands" if coloured else "the only GeoTIFF")
    raise InputError(
        f"Item {item.item_id} must have GeoTIFFs whose colours are known",
        came=_listed(item),
        remedy="name them with --assets: one file, or red,green,blue",
    )


def is_geotiff(asset: Asset) -> bool:
    """Whether an asset is a GeoTIFF by its media type, or by its ending where none is given."""
    kind = asset.media_type.partition(";")[0].strip().lower()
    if kind:
        return kind in _TIFF_TYPES
    return has_tiff_suffix(asset.href)


def has_tiff_suffix(href: str) -> bool:
    """Whether the path of an href ends as those of GeoTIFFs do."""
    path = _PATH.match(href)
    return path is not None and path[1].lower().endswith(_TIFF_SUFFIXES)


def band_entries(asset: Asset) -> tuple[Mapping[str, Any], ...]:
    """List what the item says of each band of a file: `bands` (STAC 1.1), else `eo:bands`. Empty: nothing."""
    for name in ("bands", "eo:bands"):
        listed = asset.fields.get(name)
        if isinstance(listed, list | tuple) and listed:
            return tuple(entry if isinstance(entry, dict) else {} for entry in listed)
    return ()


def band_names(asset: Asset) -> tuple[str | None, ...]:
    """Name each band of a file, by its common name or else its own. Empty: the item says nothing."""
    names = [
        next((str(entry[key]) for key in ("eo:common_name", "common_name", "name") if entry.get(key)), None)
        for entry in band_entries(asset)
    ]
    return tuple(names) if any(names) else ()


def rgb_indexes(asset: Asset) -> tuple[int, int, int] | None:
    """Find red, green and blue among the bands of one file, 1-based. None: the item does not say."""
    return _rgb_of(band_names(asset))


@lru_cache(maxsize=256)
def _rgb_of(names: tuple[str | None, ...]) -> tuple[int, int, int] | None:
    """Find red, green and blue among the names of bands; a collection's items repeat the same ones."""
    colours = band_colours(names)
    if any(colours.count(colour) != 1 for colour in RGB_NAMES):
        return None
    red, green, blue = (colours.index(colour) + 1 for colour in RGB_NAMES)
    return red, green, blue


def _one(asset: Asset, how: str) -> ChosenAssets:
    return ChosenAssets(assets=(asset,), indexes=rgb_indexes(asset), how=how)


def _three_files(item: Item, rasters: Sequence[Asset]) -> tuple[Asset, ...] | None:
    """Find red, green and blue among files of one band each, the finest of several. None: one is missing."""
    single = [asset for asset in rasters if len(band_entries(asset)) <= 1]
    by_key = band_colours([asset.key for asset in single])
    colours = []
    for asset, own in zip(single, by_key, strict=True):
        names = band_names(asset)
        colours.append((colour_of(names[0]) if names and names[0] else None) or own)
    found = []
    for colour in RGB_NAMES:
        own_assets = [asset for asset, own in zip(single, colours, strict=True) if own == colour]
        sizes = [pixel_size(item, asset) for asset in own_assets]
        finest = [asset for asset, size in zip(own_assets, sizes, strict=True) if size == min(sizes)]
        if len(finest) != 1:
            return None
        found.append(finest[0])
    return tuple(found)


def _named(item: Item, name: str) -> Asset:
    """Find the asset that --assets names: by key, else by the common name of its only band."""
    hits = [item.assets[name]] if name in item.assets else []
    hits = hits or [asset for key, asset in item.assets.items() if key.lower() == name.lower()]
    if not hits:
        named = [asset for asset in item.assets.values() if band_names(asset) == (name.lower(),)]
        hits = [asset for asset in named if is_geotiff(asset)] or named
    if len(hits) != 1:
        raise InputError(
            f"--assets must name assets of item {item.item_id}",
            came=f"{name!r}, {'which fits several' if hits else 'and the item has'} {_listed(item)}",
            remedy="use the keys of its assets",
        )
    if not is_geotiff(hits[0]):
        raise InputError(
            f"--assets must name GeoTIFFs of item {item.item_id}",
            came=f"{name!r}, of type {hits[0].media_type or 'unknown'}",
            remedy=f"use others of {_listed(item)}",
        )
    return hits[0]


def _listed(item: Item) -> str:
    """The item's assets, GeoTIFFs first, for a message."""
    ranked = sorted(item.assets.values(), key=lambda asset: not is_geotiff(asset))
    shown = [f"{asset.key}{'' if is_geotiff(asset) else ' (no GeoTIFF)'}" for asset in ranked[:_MOST_SHOWN]]
    more = f" and {len(ranked) - _MOST_SHOWN} more" if len(ranked) > _MOST_SHOWN else ""
    return f"{', '.join(shown)}{more}" if shown else "no assets"


def _shows_else(asset: Asset) -> bool:
    return bool(_NO_IMAGERY & set(asset.roles))


def _is_picture(asset: Asset) -> bool:
    return "visual" in asset.roles or asset.key.lower() in _PICTURE_KEYS or "visual" in asset.key.lower()


def pixel_size(item: Item, asset: Asset) -> float:
    """Side of a pixel as far as the item says, in any unit. Infinite: it does not say."""
    transform = item.field_of(asset, "proj:transform")
    if isinstance(transform, list | tuple) and len(transform) >= 6 and _is_number(transform[0]):
        return math.hypot(float(transform[0]), float(transform[3] if _is_number(transform[3]) else 0.0))
    gsd = item.field_of(asset, "gsd")
    return float(gsd) if _is_number(gsd) else math.inf


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
