"""Search a catalogue of any kind, and say what became of every item that it gave.

1. `is_catalog` tells whether a `--source` is a catalogue, before any request.
2. `find_items` reads the document that the source names, and offers the items of the kind of catalogue that
   it is to an `ItemSieve`: stac-geoparquet, a STAC API, a static catalogue, or a list of items.
"""

from __future__ import annotations

import urllib.parse
from pathlib import PurePosixPath
from typing import Any

from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError, without_remedy
from pipeline.files.hrefs import public_href
from pipeline.grid.aoi import Aoi
from pipeline.grid.catalog.api_search import is_api, links_of, open_api, search_api
from pipeline.grid.catalog.catalog_reader import CatalogReader, checked_place, is_http
from pipeline.grid.catalog.found_items import CatalogSearch, FoundItems, LeftItem
from pipeline.grid.catalog.item_document import resolved
from pipeline.grid.catalog.item_lists import add_items, is_items
from pipeline.grid.catalog.item_sieve import ItemSieve
from pipeline.grid.catalog.kept_documents import KeptDocuments
from pipeline.grid.catalog.parquet_items import add_parquet_items
from pipeline.grid.catalog.static_catalog import is_static, walk_catalog

__all__ = ["CatalogSearch", "FoundItems", "LeftItem", "find_items", "is_catalog"]

PREFIX = "stac:"
_SUFFIXES = (".json", ".geojson", ".parquet", ".geoparquet")


def is_catalog(source: str) -> bool:
    """Tell whether a `--source` names a catalogue and not a raster, by its form alone."""
    return source.lower().startswith(PREFIX) or _suffix(source) in _SUFFIXES


def _suffix(place: str) -> str:
    path = urllib.parse.urlsplit(place).path if "://" in place else place
    return PurePosixPath(path).suffix.lower()


def find_items(
    search: CatalogSearch,
    aoi: Aoi | None,
    *,
    beyond: BaseGeometry | None = None,
    kept: KeptDocuments | None = None,
) -> FoundItems:
    """Find the items that a search wants.

    `beyond`: ground in degrees whose items an earlier search has found; they are not wanted, and that there
    are no others is no error. `kept`: documents that an earlier search has read, and that are not asked for
    again.

    Raises:
        InputError: the search or its source is wrong, or nothing fits.
        SourceError: the catalogue cannot be read, or does not give all that it says it has.
    """
    place, collections = _split(search.source)
    sieve = ItemSieve(search, aoi, collections=collections, beyond=beyond)
    reader = CatalogReader(place, search, kept)
    if _suffix(place).endswith("parquet"):
        add_parquet_items(reader.place, sieve)
        asked: dict[str, Any] = {}
    else:
        asked = _search_document(reader.start(), reader, sieve, aoi)
    notes = (*reader.notes(), *sieve.notes())
    if not sieve.taken and beyond is None:
        came = "; ".join(
            (*notes, *(f"{left.item_id}: {without_remedy(left.reason)}" for left in sieve.left[:3]))
        )
        raise InputError(
            f"The search in {public_href(place)} must find an item that can be used",
            came=came or "no item at all",
            remedy="check the collection, and widen --aoi, --datetime, --max-cloud or --stac-filter",
        )
    return FoundItems(
        items=sieve.found(),
        notes=notes,
        left=sieve.left,
        request=_request(search, place, aoi, asked),
        hosts=reader.hosts,
    )


def _split(source: str) -> tuple[str, tuple[str, ...]]:
    """Take a source apart into a place and the collections that are wanted."""
    if not source.lower().startswith(PREFIX):
        return checked_place(source), ()
    place, _, names = (
        source[len(PREFIX) :].rpartition("#") if "#" in source else (source[len(PREFIX) :], "", "")
    )
    return checked_place(place), tuple(name.strip() for name in names.split(",") if name.strip())


def _search_document(
    document: Any, reader: CatalogReader, sieve: ItemSieve, aoi: Aoi | None
) -> dict[str, Any]:
    """Offer the items of what the user named; returns what an API was asked."""
    place = reader.place
    if not is_items(document):
        reader.carry_access()
    if isinstance(document, dict) and document.get("type") == "Collection" and links_of(document, "items"):
        sieve.choose(str(document.get("id")))
        roots = links_of(document, "root")
        place = resolved(roots[0]["href"], place) if roots else place
        document = reader.follow(place)
    if is_api(document):
        return search_api(open_api(document, place, reader, sieve.collections), reader, sieve, aoi)
    if is_static(document):
        walk_catalog(document, place, reader, sieve)
    elif is_items(document):
        add_items(document, place, sieve, reader if is_http(place) else None)
    else:
        raise InputError(
            "A catalogue must be a STAC API, catalogue, collection, item, or list of items",
            came=f"{public_href(place)}, another JSON document",
            remedy="give the catalogue's own address; an area of interest belongs to --aoi",
        )
    return {}


def _request(search: CatalogSearch, place: str, aoi: Aoi | None, asked: dict[str, Any]) -> dict[str, Any]:
    """Write down the search without any token, so that it can be asked again."""
    fragment = search.source.rpartition("#")[2] if "#" in search.source else ""
    prefix = PREFIX if search.source.lower().startswith(PREFIX) else ""
    request: dict[str, Any] = {
        "source": f"{prefix}{public_href(place)}" + (f"#{fragment}" if prefix and fragment else "")
    }
    for name in ("datetime", "max_cloud", "filter", "sort", "limit"):
        if getattr(search, name) is not None:
            request[name] = getattr(search, name)
    if aoi is not None:
        request["bbox"] = list(aoi.bounds_lonlat)
    return {**request, "api": asked} if asked else request
