"""Black borders: what is certainly one, and what is dark land or water. Worlds painted by hand."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from scipy import ndimage

from pipeline.load import collar as collar_module
from pipeline.load.collar import (
    Collar,
    border_regions,
    collar_on_window,
    dark_border_share,
    find_collar,
    grow,
    is_constant,
)
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import Window

H, W = 420, 500
ROWS, COLS = np.mgrid[:H, :W]
WHOLE = Window(row0=0, col0=0, row1=H, col1=W)

LAKES = {
    "at a side": (COLS - 40) ** 2 + (ROWS - 200) ** 2 < 110**2,
    "over a corner": COLS**2 + ROWS**2 < 170**2,
    "around a corner": (COLS - 30) ** 2 + (ROWS - 30) ** 2 < 150**2,
    "a river from side to side": abs(ROWS - (200 + 60 * np.sin(COLS / 60))) < 20,
}
TURNED = (abs((COLS - 250) * 0.96 + (ROWS - 210) * 0.28) < 180) & (
    abs((ROWS - 210) * 0.96 - (COLS - 250) * 0.28) < 150
)
"""The footprint of a satellite scene."""


def textured(dtype: str = "uint8") -> NDArray[np.generic]:
    return np.random.default_rng(0).integers(30, 255, (3, H, W)).astype(dtype)


def painted(place: NDArray[np.bool_], values: NDArray[np.generic] | int, dtype: str = "uint8") -> np.ndarray:
    pixels = textured(dtype)
    pixels[:, place] = values
    return pixels


def found(pixels: np.ndarray, *, lossy: bool = False, any_dark: bool = False) -> NDArray[np.bool_]:
    """(H, W) of the pixels that are collar."""
    collar = find_collar(pixels, cell_px=1, lossy=lossy, any_dark=any_dark)
    if collar is None:
        return np.zeros((H, W), dtype=bool)
    pixels_of_it = collar_on_window(collar, WHOLE, pixels)
    assert collar.share == pytest.approx(pixels_of_it.mean())
    return pixels_of_it


@pytest.mark.parametrize("name", LAKES)
@pytest.mark.parametrize("water", ["noise", "mostly 0", "0 with ships", "exactly 0"])
def test_dark_water_is_imagery(name: str, water: str) -> None:
    place = LAKES[name]
    n = int(place.sum())
    rng = np.random.default_rng(1)
    values = {
        "noise": rng.integers(0, 8, (3, n)),
        "mostly 0": (rng.random((3, n)) < 0.02) * 5,
        "0 with ships": (rng.random((1, n)) < 0.002) * 120,
        "exactly 0": np.zeros((3, n)),
    }[water]
    pixels = painted(place, values)
    assert not found(pixels).any()
    assert not found(pixels, lossy=True).any()
    assert dark_border_share(pixels) == pytest.approx(place.mean(), abs=0.004)


def test_open_water_that_is_one_value_is_indistinguishable_from_a_straight_border_but_told_by_share() -> None:
    """The limit of what pixels can say; with a fleck of noise it is imagery again."""
    coast = ROWS > 300 + COLS // 20
    assert (found(painted(coast, 0)) == coast).all()
    noisy = painted(coast, (np.random.default_rng(2).random((3, int(coast.sum()))) < 0.01) * 3)
    assert not found(noisy).any()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_the_border_around_a_turned_footprint_is_a_collar(dtype: str) -> None:
    value = -9999 if dtype in ("int16", "float32") else 0
    pixels = painted(~TURNED, value, dtype)
    got = found(pixels)
    assert not (got & TURNED).any()
    assert got.sum() >= 0.999 * (~TURNED).sum()


def test_a_wedge_at_one_side_is_a_collar_and_a_pond_is_not() -> None:
    wedge = COLS < 90 - ROWS // 4
    pixels = painted(wedge, 0)
    pixels[:, 150:200, 200:260] = 0
    got = found(pixels)
    assert not (got & ~wedge).any()
    assert got.sum() >= 0.99 * wedge.sum()


def test_a_dark_lake_beside_a_collar_stays() -> None:
    """They are one region of nearly black pixels; only the constant part of it is collar."""
    lake = TURNED & ((COLS - 70) ** 2 + (ROWS - 210) ** 2 < 100**2)
    pixels = painted(~TURNED, 0)
    pixels[:, lake] = np.random.default_rng(3).integers(2, 8, (3, int(lake.sum())))
    got = found(pixels)
    assert not (got & lake).any()
    assert got.sum() >= 0.999 * (~TURNED).sum()


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_a_collar_survives_jpeg(quality: int) -> None:
    """JPEG rings beside imagery; the ringing belongs to the collar when the file is lossy."""
    smooth = ndimage.gaussian_filter(textured().astype(float), (0, 3, 3)).astype("uint8")
    smooth[:, ~TURNED] = 0
    with MemoryFile() as memory:
        profile = {"driver": "GTiff", "width": W, "height": H, "count": 3, "dtype": "uint8"}
        jpeg = {"compress": "jpeg", "photometric": "ycbcr", "jpeg_quality": quality}
        with memory.open(**profile, **jpeg, tiled=True, crs="EPSG:32633") as dataset:
            dataset.write(smooth)
        with memory.open() as dataset:
            pixels = dataset.read()
    got = found(pixels, lossy=True)
    near = ndimage.binary_dilation(TURNED, iterations=16)
    assert got[~near].all()
    assert not got[ndimage.binary_erosion(TURNED, iterations=3)].any()


def test_shadows_at_the_border_are_not_a_collar() -> None:
    place = (ROWS < 18) & (abs(COLS - 60) < 10)
    assert place.mean() < collar_module.MIN_SHARE
    assert not found(painted(place, 0)).any()
    assert dark_border_share(painted(place, 0)) == 0


@pytest.mark.parametrize("value", [0, 200])
def test_a_scene_of_one_value_has_no_border(value: int) -> None:
    for dtype in ("uint8", "uint16"):
        assert find_collar(np.full((3, 50, 60), value, dtype=dtype), cell_px=1, lossy=False) is None
        assert find_collar(np.full((3, 1, 1), value, dtype=dtype), cell_px=1, lossy=False) is None
        assert dark_border_share(np.full((3, 50, 60), value, dtype=dtype)) == 0


def test_not_a_number_is_no_collar() -> None:
    assert find_collar(np.full((3, 30, 30), np.nan, dtype="float32"), cell_px=1, lossy=False) is None
    pixels = painted(COLS < 50, np.nan, "float32")
    assert not found(pixels).any()
    assert dark_border_share(pixels) == 0


def test_asked_for_every_dark_border_is_one() -> None:
    lake = LAKES["at a side"]
    pixels = painted(lake, np.random.default_rng(4).integers(0, 9, (3, int(lake.sum()))))
    assert (found(pixels, any_dark=True) == lake).all()


@pytest.mark.parametrize("cell", [2, 5, 16])
def test_a_coarse_look_finds_the_same_collar(cell: int) -> None:
    """Cells say where to look, and pixels decide."""
    big = np.kron(painted(~TURNED, 0), np.ones((1, 4, 4), dtype="uint8"))
    outside = np.kron(~TURNED, np.ones((4, 4), dtype=bool))
    collar = find_collar(big[:, ::cell, ::cell], cell_px=cell, lossy=False)
    assert collar is not None
    got = collar_on_window(collar, Window(row0=0, col0=0, row1=4 * H, col1=4 * W), big)
    assert not (got & ~outside).any()
    assert got.sum() >= 0.99 * outside.sum()


def scene_of(pixels: np.ndarray) -> Scene:
    _, height, width = pixels.shape
    return Scene(
        scene_id="s",
        href="s.tif",
        crs_wkt=None,
        transform=(1, 0, 0, 0, -1, 0),
        width=width,
        height=height,
        count=3,
        dtype="uint8",
        rgb_bands=(1, 2, 3),
        nodata=None,
    )


def test_noise_that_an_overview_averages_away_is_seen_in_full_resolution() -> None:
    big = np.kron(painted(~TURNED, 0), np.ones((1, 8, 8), dtype="uint8"))
    collar = find_collar(big[:, ::8, ::8], cell_px=8, lossy=False)
    assert collar is not None

    def read(window: Window) -> np.ndarray:
        assert window.intersect(Window(row0=0, col0=0, row1=8 * H, col1=8 * W)) == window
        rows, cols = window.slices_in(Window(row0=0, col0=0, row1=8 * H, col1=8 * W))
        return big[:, rows, cols]

    assert is_constant(collar, scene_of(big), read)
    dark = big.max(axis=0) == 0
    big[:, dark] = np.random.default_rng(5).random((3, int(dark.sum()))) < 0.01
    assert not is_constant(collar, scene_of(big), read)


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
    pixels = painted(~TURNED, 3)
    rows = -(-H // cell)
    cols = -(-W // cell)
    cells = np.random.default_rng(cell).random((rows, cols)) < 0.5
    packed = zlib.compress(np.packbits(cells).tobytes())
    collar = Collar(packed=packed, rows=rows, cols=cols, cell_px=cell, share=0.5, value=3.0)
    window = Window(row0=row0, col0=col0, row1=min(row0 + height, H), col1=min(col0 + width, W))
    whole = collar_on_window(collar, WHOLE, pixels)
    here = window.slices_in(WHOLE)
    assert (collar_on_window(collar, window, pixels[:, here[0], here[1]]) == whole[here]).all()


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
    assert (border_regions(dark, min_share=min_cells / dark.size) == expected).all()


def test_growing_takes_corners_along() -> None:
    cells = np.zeros((5, 6), dtype=bool)
    cells[2, 0] = True
    expected = np.zeros_like(cells)
    expected[1:4, 0:2] = True
    assert (grow(cells, 1) == expected).all()


@given(seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_the_hull_is_shapelys(seed: int) -> None:
    """A cell is in the hull when its middle is in the hull of all squares; either way on an edge."""
    cells = np.random.default_rng(seed).random((12, 15)) < 0.03
    hull = shapely.union_all([shapely.box(c, r, c + 1, r + 1) for r, c in np.argwhere(cells)]).convex_hull
    middles = shapely.points(*np.meshgrid(np.arange(15) + 0.5, np.arange(12) + 0.5))
    got = collar_module._hull(cells)
    assert got[shapely.covers(hull.buffer(-1e-6), middles)].all()
    assert not got[~shapely.covers(hull.buffer(1e-6), middles)].any()


DATA = Path(__file__).parents[3] / ".." / "shared" / "data"


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("manila/5b90f92da0d7280005fab355_4310.tif", 0.185),
        ("tricky/RGB.byte.tif", 0.324),
        ("tricky/alpha.tif", 0.982),
        ("fair/nepal_1.tif", 0.0),
        ("kampala/kampala_west.tif", 0.0),
        ("pdok/test_tiled.tif", 0.0),
    ],
)
def test_real_scenes_without_what_they_declare(name: str, share: float) -> None:
    """Known: the first three have black borders; nodata value and alpha of two of them are ignored here."""
    if not (DATA / name).exists():
        pytest.skip(f"the sample raster {name} is not beside the repository")
    with rasterio.open(DATA / name) as dataset:
        pixels = dataset.read([1, 2, 3])
        lossy = dataset.compression is not None and dataset.compression.value in collar_module.LOSSY
    collar = find_collar(pixels, cell_px=1, lossy=lossy)
    assert (0.0 if collar is None else collar.share) == pytest.approx(share, abs=0.002)
