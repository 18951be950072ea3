"""Items as strangers write them. Expected footprints come from shapely boxes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from stac_items import stac_item

from pipeline.grid.catalog.item_document import (
    MOST_DEPTH,
    MOST_VALUES,
    MOST_VERTICES,
    ItemError,
    item_name,
    item_of,
    resolved,
)


def test_an_item_becomes_what_it_says() -> None:
    document = stac_item("a", **{"eo:cloud_cover": 12, "proj:code": "EPSG:32632"})
    document["links"] = [{"rel": "self", "href": "https://api.example/items/a?token=secret"}]
    document["assets"]["image"] |= {"type": "image/tiff", "proj:shape": [2, 3]}
    item = item_of(document, "https://api.example/search")
    assert (item.item_id, item.collection, item.href) == ("a", "naip", "https://api.example/items/a")
    assert item.geometry.equals(shapely.box(10, 50, 11, 51))
    assert (item.start, item.end, item.cloud_cover) == ("2024-06-01T10:00:00Z", "2024-06-01T10:00:00Z", 12.0)
    asset = item.assets["image"]
    assert (asset.href, asset.media_type, asset.roles) == (
        "https://files.example/a.tif",
        "image/tiff",
        ("data",),
    )
    assert asset.fields == {"proj:shape": [2, 3]}
    assert item.field_of(asset, "proj:code") == "EPSG:32632"


@pytest.mark.parametrize(
    "name",
    [
        "S2A_28QCH_20200714_0_L2A.json",  # STAC 1.0.0-beta.1
        "stac_bands.json",  # STAC 1.1
    ],
)
def test_real_items_of_old_and_new_versions(name: str, data_dir: Path) -> None:
    path = data_dir / "stac" / name
    document = json.loads(path.read_text())
    item = item_of(document, str(path), alone=True)
    assert item.item_id == document["id"]
    assert item.href == str(path)
    assert set(item.assets) == set(document["assets"])
    assert item.geometry.equals(shapely.geometry.shape(document["geometry"]))


def test_a_box_stands_for_a_missing_geometry() -> None:
    document = stac_item() | {"geometry": None, "bbox": [10, 50, -5, 11, 51, 900]}
    assert item_of(document, "").geometry.equals(shapely.box(10, 50, 11, 51))
    document["geometry"] = {"type": "Point", "coordinates": [10, 50]}
    assert item_of(document, "").geometry.equals(shapely.box(10, 50, 11, 51))


def test_a_footprint_over_the_antimeridian_is_cut_there() -> None:
    parts = shapely.union_all([shapely.box(179, -1, 180, 1), shapely.box(-180, -1, -178, 1)])
    crossing = stac_item(box=(179.0, -1.0, -178.0, 1.0))
    assert item_of(crossing, "").geometry.equals(parts)
    assert item_of(crossing | {"geometry": None}, "").geometry.equals(parts)
    counted_on = stac_item(box=(179.0, -1.0, 182.0, 1.0))
    assert item_of(counted_on, "").geometry.equals(parts)
    world = stac_item(box=(-180.0, -90.0, 180.0, 90.0))
    assert item_of(world, "").geometry.equals(shapely.box(-180, -90, 180, 90))


def test_a_bow_tie_is_mended() -> None:
    document = stac_item()
    document["geometry"]["coordinates"] = [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]
    item = item_of(document, "")
    assert item.geometry.is_valid
    assert item.geometry.area == pytest.approx(0.5)


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def changed(**members: Any) -> dict[str, Any]:
    return stac_item() | members


ring_of_nan = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, math.nan], [0, 0]]]}
ring_of_metres = {"type": "Polygon", "coordinates": [[[0, 0], [5e5, 0], [5e5, 5e5], [0, 0]]]}
ring_of_text = {"type": "Polygon", "coordinates": [[[0, 0], ["a", "b"], [1, 1], [0, 0]]]}
line = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 0], [0, 0]]]}
huge_ring = {
    "type": "Polygon",
    "coordinates": [[[i * 1e-4, i % 2] for i in range(MOST_VERTICES + 2)] + [[0, 0]]],
}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("text", "no JSON object"),
        (None, "no JSON object"),
        ([], "no JSON object"),
        (changed(id=None), "no id"),
        (changed(id=7), "no id"),
        (changed(id=""), "no id"),
        (changed(id="x" * 5000), "no id"),
        (changed(properties=[]), "properties"),
        (changed(properties=None), "properties"),
        (changed(properties={"datetime": 5}), "no RFC 3339 time"),
        (changed(geometry=None, bbox=None), "neither a polygon nor a bbox"),
        (changed(geometry=None, bbox=[1, 2, 3]), "neither a polygon nor a bbox"),
        (changed(geometry=None, bbox=["1", "2", "3", "4"]), "else than numbers"),
        (changed(geometry=None, bbox=[0, 0, 10**400, 1]), "not in degrees"),
        (changed(geometry=None, bbox=[0, 0, True, 1]), "else than numbers"),
        (changed(geometry=None, bbox=[5, 5, 5, 5]), "no area"),
        (changed(geometry=None, bbox=[0, -91, 1, 0]), "not in degrees"),
        (changed(geometry={"type": "Polygon", "coordinates": "x"}), "malformed"),
        (changed(geometry=ring_of_text), "malformed"),
        (changed(geometry={"type": "Polygon"}), "malformed"),
        (changed(geometry={"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}), "malformed"),
        (changed(geometry=ring_of_nan), "not finite"),
        (changed(geometry=ring_of_metres), "not in degrees"),
        (changed(geometry=line), "no area"),
        (changed(geometry=huge_ring), "vertices|values"),
        (changed(assets=[]), "assets are no JSON object"),
        (changed(assets=None), "assets are no JSON object"),
        (changed(assets={"a": "https://x/a.tif"}), "asset 'a' is no JSON object"),
        (changed(assets={"a": {"title": "no file"}}), "none of its assets has an href"),
        (changed(assets={"a": {"href": 5}}), "none of its assets has an href"),
        (changed(assets={"a": {"href": "h" * 5000}}), "none of its assets has an href"),
        (changed(assets={}), "none of its assets has an href"),
        (changed(assets={str(i): {"href": "x"} for i in range(2001)}), "2,000 assets"),
        (changed(properties={"datetime": None, "a": nested(MOST_DEPTH)}), "nested"),
        (changed(properties={"datetime": None, "a": list(range(MOST_VALUES + 1))}), "values"),
        (changed(properties={"datetime": None, "gsd": math.inf}), "not finite"),
    ],
)  # fmt: skip
def test_a_malformed_item_has_a_reason(document: object, reason: str) -> None:
    with pytest.raises(ItemError, match=reason):
        item_of(document, "https://api.example/search")


@pytest.mark.parametrize("cover", ["30", None, -1, 101, True, [5]])
def test_clouds_that_cannot_be_meant_are_unknown(cover: object) -> None:
    assert item_of(stac_item(**{"eo:cloud_cover": cover}), "").cloud_cover is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(
    member=st.sampled_from(["id", "collection", "geometry", "bbox", "properties", "links", "assets", "type"]),
    value=json_values,
)
def test_any_value_in_any_member_is_an_item_or_a_reason(member: str, value: object) -> None:
    try:
        item = item_of(stac_item() | {member: value}, "https://api.example/search")
    except ItemError:
        return
    assert item.geometry.is_valid
    assert item.geometry.area > 0


@given(coordinates=json_values)
def test_any_coordinates_are_a_footprint_or_a_reason(coordinates: object) -> None:
    try:
        item = item_of(changed(geometry={"type": "MultiPolygon", "coordinates": coordinates}), "")
    except ItemError:
        return
    assert item.geometry.is_valid


@pytest.mark.parametrize(
    ("href", "place", "absolute"),
    [
        ("b.tif", "https://h/x/a.json?t=1", "https://h/x/b.tif"),
        ("../b.tif?sig=1", "https://h/x/y/a.json", "https://h/x/b.tif?sig=1"),
        ("/b.tif", "https://h/x/a.json", "https://h/b.tif"),
        ("./b c.tif", "s3://bucket/x/a.json", "s3://bucket/x/b c.tif"),
        ("../b.tif", "s3://bucket/x/y/a.json", "s3://bucket/x/b.tif"),
        ("./b.tif", "/data/a.json", "/data/b.tif"),
        ("/other/b.tif", "/data/a.json", "/other/b.tif"),
        ("s3://c/b.tif", "https://h/a.json", "s3://c/b.tif"),
        ("/vsicurl/http://h/b.tif", "/data/a.json", "/vsicurl/http://h/b.tif"),
        ("file:///other/b%20c.tif", "https://h/a.json", "/other/b c.tif"),
        ("file://localhost/other/b.tif", "/data/a.json", "/other/b.tif"),
        ("file://host/other/b.tif", "/data/a.json", "file://host/other/b.tif"),
    ],
)
def test_hrefs_belong_to_the_place_of_their_document(href: str, place: str, absolute: str) -> None:
    assert resolved(href, place) == absolute


def test_local_hrefs_are_absolute_and_may_be_percent_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An href is a URI reference, but a name may hold a per cent sign."""
    monkeypatch.chdir(tmp_path)
    for name in ("a b.tif", "c%20d.tif"):
        (tmp_path / name).touch()
    assert resolved("./a%20b.tif", "items.json") == str(tmp_path / "a b.tif")
    assert resolved("a b.tif", "items.json") == str(tmp_path / "a b.tif")
    assert resolved("c%20d.tif", "items.json") == str(tmp_path / "c%20d.tif")
    assert resolved("no%20where.tif", "items.json") == str(tmp_path / "no%20where.tif")


def test_ids_hold_nothing_that_a_screen_obeys() -> None:
    document = stac_item("x") | {"id": "\x1b[2Ja\u202eb\nc\x9b", "collection": "\x1b]0;t\x07naip\x00"}
    item = item_of(document, "/data/items.json")
    assert (item.item_id, item.collection) == ("ab c", "naip")
    assert item_name(document) == "ab c"
    with pytest.raises(ItemError, match="it has no id"):
        item_of(document | {"id": "\x1b[2J"}, "/data/items.json")
