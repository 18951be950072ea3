"""One bounded look at a scene. Oracle: the same file read by rasterio alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine, from_origin
from rasterio.windows import Window as RasterWindow

from pipeline.errors import InputError
from pipeline.grid.band_files import band_source
from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.load import first_look
from pipeline.load.first_look import LookSize, look_at
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import Window

MakeTif = Callable[..., str]


def scene_of(path: str, bands: tuple[int, ...] | None = None) -> Scene:
    return open_scenes(SourceOptions(hrefs=(path,), bands=bands))[0]


@pytest.fixture
def small_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some hundred kB count as large ones, and windows have 32 px."""
    monkeypatch.setattr(first_look, "FULL_READ_BYTES", 200_000)
    monkeypatch.setattr(first_look, "WINDOW_PX", 32)
    monkeypatch.setattr(first_look, "EVEN_WINDOWS", 16)
    monkeypatch.setattr(first_look, "MAX_WINDOWS", 40)
    monkeypatch.setattr(first_look, "WANTED_PX", 8_000)


def test_a_small_scene_is_read_whole(make_tif: MakeTif) -> None:
    pixels = np.random.default_rng(0).integers(0, 9000, (4, 70, 90)).astype("int16")
    pixels[:, :20] = -9999
    pixels[0, 30:40] = -9999
    look = look_at(scene_of(make_tif("a.tif", pixels, nodata=-9999), bands=(3, 2, 1)))
    part = look.whole
    assert part is not None
    assert (look.cell_px, look.lossy, look.rule.kind) == (1, False, "nodata")
    assert part.window == Window(row0=0, col0=0, row1=70, col1=90)
    assert (part.values == pixels[[2, 1, 0]]).all()
    assert (part.valid == (pixels != -9999).any(axis=0)).all()
    assert (part.band_valid == (pixels[[2, 1, 0]] != -9999)).all()


def test_a_larger_one_is_read_decimated(make_tif: MakeTif, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_look, "SIDE_PX", 50)
    pixels = np.random.default_rng(0).integers(0, 255, (3, 120, 190)).astype("uint8")
    look = look_at(scene_of(make_tif("a.tif", pixels, compress="jpeg", photometric="ycbcr")))
    assert look.lossy
    assert look.cell_px == 4
    assert look.whole is not None
    assert look.whole.values.shape == (3, 30, 48)


def test_a_large_file_without_overviews_is_sampled(make_tif: MakeTif, small_looks: None) -> None:
    pixels = np.random.default_rng(2).integers(1000, 3000, (3, 300, 410)).astype("uint16")
    look = look_at(scene_of(make_tif("a.tif", pixels)))
    assert look.whole is None
    assert len(look.parts) == 16
    assert len({part.window for part in look.parts}) == 16
    for part in look.parts:
        rows, cols = part.window.slices_in(Window(row0=0, col0=0, row1=300, col1=410))
        assert (part.values == pixels[:, rows, cols]).all()
        assert part.even
    rows = [part.window.row0 // 75 for part in look.parts]
    cols = [part.window.col0 // 103 for part in look.parts]
    assert set(rows) == set(cols) == {0, 1, 2, 3}, "they lie in all quarters of both axes"


def test_overviews_make_a_large_file_cheap(
    make_tif: MakeTif, small_looks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that serves the look counts. That of half the side has more than half of the bytes allowed."""
    monkeypatch.setattr(first_look, "SIDE_PX", 100)
    path = make_tif("a.tif", np.random.default_rng(2).integers(0, 255, (3, 300, 410)).astype("uint8"))
    assert look_at(scene_of(path)).whole is None
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2])
    assert look_at(scene_of(path)).whole is not None
    monkeypatch.setattr(first_look, "FULL_READ_BYTES", 90_000)
    assert look_at(scene_of(path)).whole is None
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])
    assert look_at(scene_of(path)).whole is not None


def test_a_look_may_be_smaller_and_without_samples(make_tif: MakeTif) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 120, 190)).astype("uint8")
    scene = scene_of(make_tif("a.tif", pixels))
    look = look_at(scene, size=LookSize(side_px=50, full_read_bytes=pixels.size, sampled=False))
    assert look.whole is not None
    assert look.whole.values.shape == (3, 30, 48)
    assert look.cell_px == 4
    less = look_at(scene, size=LookSize(side_px=50, full_read_bytes=pixels.size - 1, sampled=False))
    assert less.parts == ()


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("apart", [False, True])
def test_a_narrow_strip_is_found(tmp_path: Path, small_looks: None, sparse: bool, apart: bool) -> None:
    """Its tiles are the only ones stored, or the only ones that do not shrink to nothing. `apart`: red, green
    and blue are files of their own.
    """
    strip = np.random.default_rng(3).integers(200, 3000, (3, 2000, 32)).astype("uint16")
    paths = [tmp_path / f"strip{index}.tif" for index in range(3 if apart else 1)]
    profile = {
        "driver": "GTiff",
        "width": 2000,
        "height": 2000,
        "count": 3 // len(paths),
        "dtype": "uint16",
        "crs": "EPSG:32636",
        "transform": Affine(0.5, 0, 450000, 0, -0.5, 40000),
        "nodata": 0,
        "tiled": True,
        "blockxsize": 32,
        "blockysize": 32,
        "compress": "deflate",
        "photometric": "MINISBLACK" if apart else "RGB",
    }
    for path, bands in zip(paths, np.array_split(strip, len(paths)), strict=True):
        with rasterio.open(path, "w", sparse_ok=sparse, **profile) as dataset:
            if not sparse:
                dataset.write(np.zeros((len(bands), 2000, 2000), dtype="uint16"))
            dataset.write(bands, window=RasterWindow(1184, 0, 32, 2000))
    source = band_source([str(path) for path in paths]) if apart else str(paths[0])
    look = look_at(scene_of(source))
    assert len(look.parts) <= 40
    seen = np.concatenate([part.values[:, part.valid] for part in look.parts], axis=1)
    assert seen.shape[1] >= 8_000
    assert seen.min() >= 200
    even = [part for part in look.parts if part.even]
    assert len(even) == 16
    assert sum(part.valid.sum() for part in even) < 0.2 * sum(part.valid.size for part in even)


def test_the_number_of_reads_is_bounded(make_tif: MakeTif, small_looks: None) -> None:
    path = make_tif("a.tif", np.zeros((3, 900, 900), dtype="uint16"), nodata=0)
    look = look_at(scene_of(path))
    assert len(look.parts) <= 40
    assert not any(part.valid.any() for part in look.parts)


def test_nodata_given_is_looked_for(make_tif: MakeTif) -> None:
    pixels = np.random.default_rng(0).integers(10, 250, (3, 40, 50)).astype("uint8")
    pixels[:, :, :7] = 3
    scene = scene_of(make_tif("a.tif", pixels))
    look = look_at(scene, nodata="3")
    assert look.whole is not None
    assert (look.whole.valid == (pixels != 3).all(axis=0)).all()
    with pytest.raises(InputError, match="--nodata"):
        look_at(scene, nodata="x")


def test_an_alpha_band_that_is_none_is_said(make_tif: MakeTif) -> None:
    pixels = np.random.default_rng(0).integers(0, 250, (4, 40, 50)).astype("uint8")
    look = look_at(scene_of(make_tif("a.tif", pixels, alpha="yes")))
    assert look.rule.kind == "none"
    assert look.whole is not None
    assert look.whole.valid.all()
    assert any("alpha" in note for note in look.notes)


def test_several_images_in_one_file_are_said(tmp_path: Path) -> None:
    """Overviews and masks are images of a TIFF too, but not of their own."""
    pages = [Image.fromarray(np.full((40, 50, 3), grey, np.uint8)) for grey in (60, 90, 120)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.warns(NotGeoreferencedWarning):
        (scene,) = open_scenes(SourceOptions(hrefs=(str(tmp_path / "pages.tif"),)))
    assert any("holds 3 images" in note for note in look_at(scene).notes)
    path = tmp_path / "one.tif"
    grey = np.full((3, 600, 600), 99, np.uint8)
    profile = {"driver": "COG", "count": 3, "height": 600, "width": 600, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 1, 1)}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
        rasterio.open(path, "w", **place, **profile) as dataset,
    ):
        dataset.write(grey)
        dataset.write_mask(np.eye(600) == 0)
    (scene,) = open_scenes(SourceOptions(hrefs=(str(path),)))
    assert not any("images" in note for note in look_at(scene).notes)


def test_a_mask_among_the_bands_is_said(make_tif: MakeTif) -> None:
    pixels = np.random.default_rng(0).integers(10, 250, (4, 40, 50)).astype("uint8")
    pixels[3] = 255
    pixels[3, :10] = 0
    (note,) = look_at(scene_of(make_tif("a.tif", pixels))).notes
    assert "0 in 25.0% of the scene" in note
    assert look_at(scene_of(make_tif("b.tif", pixels, nodata=0))).notes == ()
    assert look_at(scene_of(make_tif("c.tif", pixels), bands=(4, 4, 4))).notes == ()


def test_an_unreadable_part_is_left_out(make_tif: MakeTif) -> None:
    rng = np.random.default_rng(3)
    path = Path(make_tif("a.tif", rng.integers(0, 60000, (3, 256, 256)).astype("uint16")))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    try:
        scene = scene_of(str(path))
    except InputError:
        pytest.skip("the header went with the cut")
    look = look_at(scene)
    assert look.parts == ()
    assert look.whole is None


def test_what_is_said_is_text(make_tif: MakeTif) -> None:
    look = look_at(scene_of(make_tif("a.tif", np.ones((3, 9, 9), dtype="uint8"))))
    assert json.dumps([look.rule.to_dict(), list(look.notes)])
