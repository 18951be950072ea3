"""Two rules about pixels: how a grid may be cut into tiles, and when two rasters share their pixels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from affine import Affine
from numpy.typing import NDArray

SAME_PIXELS_PX = 0.01
"""Two rasters share their pixels when their origins are whole pixels apart and their pixel sizes drift across
a raster by no more than this.
"""

_MOST_PX = 2.0**53
"""Pixels from the grid's corner up to which floats tell one from the next."""

_Transform = tuple[float, float, float, float, float, float]


def check_tiling(tile_px: int, halo_px: int, block_tiles: int) -> None:
    """Raise ValueError when a grid cannot be cut in this way. The message names the limits."""
    if tile_px < 3:
        raise ValueError(f"a tile needs at least 3 px a side, got {tile_px}")
    if not 1 <= halo_px < tile_px / 2:
        raise ValueError(
            f"the halo must be at least 1 px and smaller than half the tile ({tile_px} px, so up to "
            f"{(tile_px - 1) // 2} px), got {halo_px}"
        )
    if block_tiles < 1:
        raise ValueError(f"a block needs at least one tile a side, got {block_tiles}")


@lru_cache(maxsize=64)
def _inverse(grid: _Transform) -> _Transform:
    a, b, c, d, e, f = tuple(~Affine(*grid))[:6]
    return a, b, c, d, e, f


def offset_on(grid: _Transform, raster: _Transform, *, width: int, height: int) -> tuple[int, int] | None:
    """Find (row, column) on a grid of the first pixel of a raster of `height` x `width` pixels, by affines.

    None: the raster's pixels are not the grid's (`SAME_PIXELS_PX`). CRSs are not compared.
    """
    offsets, fits = offsets_on(grid, np.array([raster]), np.array([[width, height]], dtype=np.float64))
    row, col = offsets[0].tolist()
    return (row, col) if fits[0] else None


def offsets_on(
    grid: _Transform, rasters: NDArray[np.float64], sizes: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Find the places of many rasters as `offset_on` does: (n, 2) row and column, and (n,) whether they fit.

    `rasters`: affines (n, 6). `sizes`: (n, 2), width before height.
    """
    a, b, c, d, e, f = _inverse(grid)
    own_a, own_b, own_c, own_d, own_e, own_f = rasters.T
    width, height = sizes.T
    with np.errstate(invalid="ignore", over="ignore"):
        x = a * own_c + b * own_f + c
        y = d * own_c + e * own_f + f
        place = np.stack([np.rint(y), np.rint(x)], axis=1)
        off = np.stack(
            [
                np.abs(a * own_a + b * own_d - 1) * width,
                np.abs(a * own_b + b * own_e) * height,
                np.abs(d * own_a + e * own_d) * width,
                np.abs(d * own_b + e * own_e - 1) * height,
                np.abs(y - place[:, 0]),
                np.abs(x - place[:, 1]),
            ]
        )
        fits = (off.max(axis=0) <= SAME_PIXELS_PX) & (np.abs(place) < _MOST_PX).all(axis=1)
    place[~fits] = 0
    return place.astype(np.int64), fits
