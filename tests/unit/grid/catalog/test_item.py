"""What an asset says counts before what its item says."""

from __future__ import annotations

import shapely

from pipeline.grid.catalog.item import Asset, Item


def test_the_asset_counts_before_the_item() -> None:
    red = Asset(key="red", href="https://host/red.tif", fields={"proj:shape": [2, 3], "proj:code": None})
    item = Item(
        item_id="a",
        collection="",
        href="",
        geometry=shapely.box(0, 0, 1, 1),
        start="2024-06-01T00:00:00Z",
        end="2024-06-30T00:00:00Z",
        cloud_cover=None,
        properties={"proj:shape": [9, 9], "proj:code": "EPSG:4326", "gsd": 10},
        assets={"red": red},
    )
    assert item.field_of(red, "proj:shape") == [2, 3]
    assert item.field_of(red, "gsd") == 10
    assert item.field_of(red, "proj:code") is None, "an asset may say that its item's CRS is not its own"
    assert item.field_of(red, "proj:transform") is None
    assert item.datetime == "2024-06-01T00:00:00Z"
