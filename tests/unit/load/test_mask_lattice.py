"""Where pixels of a run grid lie on a mask. Oracle: coordinates by hand, and pyproj point by point."""

from __future__ import annotations

import numpy as np
import pytest
from pyproj import CRS, Transformer
from rasterio.transform import Affine

from pipeline.load.mask_lattice import MaskLattice, on_axes, refused
from pipeline.schema.tiling import RunGrid, Window

UTM = CRS.from_epsg(32633).to_wkt()
OTHER = CRS.from_epsg(32632).to_wkt()
MASK = MaskLattice(crs_wkt=UTM, transform=Affine(20, 0, 500000, 0, -20, 5500000), width=10, height=8)


def grid(crs_wkt: str, side: float, west: float, north: float) -> RunGrid:
    return RunGrid(crs_wkt=crs_wkt, transform=(side, 0.0, west, 0.0, -side, north), width=40, height=40)


def test_rows_and_columns_are_multiplied_and_clipped() -> None:
    places = MASK.crossing(grid(UTM, 10, 499990, 5500000), Window(row0=0, col0=0, row1=5, col1=24))
    assert places is not None
    rows, cols = places
    assert rows.tolist() == [0, 0, 1, 1, 2]
    assert cols.tolist() == [0, 0, 0, *np.arange(2, 20).repeat(1) // 2, 9, 9, 9]


def test_a_tie_goes_to_the_pixel_on_the_right_whatever_the_origin() -> None:
    """30 m pixels over 15 m ones: every middle lies on an edge."""
    for west in (500000.0, 500000.0 + 1e-7, 500000.0 - 1e-7):
        mask = MaskLattice(crs_wkt=UTM, transform=Affine(15, 0, 500000, 0, -15, 5500000), width=90, height=90)
        places = mask.crossing(grid(UTM, 30, west, 5500000), Window(row0=0, col0=0, row1=3, col1=3))
        assert places is not None
        assert places[1].tolist() == [1, 3, 5]


@pytest.mark.parametrize("wkt", [OTHER, UTM])
def test_other_axes_or_zones_are_scattered(wkt: str) -> None:
    west, north = Transformer.from_crs(UTM, wkt, always_xy=True).transform(499900, 5500100)
    own = grid(wkt, 10, west, north)
    if wkt == UTM:
        own = RunGrid(crs_wkt=wkt, transform=(7.0, 7.0, west, 7.0, -7.0, north), width=40, height=40)
    window = Window(row0=3, col0=5, row1=40, col1=33)
    assert MASK.crossing(own, window) is None
    rows, cols, known = MASK.scattered(own, window)
    assert 0 < known.sum() < known.size
    back = Transformer.from_crs(wkt, UTM, always_xy=True)
    for row in range(0, 37, 3):
        for col in range(0, 28, 3):
            x, y = back.transform(*(Affine(*own.transform) @ (col + 5.5, row + 3.5)))
            at = ((5500000 - y) / 20, (x - 500000) / 20)
            inside = 0 <= at[0] < 8 and 0 <= at[1] < 10
            assert known[row, col] == inside
            if inside:
                assert (rows[row, col], cols[row, col]) == (int(at[0]), int(at[1]))


def test_which_lattices_share_axes() -> None:
    assert on_axes(Affine(0.5, 0, 3, 0, 0.5, 4), 10_000)
    assert not on_axes(Affine(0.5, 1e-4, 3, 0, 0.5, 4), 10_000)
    assert not on_axes(Affine(0.5, 0, 3, 0, -0.5, 4), 10)


def test_a_refusal_says_what_came_and_what_to_do() -> None:
    error = refused("m.tif", "must be a mask", "a cat", "give a mask")
    assert str(error) == "The quality mask m.tif must be a mask. Got: a cat. To fix: give a mask"
    assert not error.retryable
