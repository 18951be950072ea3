"""Items of a catalogue become scenes, without a file being opened where the item says enough.

1. Items that are described alike make a group (item_groups.py), and are looked at together.
2. `SceneChooser` says which files show them in colour (scene_choice.py).
3. `claimed_places` says where these lie (item_projection.py). An item that says all of it, and does not
   contradict its own footprint, is planned as it is. `GroupScenes` makes its scene when somebody asks for it.
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
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.grid.catalog.found_items import FoundItems, LeftItem
from pipeline.grid.catalog.header_check import Claims, ItemScene, Opened, open_headers
from pipeline.grid.catalog.item import ItemFacts
from pipeline.grid.catalog.item_files import ItemFiles, files_of, refused_files
from pipeline.grid.catalog.item_groups import ItemGroup, TakenItems, groups_of
from pipeline.grid.catalog.item_projection import (
    ClaimedPlaces,
    Projection,
    claimed_places,
    footprint_place,
    lies_apart,
)
from pipeline.grid.catalog.reflectance_table import differs_by_item, scene_reflectance
from pipeline.grid.catalog.scene_choice import ItemOptions, SceneChoice, SceneChooser
from pipeline.grid.paused_collector import paused_collector
from pipeline.grid.scene_list import AT_ONCE, SceneColumns, SceneList, are_none, objects
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

    scenes: SceneList
    """In the order of the items."""
    items: TakenItems
    """The item of each scene."""
    left: tuple[LeftItem, ...]


def scenes_of(found: FoundItems, options: ItemOptions, *, on_opened: Opened | None = None) -> ItemScenes:
    """Turn the items of a search into scenes with a place to plan with.

    Raises InputError when no item can be used, and SourceError (retryable) when a server does not answer.
    """
    items = TakenItems.of(found.items)
    scenes, used, left = _listed(items, options)
    if left and not scenes:
        raise InputError(
            f"At least one of the {len(left)} items found must be usable",
            came=left[0].reason,
            remedy="name the files with --assets, or search for others",
        )
    unplaced = np.flatnonzero(are_none(scenes.columns.crs))
    opened = _opened(scenes, unplaced, on_opened)
    return ItemScenes(
        scenes=scenes.replaced(dict(zip(unplaced.tolist(), opened, strict=True))),
        items=items.take(used),
        left=left,
    )


def settled(scenes: SceneList, *, on_opened: Opened | None = None) -> SceneList:
    """Open the headers that are not open yet. Returns all scenes in order; raises SourceError as
    `open_headers`.
    """
    numbers = unread_numbers(scenes)
    return scenes.replaced(dict(zip(numbers.tolist(), _opened(scenes, numbers, on_opened), strict=True)))


def unread_numbers(scenes: SceneList) -> NDArray[np.int64]:
    """Number the scenes whose headers are not open yet, ascending."""
    unread = np.array([isinstance(maker, GroupScenes) for maker in scenes.makers], dtype=np.bool_)
    return np.flatnonzero(unread[scenes.maker])


def described(scenes: SceneList, numbers: NDArray[np.int64]) -> list[ItemScene]:
    """What items say of scenes whose headers are not open yet, by number."""
    found: list[ItemScene | None] = [None] * len(numbers)
    for at, maker, places in scenes.by_maker(numbers):
        assert isinstance(maker, GroupScenes)
        for number, one in zip(at.tolist(), maker.described(places), strict=True):
            found[number] = one
    names = scenes.columns.ids[numbers].tolist()
    return [
        one if one.scene.scene_id == name else replace(one, scene=replace(one.scene, scene_id=name))
        for one, name in zip(found, names, strict=True)
        if one is not None
    ]


def _opened(scenes: SceneList, numbers: NDArray[np.int64], on_opened: Opened | None) -> list[Scene]:
    """Open the headers of some scenes, some thousand at a time."""
    found: list[Scene] = []

    def tell(done: int, _of: int) -> None:
        if on_opened is not None:
            on_opened(len(found) + done, len(numbers))

    for start in range(0, len(numbers), AT_ONCE):
        found += open_headers(described(scenes, numbers[start : start + AT_ONCE]), on_opened=tell)
    return found


@paused_collector()
def _listed(
    items: TakenItems, options: ItemOptions
) -> tuple[SceneList, NDArray[np.int64], tuple[LeftItem, ...]]:
    """List scenes of items, in their order. Returns them, the numbers of their items, and the items left.

    A scene that has no place to plan with has no CRS either.
    """
    chooser = SceneChooser(options)
    parts: list[SceneList] = []
    used: list[NDArray[np.int64]] = []
    left: dict[int, LeftItem] = {}
    for numbers, group in groups_of(items):
        try:
            choice = chooser.choose(group.item(0))
        except InputError:
            left |= {number: _refused(group, at, chooser) for at, number in enumerate(numbers.tolist())}
            continue
        refused = _unfit(group, choice, options)
        left |= {int(numbers[at]): one for at, one in refused.items()}
        fit = np.setdiff1d(np.arange(len(group)), list(refused))
        if fit.size:
            maker = GroupScenes(group.part(fit), choice, options)
            parts.append(SceneList.from_maker(maker.columns(), maker))
            used.append(numbers[fit])
    of_scenes = np.concatenate(used) if used else np.empty(0, dtype=np.int64)
    order = np.argsort(of_scenes)
    return (
        SceneList.joined(parts, order),
        of_scenes[order],
        tuple(one for _, one in sorted(left.items())),
    )


class GroupScenes:
    """The scenes of a group of items, made when they are asked for."""

    def __init__(self, group: ItemGroup, choice: SceneChoice, options: ItemOptions) -> None:
        """`group`: all of its files may be opened."""
        self._group = group
        self._choice = choice
        self._options = options

    def columns(self) -> SceneColumns:
        """What a plan asks of them; those without a place to plan with have no CRS."""
        claimed = claimed_places(self._group, self._choice.keys[0])
        crs = claimed.crs.copy()
        crs[~_believed(self._group, claimed)] = None
        return SceneColumns(
            ids=objects(self._group.ids()),
            crs=crs,
            transforms=claimed.affines,
            sizes=claimed.shapes[:, ::-1].copy(),
            failed=np.zeros(len(self._group), dtype=np.bool_),
        )

    def scenes(self, places: NDArray[np.int64]) -> list[Scene]:
        return [one.scene for one in self.described(places)]

    def datetimes(self, places: NDArray[np.int64]) -> list[str | None]:
        return [self._group.facts(place).start for place in places.tolist()]

    def cloud_covers(self, places: NDArray[np.int64]) -> list[float | None]:
        return [self._group.facts(place).cloud_cover for place in places.tolist()]

    @paused_collector()
    def described(self, places: NDArray[np.int64]) -> list[ItemScene]:
        """Make some scenes, with what their items say of the files. Raises InputError where one may no longer
        be opened."""
        group = self._group.part(places)
        choice = self._choice
        options = self._options
        claimed = claimed_places(group, choice.keys[0])
        believed = _believed(group, claimed).tolist()
        columns = zip(
            group.item_hrefs(),
            files_of(group, choice, options),
            claimed.each(),
            believed,
            _reflectances(group, choice, options),
            _claims(group, choice, claimed),
            strict=True,
        )
        found = []
        for number, (href, files, place, placed, reflectance, claims) in enumerate(columns):
            if isinstance(files, InputError):
                raise files
            facts = group.facts(number)
            where = place.projection if placed else None
            one = ItemScene(
                scene=_scene(facts, files, where or _around(facts), choice, reflectance, item_href=href),
                claims=claims,
                placed=placed,
                indexes=choice.indexes,
                bands=options.bands,
                assumed_crs=options.crs,
                tags_count=options.radiometry == "auto",
            )
            found.append(one)
        return found


def _unfit(group: ItemGroup, choice: SceneChoice, options: ItemOptions) -> dict[int, LeftItem]:
    """Say which items of a group are left, because nobody may open their files."""
    return {
        place: LeftItem.of(group.facts(place), str(error))
        for place, error in refused_files(group, choice, options).items()
    }


def _refused(group: ItemGroup, place: int, chooser: SceneChooser) -> LeftItem:
    """Say why an item is left of whose kind none can be used; the reason names it."""
    try:
        chooser.choose(group.item(place))
    except InputError as error:
        return LeftItem.of(group.facts(place), str(error))
    raise AssertionError("items of one layout are decided alike")


def _rows(group: ItemGroup, choice: SceneChoice, name: str, read: Any) -> Sequence[tuple[Any, ...]]:
    """Read what the chosen assets of each item say under a name."""
    columns = [group.of_assets(key, name) for key in choice.keys]
    nothing = (None,) * len(columns)
    if all(column is None for column in columns):
        return (nothing,) * len(group)
    return [
        tuple(None if column is None else read(column[number]) for column in columns)
        for number in range(len(group))
    ]


def _believed(group: ItemGroup, claimed: ClaimedPlaces) -> NDArray[np.bool_]:
    """Tell which items say all of where their files lie, and do not contradict their footprints, (n,)."""
    whole = claimed.whole
    number = np.flatnonzero(whole)
    places = claimed.crs[number], claimed.affines[number], claimed.shapes[number]
    whole[number[lies_apart(group.geometries()[number], *places)]] = False
    return whole


def _reflectances(
    group: ItemGroup, choice: SceneChoice, options: ItemOptions
) -> Sequence[tuple[Reflectance | None, str]]:
    """Find how values of each scene become reflectance, as `scene_reflectance`."""

    def of(number: int) -> tuple[Reflectance | None, str]:
        item = group.item(number)
        return scene_reflectance(item, choice.assets(item), options.radiometry, choice.kinds)

    if not differs_by_item(choice.kinds, options.radiometry):
        return (of(0),) * len(group)
    return [of(number) for number in range(len(group))]


def _claims(group: ItemGroup, choice: SceneChoice, claimed: ClaimedPlaces) -> Iterator[Claims]:
    """What each item says of its files, for the comparison with their headers."""
    sizes = _rows(group, choice, "file:size", _whole)
    checksums = _rows(group, choice, "file:checksum", _text)
    n_bands = choice.n_bands if len(choice.keys) == 1 and choice.n_bands else None
    for place, own_sizes, own_checksums in zip(claimed.each(), sizes, checksums, strict=True):
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
