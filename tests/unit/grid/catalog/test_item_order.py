"""The order of items: as Python sorts them, whether they were rows of a table or documents."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rustac
from hypothesis import given
from hypothesis import strategies as st
from stac_items import stac_item

from pipeline.errors import InputError
from pipeline.grid.catalog.catalog_search import find_items
from pipeline.grid.catalog.found_items import CatalogSearch
from pipeline.grid.catalog.item import Item
from pipeline.grid.catalog.item_document import item_of
from pipeline.grid.catalog.item_groups import TakenItems
from pipeline.grid.catalog.item_order import comparable, order_of, sort_fields, unsaid_fields

TIMES = ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00.5Z", "1969-12-31T23:59:59Z", "2024-05-05T00:00:00Z")
PLATFORMS = ("b", "B", "é", "2020", "2020-06", "\U0001f6f0", "\uffee")


@st.composite
def documents(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Items with and without values, of several collections, whose names are no ASCII."""
    found = []
    for number in range(draw(st.integers(1, 6))):
        fields: dict[str, Any] = {}
        if draw(st.booleans()):
            fields["eo:cloud_cover"] = draw(st.sampled_from([0, 0.5, 7, 100]))
        if draw(st.booleans()):
            fields["platform"] = draw(st.sampled_from(PLATFORMS))
        name = draw(st.sampled_from(["a", "Z", "é", "\U0001f6f0", "\uffee"])) + str(number % 2)
        collection = f"{draw(st.sampled_from(['naip', 'x', 'é']))}{number}"
        found.append(stac_item(name, collection=collection, when=draw(st.sampled_from(TIMES)), **fields))
    return found


def in_words(items: list[Item], fields: tuple[tuple[str, bool], ...]) -> list[tuple[str, str]]:
    """The order as it is described: key after key, the last one first, and what has no value behind."""
    ordered = sorted(items, key=lambda item: (item.collection, item.item_id))
    for name, descending in reversed([*fields, ("datetime", True)]):
        values = {id(item): value_of(item, name) for item in items}
        present = [item for item in ordered if values[id(item)] is not None]
        present.sort(key=lambda item: values[id(item)] or (), reverse=descending)
        ordered = present + [item for item in ordered if values[id(item)] is None]
    return [(item.collection, item.item_id) for item in ordered]


def value_of(item: Item, name: str) -> tuple[int, Any] | None:
    if name == "datetime":
        return None if item.start is None else (1, datetime.fromisoformat(item.start))
    own = {"id": item.item_id, "collection": item.collection}
    return comparable(own.get(name, item.properties.get(name)))


@given(
    items=documents(),
    sort=st.sampled_from(
        ["", "eo:cloud_cover", "-eo:cloud_cover,id", "platform", "-platform,datetime", "-id"]
    ),
)
def test_tables_and_documents_are_sorted_as_the_words_say(items: list[dict[str, Any]], sort: str) -> None:
    fields = sort_fields(sort) if sort else ()
    read = [item_of(item, "") for item in items]
    wanted = in_words(read, fields)
    listed = TakenItems.of(read)
    assert [(read[n].collection, read[n].item_id) for n in order_of(listed, fields)] == wanted
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "items.parquet"
        rustac.write_sync(str(table), {"type": "FeatureCollection", "features": items})
        found = find_items(CatalogSearch(source=str(table), sort=sort or None), None).items
    assert [(item.collection, item.item_id) for item in found] == wanted


def test_no_items_have_no_order() -> None:
    assert order_of(TakenItems.of([]), (("gsd", False),)).tolist() == []


def test_equal_ones_keep_their_order() -> None:
    read = [item_of(stac_item("same", gsd=number), "") for number in range(3)]
    assert np.array_equal(order_of(TakenItems.of(read), ()), [0, 1, 2])


def test_fields_that_nobody_has() -> None:
    listed = TakenItems.of([item_of(stac_item("a", gsd=1, place={"x": 1}), "")])
    assert unsaid_fields(listed, sort_fields("gsd,-place,id,datetime,missing")) == ["place", "missing"]


def test_numbers_come_before_times_and_times_before_text() -> None:
    values = [True, 0, 2.5, "2020", "2020-06-01T00:00:00Z", "a", None, [1]]
    found = [comparable(value) for value in values]
    assert found[-2:] == [None, None]
    assert [pair[0] for pair in found[:-2] if pair is not None] == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize("text", ["gsd,,id", "--gsd", " ,", "+"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="fields, comma separated"):
        sort_fields(text)
