"""Items as a table: rustac and the project's own reader of stac-geoparquet find in it what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import geopandas as gpd
import pyarrow.parquet as pq
import pystac
import pytest
import rustac
import shapely
from jsonschema import Draft7Validator

from pipeline.errors import InputError
from pipeline.grid.catalog.catalog_search import CatalogSearch
from pipeline.grid.catalog.item_sieve import ItemSieve
from pipeline.grid.catalog.parquet_items import add_parquet_items
from pipeline.write.item_table import item_columns, write_item_table

BAY: dict[str, Any] = {
    "type": "Collection",
    "id": "bay",
    "stac_version": "1.1.0",
    "description": "",
    "license": "other",
    "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    "links": [],
}

METADATA = {
    "type": "object",
    "required": ["version", "collections"],
    "properties": {
        "version": {"enum": ["1.1.0", "1.0.0"]},
        "collections": {"additionalProperties": {"properties": {"type": {"const": "Collection"}}}},
    },
}
"""What the specification wants of the file's metadata (section "Parquet Metadata")."""


def item(name: str, west: float = 10.0, east: float = 11.0, **properties: Any) -> dict[str, Any]:
    shape = shapely.box(west, 50, east, 51)
    if west > east:
        shape = shapely.MultiPolygon([shapely.box(west, 50, 180, 51), shapely.box(-180, 50, east, 51)])
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
        "id": name,
        "collection": "bay",
        "geometry": json.loads(json.dumps(shapely.geometry.mapping(shape))),
        "bbox": [west, 50.0, east, 51.0],
        "properties": {"datetime": "2026-05-01T10:00:00Z", **properties},
        "links": [{"rel": "collection", "href": "./collection.json", "type": "application/json"}],
        "assets": {"instances": {"href": f"../{name}/part.parquet", "roles": ["data"]}},
    }


def read_back(path: Path) -> list[dict[str, Any]]:
    """The items as rustac finds them."""
    found = json.loads(json.dumps(rustac.read_sync(str(path))["features"]))
    return sorted(found, key=lambda one: str(one["id"]))


def own_reader(path: Path, **search: Any) -> list[Any]:
    sieve = ItemSieve(CatalogSearch(source="", **search), None)
    add_parquet_items(str(path), sieve)
    return list(sieve.found())


def test_rustac_finds_the_items_as_they_were(tmp_path: Path) -> None:
    items = [
        item("a", title="one", **{"proj:shape": [4, 5]}),
        item("b", title="two", **{"proj:shape": [6, 7]}),
    ]
    items[1]["assets"]["report"] = {"href": "../b/report.html", "type": "text/html"}
    write_item_table(tmp_path / "items.parquet", items, BAY)
    found = read_back(tmp_path / "items.parquet")
    assert found == items
    for one in found:
        whole = pystac.Item.from_dict(one)
        whole.stac_extensions = []  # its schema would need a network
        whole.validate()


def test_what_differs_from_item_to_item_is_text(tmp_path: Path) -> None:
    models = ({"prompter": {"kind": "vllm", "temperature": 0.5}}, {"prompter": None, "segmenter": {}})
    asked = ({"queries": ["été"], "scale": None}, {"scale": [0, 255]})
    own = [
        {
            "terraquery:models": model,
            "processing:expression": {"format": "terraquery-config", "expression": query},
            "odd": odd,
        }
        for model, query, odd in zip(models, asked, (7, "seven"), strict=True)
    ]
    write_item_table(tmp_path / "t.parquet", [item("a", **own[0]), item("b", **own[1])], BAY)
    for name, found in zip("ab", read_back(tmp_path / "t.parquet"), strict=True):
        properties = found["properties"]
        assert json.loads(properties["terraquery:models"]) == models["ab".index(name)]
        assert properties["processing:expression"]["format"] == "terraquery-config"
        assert json.loads(properties["processing:expression"]["expression"]) == asked["ab".index(name)]
    assert [json.loads(one["properties"]["odd"]) for one in read_back(tmp_path / "t.parquet")] == [7, "seven"]


def test_an_empty_object_and_a_missing_member_are_null(tmp_path: Path) -> None:
    items = [item("a", **{"terraquery:counters": {}}), item("b", end_datetime="2026-05-02T00:00:00Z")]
    write_item_table(tmp_path / "t.parquet", items, BAY)
    table = pq.read_table(tmp_path / "t.parquet")
    assert table["terraquery:counters"].to_pylist() == [None, None]
    assert [value and value.isoformat() for value in table["end_datetime"].to_pylist()] == [
        None,
        "2026-05-02T00:00:00+00:00",
    ]
    assert "terraquery:counters" not in own_reader(tmp_path / "t.parquet")[0].properties


def test_our_reader_searches_it(tmp_path: Path) -> None:
    items = [item("a", **{"eo:cloud_cover": 5.0}), item("b", **{"eo:cloud_cover": 60.0})]
    items[1]["properties"]["datetime"] = "2026-06-01T10:00:00Z"
    write_item_table(tmp_path / "t.parquet", items, BAY)
    assert {one.item_id for one in own_reader(tmp_path / "t.parquet")} == {"a", "b"}
    (clear,) = own_reader(tmp_path / "t.parquet", max_cloud=20)
    (june,) = own_reader(tmp_path / "t.parquet", datetime="2026-06")
    assert (clear.item_id, clear.collection, clear.start) == ("a", "bay", "2026-05-01T10:00:00Z")
    assert clear.geometry.equals(shapely.box(10, 50, 11, 51))
    assert june.item_id == "b"
    href = june.assets["instances"].href
    assert Path(href).resolve() == (tmp_path / "../b/part.parquet").resolve()


def test_geopandas_and_duckdb_read_it(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_item_table(path, [item("a"), item("b", 20, 21)], BAY)
    frame = gpd.read_parquet(path, bbox=(19, 49, 22, 52))
    assert frame["id"].tolist() == ["b"]
    assert frame.crs == "OGC:CRS84"
    sql = f"select id from '{path}' where bbox.xmin > 15 and datetime < timestamptz '2026-06-01'"
    assert duckdb.sql(sql).fetchall() == [("b",)]


def test_metadata_names_the_collection_and_covers_unless_boxes_cross_the_antimeridian(tmp_path: Path) -> None:
    def metadata(*items: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        write_item_table(tmp_path / "t.parquet", items, BAY)
        own = pq.read_schema(tmp_path / "t.parquet").metadata
        return json.loads(own[b"stac-geoparquet"]), json.loads(own[b"geo"])["columns"]["geometry"]

    own, column = metadata(item("a"))
    Draft7Validator(METADATA).validate(own)
    assert own["collections"] == {"bay": BAY}
    assert (column["geometry_types"], "covering" in column) == (["Polygon"], True)
    _, column = metadata(item("a"), item("b", 179, -179))
    assert (column["geometry_types"], "covering" in column) == (["MultiPolygon", "Polygon"], False)
    assert read_back(tmp_path / "t.parquet")[1]["bbox"] == [179, 50, -179, 51]


def test_a_property_has_no_member_s_name() -> None:
    with pytest.raises(InputError, match="links"):
        item_columns([item("a", links="x")])
