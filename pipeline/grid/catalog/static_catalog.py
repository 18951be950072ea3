"""Static catalogues and collections: JSON files that link to each other.

1. `walk_catalog` opens catalogues and collections level by level, and the items of each side by side.
   A collection whose extent lies outside of the AOI or the dates is not opened.
2. A document that was opened before is not opened again, so that links in a circle end.
3. What one search has read the next one of the same plan does not ask for (kept_documents.py).
4. An item that cannot be read is left with a reason. A catalogue or collection that cannot be read ends the
   search: nobody knows what it holds.

pystac would read the same files, but it resolves links without a limit on hosts, sizes or their number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import shapely

from pipeline.errors import InputError, TerraqueryError
from pipeline.files.hrefs import public_href
from pipeline.grid.catalog.catalog_reader import CatalogReader
from pipeline.grid.catalog.item_document import MOST_TEXT, resolved
from pipeline.grid.catalog.item_sieve import ItemSieve
from pipeline.grid.catalog.time_range import moments

PARALLEL = 16
"""Documents asked for at the same time, and held at most."""

MOST_LEVELS = 16
"""Levels of catalogues below the first one."""

MOST_DOCUMENTS = 250_000

MOST_ITEM_BYTES = 4 * 1024 * 1024
"""Bytes of a file that holds one item."""


def is_static(document: object) -> bool:
    """Tell whether a document is a catalogue or a collection."""
    return (
        isinstance(document, dict)
        and document.get("type", "Catalog") in ("Catalog", "Collection")
        and isinstance(document.get("links"), list)
    )


def walk_catalog(document: Mapping[str, Any], place: str, reader: CatalogReader, sieve: ItemSieve) -> None:
    """Offer all items below a catalogue or collection, which lies at `place`, to the sieve.

    Raises InputError and SourceError.
    """
    with ThreadPoolExecutor(max_workers=PARALLEL, thread_name_prefix="catalogue") as pool:
        walker = _Walker(reader, sieve, pool, place)
        level = walker.visit(document, place)
        for _ in range(MOST_LEVELS):
            if not level:
                return
            level = [place for batch in _batches(level) for place in walker.visit_all(batch)]
    raise InputError(
        f"A catalogue may have at most {MOST_LEVELS} levels",
        came=public_href(place),
        remedy="name one of the catalogues or collections inside",
    )


class _Walker:
    """Opens documents, and remembers which."""

    def __init__(self, reader: CatalogReader, sieve: ItemSieve, pool: ThreadPoolExecutor, first: str) -> None:
        self._reader = reader
        self._sieve = sieve
        self._pool = pool
        self._opened = {first}

    def visit_all(self, places: list[str]) -> list[str]:
        """Read some catalogues side by side and visit them in order; returns the places of their children."""
        documents = self._pool.map(self._reader.follow_once, places)
        return [
            child
            for document, place in zip(documents, places, strict=True)
            for child in self.visit(_catalog(document, place), place)
        ]

    def visit(self, catalog: Mapping[str, Any], place: str) -> list[str]:
        """Offer the items of one catalogue to the sieve; returns the places of its children."""
        if not _wanted(catalog, self._sieve):
            return []
        items = self._new(_linked(catalog, place, "item"))
        for batch in _batches(items):
            for found, at in zip(self._pool.map(self._item, batch), batch, strict=True):
                if isinstance(found, TerraqueryError):
                    self._sieve.leave(public_href(at)[-200:], f"it cannot be read: {found}")
                else:
                    self._sieve.add(_of_collection(found, catalog), at, alone=True)
        return self._new(_linked(catalog, place, "child"))

    def _item(self, place: str) -> Any:
        try:
            return self._reader.follow_once(place, most_bytes=MOST_ITEM_BYTES)
        except TerraqueryError as error:
            return error

    def _new(self, places: Iterator[str]) -> list[str]:
        """Keep the places that were not opened yet, and remember them. Raises InputError for too many."""
        found = []
        for place in places:
            if place not in self._opened:
                self._opened.add(place)
                found.append(place)
        if len(self._opened) > MOST_DOCUMENTS:
            raise InputError(
                f"A static catalogue may have at most {MOST_DOCUMENTS:,} documents",
                came="more",
                remedy="write its items as stac-geoparquet (.parquet)",
            )
        return found


def _batches(places: list[str]) -> Iterator[list[str]]:
    """Cut a list into parts whose documents may be held together."""
    for start in range(0, len(places), PARALLEL):
        yield places[start : start + PARALLEL]


def _of_collection(item: Any, catalog: Mapping[str, Any]) -> Any:
    """Let an item that names no collection belong to the one that links to it."""
    if catalog.get("type") == "Collection" and isinstance(item, dict) and item.get("collection") is None:
        return {**item, "collection": catalog.get("id")}
    return item


def _catalog(document: object, place: str) -> Mapping[str, Any]:
    if not is_static(document):
        raise InputError(
            "A child of a catalogue must be a catalogue or a collection",
            came=public_href(place),
            remedy="mend the catalogue, or name one of its collections",
        )
    assert isinstance(document, dict)
    return document


def _linked(catalog: Mapping[str, Any], place: str, rel: str) -> Iterator[str]:
    """Resolve the links of one kind."""
    for link in catalog["links"]:
        if isinstance(link, dict) and link.get("rel") == rel:
            href = link.get("href")
            if isinstance(href, str) and 0 < len(href) <= MOST_TEXT:
                yield resolved(href, place)


def _wanted(catalog: Mapping[str, Any], sieve: ItemSieve) -> bool:
    """Whether a collection can hold items that the search wants; a catalogue always can."""
    if catalog.get("type") != "Collection":
        return True
    name = catalog.get("id")
    if sieve.collections and name not in sieve.collections:
        return bool(list(_linked(catalog, "", "child")))
    if _outside(catalog, sieve):
        sieve.close()
        return False
    return True


def _outside(collection: Mapping[str, Any], sieve: ItemSieve) -> bool:
    """Whether the overall extent, if it can be read, lies outside of the AOI or the dates."""
    extent = collection.get("extent")
    extent = extent if isinstance(extent, dict) else {}
    box = _first(extent, "spatial", "bbox")
    if sieve.area is not None and len(box) in (4, 6) and all(_is_degree(value) for value in box):
        half = len(box) // 2
        west, south, east, north = (*box[:2], *box[half : half + 2])
        if west <= east and not sieve.area.intersects(shapely.box(west, south, east, north)):
            return True
    span = _first(extent, "temporal", "interval")
    if sieve.times is None or len(span) != 2:
        return False
    try:
        start = moments(span[0])[0] if span[0] else None
        end = moments(span[1])[1] if span[1] else None
    except (ValueError, TypeError, AttributeError):
        return False
    first = sieve.times.first
    after = sieve.times.after
    return bool((end and first and end <= first) or (start and after and start >= after))


def _first(extent: Mapping[str, Any], kind: str, name: str) -> list[Any]:
    """Read the overall box or interval of an extent; the others, behind it, lie inside."""
    inner = extent.get(kind)
    found = inner.get(name) if isinstance(inner, dict) else None
    return found[0] if isinstance(found, list) and found and isinstance(found[0], list) else []


def _is_degree(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and abs(value) <= 360
    )
