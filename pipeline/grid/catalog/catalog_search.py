"""Search a catalogue of any kind, and say what became of every item that it gave.

1. `is_catalog` tells whether a `--source` is a catalogue, before any request.
2. `find_items` reads the document that the source names and asks the kind of catalogue that it is: a list of
   items, a static catalogue, a STAC API, or stac-geoparquet.
"""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path

from pipeline.errors import InputError
from pipeline.files.hrefs import public_href
from pipeline.grid.aoi import Aoi
from pipeline.grid.catalog.found_items import CatalogSearch, FoundItems, LeftItem
from pipeline.grid.catalog.item_lists import add_items
from pipeline.grid.catalog.item_sieve import ItemSieve

__all__ = ["CatalogSearch", "FoundItems", "LeftItem", "find_items", "is_catalog"]

PREFIX = "stac:"
_DOCUMENTS = (".json", ".geojson")


def is_catalog(source: str) -> bool:
    """Tell whether a `--source` names a catalogue and not a raster. A local JSON file is looked into."""
    if source.lower().startswith(PREFIX):
        return True
    path = urllib.parse.urlsplit(source).path if "://" in source else source
    suffix = Path(path).suffix.lower()
    return suffix == ".parquet" or suffix in _DOCUMENTS


def find_items(search: CatalogSearch, aoi: Aoi | None) -> FoundItems:
    """Find the items that a search wants.

    Raises:
        InputError: the search or its source is wrong, or nothing fits.
        SourceError: the catalogue cannot be read, or does not give all that it says it has.
    """
    sieve = ItemSieve(search, aoi)
    place = search.source.removeprefix(PREFIX)
    add_items(json.loads(Path(place).read_text(encoding="utf-8-sig")), place, sieve)
    if not sieve.taken:
        raise InputError("No item fits the search", came="; ".join(sieve.notes()), remedy="widen the search")
    return FoundItems(
        items=sieve.found(),
        notes=sieve.notes(),
        left=tuple(sieve.left),
        request={"source": public_href(search.source)},
    )
