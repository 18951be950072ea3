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
from pipeline.grid.catalog.item_scene import ItemScenes, scenes_of, settled
from pipeline.grid.catalog.item_sieve import ItemRank, ranks_of, sort_fields_of
from pipeline.grid.catalog.kept_documents import KeptDocuments
from pipeline.grid.catalog.scene_choice import ItemOptions
from pipeline.grid.lattice import same_crs
from pipeline.grid.mask_files import require_mask_used
from pipeline.grid.mosaic_order import MosaicOrder, ordered
from pipeline.grid.paused_collector import paused_collector
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
    ranks: tuple[ItemRank, ...] = ()
    """Per scene, what the place of its item depends on."""
    kept: KeptDocuments | None = field(default=None, repr=False, compare=False)
    """What the search has read of the catalogue. None: nobody asks again."""


class Footprints(Mapping[str, BaseGeometry]):
    """scene_id -> footprint in longitude and latitude. They are stored as WKB, which takes a third of what
    shapes take, and become shapes when they are asked for."""

    def __init__(self, stored: Mapping[str, bytes]) -> None:
        self.stored = stored

    def __getitem__(self, scene_id: str) -> BaseGeometry:
        return shapely.force_2d(shapely.from_wkb(self.stored[scene_id]))

    def of(self, scene_ids: Sequence[str]) -> list[BaseGeometry | None]:
        """Look up many in one step. None: there is none."""
        stored = np.array([self.stored.get(scene_id) for scene_id in scene_ids], dtype=object)
        return list(shapely.force_2d(shapely.from_wkb(stored)))

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


@dataclass(frozen=True, kw_only=True)
class FoundScenes:
    """What may be looked at, before the plan."""

    scenes: tuple[Scene, ...]
    """In order of priority. Some may have a `failure`."""
    unread: Mapping[str, ItemScene] = field(default_factory=dict)
    """scene_id -> scene whose header was not opened yet."""
    footprints: Footprints = field(default_factory=lambda: Footprints({}))
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
    scenes: list[Scene] = []
    searched: list[tuple[FoundItems, ItemScenes, int]] = []
    of_source: list[tuple[int, SourceScenes]] = []
    for source in dict.fromkeys(sources.hrefs):
        if source not in of_catalogs:
            of_source.append((len(scenes), SourceScenes(scene_ids=())))
            scenes += rasters[source]
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
        searched.append((found, items, len(scenes)))
        ranks = tuple(ranks_of(items.items, sort_fields_of(search))) if aoi is not None else ()
        asked = SourceScenes(scene_ids=(), search=search, options=options, ranks=ranks, kept=kept)
        of_source.append((len(scenes), asked))
        scenes += [item.scene for item in items.scenes]
    return _put_together(scenes, searched, of_source, aoi, order or MosaicOrder())


@paused_collector()
def _put_together(
    scenes: Sequence[Scene],
    searched: Sequence[tuple[FoundItems, ItemScenes, int]],
    of_source: Sequence[tuple[int, SourceScenes]],
    aoi: Aoi | None,
    order: MosaicOrder,
) -> FoundScenes:
    """Name the scenes of all sources, and sort them.

    `searched`: what each search found, its scenes, and the number of the first. `of_source`: sources, with
    the number of their first scene.
    """
    named = with_unique_ids(scenes)
    unread: dict[str, ItemScene] = {}
    stored: dict[str, bytes] = {}
    for _, items, start in searched:
        for scene, item_scene, item in zip(named[start:], items.scenes, items.items, strict=False):
            stored[scene.scene_id] = item.wkb
            if item_scene.placed:
                own = item_scene.scene is scene
                unread[scene.scene_id] = item_scene if own else replace(item_scene, scene=scene)
    return FoundScenes(
        scenes=among_neighbours(ordered(named, order)),
        unread=unread,
        footprints=Footprints(stored),
        left=tuple(scene for found, items, _ in searched for scene in (*found.left, *items.left)),
        notes=tuple(note for found, items, _ in searched for note in (*found.notes, *_unusable(items))),
        searches=tuple(found.request for found, _, _ in searched),
        aoi=aoi,
        order=order,
        sources=_named_sources(of_source, named),
    )


def settle_scenes(
    found: FoundScenes, needed: Sequence[Scene], *, on_opened: Opened | None = None
) -> tuple[Scene, ...]:
    """Open the headers of the scenes that the plan needs and that are not open yet.

    Returns them in the order of `needed`, as their headers say, or with a `failure`. Raises InputError when
    none of them can be used, and SourceError (retryable) when a server does not answer.
    """
    own = {scene.scene_id: scene for scene in found.scenes}
    names = [scene.scene_id for scene in needed]
    unread = [name for name in names if name in found.unread]
    opened = settled([found.unread[name] for name in unread], on_opened=on_opened)
    own |= dict(zip(unread, opened, strict=True))
    scenes = among_neighbours([own[name] for name in names])
    if all(scene.failure for scene in scenes if scene.scene_id not in found.halo_ids):
        raise InputError(
            f"At least one of the {len(scenes)} scenes of the area must be readable",
            came=scenes[0].failure,
            remedy="correct the items or choose other ones; --assets names other files of theirs",
        )
    return scenes


def several_crs(found: FoundScenes) -> bool:
    """Whether the scenes that can be read, as far as that is known, have more than one CRS."""
    first, *others = dict.fromkeys(scene.crs_wkt for scene in found.scenes if not scene.failure) or {None: 0}
    return any(not same_crs(first, other) for other in others)


def with_headers(
    found: FoundScenes, needed: Sequence[Scene], *, on_opened: Opened | None = None
) -> FoundScenes:
    """Open the headers of `needed`, in what was found. Raises as `settle_scenes`."""
    opened = {scene.scene_id: scene for scene in settle_scenes(found, needed, on_opened=on_opened)}
    return replace(
        found,
        scenes=tuple(opened.get(scene.scene_id, scene) for scene in found.scenes),
        unread={name: scene for name, scene in found.unread.items() if name not in opened},
    )


def _named_sources(
    of_source: Sequence[tuple[int, SourceScenes]], named: Sequence[Scene]
) -> tuple[SourceScenes, ...]:
    """Give sources, each with the number of its first scene, the final ids of their scenes."""
    starts = [start for start, _ in of_source]
    stops = [*starts[1:], len(named)]
    return tuple(
        replace(source, scene_ids=tuple(scene.scene_id for scene in named[start:stop]))
        for (start, source), stop in zip(of_source, stops, strict=True)
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
