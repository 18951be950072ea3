"""Items of a catalogue become scenes, without a file being opened where the item says enough.

1. `choose_assets` says which files show an item in colour (asset_choice.py).
2. `projection_of` says where they lie (item_projection.py). An item that says all of it, and does not
   contradict its own footprint, is planned as it is.
3. The headers of the others are opened at once (header_check.py), because a plan needs their place.
4. Once the plan has chosen the scenes that it needs, `settled` opens the headers of the rest of these.

Items that cannot become scenes are left, each with its reason. When that is all of them, it is an InputError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.files.href_guard import require_allowed
from pipeline.files.hrefs import encoded_url, join_access, split_access
from pipeline.files.raster_access import href_kind
from pipeline.files.signing import signer_for
from pipeline.grid.catalog.asset_choice import ChosenAssets, band_entries, choose_assets
from pipeline.grid.catalog.found_items import FoundItems, LeftItem
from pipeline.grid.catalog.header_check import Claims, ItemScene, Opened, footprint_scene, open_headers
from pipeline.grid.catalog.item import Asset, Item
from pipeline.grid.catalog.item_projection import (
    Projection,
    claimed_crs,
    claimed_shape,
    claimed_transform,
    lies_apart,
    projection_of,
)
from pipeline.grid.catalog.quality_table import quality_of
from pipeline.grid.catalog.reflectance_table import scene_reflectance
from pipeline.grid.radiometry import Radiometry
from pipeline.schema.imagery import HrefGuard, Scene, SceneFile

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

_DATA_TYPES = frozenset(
    (
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float16",
        "float32",
        "float64",
    )
)
"""`data_type` of the STAC raster extension that numpy knows; others, such as `cint16`, say nothing here."""


@dataclass(frozen=True, kw_only=True)
class ItemOptions:
    """How items become scenes."""

    assets: tuple[str, ...] | None = None
    """What --assets names. None: what the items say."""
    bands: tuple[str | int, ...] | None = None
    """What --bands says, of the bands of one file."""
    crs: str | None = None
    """CRS of files that have none."""
    mask: str | None = None
    """What --mask says. None: the mask that items are known to have."""
    radiometry: Radiometry = "auto"
    """What --radiometry says."""
    guard: HrefGuard | None = None
    """What the hrefs of items may reach."""


@dataclass(frozen=True, kw_only=True)
class ItemScenes:
    """What became of the items of one search."""

    scenes: tuple[ItemScene, ...]
    """In the order of the items."""
    items: tuple[Item, ...]
    """The item of each scene."""
    left: tuple[LeftItem, ...]


def scenes_of(found: FoundItems, options: ItemOptions, *, on_opened: Opened | None = None) -> ItemScenes:
    """Turn the items of a search into scenes with a place to plan with.

    Raises InputError when no item can be used, and SourceError (retryable) when a server does not answer.
    """
    built: list[tuple[Item, ItemScene, Projection | None]] = []
    left: list[LeftItem] = []
    for item in found.items:
        try:
            built.append(_built(item, options))
        except InputError as error:
            left.append(LeftItem(item_id=item.item_id, reason=str(error)))
    if left and not built:
        raise InputError(
            f"At least one of the {len(left)} items found must be usable",
            came=left[0].reason,
            remedy="name the files with --assets, or search for others",
        )
    placed = _placed(built)
    unplaced = [number for number, scene in enumerate(placed) if not scene.placed]
    opened = open_headers(
        [placed[number] for number in unplaced], **({} if on_opened is None else {"on_opened": on_opened})
    )
    for number, scene in zip(unplaced, opened, strict=True):
        placed[number] = replace(placed[number], scene=scene)
    return ItemScenes(scenes=tuple(placed), items=tuple(item for item, _, _ in built), left=tuple(left))


def settled(scenes: Sequence[ItemScene], *, on_opened: Opened | None = None) -> tuple[Scene, ...]:
    """Open the headers that are not open yet. Returns all scenes in order; raises SourceError as
    `open_headers`.
    """
    unread = [number for number, item in enumerate(scenes) if item.placed]
    opened = open_headers(
        [scenes[number] for number in unread], **({} if on_opened is None else {"on_opened": on_opened})
    )
    found = [item.scene for item in scenes]
    for number, scene in zip(unread, opened, strict=True):
        found[number] = scene
    return tuple(found)


def _built(item: Item, options: ItemOptions) -> tuple[Item, ItemScene, Projection | None]:
    """A scene of one item, not placed yet. Raises InputError."""
    chosen = choose_assets(item, options.assets, one_file=options.bands is not None)
    if options.bands is not None and len(chosen.assets) == 3:
        raise InputError(
            "--bands chooses among the bands of one file",
            came="three files in --assets",
            remedy="leave out --bands: the three files are red, green and blue",
        )
    files = tuple(_file(asset) for asset in chosen.assets)
    first = files[0]
    three = len(files) == 3
    dtype = _data_type(chosen.assets[0]) or ""
    reflectance, why = scene_reflectance(item, chosen.assets, options.radiometry)
    scene = Scene(
        scene_id=item.item_id,
        href=first.href,
        access=first.access,
        crs_wkt=None,
        transform=_IDENTITY,
        width=0,
        height=0,
        count=3 if three else len(band_entries(chosen.assets[0])),
        dtype=dtype,
        rgb_bands=(1, 2, 3) if three else chosen.indexes or (0, 0, 0),
        bands=_bands_text(chosen),
        nodata=None,
        datetime=item.datetime,
        band_files=files if three else (),
        cloud_cover=item.cloud_cover,
        collection=item.collection,
        item_href=item.href,
        quality=quality_of(item, options.mask),
        signer=signer_for(join_access(first.href, first.access)),
        guard=options.guard,
        reflectance=reflectance,
        no_reflectance=why,
    )
    for file in (*scene.files, *(scene.quality.files if scene.quality else ())):
        require_allowed(file.href, options.guard)
    item_scene = ItemScene(
        scene=scene,
        claims=_claims(item, chosen),
        placed=False,
        indexes=chosen.indexes,
        bands=options.bands,
        assumed_crs=options.crs,
        tags_count=options.radiometry == "auto",
    )
    return item, item_scene, projection_of(item, chosen.assets[0])


def _placed(built: Sequence[tuple[Item, ItemScene, Projection | None]]) -> list[ItemScene]:
    """Give scenes the place that their item names, where it names one that its footprint agrees with. The
    others get the footprint."""
    named = [number for number, (_, _, place) in enumerate(built) if place is not None]
    apart = lies_apart([built[n][0] for n in named], [place for n in named if (place := built[n][2])])
    believed = {number for number, wrong in zip(named, apart.tolist(), strict=True) if not wrong}
    found = []
    for number, (item, item_scene, place) in enumerate(built):
        if place is not None and number in believed:
            scene = replace(
                item_scene.scene,
                crs_wkt=place.crs_wkt,
                transform=place.transform,
                width=place.width,
                height=place.height,
            )
        else:
            scene = footprint_scene(item_scene.scene, footprint_bounds(item.geometry))
        found.append(replace(item_scene, scene=scene, placed=number in believed))
    return found


def footprint_bounds(geometry: BaseGeometry) -> tuple[float, float, float, float]:
    """Find (west, south, east, north) of a footprint in degrees; east > 180 where it was cut at 180."""
    west, south, east, north = geometry.bounds
    parts = shapely.get_parts(geometry)
    if east - west <= 180 or len(parts) < 2:
        return west, south, east, north
    boxes = shapely.bounds(parts)
    turned = np.where(boxes[:, [0]] < 0, boxes + np.array([360, 0, 360, 0]), boxes)
    low = turned.min(axis=0)
    high = turned.max(axis=0)
    return float(low[0]), float(low[1]), float(high[2]), float(high[3])


def _file(asset: Asset) -> SceneFile:
    """The file of an asset; what follows `?` is kept apart. Raises InputError for an href that nobody may
    open."""
    href = encoded_url(asset.href)
    href_kind(href)
    shown, access = split_access(href)
    return SceneFile(href=shown, access=access)


def _claims(item: Item, chosen: ChosenAssets) -> Claims:
    first = chosen.assets[0]
    n_bands = len(band_entries(first))
    return Claims(
        crs_wkt=claimed_crs(item, first),
        transform=claimed_transform(item, first),
        shape=claimed_shape(item, first),
        dtype=_data_type(first),
        n_bands=n_bands if len(chosen.assets) == 1 and n_bands else None,
        sizes=tuple(_whole(asset.fields.get("file:size")) for asset in chosen.assets),
        checksums=tuple(_text(asset.fields.get("file:checksum")) for asset in chosen.assets),
    )


def _data_type(asset: Asset) -> str | None:
    """The data type that all bands of a file have, by `raster:bands`, `bands` or the asset itself (STAC 1.1).
    None: the item does not say one."""
    entries = asset.fields.get("raster:bands") or band_entries(asset)
    listed = entries if isinstance(entries, list | tuple) else ()
    types: set[Any] = {entry.get("data_type") for entry in listed if isinstance(entry, dict)}
    types = types - {None} or {asset.fields.get("data_type")}
    only = next(iter(types)) if len(types) == 1 else None
    return only if isinstance(only, str) and only in _DATA_TYPES else None


def _bands_text(chosen: ChosenAssets) -> str:
    if len(chosen.assets) == 1:
        return f"asset {chosen.assets[0].key}, by {chosen.how}"
    red, green, blue = (asset.key for asset in chosen.assets)
    return f"red = {red}, green = {green}, blue = {blue}, by {chosen.how}"


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
