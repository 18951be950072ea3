"""The part of the run grid that each scene can fill, and so which tiles read it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.grid.lattice import SLACK_PX
from pipeline.grid.scene_places import OffsetRC
from pipeline.schema.tiling import RunGrid, TileLattice, Window


def window_array(bounds: NDArray[np.float64], warped: NDArray[np.bool_], grid: RunGrid) -> NDArray[np.int64]:
    """Find the window of the grid that each scene can fill: (n, 4) row0, col0, row1, col1.

    `bounds` and `warped`: as in `ScenePlaces`.

    A scene on the grid's lattice fills no more than its file has; where it misses the grid the window is
    empty, all zeros. A warped scene that seems to miss the grid gets the whole grid: in degrees, its outline
    may lie on another turn of the globe.
    """
    sides = np.array([grid.height, grid.width, grid.height, grid.width])
    low = np.floor(bounds[:, [1, 0]] + SLACK_PX)
    high = np.ceil(bounds[:, [3, 2]] - SLACK_PX)
    windows: NDArray[np.int64] = np.clip(np.concatenate([low, high], axis=1), 0, sides).astype(np.int64)
    misses = (windows[:, 0] >= windows[:, 2]) | (windows[:, 1] >= windows[:, 3])
    windows[misses] = 0
    windows[misses & warped, 2:] = sides[2:]
    return windows


def scene_windows(
    offsets: Sequence[OffsetRC | None], outlines: Sequence[BaseGeometry], grid: RunGrid
) -> tuple[Window, ...]:
    """Find the window of the grid that each scene can fill, as `window_array` does, by outlines on it."""
    bounds = shapely.bounds(np.array(outlines, dtype=object)).reshape(-1, 4)
    warped = np.array([offset is None for offset in offsets], dtype=np.bool_)
    return windows_of(window_array(bounds, warped, grid))


def windows_of(edges: NDArray[np.int64]) -> tuple[Window, ...]:
    """Make windows of (n, 4) row0, col0, row1, col1."""
    return tuple(
        Window(row0=row0, col0=col0, row1=row1, col1=col1) for row0, col0, row1, col1 in edges.tolist()
    )


def read_by(inside: NDArray[np.bool_], lattice: TileLattice, windows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which windows (n, 4) reach into the read window of a tile that is looked at, (n,).

    `inside`: (n_tile_rows, n_tile_cols). It asks of every window what `TileLattice.tiles_reading` says.
    """
    tiles = np.array([lattice.n_tile_rows, lattice.n_tile_cols])
    halo = lattice.halo_px
    low = np.clip((windows[:, :2] - halo) // lattice.core_px, 0, tiles)
    high = np.clip(-(-(windows[:, 2:] + halo) // lattice.core_px), 0, tiles)
    sums = np.zeros((inside.shape[0] + 1, inside.shape[1] + 1), dtype=np.int64)
    sums[1:, 1:] = inside.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    count = sums[high[:, 0], high[:, 1]] - sums[low[:, 0], high[:, 1]]
    count += sums[low[:, 0], low[:, 1]] - sums[high[:, 0], low[:, 1]]
    filled = (windows[:, 0] < windows[:, 2]) & (windows[:, 1] < windows[:, 3])
    return np.asarray((count > 0) & filled, dtype=np.bool_)
