"""What one painted block shows: counts, polygons, and runs along its border.

1. `measure_block` counts and traces everything.
2. `border_runs` lists the runs of pixels along the block's four sides, for objects that may go on next door.
3. Where runs of one object overlap from both sides of a line, its pieces share pixel edges (`shared_edges`).
   These must have vanished from the dissolved outline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.schema.tiling import Window
from pipeline.stitch.trace import polygonise


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockObjects:
    """Everything one block shows, one row per object (n,)."""

    number: NDArray[np.int64]
    """Number in the picture, ascending."""
    polygons: NDArray[np.object_]
    """Its part in this block, in pixel-edge coordinates (x = column, y = row) of the run grid."""
    area_px: NDArray[np.int64]
    aoi_px: NDArray[np.int64]
    """Pixels inside the AOI."""
    window: NDArray[np.int64]
    """(n, 4) row0, col0, row1, col1."""


def measure_block(image: NDArray[np.int32], core: Window, inside: NDArray[np.bool_] | None) -> BlockObjects:
    """Count and trace `image` (h, w), numbers over the window `core`.

    `inside`: (h, w) True = in the AOI. None: everything is.
    """
    numbers, polygons, area = polygonise(image, (core.row0, core.col0))
    top = int(numbers[-1]) + 1 if numbers.size else 1
    area_px = np.zeros(top, np.int64)
    aoi_px = np.zeros(top, np.int64)
    window = np.zeros((top, 4), np.int64)
    everywhere = np.ones((1, 1), dtype=np.bool_) if inside is None else inside
    assert inside is None or inside.shape == image.shape, "the AOI mask must cover the block"
    count_pixels(image, everywhere, core.row0, core.col0, area_px, aoi_px, window)
    assert (area == area_px[numbers]).all(), "a traced area must be its pixel count"
    return BlockObjects(
        number=numbers.astype(np.int64),
        polygons=polygons,
        area_px=area,
        aoi_px=aoi_px[numbers],
        window=window[numbers],
    )


def border_runs(image: NDArray[np.int32], core: Window) -> NDArray[np.int64]:
    """List the runs of objects (r, 5): number, axis (0 = horizontal line), row or column edge of the line,
    start, stop.
    """
    sides = (
        (image[0], 0, core.row0, core.col0),
        (image[-1], 0, core.row1, core.col0),
        (image[:, 0], 1, core.col0, core.row0),
        (image[:, -1], 1, core.col1, core.row0),
    )
    return np.concatenate(
        [_runs(np.ascontiguousarray(line), axis, at, origin) for line, axis, at, origin in sides]
    )


def _runs(line: NDArray[np.int32], axis: int, at: int, origin: int) -> NDArray[np.int64]:
    starts = np.flatnonzero(np.r_[True, line[1:] != line[:-1]])
    stops = np.append(starts[1:], line.size)
    number = line[starts].astype(np.int64)
    rows = np.stack(
        [number, np.full_like(starts, axis), np.full_like(starts, at), starts + origin, stops + origin],
        axis=1,
    )
    return rows[number > 0].astype(np.int64)


def shared_edges(group: NDArray[np.int64], runs: NDArray[np.int64], n_groups: int) -> NDArray[np.int64]:
    """Count the pixel edges along which two pieces of a group touch, (n_groups,).

    `group` (r,) of each run, `runs` (r, 4) axis, line, start, stop; runs of one side of a line do not
    overlap.
    """
    axis, line, start, stop = np.tile(runs, (2, 1)).T
    owner = np.tile(group, 2)
    at = np.where(np.arange(owner.size) < group.size, start, stop)
    step = np.where(np.arange(owner.size) < group.size, 1, -1)
    order = np.lexsort((at, line, axis, owner))
    both = np.cumsum(step[order]) == 2
    length = np.diff(at[order], append=0)
    return np.bincount(owner[order][both], weights=length[both], minlength=n_groups).astype(np.int64)


@njit(cache=True)
def count_pixels(
    image: NDArray[np.int32],
    inside: NDArray[np.bool_],
    row0: int,
    col0: int,
    area_px: NDArray[np.int64],
    aoi_px: NDArray[np.int64],
    window: NDArray[np.int64],
) -> None:
    """Add a block's pixels, in place, to tables by number: all (n,), inside the AOI (n,), window (n, 4)."""
    everywhere = inside.shape != image.shape
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            k = image[r, c]
            if k == 0:
                continue
            row, col = row0 + r, col0 + c
            if area_px[k] == 0:
                window[k, 0], window[k, 1], window[k, 2], window[k, 3] = row, col, row + 1, col + 1
            else:
                window[k, 0] = min(window[k, 0], row)
                window[k, 1] = min(window[k, 1], col)
                window[k, 2] = max(window[k, 2], row + 1)
                window[k, 3] = max(window[k, 3], col + 1)
            area_px[k] += 1
            if everywhere or inside[r, c]:
                aoi_px[k] += 1
