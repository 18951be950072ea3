"""One door to every kind of catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_stac_server import odd_server
from stac_items import stac_item

from pipeline.errors import InputError, SourceError
from pipeline.grid.aoi import aoi_from_bbox
from pipeline.grid.catalog.catalog_search import CatalogSearch, find_items, is_catalog


@pytest.mark.parametrize(
    ("source", "catalog"),
    [
        ("stac:https://api.example#naip", True),
        ("STAC:catalog.json", True),
        ("https://h/x/item.json?t=1", True),
        ("s3://bucket/items.parquet", True),
        ("items.PARQUET", True),
        ("https://h/x/scene.tif", False),
        ("scenes/", False),
        ("scenes/*.tif", False),
        ("list.txt", False),
    ],
)
def test_what_is_a_catalogue(source: str, *, catalog: bool) -> None:
    assert is_catalog(source) is catalog


def test_items_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps([stac_item("a", gsd=1), stac_item("b", gsd=2)]))
    found = find_items(CatalogSearch(source=str(path), filter="gsd > 1"), None)
    assert [item.item_id for item in found.items] == ["b"]
    assert found.notes == ("items that do not fit --stac-filter: 1",)
    with pytest.raises(InputError, match="items that do not fit --stac-filter: 2"):
        find_items(CatalogSearch(source=str(path), filter="gsd > 5"), None)


def test_the_search_can_be_asked_again_and_holds_no_token() -> None:
    with odd_server(items=[stac_item("a")]) as server:
        search = CatalogSearch(
            source=f"stac:{server.url}/?token=secret#naip",
            datetime="2024",
            max_cloud=None,
            sort="gsd",
            limit=3,
        )
        found = find_items(search, aoi_from_bbox(10, 50, 11, 51))
    assert found.request["source"] == f"stac:{server.url}/#naip"
    assert {key: found.request[key] for key in ("datetime", "sort", "limit", "bbox")} == {
        "datetime": "2024",
        "sort": "gsd",
        "limit": 3,
        "bbox": [10, 50, 11, 51],
    }
    assert found.request["api"]["url"] == f"{server.url}/search"
    paths = [path for _, path, _ in server.requests]
    assert paths == ["/?token=secret", "/collections/naip?token=secret", "/search?token=secret"]
    assert "secret" not in json.dumps(found.request)
    assert "secret" not in repr(found)


def test_the_address_of_a_collection_stands_for_its_api() -> None:
    with odd_server(items=[stac_item("a"), stac_item("b", collection="other")]) as server:
        links = [{"rel": "items", "href": "./items"}, {"rel": "root", "href": server.url}]
        server.files["/naip"] = {"type": "Collection", "id": "naip", "links": links}
        found = find_items(CatalogSearch(source=f"stac:{server.url}/naip"), None)
        (body,) = server.searches()
    assert body["collections"] == ["naip"]
    assert found.notes == ("items of other collections: 1",), "the server does not look at collections"


@pytest.mark.parametrize(
    "document",
    [5, "text", None, {}, {"type": "Topology"}, {"type": "Collection"}, {"type": "Catalog", "links": {}}],
)
def test_what_is_no_catalogue_is_refused(document: object, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="must be a STAC API, catalogue"):
        find_items(CatalogSearch(source=str(path)), None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
members = st.sampled_from(
    ["type", "links", "features", "conformsTo", "extent", "id", "numberMatched", "context"]
)
kinds = st.sampled_from(["Catalog", "Collection", "Feature", "FeatureCollection"])


@given(
    kind=kinds,
    odd=st.dictionaries(members, json_values, max_size=4),
    link=st.dictionaries(members, json_values),
)
def test_any_document_is_items_or_a_clear_error(
    kind: str, odd: dict[str, object], link: dict[str, object]
) -> None:
    links = [{"rel": "child", "href": "./a.json"}, {"rel": "next", "href": "a.json"}, link]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.json"
        path.write_text(json.dumps({"type": kind, "links": links, "features": [stac_item()], **odd}))
        try:
            found = find_items(
                CatalogSearch(source=str(path), datetime="2024"), aoi_from_bbox(10, 50, 11, 51)
            )
        except (InputError, SourceError):
            return
    assert found.items
