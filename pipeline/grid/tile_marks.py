"""Which tiles have a core that meets a shape: an area, or the outlines of many scenes.

1. Rectangles, such as scenes on the run grid's own lattice, meet a rectangle of tiles. All of them are
   counted into the lattice at once (`cores_under`).
2. Small shapes are paired with the few cores around them, and all pairs are tested at once.
3. A large shape is prepared, and tested against the cores around it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.schema.tiling import TileLattice

SLIVER_PX = 1e-3
"""An overlap thinner than this is rounding of the reprojection, in pixels."""

_CHUNK_TILES = 200_000
"""Cores tested at once, to bound memory."""

_FEW_TILES = 64
"""Cores around a small shape."""

Ranges = NDArray[np.int64]
"""(n, 4): row0, row1, col0, col1 of tiles, half-open; empty where one is not above the other."""


def cores_meeting(
    shapes: Sequence[BaseGeometry] | NDArray[np.object_], lattice: TileLattice
) -> NDArray[np.bool_]:
    """Find the tiles whose core, less a sliver, meets one of `shapes` (polygons in pixels of the grid).

    Returns (n_tile_rows, n_tile_cols).
    """
    found = np.array(shapes, dtype=object)
    bounds = shapely.bounds(found).reshape(-1, 4)
    whole = np.isfinite(bounds).all(axis=1)
    found, bounds = found[whole], bounds[whole]
    around = _ranges(bounds, lattice)
    boxes = _are_boxes(found, bounds)
    marks = _counted(around[boxes], lattice)
    counts = np.maximum(around[:, 1] - around[:, 0], 0) * np.maximum(around[:, 3] - around[:, 2], 0)
    small = ~boxes & (counts > 0) & (counts <= _FEW_TILES)
    _mark_pairs(marks, lattice, found[small], around[small])
    for number in np.flatnonzero(~boxes & (counts > _FEW_TILES)).tolist():
        _mark_large(marks, lattice, found[number], around[number])
    return marks


def cores_under(boxes: NDArray[np.float64], lattice: TileLattice) -> NDArray[np.bool_]:
    """Find the tiles whose core, less a sliver, meets one of many rectangles, (n, 4) x0, y0, x1, y1.

    Returns (n_tile_rows, n_tile_cols).
    """
    return _counted(_ranges(boxes, lattice), lattice)


def _ranges(bounds: NDArray[np.float64], lattice: TileLattice) -> Ranges:
    """Find the tiles whose cores, less a sliver, meet boxes (n, 4) x0, y0, x1, y1."""
    found = []
    for axis, n_tiles, extent in (
        (1, lattice.n_tile_rows, lattice.grid.height),
        (0, lattice.n_tile_cols, lattice.grid.width),
    ):
        first = np.arange(n_tiles) * lattice.core_px
        last = np.minimum(first + lattice.core_px, extent)
        found.append(np.searchsorted(last - SLIVER_PX, bounds[:, axis], side="left"))
        found.append(np.searchsorted(first + SLIVER_PX, bounds[:, axis + 2], side="right"))
    return np.stack(found, axis=1).astype(np.int64)


def _are_boxes(shapes: NDArray[np.object_], bounds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which shapes fill their bounds, (n,)."""
    x0, y0, x1, y1 = bounds.T
    return np.asarray(shapely.area(shapes) == (x1 - x0) * (y1 - y0), dtype=np.bool_)


def _counted(ranges: Ranges, lattice: TileLattice) -> NDArray[np.bool_]:
    """Mark the tiles of all ranges."""
    row0, row1, col0, col1 = ranges[(ranges[:, 0] < ranges[:, 1]) & (ranges[:, 2] < ranges[:, 3])].T
    steps = np.zeros((lattice.n_tile_rows + 1, lattice.n_tile_cols + 1), dtype=np.int32)
    for rows, cols, step in ((row0, col0, 1), (row0, col1, -1), (row1, col0, -1), (row1, col1, 1)):
        np.add.at(steps, (rows, cols), step)
    return np.asarray(steps.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0, dtype=np.bool_)


def _mark_pairs(
    marks: NDArray[np.bool_], lattice: TileLattice, shapes: NDArray[np.object_], around: Ranges
) -> None:
    """Test small shapes with the cores around each."""
    step = _CHUNK_TILES // _FEW_TILES
    for start in range(0, len(shapes), step):
        row0, row1, col0, col1 = around[start : start + step].T
        width = col1 - col0
        counts = (row1 - row0) * width
        owner = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = row0[owner] + place // width[owner]
        cols = col0[owner] + place % width[owner]
        open_ = ~marks[rows, cols]
        rows, cols, owner = rows[open_], cols[open_], owner[open_]
        meets = shapely.intersects(shapes[start : start + step][owner], _cores(lattice, rows, cols))
        marks[rows[meets], cols[meets]] = True


def _mark_large(
    marks: NDArray[np.bool_], lattice: TileLattice, shape: BaseGeometry, around: NDArray[np.int64]
) -> None:
    """Test one shape with the cores around it."""
    row0, row1, col0, col1 = around.tolist()
    shapely.prepare(shape)
    cols = np.arange(col0, col1)[None, :]
    step = max(1, _CHUNK_TILES // (col1 - col0))
    for start in range(row0, row1, step):
        rows = np.arange(start, min(start + step, row1))[:, None]
        marks[start : start + len(rows), col0:col1] |= shapely.intersects(shape, _cores(lattice, rows, cols))


def _cores(lattice: TileLattice, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.object_]:
    """The cores of tiles, less a sliver, in pixels of the grid."""
    side = lattice.core_px
    return np.asarray(
        shapely.box(
            cols * side + SLIVER_PX,
            rows * side + SLIVER_PX,
            np.minimum(cols * side + side, lattice.grid.width) - SLIVER_PX,
            np.minimum(rows * side + side, lattice.grid.height) - SLIVER_PX,
        ),
        dtype=object,
    )
