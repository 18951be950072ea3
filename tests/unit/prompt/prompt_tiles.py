"""Small tiles, and how patient the property tests of this stage are."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, settings

from pipeline.schema.imagery import TileImage
from pipeline.schema.tiling import RunGrid, TileLattice

UTM = "EPSG:32636"

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Hypothesis settings of this stage's tests: a busy machine is no failure."""


def grid(width: int = 100, height: int = 80, *, crs: str | None = UTM) -> RunGrid:
    """One metre pixels, north up, corner at (500000, 40000)."""
    from pyproj import CRS

    wkt = None if crs is None else CRS.from_user_input(crs).to_wkt()
    return RunGrid(
        crs_wkt=wkt, transform=(1.0, 0.0, 500_000.0, 0.0, -1.0, 40_000.0), width=width, height=height
    )


def lattice(run_grid: RunGrid, tile_px: int = 60, halo_px: int = 10) -> TileLattice:
    return TileLattice(grid=run_grid, tile_px=tile_px, halo_px=halo_px, block_tiles=2)


def tile_image(tiles: TileLattice, tile_row: int = 0, tile_col: int = 0, *, seed: int = 0) -> TileImage:
    """Noise of the right shape, all valid."""
    tile = tiles.tile(tile_row, tile_col)
    rng = np.random.default_rng((seed, tile_row, tile_col))
    rgb = rng.integers(0, 256, (*tile.read.shape, 3), dtype=np.uint8)
    return TileImage(tile=tile, rgb=rgb, valid=np.ones(tile.read.shape, dtype=np.bool_))
