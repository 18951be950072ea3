"""One door to every kind of catalogue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stac_items import stac_item

from pipeline.errors import InputError
from pipeline.grid.catalog.catalog_search import CatalogSearch, find_items, is_catalog


@pytest.mark.parametrize(
    ("source", "catalog"),
    [
        ("stac:https://api.example#naip", True),
        ("STAC:catalog.json", True),
        ("https://h/x/item.json?t=1", True),
        ("s3://bucket/items.parquet", True),
        ("items.PARQUET", True),
        ("https://h/x/scene.tif", False),
        ("scenes/", False),
        ("scenes/*.tif", False),
        ("list.txt", False),
    ],
)
def test_what_is_a_catalogue(source: str, *, catalog: bool) -> None:
    assert is_catalog(source) is catalog


def test_items_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps([stac_item("a", gsd=1), stac_item("b", gsd=2)]))
    found = find_items(CatalogSearch(source=str(path), filter="gsd > 1"), None)
    assert [item.item_id for item in found.items] == ["b"]
    assert found.notes == ("1 items do not fit --stac-filter",)
    with pytest.raises(InputError, match="2 items do not fit"):
        find_items(CatalogSearch(source=str(path), filter="gsd > 5"), None)
