"""What is asked of a catalogue, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shapely.geometry.base import BaseGeometry

from pipeline.grid.catalog.item import Item, ItemFacts


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogSearch:
    """Where to search, and for what. Everything but `source` narrows the search."""

    source: str
    """`stac:URL` of an API or catalogue, `#collection[,collection]` behind it; or path, http(s) URL or s3
    href of an item, a list of items, a collection, a catalogue, or a stac-geoparquet file (`.parquet`)."""
    datetime: str | None = None
    """`A/B`, each a year, month, day or RFC 3339 time, `..` for an open end; or one of these alone."""
    max_cloud: float | None = None
    """Per cent of clouds that an item may have."""
    filter: str | None = None
    """CQL2, as text or JSON."""
    sort: str | None = None
    """Fields, comma separated, `-` before a descending one. None: newest first."""
    limit: int | None = None
    """Most items to take, in the order of `sort`. None: all."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts beside the catalogue's own that its links may lead to; `*.host` allows all below it."""
    allow_roots: tuple[str, ...] = ()
    """Folders beside a local catalogue's own that its links may lead to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftItem:
    """An item that the search met and did not take."""

    item_id: str
    """As the catalogue gives it; empty where it gives none."""
    reason: str
    collection: str = ""
    datetime: str | None = None
    cloud_cover: float | None = None
    """Per cent."""
    footprint: BaseGeometry | None = None
    """In longitude and latitude; None: it was not read, or cannot be."""

    @classmethod
    def of(cls, item: ItemFacts, reason: str) -> LeftItem:
        """Keep of an item that was read what people want to know, and not the item."""
        return cls(
            item_id=item.item_id,
            reason=reason,
            collection=item.collection,
            datetime=item.start,
            cloud_cover=item.cloud_cover,
            footprint=item.geometry,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundItems:
    """What a search found. The same items come in the same order from every kind of catalogue."""

    items: Sequence[Item]
    """Without repeats by (collection, id); in the order of the search's `sort`, then newest first, then by
    collection and id."""
    notes: tuple[str, ...] = ()
    """What people must know: how many items were repeated, lost, or did not fit."""
    left: tuple[LeftItem, ...] = ()
    """Items that were met and not taken, as far as they are named (left_items.py); `notes` count all."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """The search, for run.json: it can be asked again. No token is in it."""
    hosts: tuple[str, ...] = ()
    """Hosts that the user has named with the catalogue; empty for local files."""
