"""One item of a catalogue, and its assets. Strangers wrote both: what is here has been checked and capped.

Projection metadata stays in the plain mappings, under the names of the STAC extensions, because an asset may
repeat what its item says, and then the asset counts (STAC projection extension v2.0.0, "Item Properties or
Asset Fields"). `field_of` looks it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import shapely
from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """One file of an item."""

    key: str
    href: str
    """Absolute: a URL or a local path, as the item gives it, resolved against the item's own place."""
    media_type: str = ""
    roles: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    """All else that the item says of it, under the keys of the STAC document: `proj:*`, `bands`, `eo:bands`,
    `raster:bands`, `gsd`, `file:size` ..."""


class ItemFacts(Protocol):
    """What decides whether an item is taken, and in which order.

    An `Item` has it, and so has a row of a table of which nothing else was decoded.
    """

    @property
    def item_id(self) -> str: ...

    @property
    def collection(self) -> str: ...

    @property
    def geometry(self) -> BaseGeometry: ...

    @property
    def start(self) -> str | None: ...

    @property
    def end(self) -> str | None: ...

    @property
    def cloud_cover(self) -> float | None: ...

    @property
    def properties(self) -> Mapping[str, Any]: ...

    @property
    def wkb(self) -> bytes:
        """The geometry as WKB, maybe with heights."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One item: where, when, and which files."""

    item_id: str
    collection: str
    """Empty: it belongs to none."""
    href: str
    """Where the item itself lies, without its query string. Empty: nobody says."""
    geometry: BaseGeometry
    """Footprint in longitude and latitude, cut at 180 degrees. The box where the item has no geometry."""
    start: str | None
    """RFC 3339 in UTC; equal to `end` where the item has one moment. None: no time is known."""
    end: str | None
    cloud_cover: float | None
    """Per cent."""
    properties: Mapping[str, Any]
    assets: Mapping[str, Asset]
    layout: bytes | None = field(default=None, compare=False, repr=False)
    """`item_layout.layout_of` it, where the catalogue's columns tell it for many items at once."""

    @property
    def datetime(self) -> str | None:
        """The moment, or the beginning of a range."""
        return self.start

    @property
    def wkb(self) -> bytes:
        """The geometry as WKB."""
        return bytes(shapely.to_wkb(self.geometry))

    def field_of(self, asset: Asset, name: str) -> Any:
        """What the asset says under `name`, else what the item says. None: neither says anything."""
        return asset.fields[name] if name in asset.fields else self.properties.get(name)
