"""Ask catalogues once more: for items beside the area, which fill what tiles see around it.

1. How far tiles see is known once the first items have said how large pixels are. `with_halo_items` then asks
   every catalogue for the ground that tiles see beyond the area.
2. Items that meet the area are not asked for again. So the first search stands as it is: what --max-items
   counts, what the notes say, which items were left and why. The second search may take as many items again.
   A static catalogue is not walked anew: its documents were kept (kept_documents.py).
3. What it finds comes into the order that one search of all the ground would have. `FoundScenes.halo_ids`
   names it, and the plan keeps what it needs (halo_scenes.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.geo.globe import polygonal
from pipeline.grid.aoi import Aoi
from pipeline.grid.catalog.api_search import MOST_VERTICES
from pipeline.grid.catalog.catalog_search import find_items
from pipeline.grid.catalog.failed_places import among_neighbours
from pipeline.grid.catalog.header_check import Opened
from pipeline.grid.catalog.item_groups import TakenItems
from pipeline.grid.catalog.item_order import order_of, sort_fields_of
from pipeline.grid.catalog.item_scene import ItemScenes, scenes_of
from pipeline.grid.find_scenes import Footprints, FoundScenes, SourceScenes
from pipeline.grid.halo_scenes import seen_ground
from pipeline.grid.mosaic_order import ordered
from pipeline.grid.scene_list import SceneList
from pipeline.grid.source import with_unique_ids
from pipeline.schema.tiling import TileLattice

_WORLD = shapely.box(-180.0, -90.0, 180.0, 90.0)
_FINEST = 1 / 4096
_COARSEST = 1 / 4
"""Shares of its extent by which ground that is asked for may be made simpler."""


def with_halo_items(
    found: FoundScenes, lattice: TileLattice, inside: NDArray[np.bool_], *, on_opened: Opened | None = None
) -> FoundScenes:
    """Add the items that tiles see which are looked at, and that do not meet the area of the search.

    `inside`: (n_tile_rows, n_tile_cols). Raises InputError and SourceError as `find_items`.
    """
    if found.aoi is None or all(source.search is None for source in found.sources):
        return found
    ground = seen_ground(lattice, inside)
    beyond = None if ground is None else ground_beyond(ground, found.aoi.geometry)
    if beyond is None or beyond.is_empty:
        return found
    added: list[SceneList] = []
    sources = []
    taken = set(found.scenes.ids)
    for source in found.sources:
        items = None if source.search is None else _items(source, beyond, found.aoi, on_opened)
        if items is None or not items.scenes:
            sources.append(source)
            continue
        added.append(with_unique_ids(items.scenes, taken))
        taken.update(added[-1].ids)
        sources.append(_joined(source, items, added[-1].ids))
    if not added:
        return found
    both = SceneList.joined([found.scenes, *added])
    number = {name: place for place, name in enumerate(both.ids)}
    in_turn = [number[name] for source in sources for name in source.scene_ids if name in number]
    return replace(
        found,
        scenes=among_neighbours(ordered(both.take(in_turn), found.order)),
        footprints=Footprints([(one.scene_ids, one.items) for one in sources if one.items is not None]),
        sources=tuple(sources),
        halo_ids=found.halo_ids | {name for scenes in added for name in scenes.ids},
    )


def ground_beyond(ground: BaseGeometry, area: BaseGeometry) -> BaseGeometry:
    """Take the area from ground in degrees, and make the rest so simple that an API can be asked for it.

    It never becomes smaller. Empty: nothing is left.
    """
    rest = polygonal(shapely.difference(ground, area))
    extent = max(np.ptp(shapely.bounds(rest).reshape(2, 2), axis=0)) if not rest.is_empty else 0.0
    share = _FINEST
    simple = rest
    while shapely.get_num_coordinates(simple) > MOST_VERTICES and share <= _COARSEST:
        by = share * extent
        grown = rest.simplify(by).buffer(by, quad_segs=1, join_style="mitre", mitre_limit=1.5)
        simple = polygonal(shapely.intersection(grown, _WORLD))
        share *= 2
    return simple


def _items(
    source: SourceScenes, beyond: BaseGeometry, aoi: Aoi, on_opened: Opened | None
) -> ItemScenes | None:
    """Ask one catalogue. None: it has no item there that could be used."""
    assert source.search is not None
    assert source.options is not None
    area = Aoi(geometry=beyond, source=f"around {aoi.source}")
    found = find_items(source.search, area, beyond=aoi.geometry, kept=source.kept)
    if not found.items:
        return None
    try:
        return scenes_of(found, source.options, on_opened=on_opened)
    except InputError:  # none of them can be used, and beside the area that is no error
        return None


def _joined(source: SourceScenes, further: ItemScenes, names: Sequence[str]) -> SourceScenes:
    """Put further items, and the ids of their scenes, where one search of all the ground would have them."""
    assert source.search is not None
    assert source.items is not None
    ids = [*source.scene_ids, *names]
    items = TakenItems.joined(source.items, further.items)
    order = order_of(items, sort_fields_of(source.search))
    return replace(source, scene_ids=tuple(ids[number] for number in order.tolist()), items=items.take(order))
