"""Limits of tiles, and places of rasters on a grid, by hand."""

from __future__ import annotations

import pytest

from pipeline.geo.pixel_rules import check_tiling, offset_on


@pytest.mark.parametrize(("tile_px", "largest"), [(3, 1), (4, 1), (5, 2), (64, 31)])
def test_the_limit_of_a_halo_is_named_and_holds(tile_px: int, largest: int) -> None:
    check_tiling(tile_px, 1, 1)
    check_tiling(tile_px, largest, 1)
    for halo_px in (0, -1, largest + 1):
        with pytest.raises(ValueError, match=rf"\({tile_px} px, so up to {largest} px\), got {halo_px}$"):
            check_tiling(tile_px, halo_px, 1)


def test_a_tile_and_a_block_have_smallest_sizes() -> None:
    with pytest.raises(ValueError, match="at least 3 px a side, got 2"):
        check_tiling(2, 1, 1)
    with pytest.raises(ValueError, match="at least one tile a side, got 0"):
        check_tiling(3, 1, 0)


@pytest.mark.parametrize(
    ("transform", "offset"),
    [
        ((0.5, 0.0, 100.0, 0.0, -0.5, 40.0), (0, 0)),
        ((0.5, 0.0, 101.5, 0.0, -0.5, 42.0), (-4, 3)),
        ((0.5, 0.0, 100.004, 0.0, -0.5, 40.0), (0, 0)),
        ((0.5, 0.0, 100.006, 0.0, -0.5, 40.0), None),
        ((0.500004, 0.0, 100.0, 0.0, -0.5, 40.0), (0, 0)),
        ((0.500006, 0.0, 100.0, 0.0, -0.5, 40.0), None),
        ((0.5, 0.0, 100.0, 0.0, -0.500004, 40.0), None),
        ((0.5, 0.0, 100.0, 0.001, -0.5, 40.0), None),
        ((0.5, 0.0, 100.0, 0.0, 0.5, 40.0), None),
    ],
)
def test_the_place_of_a_raster_on_a_grid(
    transform: tuple[float, float, float, float, float, float], offset: tuple[int, int] | None
) -> None:
    """A pixel may differ by 1 % / 1000 of its width, here 0.000005, and by half as much of its height."""
    grid = (0.5, 0.0, 100.0, 0.0, -0.5, 40.0)
    assert offset_on(grid, transform, width=1000, height=2000) == offset
