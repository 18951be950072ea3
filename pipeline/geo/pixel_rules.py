"""Two rules about pixels: how a grid may be cut into tiles, and when two rasters share their pixels."""

from __future__ import annotations

from affine import Affine

SAME_PIXELS_PX = 0.01
"""Two rasters share their pixels when their origins are whole pixels apart and their pixel sizes drift across
a raster by no more than this.
"""

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


def offset_on(grid: _Transform, raster: _Transform, *, width: int, height: int) -> tuple[int, int] | None:
    """Find (row, column) on a grid of the first pixel of a raster of `height` x `width` pixels, by affines.

    None: the raster's pixels are not the grid's (`SAME_PIXELS_PX`). CRSs are not compared.
    """
    to_grid = ~Affine(*grid) @ Affine(*raster)
    drift = max(
        abs(to_grid.a - 1) * width,
        abs(to_grid.b) * height,
        abs(to_grid.d) * width,
        abs(to_grid.e - 1) * height,
    )
    col = round(to_grid.c)
    row = round(to_grid.f)
    if max(drift, abs(to_grid.c - col), abs(to_grid.f - row)) > SAME_PIXELS_PX:
        return None
    return row, col
