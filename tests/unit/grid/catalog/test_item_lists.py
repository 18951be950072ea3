"""An item, an item collection and a plain list are the same items."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from odd_stac_server import odd_server
from stac_items import stac_item

from pipeline.errors import InputError, SourceError
from pipeline.grid.catalog.catalog_search import CatalogSearch, find_items
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


def test_a_pasted_search_is_followed_over_its_pages() -> None:
    items = [stac_item(f"i{number}", gsd=number) for number in range(7)]
    with odd_server(items=items, matched=7) as server:
        found = find_items(
            CatalogSearch(source=f"stac:{server.url}/search?collections=naip", filter="gsd > 3"), None
        )
    assert [item.item_id for item in found.items] == ["i4", "i5", "i6"]
    with (
        odd_server(items=items, matched=7, fault="lose") as server,
        pytest.raises(SourceError, match="gave 4 of them"),
    ):
        find_items(CatalogSearch(source=f"stac:{server.url}/search"), None)


def test_a_saved_page_says_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "page.json"
    following = {"rel": "next", "href": "https://api.example/search?page=2"}
    page = {"type": "FeatureCollection", "features": ITEMS, "numberMatched": 37, "links": [following]}
    path.write_text(json.dumps(page))
    found = find_items(CatalogSearch(source=str(path)), None)
    assert found.notes == ("the file holds 2 of the 37 items that its search had",)


@pytest.mark.parametrize("features", [None, 5, {}, "text", [None, 5, "x", []]])
def test_lists_that_hold_no_items(features: object, tmp_path: Path) -> None:
    path = tmp_path / "page.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with pytest.raises(InputError, match="must find an item"):
        find_items(CatalogSearch(source=str(path)), None)
