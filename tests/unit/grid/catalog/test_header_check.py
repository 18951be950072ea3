"""Headers against items. The files are written by rasterio; each item is right but for one claim."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from fault_server import FaultServer, fault_server
from item_files import grey, item_document, item_with, projection_fields, write_pixels

from pipeline.errors import SourceError
from pipeline.grid.catalog.header_check import ItemScene, open_header, open_headers
from pipeline.grid.catalog.item_groups import ItemList
from pipeline.grid.catalog.item_scene import GroupScenes
from pipeline.grid.catalog.scene_choice import ItemOptions, SceneChooser
from pipeline.grid.lattice import affine_of


def from_item(document: dict[str, Any], options: ItemOptions) -> ItemScene:
    """The scene of an item, before its header is opened."""
    items = ItemList([item_with(document)])
    choice = SceneChooser(options).choose(items.item(0))
    return GroupScenes(items, choice, options).described(np.array([0]))[0]


def described(path: Path | str, on_item: dict[str, Any] | None = None, **options: Any) -> ItemScene:
    """The scene of an item with one file, before its header is opened."""
    like = options.pop("like", None) or Path(path)
    fields = projection_fields(like) if on_item is None else on_item
    document = item_document(
        "one", {"image": path}, on_item=fields, like=like, on_asset=options.pop("asset", None)
    )
    return from_item(document, ItemOptions(**options))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return write_pixels(
        tmp_path / "picture.tif", np.random.default_rng(0).integers(1, 255, (4, 40, 70)).astype("u1")
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultServer]:
    with fault_server(tmp_path) as running:
        yield running


def test_a_right_item_becomes_what_its_header_says(picture: Path) -> None:
    scene = described(picture)
    assert scene.placed
    assert not scene.scene.identity, "nothing was opened yet"
    assert (scene.scene.count, scene.scene.dtype) == (0, "")
    found = open_header(scene)
    assert found.failure == ""
    with rasterio.open(picture) as dataset:
        assert affine_of(found.transform) == dataset.transform
        assert (found.height, found.width, found.count) == (dataset.height, dataset.width, dataset.count)
        assert rasterio.crs.CRS.from_wkt(found.crs_wkt) == dataset.crs
    assert (found.dtype, found.nodata, found.rgb_bands) == ("uint8", 0.0, (1, 2, 3))
    assert found.identity["sha256"] == hashlib.sha256(picture.read_bytes()).hexdigest()
    assert found.datetime == "2024-06-01T10:00:00Z"


SHIFTED = {"proj:transform": [1, 0, 500_001, 0, -1, 5_500_000]}
WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "shape": ({"proj:shape": [41, 70]}, {}, "shape is 41 x 70 in the item, 40 x 70 in the file"),
    "shifted": (SHIFTED, {}, r"transform is \[1, 0, 500001, .* in the item, \[1, 0, 500000, "),
    "a little": ({"proj:transform": [1, 0, 500_000.2, 0, -1, 5_500_000]}, {}, "transform is"),
    "at the far corner": ({"proj:transform": [1.002, 0, 500_000, 0, -1, 5_500_000]}, {}, "transform is"),
    "CRS": ({"proj:code": "EPSG:25833"}, {}, "CRS is EPSG:25833 in the item, EPSG:32633 in the file"),
    "data type": (
        {},
        {"raster:bands": [{"data_type": "uint16"}] * 4},
        "data type is uint16 in the item, uint8",
    ),
    "data type of STAC 1.1": ({}, {"data_type": "float32"}, "data type is float32"),
    "too few bands": ({}, {"bands": [{"name": "a"}] * 6}, "number of bands is 6 in the item, 4 in the file"),
    "size": ({}, {"file:size": 1234}, "file:size is 1,234 bytes in the item"),
    "checksum": ({}, {"file:checksum": "1220" + "ab" * 32}, "file:checksum is SHA-256 abababababab"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_differs_is_that_scenes_failure(picture: Path, case: str) -> None:
    on_item, asset, wanted = WRONG[case]
    scene = described(picture, projection_fields(picture) | on_item, asset=asset)
    found = open_header(scene)
    assert "picture.tif is not the file that its item describes" in found.failure
    assert re.search(wanted, found.failure), found.failure
    assert (found.transform, found.width, found.height) == (
        scene.scene.transform,
        scene.scene.width,
        scene.scene.height,
    ), "it keeps the place where the plan needs it"


RIGHT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "rounded": ({"proj:transform": [1, 0, 500_000.04, 0, -1, 5_500_000]}, {}),
    "nothing but a place": ({}, {}),
    "other types": ({}, {"raster:bands": [{"data_type": "other"}] * 4}),
    "types that differ": ({}, {"raster:bands": [{"data_type": "uint8"}, {"data_type": "uint16"}]}),
    "another checksum": ({}, {"file:checksum": "d50110" + "ab" * 16}),
    "all bands": ({}, {"bands": [{"name": name} for name in "abcd"], "data_type": "uint8"}),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_agrees_is_taken(picture: Path, case: str) -> None:
    on_item, asset = RIGHT[case]
    found = open_header(described(picture, projection_fields(picture) | on_item, asset=asset))
    assert found.failure == ""
    assert found.transform == (1, 0, 500_000, 0, -1, 5_500_000), "the header's place counts"


def test_size_and_checksum_of_the_very_file_agree(picture: Path) -> None:
    content = picture.read_bytes()
    asset = {"file:size": len(content), "file:checksum": "1220" + hashlib.sha256(content).hexdigest()}
    assert open_header(described(picture, asset=asset)).failure == ""


@pytest.mark.parametrize("compress", ["JPEG", None])
def test_a_bit_that_no_compression_misses_is_found_by_the_checksum(
    tmp_path: Path, compress: str | None
) -> None:
    pixels = np.random.default_rng(0).integers(1, 255, (3, 48, 64)).astype("u1")
    path = tmp_path / "raw.tif"
    with rasterio.open(write_pixels(tmp_path / "any.tif", pixels)) as dataset:
        profile = dataset.profile | {"compress": compress}
    with rasterio.open(path, "w", **profile) as sink:
        sink.write(pixels)
    content = bytearray(path.read_bytes())
    asset = {"file:checksum": "1220" + hashlib.sha256(content).hexdigest()}
    assert open_header(described(path, asset=asset)).failure == ""
    with rasterio.open(path) as dataset:
        before = dataset.read()
        content[int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", 1)) + 700] ^= 16
    path.write_bytes(bytes(content))
    with rasterio.open(path) as dataset:
        assert (dataset.read() != before).any(), "GDAL reads other pixels and says nothing"
    assert open_header(described(path)).failure == ""
    assert "file:checksum is SHA-256" in open_header(described(path, asset=asset)).failure


def test_numbers_in_gdals_order_are_caught_before_the_plan(picture: Path) -> None:
    fields = projection_fields(picture) | {"proj:transform": [500_000, 1, 0, 5_500_000, 0, -1]}
    scene = described(picture, fields)
    assert not scene.placed, "its place is not its footprint"
    found = open_header(scene)
    assert "(the numbers are in GDAL's order)" in found.failure
    assert found.transform == (1, 0, 500_000, 0, -1, 5_500_000), "it lies where the header has it"


def test_items_without_a_place_get_that_of_their_headers(picture: Path, tmp_path: Path) -> None:
    scene = described(picture, {"proj:code": "EPSG:None", "proj:shape": [40, 70]})
    assert not scene.placed
    found = open_header(scene)
    assert found.failure == ""
    assert found.transform == (1, 0, 500_000, 0, -1, 5_500_000)
    lost = open_header(described(tmp_path / "lost.tif", {}, like=picture))
    assert "must exist" in lost.failure
    west, north = lost.transform[2], lost.transform[5]
    assert (west, north) == pytest.approx((15.0, 49.6516), abs=1e-3), "it keeps the place of its footprint"


def test_the_item_names_the_bands(tmp_path: Path) -> None:
    path = write_pixels(tmp_path / "stack.tif", np.ones((4, 8, 8), dtype="uint16"))
    asset = {"bands": [{"eo:common_name": name} for name in ("blue", "green", "red", "nir")]}
    scene = open_header(described(path, asset=asset))
    assert scene.rgb_bands == (3, 2, 1)
    assert scene.bands.endswith("by the item")
    assert open_header(described(path, asset=asset, bands=("4", "3", "2"))).rgb_bands == (4, 3, 2)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("Red", "Green", "Blue", "NIR")
    failure = open_header(described(path, asset=asset)).failure
    assert "bands in the order of its item" in failure
    assert "(3, 2, 1) in the item, (1, 2, 3) in the header" in failure
    beyond = described(path, asset={"bands": [*[{"name": "x"}] * 4, *asset["bands"]]})
    assert "must have the bands that its item names" in open_header(beyond).failure
    too_many = described(path, asset={"bands": [{"name": "a"}, *asset["bands"]]}, bands=("1", "2", "3"))
    assert "number of bands is 5" in open_header(too_many).failure


def test_three_files_are_one_scene(tmp_path: Path) -> None:
    files = {
        name: write_pixels(tmp_path / f"{name}.tif", np.full((1, 30, 20), value, dtype="uint16"))
        for value, name in enumerate(("B02", "B03", "B04"), start=1)
    }
    fields = projection_fields(files["B02"])
    document = item_document("three", files, on_item=fields)

    def opened() -> Any:
        return open_header(from_item(document, ItemOptions()))

    scene = opened()
    assert scene.failure == ""
    assert [Path(file.href).stem for file in scene.band_files] == ["B04", "B03", "B02"]
    hashes = [hashlib.sha256(files[name].read_bytes()).hexdigest() for name in ("B04", "B03", "B02")]
    assert [file.identity["sha256"] for file in scene.band_files] == hashes
    assert (scene.rgb_bands, scene.dtype, scene.href) == ((1, 2, 3), "uint16", str(files["B04"]))
    write_pixels(files["B03"], np.full((1, 30, 20), 1, dtype="uint16"), col0=3)
    assert "place of their pixels" in opened().failure


def test_a_file_without_a_crs_is_not_what_an_item_says(tmp_path: Path) -> None:
    path = write_pixels(tmp_path / "plain.tif", grey(8, 8, 5))
    fields = projection_fields(path)
    like = write_pixels(tmp_path / "like.tif", grey(8, 8, 5))
    write_pixels(path, grey(8, 8, 5), crs=None)
    scene = described(path, fields, like=like)
    assert "CRS is EPSG:32633 in the item, no CRS in the file" in open_header(scene).failure
    assert open_header(replace(scene, assumed_crs="EPSG:32633")).failure == ""


def test_the_mask_of_an_item_is_pinned_and_must_be_readable(tmp_path: Path, picture: Path) -> None:
    mask = write_pixels(tmp_path / "scl.tif", np.full((1, 40, 70), 4, "uint8"))
    document = item_document("one", {"image": picture, "scl": mask}, on_item=projection_fields(picture))
    scene = from_item(document, ItemOptions(assets=("image",)))
    found = open_header(scene)
    assert found.quality is not None
    assert found.quality.file.identity["sha256"] == hashlib.sha256(mask.read_bytes()).hexdigest()
    mask.unlink()
    assert "scl.tif" in open_header(scene).failure
    unmasked = from_item(document, ItemOptions(assets=("image",), mask="off"))
    assert open_header(unmasked).failure == ""


def test_tags_of_the_file_count_where_the_item_says_nothing(tmp_path: Path) -> None:
    path = write_pixels(tmp_path / "tagged.tif", np.ones((3, 8, 8), "uint16"))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (0.0001,) * 3
        dataset.offsets = (-0.1,) * 3
    found = open_header(described(path))
    assert found.reflectance is not None
    assert (found.reflectance.scale, found.reflectance.offset) == (0.0001, -0.1)
    assert open_header(described(path, radiometry="stored")).reflectance is None


def test_a_server_that_does_not_answer_is_no_scenes_fault(
    picture: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    scene = described(f"{server.url}/picture.tif", projection_fields(picture), like=picture)
    progress: list[tuple[int, int]] = []
    found = open_headers([scene] * 3, on_opened=lambda done, of: progress.append((done, of)))
    assert [own.failure for own in found] == [""] * 3
    assert progress == [(1, 3), (2, 3), (3, 3)]
    gone = described(f"{server.url}/gone.tif", projection_fields(picture), like=picture)
    assert "gone.tif" in open_header(gone).failure
    server.always = "503"
    with pytest.raises(SourceError) as caught:
        open_header(scene)
    assert caught.value.retryable
