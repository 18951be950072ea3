"""Items in one JSON document: an item, an item collection, or a plain list of items.

An item collection behind a URL may be the first page of several, such as an answer of a STAC API.
"""

from __future__ import annotations

from typing import Any

from pipeline.errors import SourceError
from pipeline.grid.catalog.catalog_reader import CatalogReader
from pipeline.grid.catalog.item_sieve import ItemSieve
from pipeline.grid.catalog.page_walk import PageRequest, matched_of, next_request, walk_pages


def is_items(document: object) -> bool:
    """Tell whether a document is an item or lists items."""
    return isinstance(document, list) or (isinstance(document, dict) and document.get("type") in _TYPES)


_TYPES = ("Feature", "FeatureCollection")


def add_items(document: Any, place: str, sieve: ItemSieve, reader: CatalogReader | None = None) -> None:
    """Offer all items of a document, which lies at `place`, to the sieve.

    `reader`: reads further pages of an item collection. None: it is a file, and its pages are not asked for.
    Raises InputError, and SourceError where pages are missing.
    """
    if isinstance(document, dict) and document.get("type") == "Feature":
        sieve.add(document, place, alone=True)
        return
    if reader is not None and isinstance(document, dict) and next_request(document, PageRequest(url=place)):
        walk = walk_pages(PageRequest(url=place), reader, sieve)
        if walk.lost and not sieve.full:
            raise SourceError(
                f"The catalogue {place.partition('?')[0]} keeps items back: {walk.lost}", retryable=True
            )
        return
    items = document if isinstance(document, list) else document.get("features")
    for item in items if isinstance(items, list) else ():
        sieve.add(item, place)
    matched = matched_of(document) if isinstance(document, dict) else None
    if matched is not None and matched > sieve.passed:
        sieve.note(f"the file holds {sieve.passed:,} of the {matched:,} items that its search had")
