"""Items of a catalogue become scenes, without a file being opened where the item says enough.

1. Items that are described alike make a group (item_groups.py), and are looked at together.
2. `SceneChooser` says which files show them in colour (scene_choice.py).
3. `claimed_places` says where these lie (item_projection.py). An item that says all of it, and does not
   contradict its own footprint, is planned as it is.
4. The headers of the others are opened at once (header_check.py), because a plan needs their place.
5. Once the plan has chosen the scenes that it needs, `settled` opens the headers of the rest of these.

Items that cannot become scenes are left, each with its reason. When that is all of them, it is an InputError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.grid.catalog.found_items import FoundItems, LeftItem
from pipeline.grid.catalog.header_check import Claims, ItemScene, Opened, open_headers
from pipeline.grid.catalog.item import Item, ItemFacts
from pipeline.grid.catalog.item_files import ItemFiles, files_of
from pipeline.grid.catalog.item_groups import ItemGroup, facts_of, groups_of
from pipeline.grid.catalog.item_projection import (
    ClaimedPlace,
    Projection,
    claimed_places,
    footprint_place,
    lies_apart,
)
from pipeline.grid.catalog.reflectance_table import differs_by_item, scene_reflectance
from pipeline.grid.catalog.scene_choice import ItemOptions, SceneChoice, SceneChooser
from pipeline.grid.paused_collector import paused_collector
from pipeline.schema.imagery import Reflectance, Scene, SceneFile

_STACKED = (1, 2, 3)
"""`Scene.rgb_bands` of three files."""
_UNKNOWN = (0, 0, 0)
"""Those of a file whose header has to say."""
_UNOPENED: Mapping[str, str] = {}
"""`Scene.identity` of files that were not opened yet."""


@dataclass(frozen=True, kw_only=True)
class ItemScenes:
    """What became of the items of one search."""

    scenes: tuple[ItemScene, ...]
    """In the order of the items."""
    items: tuple[ItemFacts, ...]
    """The item of each scene."""
    left: tuple[LeftItem, ...]


def scenes_of(found: FoundItems, options: ItemOptions, *, on_opened: Opened | None = None) -> ItemScenes:
    """Turn the items of a search into scenes with a place to plan with.

    Raises InputError when no item can be used, and SourceError (retryable) when a server does not answer.
    """
    scenes, items, left = _made(found.items, options)
    if left and not scenes:
        raise InputError(
            f"At least one of the {len(left)} items found must be usable",
            came=left[0].reason,
            remedy="name the files with --assets, or search for others",
        )
    unplaced = [number for number, scene in enumerate(scenes) if not scene.placed]
    opened = open_headers(
        [scenes[number] for number in unplaced], **({} if on_opened is None else {"on_opened": on_opened})
    )
    for number, scene in zip(unplaced, opened, strict=True):
        scenes[number] = replace(scenes[number], scene=scene)
    return ItemScenes(scenes=tuple(scenes), items=tuple(items), left=tuple(left))


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


@paused_collector()
def _made(
    items: Sequence[Item], options: ItemOptions
) -> tuple[list[ItemScene], list[ItemFacts], list[LeftItem]]:
    """Make scenes of items, in their order. Returns them, the items that they are made of, and those left."""
    chooser = SceneChooser(options)
    made: list[ItemScene | LeftItem | None] = [None] * len(items)
    for numbers, group in groups_of(items):
        for number, one in zip(numbers, _of_group(group, chooser, options), strict=True):
            made[number] = one
    scenes = [one for one in made if isinstance(one, ItemScene)]
    left = [one for one in made if isinstance(one, LeftItem)]
    of_items = zip(facts_of(items), made, strict=True)
    taken = [facts for facts, one in of_items if isinstance(one, ItemScene)]
    return scenes, taken, left


def _of_group(group: ItemGroup, chooser: SceneChooser, options: ItemOptions) -> list[ItemScene | LeftItem]:
    """Make a scene of each item of a group, or say why it is left."""
    try:
        choice = chooser.choose(group.item(0))
    except InputError:
        return [_refused(group, place, chooser) for place in range(len(group.facts))]
    claimed = claimed_places(group, choice.keys[0])
    columns = zip(
        group.facts,
        group.item_hrefs(),
        files_of(group, choice, options),
        _believed(group, claimed),
        _reflectances(group, choice, options),
        _claims(group, choice, claimed),
        strict=True,
    )
    found: list[ItemScene | LeftItem] = []
    for facts, href, files, place, reflectance, claims in columns:
        if isinstance(files, InputError):
            found.append(LeftItem.of(facts, str(files)))
            continue
        scene = ItemScene(
            scene=_scene(facts, files, place or _around(facts), choice, reflectance, item_href=href),
            claims=claims,
            placed=place is not None,
            indexes=choice.indexes,
            bands=options.bands,
            assumed_crs=options.crs,
            tags_count=options.radiometry == "auto",
        )
        found.append(scene)
    return found


def _refused(group: ItemGroup, place: int, chooser: SceneChooser) -> LeftItem:
    """Say why an item is left of whose kind none can be used; the reason names it."""
    try:
        chooser.choose(group.item(place))
    except InputError as error:
        return LeftItem.of(group.facts[place], str(error))
    raise AssertionError("items of one layout are decided alike")


def _rows(group: ItemGroup, choice: SceneChoice, name: str, read: Any) -> Sequence[tuple[Any, ...]]:
    """Read what the chosen assets of each item say under a name."""
    columns = [group.of_assets(key, name) for key in choice.keys]
    nothing = (None,) * len(columns)
    if all(column is None for column in columns):
        return (nothing,) * len(group.facts)
    return [
        tuple(None if column is None else read(column[number]) for column in columns)
        for number in range(len(group.facts))
    ]


def _believed(group: ItemGroup, claimed: Sequence[ClaimedPlace]) -> list[Projection | None]:
    """Say where the file of each item lies. None: it does not say all of it, or contradicts its footprint."""
    found = [place.projection for place in claimed]
    named = [number for number, place in enumerate(found) if place is not None]
    apart = lies_apart(group.geometries()[named], [place for place in found if place is not None])
    for number, wrong in zip(named, apart.tolist(), strict=True):
        if wrong:
            found[number] = None
    return found


def _reflectances(
    group: ItemGroup, choice: SceneChoice, options: ItemOptions
) -> Sequence[tuple[Reflectance | None, str]]:
    """Find how values of each scene become reflectance, as `scene_reflectance`."""

    def of(number: int) -> tuple[Reflectance | None, str]:
        item = group.item(number)
        return scene_reflectance(item, choice.assets(item), options.radiometry, choice.kinds)

    if not differs_by_item(choice.kinds, options.radiometry):
        return (of(0),) * len(group.facts)
    return [of(number) for number in range(len(group.facts))]


def _claims(group: ItemGroup, choice: SceneChoice, places: Sequence[ClaimedPlace]) -> Iterator[Claims]:
    """What each item says of its files, for the comparison with their headers."""
    sizes = _rows(group, choice, "file:size", _whole)
    checksums = _rows(group, choice, "file:checksum", _text)
    n_bands = choice.n_bands if len(choice.keys) == 1 and choice.n_bands else None
    for place, own_sizes, own_checksums in zip(places, sizes, checksums, strict=True):
        yield Claims(
            crs_wkt=place.crs_wkt,
            transform=place.transform,
            shape=place.shape,
            dtype=choice.dtype,
            n_bands=n_bands,
            sizes=own_sizes,
            checksums=own_checksums,
        )


def _around(facts: ItemFacts) -> Projection:
    """The place of a file of which only the footprint is known."""
    return footprint_place(footprint_bounds(facts.geometry))


def _scene(
    facts: ItemFacts,
    files: ItemFiles,
    place: Projection,
    choice: SceneChoice,
    reflectance: tuple[Reflectance | None, str],
    *,
    item_href: str,
) -> Scene:
    """Make the scene of one item."""
    href, access = files.files[0]
    three = len(files.files) == 3
    return Scene(
        scene_id=facts.item_id,
        href=href,
        access=access,
        crs_wkt=place.crs_wkt,
        transform=place.transform,
        width=place.width,
        height=place.height,
        count=3 if three else choice.n_bands,
        dtype=choice.dtype or "",
        rgb_bands=_STACKED if three else choice.indexes or _UNKNOWN,
        bands=choice.bands,
        nodata=None,
        identity=_UNOPENED,
        datetime=facts.start,
        band_files=tuple([SceneFile(href=own, access=key) for own, key in files.files]) if three else (),
        cloud_cover=facts.cloud_cover,
        collection=facts.collection,
        item_href=item_href,
        quality=files.quality,
        signer=files.signer,
        guard=files.guard,
        reflectance=reflectance[0],
        no_reflectance=reflectance[1],
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


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
