"""Who says how values become reflectance: recorded items, and one made by hand for each row."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from stac_items import stac_item

from pipeline.grid.catalog.item import Item
from pipeline.grid.catalog.item_document import item_of
from pipeline.grid.catalog.reflectance_table import (
    ROWS,
    decide,
    facts_of,
    kind_of,
    scene_reflectance,
)
from pipeline.grid.radiometry import SENTINEL_2_L2A

RECORDED = Path(__file__).parents[4] / ".." / "shared" / "data" / "stac"

COGS = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/52/S/FA/B04.tif"
PC = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/47/X/ML/B04.tif"
C1 = "https://e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com/sentinel-2-c1-l2a/24/M/B04.tif"
OTHER = "https://files.example/B04.tif"
PLAIN = {"scale": 0.0001, "offset": 0.0}
SHIFTED = {"scale": 0.0001, "offset": -0.1}
SAID = {"raster:bands": [{"data_type": "uint16", **SHIFTED}]}


def recorded(name: str) -> list[Item]:
    if not RECORDED.is_dir():
        pytest.skip("the sample data folder ../shared/data is absent")
    document = json.loads((RECORDED / name).read_text())
    documents = document if isinstance(document, list) else document.get("features", [document])
    return [item_of(found, str(RECORDED / name)) for found in documents]


def numbers(item: Item, key: str) -> tuple[float, float] | None:
    found = decide(item, item.assets[key]).reflectance
    return None if found is None else (found.scale, found.offset)


def made(
    href: str = OTHER,
    *,
    key: str = "red",
    collection: str = "sentinel-2-l2a",
    when: str = "2024-06-01T10:00:00Z",
    asset: dict[str, Any] | None = None,
    **properties: Any,
) -> Item:
    document = stac_item(collection=collection, when=when, **properties)
    document["assets"] = {key: {"href": href, "roles": ["data"], **(asset or {})}}
    return item_of(document, "/catalogue/a.json")


def test_earth_searchs_offset_is_not_applied_twice() -> None:
    """The first item is L2A in COGs, the second L1C, the third Collection 1, where nothing is subtracted."""
    cogs, level_1, collection_1 = recorded("earthsearch_s2_search_page.json")
    for key in ("red", "green", "blue", "nir"):
        assert cogs.assets[key].fields["raster:bands"][0]["offset"] == -0.1  # which is the trap
        assert numbers(cogs, key) == (1e-4, 0.0)
        assert numbers(level_1, key) == (1e-4, -0.1)
        assert numbers(collection_1, key) == (1e-4, -0.1)
    assert numbers(cogs, "red-jp2") == (1e-4, -0.1)  # ESA's own file, which holds ESA's values
    assert "earth-search/issues" in decide(cogs, cogs.assets["red"]).why


def test_planetary_computer_keeps_the_offset_and_does_not_say_so() -> None:
    for item in recorded("sentinel-2-l2a-pc.json"):
        assert "raster:bands" not in item.assets["B04"].fields
        assert [numbers(item, key) for key in ("B04", "B03", "B02")] == [(1e-4, -0.1)] * 3


def test_an_old_item_without_metadata_tells_its_baseline_by_its_product() -> None:
    (item,) = recorded("S2A_28QCH_20200714_0_L2A.json")
    assert facts_of(item, item.assets["B04"]).baseline == 2.14
    assert numbers(item, "B04") == (1e-4, 0.0)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("earthsearch_s2_search_page.json", ("visual", "scl", "aot", "wvp", "cloud", "thumbnail")),
        ("sentinel-2-l2a-pc.json", ("visual", "SCL", "AOT", "preview")),
        ("naip-pc.json", ("image", "thumbnail")),
        ("stac_bands.json", ("rgb", "rgb_name")),
    ],
)
def test_pictures_and_masks_are_no_reflectance(name: str, keys: tuple[str, ...]) -> None:
    items = recorded(name)
    assert [numbers(items[0], key) for key in keys if key in items[0].assets] == [None] * len(
        [key for key in keys if key in items[0].assets]
    )


@pytest.mark.parametrize(
    ("href", "subtracted", "baseline", "day", "wanted"),
    [
        # whoever subtracts it says so, and baselines before 04.00 had none
        (COGS, True, "05.11", "2025-07-31", PLAIN),
        (COGS, True, "04.00", "2022-01-26", PLAIN),
        (OTHER, True, "05.11", "2025-07-31", PLAIN),
        (COGS, False, "03.01", "2022-01-24", PLAIN),
        (PC, None, "03.01", "2022-01-24", PLAIN),
        # its COGs hold subtracted values even where the flag says no (S2B_20HMD_20221023, S2B_33UXP_20250302)
        (COGS, False, "04.00", "2022-10-23", PLAIN),
        (COGS, False, "05.11", "2025-03-02", PLAIN),
        (COGS, None, None, "2020-07-14", PLAIN),
        # an old date does not mean an old baseline
        (PC, None, "05.00", "2017-06-01", SHIFTED),
        (C1, None, "05.00", "2020-06-01", SHIFTED),
        ("s3://eodata/Sentinel-2/B04.jp2", None, "05.11", "2025-03-02", SHIFTED),
        (OTHER, None, "05.11", "2025-03-02", SHIFTED),
        (OTHER, False, "05.11", "2025-03-02", SHIFTED),
        # both ways are found among the COGs of these weeks (S2B_52SFA_20220126)
        (COGS, False, "04.00", "2022-01-26", None),
        (OTHER, None, None, "2025-03-02", None),
    ],
)
def test_sentinel_2_by_provider_and_baseline(
    href: str, subtracted: bool | None, baseline: str | None, day: str, wanted: dict[str, float] | None
) -> None:
    flag = {} if subtracted is None else {"x:boa_offset_applied": subtracted}
    version = {} if baseline is None else {"s2:processing_baseline": baseline}
    item = made(href, when=f"{day}T10:00:00Z", **flag, **version)
    assert numbers(item, "red") == (wanted and (wanted["scale"], wanted["offset"]))
    assert decide(item, item.assets["red"]).why


def test_the_baseline_may_stand_in_several_places() -> None:
    for name, value in (
        ("s2:processing_baseline", "05.11"),
        ("processing:version", "05.11"),
        ("s2:product_uri", "S2B_MSIL2A_20240419T095549_N0511_R122_T47XML_20240419T123458.SAFE"),
        ("s2:datatake_id", "GS2B_20240419T095549_037185_N05.11"),
    ):
        item = made(OTHER, **{name: value})
        assert facts_of(item, item.assets["red"]).baseline == 5.11, name
    item = made("https://h.example/S2B_MSIL2A_20240419T095549_N0511_R122_T47XML_20240419T123458.SAFE/B04.tif")
    assert facts_of(item, item.assets["red"]).baseline == 5.11
    for nonsense in (None, [], {}, "new", "5.11.0"):
        item = made(OTHER, **{"s2:processing_baseline": nonsense})
        assert facts_of(item, item.assets["red"]).baseline is None


def test_another_provider_is_believed_where_it_gives_numbers() -> None:
    baseline = {"s2:processing_baseline": "05.11"}
    unchanged = {"raster:bands": [{"data_type": "uint16", **PLAIN}]}
    assert numbers(made(asset=unchanged, **baseline), "red") == (1e-4, 0.0)
    assert numbers(made(asset=SAID, **baseline), "red") == (1e-4, -0.1)
    assert numbers(made(asset=SAID), "red") == (1e-4, -0.1)
    assert numbers(made(PC, asset=unchanged, **baseline), "red") == (1e-4, -0.1)  # known better by the table


@pytest.mark.parametrize(
    "collection", ["landsat-c2-l2", "landsat-c2l2-sr", "landsat-c2l2alb-sr", "landsat-c2ard-sr"]
)
def test_landsat_collection_2(collection: str) -> None:
    assert numbers(made(collection=collection), "red") == (2.75e-5, -0.2)
    assert numbers(made(collection=collection, key="SR_B4.TIF"), "SR_B4.TIF") is None
    assert numbers(made(collection=collection, key="SR_B4"), "SR_B4") == (2.75e-5, -0.2)
    for key, band in (
        ("qa_pixel", {"data_type": "uint16"}),
        ("lwir11", {"data_type": "uint16", "scale": 0.00341802, "offset": 149.0, "unit": "kelvin"}),
    ):
        assert numbers(made(collection=collection, key=key, asset={"raster:bands": [band]}), key) is None


def test_planetscope_reflectance_and_radiance() -> None:
    radiance = {"raster:bands": [{"data_type": "uint16", "scale": 0.01, "unit": "W⋅sr−1⋅m−2⋅nm−1"}] * 4}
    href = "https://p.example/20240601_3B_AnalyticMS{}.tif"
    for key, name in (("ortho_analytic_4b_sr", "_SR"), ("analytic_sr", "_SR_clip")):
        assert numbers(made(href.format(name), key=key, collection="PSScene"), key) == (1e-4, 0.0)
    for fields in (radiance, {}):
        item = made(href.format(""), key="analytic", collection="PSScene", asset=fields)
        assert numbers(item, "analytic") is None
    assert "no reflectance coefficient" in decide(item, item.assets["analytic"]).why
    given = {"raster:bands": [{"data_type": "uint16", "scale": 2.1e-5}] * 4}
    item = made(href.format(""), key="analytic", collection="PSScene", asset=given)
    assert numbers(item, "analytic") == (2.1e-5, 0.0)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"bands": [{"name": "r", "raster:scale": 1e-4, "raster:offset": -0.1}]}, (1e-4, -0.1)),
        ({"bands": [{"name": "r"}], "raster:scale": 1e-4}, (1e-4, 0.0)),
        ({"raster:bands": [{"scale": 1e-4}, {"scale": 1e-4, "offset": 0}]}, (1e-4, 0.0)),
        ({"raster:bands": [{"scale": 1e-4}, {"scale": 2e-4}]}, None),
        ({"raster:bands": [{"scale": 0.1, "offset": 0}]}, None),
        ({"raster:bands": [{"scale": 1e-4, "unit": "m"}]}, None),
        ({"raster:bands": [{"scale": 1e-4, "data_type": "uint8"}]}, None),
        ({"raster:bands": [{"scale": "1e-4"}, None, 7, {"scale": True}]}, None),
        ({"raster:bands": "1e-4"}, None),
        ({"data_type": "uint8", "raster:scale": 1e-4}, None),
        ({}, None),
    ],
)
def test_any_item_may_give_scale_and_offset(
    fields: dict[str, Any], wanted: tuple[float, float] | None
) -> None:
    item = made(collection="aerial", key="data", asset=fields)
    assert numbers(item, "data") == wanted


def test_a_scene_of_several_assets_has_one_answer() -> None:
    document = stac_item(collection="aerial")
    document["assets"] = {
        "red": {"href": "https://h.example/r.tif", "raster:bands": [{"scale": 1e-4}]},
        "green": {"href": "https://h.example/g.tif", "raster:bands": [{"scale": 1e-4}]},
        "blue": {"href": "https://h.example/b.tif", "raster:bands": [{"scale": 2e-4}]},
    }
    item = item_of(document, "/catalogue/a.json")
    red, green, blue = item.assets.values()
    found, why = scene_reflectance(item, [red, green, red], "auto")
    assert found is not None
    assert (found.scale, found.offset, found.source) == (1e-4, 0.0, "the item's own scale and offset")
    assert why == ""
    found, why = scene_reflectance(item, [red, green, blue], "auto")
    assert found is not None
    assert found.coefficients(3) == ((1e-4, 0.0), (1e-4, 0.0), (2e-4, 0.0))
    assert (found.source, why) == ("the item's own scale and offset", "")
    assert scene_reflectance(item, [red, green, blue], SENTINEL_2_L2A) == (SENTINEL_2_L2A, "")
    assert scene_reflectance(item, [red, green], "stored") == (None, "")


def test_a_scene_of_which_one_band_says_nothing_is_not_known() -> None:
    document = stac_item(collection="aerial")
    said = {"raster:bands": [{"scale": 1e-4}]}
    document["assets"] = {
        "red": {"href": "https://h.example/r.tif", **said},
        "green": {"href": "https://h.example/g.tif"},
    }
    red, green = item_of(document, "/catalogue/a.json").assets.values()
    item = item_of(document, "/catalogue/a.json")
    assert scene_reflectance(item, [red, green, red], "auto") == (
        None,
        "it is not known of all bands how their values become reflectance",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"raster:bands": [{"scale": 2e-5}, {"scale": 3e-5}, {"scale": 4e-5, "offset": -0.1}, {"scale": 9.0}]},
        {
            "bands": [
                {"name": "b", "raster:scale": 2e-5},
                {"name": "g", "raster:scale": 3e-5},
                {"name": "r", "raster:scale": 4e-5, "raster:offset": -0.1},
                {"name": "n", "raster:scale": 9.0},
            ]
        },
    ],
    ids=["STAC 1.0", "STAC 1.1"],
)
@pytest.mark.parametrize("collection", ["aerial", "PSScene"])
def test_bands_of_one_file_may_have_coefficients_of_their_own(
    fields: dict[str, Any], collection: str
) -> None:
    """PlanetScope radiance becomes reflectance by one coefficient per band. The fourth band is not read."""
    item = made(collection=collection, key="analytic", asset=fields)
    asset = item.assets["analytic"]
    found, why = scene_reflectance(item, [asset], "auto", [kind_of(item, asset, (3, 2, 1))])
    assert found is not None
    assert found.by_band == ((4e-5, -0.1), (3e-5, 0.0), (2e-5, 0.0))
    assert (found.source, why) == ("the item's own scale and offset of each band", "")
    found, _ = scene_reflectance(item, [asset], "auto", [kind_of(item, asset, (2, 2, 2))])
    assert found is not None
    assert (found.scale, found.offset, found.by_band) == (3e-5, 0.0, ())
    for bands in ((4, 2, 1), (5, 2, 1), ()):
        assert scene_reflectance(item, [asset], "auto", [kind_of(item, asset, bands)])[0] is None


def test_every_row_says_where_it_is_written_or_why_nobody_knows() -> None:
    for row in ROWS:
        assert re.compile(row.collection)
        assert re.compile(row.place)
        assert row.scale is None or re.search(r"\w+\.\w+/|support\.planet\.com", row.source)
