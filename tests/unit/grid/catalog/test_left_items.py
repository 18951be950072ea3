"""Items that a search left: all are counted, and a bounded number is named."""

from __future__ import annotations

import pytest

from pipeline.grid.catalog import left_items
from pipeline.grid.catalog.found_items import LeftItem
from pipeline.grid.catalog.left_items import LeftItems, counted


def test_names_are_bounded_per_kind_and_all_items_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_items, "MOST_NAMED", 2)
    left = LeftItems()
    for number in range(5):
        left.add("outside", LeftItem(item_id=f"o{number}", reason="far"))
    left.add("unwanted", LeftItem(item_id="u", reason="no"))
    left.count("other time", 7)
    assert [item.item_id for item in left.named] == ["o0", "o1", "u"]
    assert left.notes() == (
        "items outside of the area of interest: 5; 2 of them are named in scenes.parquet",
        "items of other dates than --datetime: 7; 0 of them are named in scenes.parquet",
        "items that do not fit --stac-filter: 1",
    )


def test_numbers_are_readable() -> None:
    assert counted("items", 20_000, 10_000) == "items: 20,000; 10,000 of them are named in scenes.parquet"
    assert counted("items", 3, 3) == "items: 3"
