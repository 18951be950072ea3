"""Which mask an item has, and what users may write. Items are recorded ones, or written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from pipeline.errors import InputError
from pipeline.grid.catalog import quality_table
from pipeline.grid.catalog.item import Asset, Item
from pipeline.grid.catalog.quality_table import check_mask, known_mask, mask_choice, quality_of
from pipeline.schema.quality_rule import QualityRule

RECORDED = Path(__file__).parents[5] / "shared" / "data" / "stac"
TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"


def an_item(
    *keys: str,
    collection: str = "scenes",
    ending: str = "tif",
    kind: str = TIFF,
    fields: dict[str, Any] | None = None,
) -> Item:
    assets = {
        key: Asset(
            key=key, href=f"https://host/{key}.{ending}?sig=secret", media_type=kind, fields=fields or {}
        )
        for key in keys
    }
    return Item(
        item_id="one",
        collection=collection,
        href="",
        geometry=box(0, 0, 1, 1),
        start=None,
        end=None,
        cloud_cover=None,
        properties={},
        assets=assets,
    )


def test_sentinel_2_is_masked_by_its_scene_classification() -> None:
    quality = quality_of(an_item("visual", "scl", "cloud", collection="sentinel-2-c1-l2a"), None)
    assert quality is not None
    assert quality.file.href == "https://host/scl.tif"
    assert quality.file.access == "sig=secret"
    assert "scl" in quality.source
    rule = QualityRule.of(quality.rule)
    names = ["no data", "saturated", "dark", "shadow", "plants", "soil", "water", "unclassified"]
    names += ["cloud, medium", "cloud, high", "cirrus", "snow"]
    hidden = [
        name for name, hides in zip(names, rule.hides(np.arange(12, dtype=np.uint8)), strict=True) if hides
    ]
    assert hidden == ["shadow", "cloud, medium", "cloud, high", "cirrus"]


def test_landsat_is_masked_by_its_bits() -> None:
    quality = quality_of(an_item("red", "qa_pixel", collection="landsat-c2-l2"), None)
    assert quality is not None
    # as USGS lists them: fill, clear land, clear water, cloud, cloud shadow, snow, cirrus, dilated cloud
    values = np.array([1, 21824, 21952, 22280, 23888, 30048, 54596, 21826], np.uint16)
    rule = QualityRule.of(quality.rule)
    assert rule.hides(values).tolist() == [False, False, False, True, True, False, True, True]
    assert rule.lacks(values).tolist() == [True] + 7 * [False]


def test_collection_1_hides_cloud_and_likely_shadow_or_cirrus() -> None:
    quality = quality_of(an_item("B4", "BQA"), None)
    assert quality is not None
    rule = QualityRule.of(quality.rule)
    # USGS: 2720 and 2724 are clear (2724: one or two bands saturated), 2800 cloud of high confidence,
    # 2976 cloud shadow of high confidence, 6816 cirrus of high confidence, 1 fill.
    values = np.array([2720, 2724, 2800, 2976, 6816, 1], np.uint16)
    assert rule.hides(values).tolist() == [False, False, True, True, True, False]
    assert rule.lacks(values).tolist() == [False] * 5 + [True]


def test_probabilities_are_the_last_choice_and_only_where_their_scale_is_known() -> None:
    quality = quality_of(an_item("visual", "cloud", collection="sentinel-2-l2a"), None)
    assert quality is not None
    assert quality.rule == "above:40"
    assert quality_of(an_item("visual", "cloud", collection="drone"), None) is None


@pytest.mark.parametrize(
    ("ending", "kind"),
    [("jp2", "image/jp2"), ("jp2", ""), ("png", "image/png"), ("json", "application/json")],
)
def test_a_mask_that_is_no_geotiff_is_not_the_collections_own(ending: str, kind: str) -> None:
    assert quality_of(an_item("scl", ending=ending, kind=kind), None) is None
    assert quality_of(an_item("scl", kind=""), None) is not None


def test_an_item_without_a_mask_has_none_and_off_reads_none() -> None:
    assert quality_of(an_item("visual", "B04"), None) is None
    assert quality_of(an_item("visual", "scl"), "off") is None
    assert quality_of(an_item("visual", "scl"), " OFF ") is None


def test_recorded_items_have_their_masks() -> None:
    files = {"sentinel-2-l2a-pc.json": "SCL", "naip-pc.json": None}
    for name, key in files.items():
        path = RECORDED / name
        if not path.is_file():
            pytest.skip("the sample data folder ../shared/data is absent")
        for document in json.loads(path.read_text()):
            assets = {
                key: Asset(key=key, href=asset["href"], media_type=asset.get("type", ""))
                for key, asset in document["assets"].items()
            }
            item = an_item(collection=document["collection"])
            quality = quality_of(
                Item(**{field: getattr(item, field) for field in item.__slots__} | {"assets": assets}), None
            )
            assert (quality is None) == (key is None)
            if quality is not None:
                assert quality.file.href == document["assets"][key]["href"].partition("?")[0]


@pytest.mark.parametrize(
    ("text", "name", "band", "rule"),
    [
        ("SCL in (3,8,9,10)", "SCL", 1, "values:3,8,9,10;fill:0"),
        ("scl in 3, 8", "scl", 1, "values:3,8;fill:0"),
        ("SCL in (0,3)", "SCL", 1, "values:0,3"),
        ("QA_PIXEL bits (1,3,4)", "QA_PIXEL", 1, "bits:1,3,4;fill:0"),
        ("qa_pixel bit 3", "qa_pixel", 1, "bits:3;fill:0"),
        ("QA_PIXEL in (22280)", "QA_PIXEL", 1, "values:22280"),
        ("cloud > 50", "cloud", 1, "above:50"),
        ("cloud>0.4", "cloud", 1, "above:0.4"),
        ("udm2[6] = 1", "udm2", 6, "values:1"),
        ("my-mask_v2.1 == 255", "my-mask_v2.1", 1, "values:255"),
        ("offset > -5", "offset", 1, "above:-5"),
    ],
)
def test_what_users_write(text: str, name: str, band: int, rule: str) -> None:
    choice = mask_choice(text)
    assert (choice.name, choice.band, str(choice.rule)) == (name, band, rule)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SCL",
        "SCL in ()",
        "SCL in (3;8)",
        "SCL not in (3)",
        "SCL in (3,8) or SCL in (9)",
        "SCL < 3",
        "SCL >= 3",
        "SCL != 4",
        "SCL in (3,8",
        "SCL in 3,8)",
        "QA_PIXEL bits (64)",
        "QA_PIXEL bits (1.5)",
        "SCL[0] in (3)",
        "cloud > 1,2",
        "cloud > 1e999",
        "mask = --",
        "on",
    ],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"--mask.* To fix: "):
        check_mask(text)


def test_off_and_nothing_pass_the_check() -> None:
    for text in (None, "off", "SCL in (3)"):
        check_mask(text)


def test_a_users_rule_finds_its_asset_without_case_and_says_what_there_is() -> None:
    quality = quality_of(an_item("visual", "Clouds"), "clouds[2] > 30")
    assert quality is not None
    assert (quality.file.href, quality.file.band, quality.rule) == ("https://host/Clouds.tif", 2, "above:30")
    assert "--mask" in quality.source
    with pytest.raises(InputError, match=r"one.*'scl'.*it has Clouds, visual"):
        quality_of(an_item("visual", "Clouds"), "scl in (3)")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("T32UNC_20240601T103031_SCL_20m.tif", "values:3,8,9,10;fill:0"),
        ("LC08_L2SP_016034_20200504_02_T1_QA_PIXEL.TIF", "bits:1,2,3,4;fill:0"),
        ("L8-BQA-Elkton-VA.tiff", "bits:4,8,12;fill:0"),
        ("HLS.S30.T17SQB.2020155.Fmask.tif", "bits:1,2,3"),
        ("CB4_Fmask.tif", None),
        ("S2A_20240601_cloud.tif", None),
        ("scl.tif", "values:3,8,9,10;fill:0"),
        ("muscle.tif", None),
        ("cloud.tif", None),
    ],
)
def test_masks_are_known_by_their_files_names(name: str, rule: str | None) -> None:
    known = known_mask(name)
    assert (None if known is None else known.rule) == rule


VALUES = {"raster:bands": [{"scale": 0.0001, "offset": 0.0, "data_type": "uint16"}]}
SIX = ("blue", "green", "red", "nir", "swir16", "swir22")


def test_csmask_takes_six_bands_of_an_item_in_the_networks_order() -> None:
    item = an_item("visual", *reversed(SIX), collection="surface", fields=VALUES)
    quality = quality_of(item, "csmask")
    assert quality is not None
    assert [file.href for file in quality.bands] == [f"https://host/{key}.tif" for key in SIX]
    assert quality.file == quality.bands[0]
    assert (quality.model, quality.rule) == ("csmask-l2a", "values:1,2")
    assert quality.reflectance is not None
    assert quality.reflectance.scale == 0.0001
    assert {file.access for file in quality.bands} == {"sig=secret"}


def test_the_level_is_the_collections_or_the_users() -> None:
    item = an_item(*SIX, collection="tiles-l1c", fields=VALUES)
    models = [
        quality.model
        for rule in ("csmask", "csmask:l2a", "CSMASK:L1C")
        if (quality := quality_of(item, rule))
    ]
    assert models == ["csmask-l1c", "csmask-l2a", "csmask-l1c"]


def test_common_names_of_bands_count_where_keys_are_others() -> None:
    names = dict(zip(("B02", "B03", "B04", "B08", "B11", "B12"), SIX, strict=True))
    item = an_item(*names)
    assets = {
        key: Asset(
            key=key,
            href=f"https://host/{key}.tif",
            media_type=TIFF,
            fields={"eo:bands": [{"name": key, "common_name": names[key]}], **VALUES},
        )
        for key in names
    }
    found = {name: getattr(item, name) for name in item.__slots__} | {"assets": assets}
    quality = quality_of(Item(**found), "csmask:l2a")
    assert quality is not None
    assert [file.href[13:-4] for file in quality.bands] == list(names)


def test_an_item_that_has_a_mask_keeps_it() -> None:
    quality = quality_of(an_item(*SIX, "scl", collection="sentinel-2-l2a"), "csmask")
    assert quality is not None
    assert not quality.model


@pytest.mark.parametrize(
    ("keys", "collection", "said"),
    [
        (SIX[:5], "sentinel-2-l2a", "no short-wave infrared 2"),
        (("visual",), "naip", "no blue, green, red, near infrared"),
        (SIX, "drone", "bands of reflectance"),
    ],
)
def test_an_item_without_the_bands_or_their_meaning_is_refused(
    keys: tuple[str, ...], collection: str, said: str
) -> None:
    with pytest.raises(InputError, match=rf"csmask.*{said}.*--mask off"):
        quality_of(an_item(*keys, collection=collection), "csmask")


def test_csmask_needs_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality_table.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"ukis_csmask and onnxruntime.*terraquery\[clouds\]"):
        check_mask("csmask")
    monkeypatch.setattr(quality_table.importlib.util, "find_spec", lambda name: name)
    check_mask("csmask:l1c")
    with pytest.raises(InputError, match="--mask"):
        check_mask("csmask:l3")


def test_an_fmask_has_bits_in_hls_alone() -> None:
    quality = quality_of(an_item("B04", "Fmask", collection="HLSS30_2.0"), None)
    assert quality is not None
    assert quality.rule == "bits:1,2,3"
    assert quality_of(an_item("B04", "FMASK", collection="CB4-16D-2"), None) is None
