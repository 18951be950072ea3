"""Layouts of items: what decides is in their names, and what differs from item to item is not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stac_items import stac_item

from pipeline.grid.catalog.asset_choice import choose_assets
from pipeline.grid.catalog.item import Item
from pipeline.grid.catalog.item_document import item_of
from pipeline.grid.catalog.item_layout import FIELDS, layout_of
from pipeline.grid.catalog.quality_table import mask_asset
from pipeline.grid.catalog.reflectance_table import kind_of


class Recorded(Mapping[str, Any]):
    """Remembers what is looked up."""

    def __init__(self, fields: Mapping[str, Any], asked: set[str]) -> None:
        self.fields = fields
        self.asked = asked

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return self.fields[name]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("a decision must not depend on fields that it does not name")

    def __len__(self) -> int:
        return len(self.fields)


def recorded(item: Item, asked: set[str]) -> Item:
    assets = {key: replace(asset, fields=Recorded(asset.fields, asked)) for key, asset in item.assets.items()}
    return replace(item, properties=Recorded(item.properties, asked), assets=assets)


@pytest.mark.parametrize(
    "name",
    ["naip-pc.json", "sentinel-2-l2a-pc.json", "earthsearch_s2_search_page.json"],
)
def test_what_is_decided_once_looks_at_nothing_else(name: str, data_dir: Path) -> None:
    """Recorded items go through all that `scene_choice` decides, and the names that it looks up are noted."""
    page = json.loads((data_dir / "stac" / name).read_text())
    asked: set[str] = set()
    for document in page["features"] if isinstance(page, dict) else page:
        item = recorded(item_of(document, ""), asked)
        if item.collection != "sentinel-2-l1c":  # which is JPEG 2000 alone
            chosen = choose_assets(item)
            choose_assets(item, [asset.key for asset in chosen.assets])
        for asset in item.assets.values():
            kind_of(item, asset)
        mask_asset(item, None)
    assert asked <= {*FIELDS, "proj:transform"}
    assert asked >= {"bands", "eo:bands"}


def test_ids_places_and_times_make_no_new_layout() -> None:
    one = item_of(stac_item("a", **{"proj:transform": [10, 0, 5, 0, -10, 9]}), "")
    moved = stac_item(
        "b", box=(1, 2, 3, 4), when="2025-01-01T00:00:00Z", **{"proj:transform": [10, 0, 7, 0, -10, 1]}
    )
    assert layout_of(one) == layout_of(item_of(moved, ""))


@pytest.mark.parametrize(
    "change",
    [
        {"collection": "other"},
        {"asset": {"roles": ["thumbnail"]}},
        {"asset": {"type": "image/jp2"}},
        {"asset": {"href": "https://files.example/a.jpg"}},
        {"asset": {"eo:bands": [{"name": "Red"}]}},
        {"asset": {"bands": [{"name": "B1", "data_type": "uint16"}]}},
        {"properties": {"raster:scale": 0.1}},
        {"properties": {"gsd": 2}},
        {"properties": {"proj:transform": [2, 0, 5, 0, -2, 9]}},
        {"second": "more"},
    ],
)
def test_what_decides_makes_a_new_layout(change: dict[str, Any]) -> None:
    document = stac_item("a")
    plain = layout_of(item_of(stac_item("a"), ""))
    document["collection"] = change.get("collection", "naip")
    document["properties"] |= change.get("properties", {})
    document["assets"]["image"] |= change.get("asset", {})
    if "second" in change:
        document["assets"][change["second"]] = dict(document["assets"]["image"])
    assert layout_of(item_of(document, "")) != plain


def test_statistics_of_bands_do_not_count() -> None:
    def with_mean(mean: float) -> bytes | None:
        document = stac_item("a")
        bands = [{"data_type": "uint8", "statistics": {"mean": mean}}]
        document["assets"]["image"]["raster:bands"] = bands
        return layout_of(item_of(document, ""))

    assert with_mean(1.0) == with_mean(2.0)


def test_values_of_no_json_are_like_no_other() -> None:
    item = item_of(stac_item("a"), "")
    assert layout_of(replace(item, properties={"unit": object()})) is None
