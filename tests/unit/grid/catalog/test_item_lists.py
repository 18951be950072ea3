"""An item, an item collection and a plain list are the same items."""

from __future__ import annotations

import pytest
from stac_items import stac_item

from pipeline.grid.catalog.found_items import CatalogSearch
from pipeline.grid.catalog.item_lists import add_items
from pipeline.grid.catalog.item_sieve import ItemSieve

ITEMS = [stac_item("a"), stac_item("b")]


@pytest.mark.parametrize("document", [ITEMS, {"type": "FeatureCollection", "features": ITEMS}])
def test_lists_hold_their_items(document: object) -> None:
    sieve = ItemSieve(CatalogSearch(source=""), None)
    add_items(document, "/data/items.json", sieve)
    assert [item.item_id for item in sieve.found()] == ["a", "b"]
    assert sieve.found()[0].href == ""


def test_an_item_alone_lies_where_its_file_is() -> None:
    document = stac_item("a")
    document["assets"]["image"]["href"] = "./a.tif"
    document["links"] = [{"rel": "self", "href": "https://old.example/a.json"}]
    sieve = ItemSieve(CatalogSearch(source=""), None)
    add_items(document, "/data/a.json", sieve)
    (item,) = sieve.found()
    assert item.href == "/data/a.json"
    assert item.assets["image"].href == "/data/a.tif"
