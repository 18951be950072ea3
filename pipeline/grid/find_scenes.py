"""All scenes that a run may look at: rasters named one by one, and what catalogues find.

1. `find_scenes` opens the named rasters, searches the catalogues, and sorts what both give by --mosaic. Of an
   item that says enough no file is opened.
2. The plan then chooses the scenes that the area needs. For what its tiles see around the area the
   catalogues are asked once more (halo_items.py).
3. `settle_scenes` opens the headers of those that are not open yet, and compares them with their items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.files.href_guard import guard_for
from pipeline.grid.aoi import Aoi
from pipeline.grid.catalog.catalog_options import CatalogOptions
from pipeline.grid.catalog.catalog_search import find_items, is_catalog
from pipeline.grid.catalog.failed_places import among_neighbours
from pipeline.grid.catalog.found_items import CatalogSearch, FoundItems, LeftItem
from pipeline.grid.catalog.header_check import ItemScene, Opened
from pipeline.grid.catalog.item_groups import TakenItems
from pipeline.grid.catalog.item_scene import ItemScenes, described, scenes_of, settled, unread_numbers
from pipeline.grid.catalog.kept_documents import KeptDocuments
from pipeline.grid.catalog.scene_choice import ItemOptions
from pipeline.grid.lattice import same_crs
from pipeline.grid.mask_files import require_mask_used
from pipeline.grid.mosaic_order import MosaicOrder, ordered
from pipeline.grid.scene_list import SceneList
from pipeline.grid.source import SourceOptions, expand_hrefs, open_scenes, require_sources, with_unique_ids
from pipeline.schema.imagery import Scene


@dataclass(frozen=True, kw_only=True)
class SourceScenes:
    """What one source gave, in its own order."""

    scene_ids: tuple[str, ...]
    search: CatalogSearch | None = None
    """What a catalogue was asked. None: the source names rasters."""
    options: ItemOptions | None = None
    """How its items became scenes."""
    items: TakenItems | None = None
    """Per scene, its item. None: the source names rasters."""
    kept: KeptDocuments | None = field(default=None, repr=False, compare=False)
    """What the search has read of the catalogue. None: nobody asks again."""


class Footprints(Mapping[str, BaseGeometry]):
    """scene_id -> footprint of its item in longitude and latitude, decoded when it is asked for."""

    def __init__(self, parts: Sequence[tuple[Sequence[str], TakenItems]] = ()) -> None:
        """`parts`: scene_ids, and the item of each."""
        self.parts = tuple(parts)

    def __getitem__(self, scene_id: str) -> BaseGeometry:
        found = self.of([scene_id])[0]
        if found is None:
            raise KeyError(scene_id)
        return found

    def of(self, scene_ids: Sequence[str]) -> list[BaseGeometry | None]:
        """Look up many in one step. None: there is none."""
        stored = np.full(len(scene_ids), None, dtype=object)
        places = [self._places.get(scene_id, (-1, 0)) for scene_id in scene_ids]
        part, place = np.array(places, dtype=np.int64).reshape(-1, 2).T
        for number, (_, items) in enumerate(self.parts):
            own = np.flatnonzero(part == number)
            stored[own] = items.wkb(place[own])
        return list(shapely.force_2d(shapely.from_wkb(stored)))

    def decoded(self) -> dict[str, BaseGeometry]:
        """All of them, decoded in one step."""
        ids = list(self)
        return {name: shape for name, shape in zip(ids, self.of(ids), strict=True) if shape is not None}

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        """scene_id -> which part has it, and where."""
        return {
            scene_id: (number, at)
            for number, (scene_ids, _) in enumerate(self.parts)
            for at, scene_id in enumerate(scene_ids)
        }

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(scene_ids for scene_ids, _ in self.parts)

    def __len__(self) -> int:
        return sum(len(scene_ids) for scene_ids, _ in self.parts)


class UnreadScenes(Mapping[str, ItemScene]):
    """scene_id -> scene whose header is not open yet, made when it is asked for."""

    def __init__(self, scenes: SceneList) -> None:
        numbers = unread_numbers(scenes)
        self._scenes = scenes.take(numbers)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._scenes.ids)}

    def __getitem__(self, scene_id: str) -> ItemScene:
        return described(self._scenes, np.array([self._numbers[scene_id]]))[0]

    def __contains__(self, scene_id: object) -> bool:
        return scene_id in self._numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self._scenes.ids)

    def __len__(self) -> int:
        return len(self._scenes)


@dataclass(frozen=True, kw_only=True)
class FoundScenes:
    """What may be looked at, before the plan."""

    scenes: SceneList
    """In order of priority. Some may have a `failure`, and of some the headers are not open yet."""
    footprints: Footprints = field(default_factory=Footprints)
    """Of items."""
    left: tuple[LeftItem, ...] = ()
    """What searches found and the run does not look at."""
    notes: tuple[str, ...] = ()
    searches: tuple[Mapping[str, Any], ...] = ()
    """The searches that reproduce it, one per catalogue."""
    aoi: Aoi | None = None
    """Where it was searched. None: everywhere."""
    order: MosaicOrder = field(default_factory=MosaicOrder)
    sources: tuple[SourceScenes, ...] = ()
    """Sources in order, with the scenes that each gave before --mosaic sorts them."""
    halo_ids: frozenset[str] = frozenset()
    """scene_ids of scenes that were searched for halos alone (halo_items.py)."""

    @property
    def unread(self) -> UnreadScenes:
        """The scenes whose headers are not open yet."""
        return UnreadScenes(self.scenes)


def find_scenes(
    sources: SourceOptions,
    catalogs: CatalogOptions,
    aoi: Aoi | None,
    *,
    order: MosaicOrder | None = None,
    on_opened: Opened | None = None,
) -> FoundScenes:
    """Open rasters and search catalogues, in the order of `sources.hrefs`, then sort by `order`.

    `on_opened` is told how many headers are open. Raises InputError when nothing can be looked at or an
    option does not fit, and SourceError (retryable) when a server does not answer.
    """
    require_sources(sources.hrefs)
    of_catalogs = [source for source in sources.hrefs if is_catalog(source)]
    if not of_catalogs:
        catalogs.require_unused()
        require_mask_used(sources.mask, sources.mask_file)
    rasters = _by_source(replace(sources, hrefs=tuple(s for s in sources.hrefs if s not in of_catalogs)))
    parts: list[SceneList] = []
    searched: list[tuple[FoundItems, ItemScenes]] = []
    of_source: list[SourceScenes] = []
    for source in dict.fromkeys(sources.hrefs):
        if source not in of_catalogs:
            of_source.append(SourceScenes(scene_ids=()))
            parts.append(SceneList.of(rasters[source]))
            continue
        search = _search(source, catalogs)
        kept = KeptDocuments() if aoi is not None else None
        found = find_items(search, aoi, kept=kept)
        options = ItemOptions(
            assets=catalogs.assets,
            bands=sources.bands,
            crs=sources.crs,
            mask=sources.mask,
            radiometry=sources.radiometry,
            guard=guard_for(found.hosts, source, catalogs.allow_hosts, catalogs.allow_roots),
        )
        items = scenes_of(found, options, on_opened=on_opened)
        searched.append((found, items))
        of_source.append(
            SourceScenes(scene_ids=(), search=search, options=options, items=items.items, kept=kept)
        )
        parts.append(items.scenes)
    named = with_unique_ids(SceneList.joined(parts))
    by_source = _named_sources(of_source, parts, named.ids)
    return FoundScenes(
        scenes=among_neighbours(ordered(named, order or MosaicOrder())),
        footprints=Footprints([(one.scene_ids, one.items) for one in by_source if one.items is not None]),
        left=tuple(scene for found, items in searched for scene in (*found.left, *items.left)),
        notes=tuple(note for found, items in searched for note in (*found.notes, *_unusable(items))),
        searches=tuple(found.request for found, _ in searched),
        aoi=aoi,
        order=order or MosaicOrder(),
        sources=by_source,
    )


def settle_scenes(
    found: FoundScenes, needed: Sequence[Scene], *, on_opened: Opened | None = None
) -> SceneList:
    """Open the headers of the scenes that the plan needs and that are not open yet.

    Returns them in the order of `needed`, as their headers say, or with a `failure`. Raises InputError when
    none of them can be used, and SourceError (retryable) when a server does not answer.
    """
    number = {name: place for place, name in enumerate(found.scenes.ids)}
    names = SceneList.of(needed).ids
    own = found.scenes.take([number[name] for name in names])
    scenes = SceneList.of(tuple(among_neighbours(settled(own, on_opened=on_opened))))
    of_area = np.array([name not in found.halo_ids for name in names], dtype=np.bool_)
    if scenes.columns.failed[of_area].all():
        raise InputError(
            f"At least one of the {len(scenes)} scenes of the area must be readable",
            came=scenes[0].failure,
            remedy="correct the items or choose other ones; --assets names other files of theirs",
        )
    return scenes


def several_crs(found: FoundScenes) -> bool:
    """Whether the scenes that can be read, as far as that is known, have more than one CRS."""
    columns = found.scenes.columns
    first, *others = dict.fromkeys(columns.crs[~columns.failed].tolist()) or {None: 0}
    return any(not same_crs(first, other) for other in others)


def with_headers(
    found: FoundScenes, needed: Sequence[Scene], *, on_opened: Opened | None = None
) -> FoundScenes:
    """Open the headers of `needed`, in what was found. Raises as `settle_scenes`."""
    opened = {scene.scene_id: scene for scene in settle_scenes(found, needed, on_opened=on_opened)}
    numbers = {number: name for number, name in enumerate(found.scenes.ids) if name in opened}
    return replace(
        found, scenes=found.scenes.replaced({number: opened[name] for number, name in numbers.items()})
    )


def _named_sources(
    of_source: Sequence[SourceScenes], parts: Sequence[SceneList], names: Sequence[str]
) -> tuple[SourceScenes, ...]:
    """Give sources the final ids of their scenes."""
    stops = np.cumsum([len(part) for part in parts]).tolist()
    return tuple(
        replace(source, scene_ids=tuple(names[stop - len(part) : stop]))
        for source, part, stop in zip(of_source, parts, stops, strict=True)
    )


def _search(source: str, options: CatalogOptions) -> CatalogSearch:
    return CatalogSearch(
        source=source,
        datetime=options.datetime,
        max_cloud=options.max_cloud,
        filter=options.filter,
        sort=options.sort,
        limit=options.limit,
        allow_hosts=options.allow_hosts,
        allow_roots=options.allow_roots,
    )


def _by_source(options: SourceOptions) -> dict[str, list[Scene]]:
    """The scenes of each source that names rasters, in order; a raster counts for the first that names it."""
    if not options.hrefs:
        return {}
    opened = iter(open_scenes(options))
    seen: set[str] = set()
    found: dict[str, list[Scene]] = {}
    for source in dict.fromkeys(options.hrefs):
        new = [href for href in expand_hrefs((source,)) if href not in seen]
        seen.update(new)
        found[source] = [next(opened) for _ in new]
    return found


def _unusable(items: ItemScenes) -> tuple[str, ...]:
    """Say how many items cannot become scenes, and why the first of them."""
    if not items.left:
        return ()
    first = items.left[0]
    count = f"{len(items.left)} items that were found" if len(items.left) > 1 else "1 item that was found"
    return (f"{count} cannot be used; scenes.parquet says why. For example {first.item_id}: {first.reason}",)
