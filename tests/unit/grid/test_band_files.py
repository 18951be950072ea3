"""Sources of three band files: how they are written, named and joined."""

from __future__ import annotations

import logging
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from pipeline.errors import InputError
from pipeline.grid.band_files import band_hrefs, band_option, band_source, common_name
from pipeline.grid.source import SourceOptions, expand_hrefs, open_scenes
from pipeline.write.scene_entry import scene_entry, scene_of

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"


def write(path: Path, *, count: int = 1, **profile: Any) -> str:
    settings = {"driver": "GTiff", "count": count, "height": 20, "width": 30, "crs": "EPSG:32636"}
    settings |= {"dtype": "uint16", "transform": Affine(10, 0, 450000, 0, -10, 40000)} | profile
    with rasterio.open(path, "w", **settings) as dataset:
        dataset.write(np.full((count, 20, 30), len(path.stem), dtype=str(settings["dtype"])))
    return str(path)


def three(folder: Path, *names: str, **profile: Any) -> str:
    return band_source([write(folder / name, **profile) for name in names])


@pytest.mark.parametrize(
    ("source", "hrefs"),
    [
        ("red=a.tif,green=b.tif,blue=c.tif", ("a.tif", "b.tif", "c.tif")),
        ("blue=c.tif, RED = a=1,2.tif ,green=b.tif", ("a=1,2.tif", "b.tif", "c.tif")),
        ("red=https://h/a?s=1,2&x=g,green=s3://b/g,blue=c", ("https://h/a?s=1,2&x=g", "s3://b/g", "c")),
        ("a.tif", None),
        ("reds=a.tif", None),
        ("a,red=b.tif", None),
    ],
)  # fmt: skip
def test_a_source_of_bands_is_told_from_an_href(source: str, hrefs: tuple[str, ...] | None) -> None:
    assert band_hrefs(source) == hrefs
    if hrefs is not None:
        assert band_hrefs(band_source(hrefs)) == hrefs
        (_, text) = shlex.split(band_option(hrefs))
        assert band_hrefs(text) == hrefs


@pytest.mark.parametrize(
    "source",
    ["red=a.tif", "red=a,green=b", "red=a,green=b,blue=", "red=a,red=b,blue=c", "red=a,green=b,blue=c,red=d"],
)
def test_a_source_must_name_each_band_once(source: str) -> None:
    with pytest.raises(InputError, match=r"red, green and blue, each once.*red=B04\.tif,green="):
        band_hrefs(source)


@pytest.mark.parametrize(
    ("hrefs", "name"),
    [
        (("d/L8-B4-Elkton-VA.tiff", "d/L8-B3-Elkton-VA.tiff", "d/L8-B2-Elkton-VA.tiff"), "L8-Elkton-VA"),
        (("d/T33_B04_10m.tif", "d/T33_B03_10m.tif", "d/T33_B02_10m.tif"), "T33_10m"),
        (("d/B04 x.tif", "d/B03 x.tif", "d/B02 x.tif"), "x"),
        (("https://h/S2A_33U/B04.tif", "https://h/S2A_33U/B03.tif", "https://h/S2A_33U/B02.tif"), "S2A_33U"),
        (("d/red.tif", "e/green.tif", "e/blue.tif"), "red"),
        (("red.tif", "green.tif", "blue.tif"), "red"),
    ],
)
def test_a_scene_is_named_by_what_its_files_share(hrefs: tuple[str, ...], name: str) -> None:
    assert common_name(hrefs, [Path(href).stem for href in hrefs]) == name


def test_three_files_are_one_scene(tmp_path: Path) -> None:
    source = three(tmp_path, "T33_B04.tif", "T33_B03.tif", "T33_B02.tif", nodata=0)
    (scene,) = open_scenes(SourceOptions(hrefs=(source,)))
    assert (scene.scene_id, scene.count, scene.rgb_bands) == ("T33", 3, (1, 2, 3))
    assert (scene.width, scene.height, scene.dtype, scene.nodata) == (30, 20, "uint16", 0.0)
    assert [Path(file.href).name for file in scene.files] == ["T33_B04.tif", "T33_B03.tif", "T33_B02.tif"]
    assert scene.href == scene.files[0].href
    assert all(len(file.identity["sha256"]) == 64 for file in scene.files)
    assert scene.bands == "red = T33_B04, green = T33_B03, blue = T33_B02, by --source"
    assert scene_of(scene_entry(scene)) == scene


def test_the_time_is_that_of_the_first_file_that_says_one(tmp_path: Path) -> None:
    hrefs = [write(tmp_path / f"{name}.tif") for name in ("a1", "a2", "a3")]
    with rasterio.open(hrefs[1], "r+") as dataset:
        dataset.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2024-06-01T10:00:00")
    (scene,) = open_scenes(SourceOptions(hrefs=(band_source(hrefs),)))
    assert scene.datetime is not None
    assert scene.datetime.startswith("2024-06-01T10:00:00")


def test_lists_and_other_sources_may_stand_beside_it(tmp_path: Path) -> None:
    source = three(tmp_path, "a1.tif", "a2.tif", "a3.tif")
    listing = tmp_path / "list.txt"
    listing.write_text(f"{source}\n{tmp_path}/a?.tif\n")
    hrefs = expand_hrefs([str(listing), source])
    assert hrefs == (source, *(str(tmp_path / f"a{n}.tif") for n in (1, 2, 3)))
    with pytest.raises(InputError, match=r"must be one file.*3 by"):
        expand_hrefs([band_source([f"{tmp_path}/a?.tif", "x", "y"])])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    source = three(tmp_path, "a1.tif", "a2.tif", "a3.tif").replace("a2.tif", "gone.tif")
    with pytest.raises(InputError, match=r"must exist.*gone\.tif"):
        open_scenes(SourceOptions(hrefs=(source,)))


def test_files_of_several_bands_and_other_lattices_are_refused(tmp_path: Path) -> None:
    good = [write(tmp_path / f"{name}.tif") for name in ("a1", "a2")]
    many = write(tmp_path / "many.tif", count=3)
    with pytest.raises(InputError, match=r"must have one band: .*many\.tif.*Got: 3"):
        open_scenes(SourceOptions(hrefs=(band_source([*good, many]),)))
    other = write(tmp_path / "other.tif", crs="EPSG:32637")
    with pytest.raises(InputError, match=r"one CRS.*32636.*32637 .*other\.tif"):
        open_scenes(SourceOptions(hrefs=(band_source([*good, other]),)))
    with pytest.raises(InputError, match="leave out --bands"):
        open_scenes(SourceOptions(hrefs=(band_source([*good, good[0]]),), bands=(1, 1, 1)))


def test_bands_named_one_by_one_get_the_option_that_joins_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hrefs = tuple(write(tmp_path / f"L8-B{n}-VA.tif") for n in (4, 3, 2))
    with caplog.at_level(logging.WARNING):
        assert len(open_scenes(SourceOptions(hrefs=hrefs, bands=(1, 1, 1)))) == 3
    assert f"{band_option(hrefs)} shows them in colour" in caplog.text
    with pytest.raises(InputError, match=re.escape(f"as one source: {band_option(hrefs)};")):
        open_scenes(SourceOptions(hrefs=hrefs))


def test_a_landsat_scene_of_band_files() -> None:
    folder = DATA / "landsat8_elkton"
    if not folder.is_dir():
        pytest.skip("the sample data folder ../shared/data is absent")
    hrefs = [str(folder / f"L8-B{n}-Elkton-VA.tiff") for n in (4, 3, 2)]
    (scene,) = open_scenes(SourceOptions(hrefs=(band_source(hrefs),)))
    assert (scene.scene_id, scene.width, scene.height, scene.dtype) == ("L8-Elkton-VA", 186, 169, "uint16")
    with pytest.raises(InputError, match=r"one size.*186 x 169 px.*blue: 371 x 337 px"):
        open_scenes(SourceOptions(hrefs=(band_source([*hrefs[:2], hrefs[2].replace("B2", "B8")]),)))
