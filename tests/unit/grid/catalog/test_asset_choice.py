"""Which files of an item show it in colour. Recorded items say what catalogues write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from item_files import TIFF, item_with
from stac_items import stac_item

from pipeline.errors import InputError
from pipeline.grid.catalog.asset_choice import (
    band_names,
    check_asset_names,
    choose_assets,
    is_geotiff,
    rgb_indexes,
)
from pipeline.grid.catalog.item import Asset, Item


def item(assets: dict[str, dict[str, Any]], **properties: Any) -> Item:
    document = stac_item(**properties)
    document["assets"] = {
        key: {"href": f"https://files.example/{key}.tif", "type": TIFF, **fields}
        for key, fields in assets.items()
    }
    return item_with(document)


def bands(*names: str, key: str = "eo:common_name") -> dict[str, Any]:
    return {"bands": [{key: name} for name in names]}


def recorded(data_dir: Path, name: str) -> list[Item]:
    document = json.loads((data_dir / "stac" / name).read_text())
    found = document if isinstance(document, list) else document.get("features", [document])
    return [item_with(entry) for entry in found if "L1C" not in entry["id"]]  # these have JPEG 2000 alone


@pytest.mark.parametrize(
    ("name", "keys", "indexes"),
    [
        ("naip-pc.json", ["image"], (1, 2, 3)),
        ("sentinel-2-l2a-pc.json", ["visual"], (1, 2, 3)),
        ("earthsearch_s2_search_page.json", ["visual"], (1, 2, 3)),
        ("S2A_28QCH_20200714_0_L2A.json", ["visual"], None),
    ],
)
def test_recorded_items_have_their_picture(
    data_dir: Path, name: str, keys: list[str], indexes: tuple[int, int, int] | None
) -> None:
    for own in recorded(data_dir, name):
        chosen = choose_assets(own)
        assert [asset.key for asset in chosen.assets] == keys
        assert chosen.indexes == indexes


@pytest.mark.parametrize(
    ("name", "wanted", "keys"),
    [
        ("earthsearch_s2_search_page.json", ("red", "green", "blue"), ["red", "green", "blue"]),
        ("sentinel-2-l2a-pc.json", ("B04", "B03", "B02"), ["B04", "B03", "B02"]),
        ("sentinel-2-l2a-pc.json", ("b04", "green", "BLUE"), ["B04", "B03", "B02"]),
        ("S2A_28QCH_20200714_0_L2A.json", ("B04", "B03", "B02"), ["B04", "B03", "B02"]),
    ],
)
def test_single_bands_are_found_by_key_and_by_common_name(
    data_dir: Path, name: str, wanted: tuple[str, ...], keys: list[str]
) -> None:
    for own in recorded(data_dir, name):
        assert [asset.key for asset in choose_assets(own, wanted).assets] == keys


def test_all_forms_of_stac_bands(data_dir: Path) -> None:
    (own,) = recorded(data_dir, "stac_bands.json")
    assert band_names(own.assets["rgb"]) == ("red", "green", "blue")
    assert rgb_indexes(own.assets["rgb_common"]) == (1, 2, 3)
    assert rgb_indexes(own.assets["rgb_name"]) is None
    assert band_names(own.assets["rgb_indexes"]) == ()


RGB = bands("red", "green", "blue")

CASES: dict[str, tuple[dict[str, dict[str, Any]], list[str], tuple[int, int, int] | None]] = {
    "one file beats three": (
        {"red": bands("red"), "green": bands("green"), "blue": bands("blue"), "rgb": RGB},
        ["rgb"],
        (1, 2, 3),
    ),
    "bands in another order": ({"ms": bands("blue", "green", "red", "nir")}, ["ms"], (3, 2, 1)),
    "names of STAC 1.0": (
        {"ms": {"eo:bands": [{"name": "N"}, {"name": "B04", "common_name": "red"}, {"common_name": "green"},
                             {"common_name": "blue"}]}},
        ["ms"],
        (2, 3, 4),
    ),
    "a picture beats a finer stack": (
        {"ms": RGB | {"gsd": 0.3}, "visual": RGB | {"gsd": 1}},
        ["visual"],
        (1, 2, 3),
    ),
    "the finer of two stacks": (
        {"low": RGB | {"gsd": 20}, "high": RGB | {"gsd": 10}},
        ["high"],
        (1, 2, 3),
    ),
    "three files by their keys": ({"B02": {}, "B03": {}, "B04": {}, "B08": {}}, ["B04", "B03", "B02"], None),
    "three files by their bands": (
        {"x": bands("blue"), "y": bands("red"), "z": bands("green"), "w": bands("nir08")},
        ["y", "z", "x"],
        None,
    ),
    "the finest of several": (
        {
            f"{colour}_{size}": bands(colour) | {"proj:transform": [size, 0, 0, 0, -size, 0]}
            for size in (60, 10)
            for colour in ("red", "green", "blue")
        },
        ["red_10", "green_10", "blue_10"],
        None,
    ),
    "an overview only where there is nothing else": (
        {"overview": RGB | {"roles": ["overview"]}, "B02": {}, "B03": {}, "B04": {}},
        ["B04", "B03", "B02"],
        None,
    ),
    "the only GeoTIFF": ({"data": {}}, ["data"], None),
    "a file that is called a picture": ({"data": {}, "image": {}}, ["image"], None),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_an_item_says_decides(case: str) -> None:
    assets, keys, indexes = CASES[case]
    chosen = choose_assets(item(assets))
    assert [asset.key for asset in chosen.assets] == keys
    assert chosen.indexes == indexes


def test_other_files_are_no_imagery() -> None:
    kinds = {
        "image/jp2": False, "application/json": False, "image/tiff": True, TIFF: True, "image/png": False,
        "image/vnd.stac.geotiff; cloud-optimized=true": True,
    }  # fmt: skip
    for kind, wanted in kinds.items():
        assert is_geotiff(Asset(key="a", href="https://h/a.tif", media_type=kind)) is wanted
    assert is_geotiff(Asset(key="a", href="https://h/a.TIFF?token=x"))
    assert not is_geotiff(Asset(key="a", href="https://h/a.jp2"))
    thumbnail = {"rgb": RGB | {"roles": ["thumbnail"]}}
    with pytest.raises(InputError, match=r"GeoTIFFs whose colours are known.*--assets"):
        choose_assets(item({**thumbnail, "scl": {"type": "image/jp2"}}))


def test_bands_choose_within_one_file() -> None:
    assets = {"B02": {}, "B03": {}, "B04": {}}
    with pytest.raises(InputError, match="colours are known"):
        choose_assets(item(assets), one_file=True)
    assert [asset.key for asset in choose_assets(item({"data": {}}), one_file=True).assets] == ["data"]


def test_names_that_do_not_fit_are_told_with_those_that_do() -> None:
    own = item({"visual": {}, "scl": {"type": "image/jp2"}, "a": bands("red"), "b": bands("red")})
    with pytest.raises(InputError, match=r"'rgb', and the item has visual, a, b, scl \(no GeoTIFF\)"):
        choose_assets(own, ("rgb",))
    with pytest.raises(InputError, match=r"'scl', of type image/jp2"):
        choose_assets(own, ("scl",))
    with pytest.raises(InputError, match="'red', which fits several"):
        choose_assets(own, ("red", "visual", "visual"))
    assert check_asset_names(["B04 ", "B03", "B02"]) == ("B04", "B03", "B02")
    for names in (["a", "b"], [""], ["a", "", "b"]):
        with pytest.raises(InputError, match="--assets must name"):
            check_asset_names(names)
