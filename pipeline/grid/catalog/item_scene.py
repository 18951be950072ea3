"""Items of a catalogue become scenes, without a file being opened where the item says enough.

1. `SceneChooser` says which files show an item in colour (scene_choice.py).
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
from pipeline.grid.catalog.found_items import FoundItems, LeftItem
from pipeline.grid.catalog.header_check import Claims, ItemScene, Opened, open_headers
from pipeline.grid.catalog.item import Asset, Item
from pipeline.grid.catalog.item_projection import (
    Projection,
    claimed_place,
    footprint_place,
    lies_apart,
    projection_of,
)
from pipeline.grid.catalog.reflectance_table import scene_reflectance
from pipeline.grid.catalog.scene_choice import ItemOptions, SceneChoice, SceneChooser
from pipeline.schema.imagery import QualityMask, Scene, SceneFile


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
    chooser = SceneChooser(options)
    built: list[_Draft] = []
    left: list[LeftItem] = []
    for item in found.items:
        try:
            built.append(_draft(item, chooser, options))
        except InputError as error:
            left.append(LeftItem.of(item, str(error)))
    if left and not built:
        raise InputError(
            f"At least one of the {len(left)} items found must be usable",
            came=left[0].reason,
            remedy="name the files with --assets, or search for others",
        )
    placed = _placed(built, options)
    unplaced = [number for number, scene in enumerate(placed) if not scene.placed]
    opened = open_headers(
        [placed[number] for number in unplaced], **({} if on_opened is None else {"on_opened": on_opened})
    )
    for number, scene in zip(unplaced, opened, strict=True):
        placed[number] = replace(placed[number], scene=scene)
    return ItemScenes(scenes=tuple(placed), items=tuple(draft.item for draft in built), left=tuple(left))


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Draft:
    """An item that can become a scene, with what it says of its files."""

    item: Item
    choice: SceneChoice
    assets: tuple[Asset, ...]
    files: tuple[SceneFile, ...]
    quality: QualityMask | None
    claims: Claims
    place: Projection | None
    """None: the item does not say all of it."""


def _draft(item: Item, chooser: SceneChooser, options: ItemOptions) -> _Draft:
    """Find the files of an item. Raises InputError."""
    choice = chooser.choose(item)
    assets = choice.assets(item)
    files = tuple(_file(asset) for asset in assets)
    quality = choice.quality(item, options.mask)
    for file in (*files, *(quality.files if quality else ())):
        require_allowed(file.href, options.guard)
    first = assets[0]
    said = claimed_place(item, first)
    claims = Claims(
        crs_wkt=said.crs_wkt,
        transform=said.transform,
        shape=said.shape,
        dtype=choice.dtype,
        n_bands=choice.n_bands if len(assets) == 1 and choice.n_bands else None,
        sizes=tuple(_whole(asset.fields.get("file:size")) for asset in assets),
        checksums=tuple(_text(asset.fields.get("file:checksum")) for asset in assets),
    )
    return _Draft(
        item=item,
        choice=choice,
        assets=assets,
        files=files,
        quality=quality,
        claims=claims,
        place=projection_of(item, first, said),
    )


def _placed(drafts: Sequence[_Draft], options: ItemOptions) -> list[ItemScene]:
    """Make scenes. Each lies where its item says, if that agrees with the item's footprint; else it gets the
    footprint."""
    named = [number for number, draft in enumerate(drafts) if draft.place is not None]
    places = [place for number in named if (place := drafts[number].place) is not None]
    apart = lies_apart([drafts[number].item for number in named], places)
    believed = {number for number, wrong in zip(named, apart.tolist(), strict=True) if not wrong}
    return [
        _item_scene(draft, options, draft.place if number in believed else None)
        for number, draft in enumerate(drafts)
    ]


def _item_scene(draft: _Draft, options: ItemOptions, place: Projection | None) -> ItemScene:
    """Make the scene of one item. `place`: None where only its footprint is known."""
    item = draft.item
    choice = draft.choice
    first = draft.files[0]
    three = len(draft.files) == 3
    where = place if place is not None else footprint_place(footprint_bounds(item.geometry))
    reflectance, why = scene_reflectance(item, draft.assets, options.radiometry, choice.kinds)
    scene = Scene(
        scene_id=item.item_id,
        href=first.href,
        access=first.access,
        crs_wkt=where.crs_wkt,
        transform=where.transform,
        width=where.width,
        height=where.height,
        count=3 if three else choice.n_bands,
        dtype=choice.dtype or "",
        rgb_bands=(1, 2, 3) if three else choice.indexes or (0, 0, 0),
        bands=choice.bands,
        nodata=None,
        datetime=item.datetime,
        band_files=draft.files if three else (),
        cloud_cover=item.cloud_cover,
        collection=item.collection,
        item_href=item.href,
        quality=draft.quality,
        signer=signer_for(join_access(first.href, first.access)),
        guard=options.guard,
        reflectance=reflectance,
        no_reflectance=why,
    )
    return ItemScene(
        scene=scene,
        claims=draft.claims,
        placed=place is not None,
        indexes=choice.indexes,
        bands=options.bands,
        assumed_crs=options.crs,
        tags_count=options.radiometry == "auto",
    )


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


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
