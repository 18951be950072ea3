"""Groups of rows say what groups of documents say. Documents are the oracle: each is read by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import rustac

from pipeline.grid.catalog.item_document import item_of
from pipeline.grid.catalog.item_groups import ItemList, TakenItems, groups_of
from pipeline.grid.catalog.item_offers import RowOffer
from pipeline.grid.catalog.parquet_rows import ItemRows
from pipeline.grid.catalog.parquet_values import documents

NAMES = ("proj:epsg", "proj:code", "proj:transform", "proj:shape", "proj:bbox", "gsd", "file:size", "nothing")


@pytest.mark.parametrize("name", ["naip-pc.json", "earthsearch_s2_search_page.json"])
def test_columns_of_rows_are_those_of_documents(name: str, data_dir: Path, tmp_path: Path) -> None:
    page = json.loads((data_dir / "stac" / name).read_text())
    features = page["features"] if isinstance(page, dict) else page
    for number, feature in enumerate(features):
        key = next(iter(feature["assets"]))
        if number % 2:
            feature["assets"][key]["proj:shape"] = [number, 7]
            feature["properties"].pop("gsd", None)
    rustac.write_sync(str(tmp_path / "a.parquet"), {"type": "FeatureCollection", "features": features})
    batch = pq.read_table(tmp_path / "a.parquet").combine_chunks().to_batches()[0]
    rows = ItemRows(batch, "/items.parquet")
    assert rows.usual.all()
    items = TakenItems([RowOffer(rows, row, meets=None) for row in range(batch.num_rows)])
    alone = [item_of(document, "/items.parquet") for document in documents(batch)]
    assert list(items) == alone
    assert list(items[1:]) == alone[1:]
    met = []
    for numbers, group in groups_of(items):
        met += numbers
        own = ItemList([alone[number] for number in numbers])
        assert list(group.item_hrefs()) == own.item_hrefs()
        assert [shape.wkt for shape in group.geometries()] == [shape.wkt for shape in own.geometries()]
        assert [facts.start for facts in group.facts] == [item.start for item in own.facts]
        assert [facts.cloud_cover for facts in group.facts] == [item.cloud_cover for item in own.facts]
        for key in own.item(0).assets:
            assert list(group.hrefs(key)) == own.hrefs(key)
            nothing = [None] * len(numbers)
            for field in NAMES:
                assert list(group.said(key, field) or nothing) == own.said(key, field)
                assert list(group.of_assets(key, field) or nothing) == own.of_assets(key, field)
                assert list(group.of_items(field) or nothing) == own.of_items(field)
    assert sorted(met) == list(range(len(alone)))
    kinds = {number: place for place, (numbers, _) in enumerate(groups_of(alone)) for number in numbers}
    assert {
        number: place for place, (numbers, _) in enumerate(groups_of(items)) for number in numbers
    } == kinds
