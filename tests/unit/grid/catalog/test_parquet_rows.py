"""Rows of stac-geoparquet against the JSON documents that they stand for, one by one."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rustac
from stac_items import stac_item

from pipeline.grid.catalog.found_items import FoundItems
from pipeline.grid.catalog.item_document import ItemError, item_of
from pipeline.grid.catalog.item_groups import TakenItems
from pipeline.grid.catalog.item_layout import layout_of
from pipeline.grid.catalog.item_offers import RowOffer
from pipeline.grid.catalog.item_scene import scenes_of
from pipeline.grid.catalog.parquet_rows import ItemRows
from pipeline.grid.catalog.parquet_values import documents
from pipeline.grid.catalog.scene_choice import ItemOptions, SceneChooser


def written(items: list[dict[str, Any]], folder: Path) -> pa.RecordBatch:
    rustac.write_sync(
        str(folder / "items.parquet"), {"type": "FeatureCollection", "features": copy.deepcopy(items)}
    )
    return pq.read_table(folder / "items.parquet").combine_chunks().to_batches()[0]


def varied(name: str, data_dir: Path) -> list[dict[str, Any]]:
    """Copies of recorded items that differ in what real ones differ in."""
    page = json.loads((data_dir / "stac" / name).read_text())
    found = []
    for number in range(24):
        for item in page["features"] if isinstance(page, dict) else page:
            own = json.loads(json.dumps(item).replace(item["id"], f"{item['id']}_{number}"))
            keys = list(own["assets"])
            if number % 7 == 3:
                own["properties"].pop("eo:cloud_cover", None)
            if number % 5 == 2:
                own["properties"]["datetime"] = f"2023-01-{number + 1:02}T10:00:00.{number:03}Z"
            if number % 6 == 4:
                own["assets"].pop(keys[0])
            if number % 6 == 5:
                own["assets"][keys[-1]]["href"] = "relative/x.tif"
            if number % 4 == 1:
                own["links"] = []
            found.append(own)
    return found


@pytest.mark.parametrize(
    "name", ["naip-pc.json", "sentinel-2-l2a-pc.json", "earthsearch_s2_search_page.json"]
)
def test_rows_are_the_items_that_their_documents_are(name: str, data_dir: Path, tmp_path: Path) -> None:
    batch = written(varied(name, data_dir), tmp_path)
    place = "https://api.example/items.parquet"
    rows = ItemRows(batch, place)
    assert rows.usual.any()
    for row, document in enumerate(documents(batch)):
        if rows.usual[row]:
            item = rows.item(row)
            alone = item_of(document, place)
            assert item == alone
            assert alone == item
            assert dict(item.properties) == alone.properties
            assert item.layout == layout_of(alone)
            assert rows.key(row) == (alone.collection, alone.item_id)


@pytest.mark.parametrize(
    "name", ["naip-pc.json", "sentinel-2-l2a-pc.json", "earthsearch_s2_search_page.json"]
)
def test_scenes_of_rows_are_those_of_documents(name: str, data_dir: Path, tmp_path: Path) -> None:
    batch = written(varied(name, data_dir), tmp_path)
    rows = ItemRows(batch, "")
    numbers = np.flatnonzero(rows.usual).tolist()
    alone = [item_of(document, "") for document in documents(batch)]
    offers = [RowOffer(rows, row, meets=True) for row in numbers]
    one = scenes_of(FoundItems(items=TakenItems.of(offers)), ItemOptions())
    other = scenes_of(FoundItems(items=tuple(alone[row] for row in numbers)), ItemOptions())
    assert one.scenes == other.scenes
    assert one.left == other.left


def test_scales_of_each_band_are_read_and_tell_layouts_apart(tmp_path: Path) -> None:
    """Four items of three bands; those of odd ones have scales of their own."""
    items = []
    for number in range(4):
        item = stac_item(f"i{number}")
        bands = [
            {"name": name, "data_type": "uint16", "scale": 1e-4 * (1 + place * (number % 2)), "unit": "1"}
            for place, name in enumerate(("Red", "Green", "Blue"))
        ]
        item["collection"] = "drawn"
        item["assets"]["image"]["raster:bands"] = bands
        item["assets"]["image"]["eo:bands"] = [{"name": name} for name in ("Red", "Green", "Blue")]
        items.append(item)
    batch = written(items, tmp_path)
    rows = ItemRows(batch, "")
    assert rows.usual.all()
    own = [rows.item(row) for row in range(4)]
    assert len({item.layout for item in own}) == 2
    alone = [item_of(document, "") for document in documents(batch)]
    chosen, other = (SceneChooser(ItemOptions()), SceneChooser(ItemOptions()))
    kinds = [chosen.choose(item).kinds for item in own]
    assert kinds == [other.choose(item).kinds for item in alone]
    scales = [[one[0] for one in kind.each] or (kind.own and kind.own[0]) for (kind,) in kinds]
    assert scales == [1e-4, [1e-4, 2e-4, pytest.approx(3e-4)]] * 2


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_times_are_utc_whatever_the_clock_of_the_machine(
    zone: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timestamp without a zone is UTC, as a text without one is."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        moment = np.datetime64("2024-06-01T22:30:00", "us")
        batch = changed("datetime", [moment], tmp_path)
        at = batch.schema.get_field_index("datetime")
        columns = list(batch.columns)
        columns[at] = pa.array([moment]).cast(pa.timestamp("us", zone))
        batch = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
        item = ItemRows(batch, "").item(0)
        (document,) = documents(batch)
        assert item.datetime == item_of(document, "").datetime == "2024-06-01T22:30:00Z"
        assert item == item_of(document, "")
        assert (
            item_of({**document, "properties": {"datetime": "2024-06-01T22:30:00"}}, "").start == item.start
        )
    finally:
        monkeypatch.undo()
        time.tzset()


def changed(column: str, values: list[Any], folder: Path) -> pa.RecordBatch:
    batch = written([stac_item(f"i{n}", gsd=1.0) for n in range(len(values))], folder)
    at = batch.schema.get_field_index(column)
    columns = [pa.array(values) if index == at else own for index, own in enumerate(batch.columns)]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


@pytest.mark.parametrize(
    ("column", "values", "usual"),
    [
        ("id", ["a", "", None, "x" * 5000], [True, False, False, False]),
        ("gsd", [1.0, float("inf")], [False, False]),
        ("gsd", [1.0, float("nan")], [True, True]),
        ("datetime", ["2024-06-01T00:00:00Z", "soon", None], [True, False, True]),
        ("geometry", [b"nothing", b"\0"], [False, False]),
        ("collection", [1, 2], [False, False]),
    ],
)
def test_what_columns_cannot_vouch_for_is_read_as_a_document(
    column: str, values: list[Any], usual: list[bool], tmp_path: Path
) -> None:
    batch = changed(column, values, tmp_path)
    rows = ItemRows(batch, "")
    assert rows.usual.tolist() == usual
    for row, document in enumerate(documents(batch)):
        if rows.usual[row]:
            assert rows.item(row) == item_of(document, "")
        else:
            assert next(documents(rows.rest(row))).get("id") == document.get("id")


def test_an_asset_without_a_file_is_none(tmp_path: Path) -> None:
    items = [stac_item("a"), stac_item("b")]
    for item in items:
        item["assets"]["more"] = {"href": f"https://files.example/more-{item['id']}.tif"}
    items[1]["assets"]["image"]["href"] = " "
    batch = written(items, tmp_path)
    rows = ItemRows(batch, "")
    assert [sorted(rows.item(row).assets) for row in (0, 1)] == [["image", "more"], ["more"]]
    assert len(rows.item(1).assets) == 1
    with pytest.raises(KeyError):
        rows.item(1).assets["image"]
    items[1]["assets"]["more"]["href"] = ""
    assert ItemRows(written(items, tmp_path), "").usual.tolist() == [True, False]
    with pytest.raises(ItemError):
        item_of(items[1], "")
