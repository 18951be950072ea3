"""Items in one JSON document: an item, an item collection, or a plain list of items."""

from __future__ import annotations

from typing import Any

from pipeline.grid.catalog.item_sieve import ItemSieve


def listed_items(document: object) -> list[Any] | None:
    """Find the items that a document lists. None: it lists none, and may be an item itself."""
    if isinstance(document, list):
        return document
    if isinstance(document, dict) and isinstance(document.get("features"), list):
        return list(document["features"])
    return None


def add_items(document: object, place: str, sieve: ItemSieve) -> None:
    """Offer all items of a document to the sieve. `place`: its path or URL."""
    items = listed_items(document)
    if items is None:
        sieve.add(document, place, alone=True)
        return
    for item in items:
        sieve.add(item, place)
