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
    items = TakenItems.of([RowOffer(rows, row) for row in range(batch.num_rows)])
    alone = [item_of(document, "/items.parquet") for document in documents(batch)]
    assert list(items) == alone
    assert list(items[1:]) == alone[1:]
    met = []
    for numbers, group in groups_of(items):
        met += numbers.tolist()
        own = ItemList([alone[number] for number in numbers])
        assert list(group.ids()) == own.ids()
        assert list(group.item_hrefs()) == own.item_hrefs()
        assert [shape.wkt for shape in group.geometries()] == [shape.wkt for shape in own.geometries()]
        for place in range(len(own)):
            assert group.facts(place).start == own.facts(place).start
            assert group.facts(place).cloud_cover == own.facts(place).cloud_cover
        for key in own.item(0).assets:
            assert list(group.hrefs(key)) == own.hrefs(key)
            nothing = [None] * len(numbers)
            for field in NAMES:
                assert list(group.said(key, field) or nothing) == own.said(key, field)
                assert list(group.of_assets(key, field) or nothing) == own.of_assets(key, field)
                assert list(group.of_items(field) or nothing) == own.of_items(field)
    assert sorted(met) == list(range(len(alone)))
    of_documents = [numbers.tolist() for numbers, _ in groups_of(TakenItems.of(alone))]
    assert [numbers.tolist() for numbers, _ in groups_of(items)] == of_documents
