"""Offers of both kinds tell the sieve the same."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import rustac
from stac_items import stac_item

from pipeline.grid.catalog.item_document import ItemError
from pipeline.grid.catalog.item_offers import DocumentOffer, RowOffer
from pipeline.grid.catalog.parquet_rows import ItemRows


def test_a_row_offers_what_its_document_offers(tmp_path: Path) -> None:
    document = stac_item("a", gsd=2.0)
    rustac.write_sync(str(tmp_path / "a.parquet"), {"type": "FeatureCollection", "features": [document]})
    batch = pq.read_table(tmp_path / "a.parquet").combine_chunks().to_batches()[0]
    row = RowOffer(ItemRows(batch, "p"), 0, meets=True)
    other = DocumentOffer(document, "p")
    assert (row.key, row.name, row.meets) == (("naip", "a"), "a", True)
    assert (other.key, other.name, other.meets) == (("naip", "a"), "a", None)
    assert row.document()["properties"]["gsd"] == other.document()["properties"]["gsd"] == 2.0
    assert row.item().assets == other.item().assets


def test_a_document_without_an_id_is_named_by_all_that_it_says() -> None:
    one, same, other = (DocumentOffer(value, "") for value in ({"a": 1}, {"a": 1}, {"a": 2}))
    assert one.key == same.key != other.key
    assert one.name == ""
    with pytest.raises(ItemError):
        one.item()
