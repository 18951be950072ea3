"""Where an item says that its file lies. Oracle: pyproj and rasterio, and places worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio.crs
from item_files import TIFF, item_with
from stac_items import stac_item

from pipeline.grid.catalog.item import Item
from pipeline.grid.catalog.item_groups import ItemList
from pipeline.grid.catalog.item_projection import (
    Projection,
    claimed_crs,
    claimed_places,
    footprint_place,
    lies_apart,
)

TRANSFORM = [10.0, 0.0, 600_000.0, 0.0, -10.0, 5_700_000.0]
SHAPE = [100, 200]
WHOLE: dict[str, Any] = {"proj:code": "EPSG:32632", "proj:transform": TRANSFORM, "proj:shape": SHAPE}
BOX = (10.43, 51.43, 10.46, 51.45)
"""About where TRANSFORM puts SHAPE pixels."""


def item(on_item: dict[str, Any], on_asset: dict[str, Any] | None = None, *, box: Any = BOX) -> Item:
    document = stac_item(box=box)
    document["properties"] |= on_item
    document["assets"]["image"] |= {"type": TIFF, **(on_asset or {})}
    return item_with(document)


def projection_of(own: Item, key: str = "image") -> Projection | None:
    (claimed,) = claimed_places(ItemList([own]), key).each()
    return claimed.projection


def apart(items: list[Item], places: list[Projection]) -> list[bool]:
    crs = np.array([place.crs_wkt for place in places], dtype=object)
    affines = np.array([place.transform for place in places])
    shapes = np.array([(place.height, place.width) for place in places], dtype=np.float64)
    return list(lies_apart(ItemList(items).geometries(), crs, affines, shapes).tolist())


def place(own: Item) -> tuple[Any, ...] | None:
    found = projection_of(own)
    if found is None:
        return None
    return rasterio.crs.CRS.from_wkt(found.crs_wkt).to_epsg(), found.transform, found.height, found.width


WHERE = (32632, tuple(TRANSFORM), 100, 200)
CRS_JSON = pyproj.CRS.from_epsg(32632).to_json_dict()


@pytest.mark.parametrize(
    ("on_item", "on_asset", "wanted"),
    [
        (WHOLE, {}, WHERE),
        ({}, WHOLE, WHERE),
        ({"proj:epsg": 32632}, {"proj:transform": TRANSFORM, "proj:shape": SHAPE}, WHERE),
        (WHOLE | {"proj:shape": [1, 1]}, {"proj:shape": SHAPE}, WHERE),
        (WHOLE | {"proj:code": "EPSG:3857"}, {"proj:code": "EPSG:32632"}, WHERE),
        (WHOLE | {"proj:transform": [*TRANSFORM, 0, 0, 1]}, {}, WHERE),
        (WHOLE | {"proj:code": None, "proj:epsg": "32632"}, {}, WHERE),
        (WHOLE | {"proj:code": "EPSG:None", "proj:wkt2": pyproj.CRS.from_epsg(32632).to_wkt()}, {}, WHERE),
        (WHOLE | {"proj:code": None, "proj:projjson": CRS_JSON}, {}, WHERE),
        (
            {"proj:code": "EPSG:32632", "proj:bbox": [600_000, 5_699_000, 602_000, 5_700_000]},
            {"proj:shape": SHAPE},
            WHERE,
        ),
        (WHOLE | {"proj:code": "EPSG:None"}, {}, None),
        (WHOLE | {"proj:code": None}, {}, None),
        ({"proj:epsg": None, "proj:transform": TRANSFORM, "proj:shape": SHAPE}, {}, None),
        (WHOLE | {"proj:code": "EPSG:999999"}, {}, None),
        (WHOLE | {"proj:code": 32632}, {}, None),
        (WHOLE | {"proj:code": "http://evil.example/crs"}, {}, None),
        (WHOLE | {"proj:shape": [0, 200]}, {}, None),
        (WHOLE | {"proj:shape": [100.5, 200]}, {}, None),
        (WHOLE | {"proj:shape": "100x200"}, {}, None),
        (WHOLE | {"proj:transform": [10.0, 0.0, 600_000.0]}, {}, None),
        (WHOLE | {"proj:transform": [0, 0, 600_000.0, 0, 0, 5_700_000.0]}, {}, None),
        (WHOLE | {"proj:transform": [*TRANSFORM, 1, 0, 1]}, {}, None),
        (WHOLE | {"proj:transform": [10.0, 0.0, None, 0.0, -10.0, 1.0]}, {}, None),
        ({"proj:code": "EPSG:32632", "proj:shape": SHAPE, "proj:bbox": [3, 2, 1, 4]}, {}, None),
        ({}, {}, None),
    ],
)
def test_what_item_and_asset_say(
    on_item: dict[str, Any], on_asset: dict[str, Any], wanted: tuple[Any, ...] | None
) -> None:
    assert place(item(on_item, on_asset)) == wanted


def test_a_null_on_the_asset_leaves_the_crs_to_the_item() -> None:
    own = item(WHOLE, {"proj:code": None})
    (found,) = claimed_crs(ItemList([own]), "image")
    assert found is not None
    assert rasterio.crs.CRS.from_wkt(found).to_epsg() == 32632


def test_recorded_items_say_it_all(data_dir: Path) -> None:
    for entry in json.loads((data_dir / "stac" / "naip-pc.json").read_text()):
        own = item_with(entry)
        found = projection_of(own)
        assert found is not None
        assert [found.height, found.width] == entry["properties"]["proj:shape"]
        assert list(found.transform) == entry["properties"]["proj:transform"][:6]
        west, south, east, north = entry["properties"]["proj:bbox"]
        assert found.transform[2] == pytest.approx(west)
        assert found.transform[5] + found.height * found.transform[4] == pytest.approx(south)
        assert (east, north) == pytest.approx((west + found.width * found.transform[0], found.transform[5]))
        assert apart([own], [found]) == [False]
    page = json.loads((data_dir / "stac" / "earthsearch_s2_search_page.json").read_text())
    items = [item_with(entry) for entry in page["features"]]
    places = [projection_of(own, "visual") for own in items]
    assert all(places)
    assert not any(apart(items, [found for found in places if found]))


GDAL_ORDER = [TRANSFORM[2], TRANSFORM[0], TRANSFORM[1], TRANSFORM[5], TRANSFORM[3], TRANSFORM[4]]


@pytest.mark.parametrize(
    ("fields", "box", "wrong"),
    [
        (WHOLE, BOX, False),
        (WHOLE | {"proj:transform": GDAL_ORDER}, BOX, True),
        (WHOLE | {"proj:code": "EPSG:32633"}, BOX, True),
        (WHOLE, (10.44, 51.44, 10.441, 51.441), False),
        (WHOLE, (10.5, 51.43, 10.53, 51.45), True),
    ],
)
def test_a_place_that_is_not_the_footprint(fields: dict[str, Any], box: Any, wrong: bool) -> None:
    own = item(fields, box=box)
    found = projection_of(own)
    assert found is not None, "the schema allows it"
    assert apart([own], [found]) == [wrong]
    assert apart([], []) == []


def test_a_footprint_that_is_cut_at_180_has_its_middle_in_its_larger_part() -> None:
    document = stac_item()
    rings = [
        [[[179.6, 51], [180, 51], [180, 51.9], [179.6, 51.9], [179.6, 51]]],
        [[[-180, 51], [-179.9, 51], [-179.9, 51.9], [-180, 51.9], [-180, 51]]],
    ]
    document["geometry"] = {"type": "MultiPolygon", "coordinates": rings}
    document["properties"] |= {"proj:code": "EPSG:32660", "proj:shape": [1000, 400]}
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:32660", always_xy=True).transform(179.6, 51.9)
    document["properties"]["proj:transform"] = [100, 0, x, 0, -100, y]
    document["assets"]["image"]["type"] = TIFF
    own = item_with(document)
    found = projection_of(own)
    assert found is not None
    assert apart([own], [found]) == [False]


def test_a_footprint_without_extent_has_a_pixel() -> None:
    place = footprint_place((10.0, 50.0, 10.0, 50.0))
    a, b, _, d, e, _ = place.transform
    assert a * e - b * d != 0
    assert (place.width, place.height) == (1, 1)
