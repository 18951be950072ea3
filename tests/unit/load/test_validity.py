"""What counts as imagery. Oracles: rasterio's dataset_mask, and hand-painted collars."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.grid.source import SourceOptions, open_scenes
from pipeline.load import validity
from pipeline.load.validity import (
    Collar,
    border_regions,
    collar_on_window,
    dataset_validity,
    find_collar,
    near_black,
)
from pipeline.schema import Scene, Window

MakeTif = Callable[..., str]


def scene_of(path: str) -> Scene:
    return open_scenes(SourceOptions(hrefs=(path,)))[0]


def textured(height: int = 300, width: int = 400) -> np.ndarray:
    return np.random.default_rng(0).integers(30, 255, (3, height, width)).astype("uint8")


def collared() -> tuple[np.ndarray, np.ndarray]:
    """A scene with a black wedge at the left, and a black pond inside; returns (pixels, wedge)."""
    pixels = textured()
    rows, cols = np.mgrid[:300, :400]
    wedge = cols < 90 - rows // 4
    pixels[:, wedge] = np.random.default_rng(1).integers(0, validity.NEAR_BLACK + 1, (3, wedge.sum()))
    pixels[:, 150:200, 200:260] = 3
    return pixels, wedge


@pytest.mark.parametrize("kind", ["nodata", "mask", "alpha", "none"])
def test_validity_is_the_datasets_own(make_tif: MakeTif, kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 3, (3, 70, 90)).astype("uint8")
    extra: dict[str, object] = {}
    if kind == "nodata":
        extra = {"nodata": 0}
    if kind == "mask":
        extra = {"mask": pixels[0] > 0}
    if kind == "alpha":
        pixels, extra = np.concatenate([pixels, pixels[:1] * 100]), {"alpha": "yes"}
    with rasterio.open(make_tif("a.tif", pixels, **extra)) as dataset:
        window = rasterio.windows.Window(13, 7, 50, 40)
        got = dataset_validity(dataset, dataset.read([1, 2, 3], window=window), window=window)
        assert (got == (dataset.dataset_mask()[7:47, 13:63] > 0)).all()
    here = pixels[:, 7:47, 13:63]
    expected = {
        "nodata": (here != 0).any(axis=0),
        "mask": here[0] > 0,
        "alpha": here[-1] > 0,
        "none": np.ones(got.shape, dtype=bool),
    }
    assert (got == expected[kind]).all()
    assert got.all() == (kind == "none")


def test_not_a_number_is_not_imagery(make_tif: MakeTif) -> None:
    pixels = np.ones((3, 20, 20), dtype="float32")
    pixels[1, 3, 4] = np.nan
    with rasterio.open(make_tif("a.tif", pixels)) as dataset:
        got = dataset_validity(dataset, dataset.read())
    assert np.argwhere(~got).tolist() == [[3, 4]]


def test_finds_the_collar_and_leaves_the_pond(make_tif: MakeTif) -> None:
    pixels, wedge = collared()
    collar = find_collar(scene_of(make_tif("a.tif", pixels)))
    assert collar is not None
    assert collar.share == pytest.approx(wedge.mean())
    whole = Window(row0=0, col0=0, row1=300, col1=400)
    assert (collar_on_window(collar, whole, np.moveaxis(pixels, 0, -1)) == wedge).all()


@pytest.mark.parametrize("side", [300, 150, 97, 33])
def test_a_coarse_look_finds_the_same_collar(
    make_tif: MakeTif, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    """Full-resolution pixels decide; the coarse cells only say where to look. A fringe narrower than a cell
    may stay.
    """
    pixels, wedge = collared()
    monkeypatch.setattr(validity, "COLLAR_SIDE_PX", side)
    collar = find_collar(scene_of(make_tif("a.tif", pixels)))
    assert collar is not None
    got = collar_on_window(collar, Window(row0=0, col0=0, row1=300, col1=400), np.moveaxis(pixels, 0, -1))
    assert not (got & ~wedge).any()
    assert not (wedge & ~got).any()


@given(
    row0=st.integers(0, 280),
    col0=st.integers(0, 380),
    height=st.integers(1, 120),
    width=st.integers(1, 120),
    cell=st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_a_pixel_is_collar_whichever_window_sees_it(
    row0: int, col0: int, height: int, width: int, cell: int
) -> None:
    rgb = np.moveaxis(collared()[0], 0, -1)
    rows = -(-300 // cell)
    cols = -(-400 // cell)
    cells = np.random.default_rng(cell).random((rows, cols)) < 0.5
    collar = Collar(
        packed=zlib.compress(np.packbits(cells).tobytes()), rows=rows, cols=cols, cell_px=cell, share=0.5
    )
    window = Window(row0=row0, col0=col0, row1=min(row0 + height, 300), col1=min(col0 + width, 400))
    whole = collar_on_window(collar, Window(row0=0, col0=0, row1=300, col1=400), rgb)
    here = window.slices_in(Window(row0=0, col0=0, row1=300, col1=400))
    assert (collar_on_window(collar, window, rgb[here]) == whole[here]).all()


@pytest.mark.parametrize(
    "declared", [{"nodata": 255}, {"mask": np.ones((300, 400), dtype=bool)}], ids=["nodata", "mask"]
)
def test_files_that_declare_validity_are_left_alone(make_tif: MakeTif, declared: dict[str, object]) -> None:
    pixels, _ = collared()
    assert find_collar(scene_of(make_tif("a.tif", pixels, **declared))) is None


def test_shadows_at_the_border_are_not_a_collar(make_tif: MakeTif) -> None:
    pixels = textured()
    pixels[:, :10, 50:70] = 0
    assert pixels[:, :10, 50:70].size / pixels.size < validity.COLLAR_MIN_SHARE
    assert find_collar(scene_of(make_tif("a.tif", pixels))) is None


def test_sixteen_bit_scenes_and_huge_files_without_overviews_are_not_searched(
    make_tif: MakeTif, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, _ = collared()
    assert find_collar(scene_of(make_tif("a.tif", pixels.astype("uint16")))) is None
    monkeypatch.setattr(validity, "COLLAR_SIDE_PX", 100)
    monkeypatch.setattr(validity, "COLLAR_FULL_READ_PX", 1000)
    assert find_collar(scene_of(make_tif("b.tif", pixels))) is None


@given(seed=st.integers(0, 1000), share=st.floats(0.3, 0.8), min_cells=st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_border_regions_by_flood_fill(seed: int, share: float, min_cells: int) -> None:
    dark = np.random.default_rng(seed).random((13, 17)) < share
    frame = np.zeros_like(dark)
    frame[[0, -1]] = frame[:, [0, -1]] = True
    expected = np.zeros_like(dark)
    for row, col in np.argwhere(dark & frame):
        start = np.zeros_like(dark)
        start[row, col] = True
        region = ndimage.binary_propagation(start, mask=dark)
        if region.sum() >= min_cells:
            expected |= region
    assert (border_regions(dark, min_cells=min_cells) == expected).all()


def test_near_black_needs_every_band() -> None:
    rgb = np.array([[[8, 8, 8], [0, 9, 0], [0, 0, 0]]], dtype="uint8")
    assert near_black(rgb).tolist() == [[True, False, True]]
