"""The nouns of a search hold still."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline.grid.catalog.found_items import CatalogSearch, FoundItems


def test_a_search_is_frozen_and_asks_for_everything() -> None:
    search = CatalogSearch(source="stac:https://api.example#naip")
    assert (search.datetime, search.max_cloud, search.filter, search.sort, search.limit) == (None,) * 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        search.source = "x"  # type: ignore[misc]
    assert FoundItems(items=()).left == ()
