"""Items become scenes, and those that cannot are left with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from item_files import grey, item_document, item_with, projection_fields, write_pixels
from stac_items import stac_item

from pipeline.errors import InputError
from pipeline.grid.catalog.found_items import FoundItems
from pipeline.grid.catalog.item_scene import (
    described,
    footprint_bounds,
    scenes_of,
    settled,
    unread_numbers,
)
from pipeline.grid.catalog.scene_choice import ItemOptions


def found(*documents: dict[str, object]) -> FoundItems:
    return FoundItems(items=tuple(item_with(document) for document in documents))


def test_recorded_items_are_planned_without_opening_a_file(data_dir: Path) -> None:
    naip = json.loads((data_dir / "stac" / "naip-pc.json").read_text())
    result = scenes_of(found(*naip), ItemOptions())
    assert [scene.scene_id for scene in result.scenes] == [entry["id"] for entry in naip]
    assert not result.left
    assert unread_numbers(result.scenes).tolist() == list(range(len(naip)))
    for scene, entry in zip(result.scenes, naip, strict=True):
        assert [scene.height, scene.width] == entry["properties"]["proj:shape"]
        assert scene.rgb_bands == (1, 2, 3)
        assert scene.count == 4
        assert scene.datetime == entry["properties"]["datetime"]
        assert scene.collection == "naip"
        assert scene.href == entry["assets"]["image"]["href"]
    page = json.loads((data_dir / "stac" / "earthsearch_s2_search_page.json").read_text())["features"]
    result = scenes_of(found(*page), ItemOptions(assets=("red", "green", "blue")))
    level_2 = [entry for entry in page if entry["id"].endswith("L2A")]
    assert [scene.scene_id for scene in result.scenes] == [entry["id"] for entry in level_2]
    assert [entry.item_id for entry in result.left] == [e["id"] for e in page if e not in level_2]
    assert all("of type image/jp2" in entry.reason for entry in result.left)
    first = result.scenes[0]
    assert (first.width, first.height, first.dtype) == (10980, 10980, "uint16")
    assert [file.href.rsplit("/")[-1] for file in first.band_files] == ["B04.tif", "B03.tif", "B02.tif"]
    assert first.cloud_cover == pytest.approx(level_2[0]["properties"]["eo:cloud_cover"])
    assert first.reflectance is not None
    assert (first.reflectance.scale, first.reflectance.offset) == (0.0001, 0.0), "it was subtracted already"
    assert first.quality is not None
    assert first.quality.file.href.endswith("/SCL.tif")
    picture = scenes_of(found(*page), ItemOptions()).scenes[0]
    assert picture.href.endswith("/TCI.tif")
    assert picture.reflectance is None, "a picture stays as it is"
    off = scenes_of(found(*page), ItemOptions(mask="off", radiometry="stored")).scenes[0]
    assert (off.quality, off.reflectance) == (None, None)


def test_tokens_stay_out_of_what_is_shown() -> None:
    document = stac_item()
    document["assets"]["image"]["href"] = "https://h.example/a b.tif?sig=SECRET"
    transform = [7000, 0, 570000, 0, -12000, 5650000]
    document["properties"] |= {"proj:epsg": 32632, "proj:shape": [10, 10], "proj:transform": transform}
    result = scenes_of(found(document), ItemOptions())
    (own,) = described(result.scenes, np.array([0]))
    assert own.scene == result.scenes[0]
    assert own.scene.href == "https://h.example/a%20b.tif"
    assert own.scene.access == "sig=SECRET"
    assert "SECRET" not in repr(own)


def test_hrefs_that_nobody_may_open_are_left(tmp_path: Path) -> None:
    path = write_pixels(tmp_path / "a.tif", grey(8, 8, 1))
    good = item_document("good", {"image": path}, on_item=projection_fields(path))
    bad = []
    for number, href in enumerate(("/vsicurl/http://h/a.tif", "ftp://h/a.tif", "https://u:p@h/a.tif")):
        document = item_document(f"bad{number}", {"image": href}, like=path)
        bad.append(document)
    result = scenes_of(found(good, *bad), ItemOptions())
    assert [scene.scene_id for scene in result.scenes] == ["good"]
    assert [entry.item_id for entry in result.left] == ["bad0", "bad1", "bad2"]
    with pytest.raises(InputError, match="At least one of the 3 items found must be usable") as error:
        scenes_of(found(*bad), ItemOptions())
    assert str(error.value).count("To fix: ") == str(error.value).count("Got: ") == 1


def test_bands_and_three_files_exclude_each_other(tmp_path: Path) -> None:
    path = write_pixels(tmp_path / "a.tif", grey(8, 8, 1))
    document = item_document("a", {"r": path, "g": path, "b": path}, on_item=projection_fields(path))
    with pytest.raises(InputError, match="--bands chooses among the bands of one file"):
        scenes_of(found(document), ItemOptions(assets=("r", "g", "b"), bands=(1, 2, 3)))


def test_headers_are_opened_once_and_only_where_needed(tmp_path: Path) -> None:
    path = write_pixels(tmp_path / "a.tif", grey(8, 8, 1))
    full = item_document("full", {"image": path}, on_item=projection_fields(path))
    bare = item_document("bare", {"image": path})
    opened: list[tuple[int, int]] = []

    def count(done: int, of: int) -> None:
        opened.append((done, of))

    result = scenes_of(found(full, bare), ItemOptions(), on_opened=count)
    assert unread_numbers(result.scenes).tolist() == [0]
    assert opened == [(1, 1)]
    scenes = settled(result.scenes, on_opened=count)
    assert opened == [(1, 1), (1, 1)]
    assert scenes[1] is result.scenes[1]
    assert not unread_numbers(scenes).size
    one, other = ((s.transform, s.crs_wkt, s.width, s.dtype, dict(s.identity)) for s in scenes)
    assert one == other


def test_bounds_of_footprints() -> None:
    assert footprint_bounds(shapely.box(10, 50, 11, 51)) == (10, 50, 11, 51)
    cut = shapely.union_all([shapely.box(179, -5, 180, 5), shapely.box(-180, -5, -178.5, 5)])
    assert footprint_bounds(cut) == (179, -5, 181.5, 5)
