"""Where in a scene there is imagery: an outline drawn from one small, decimated look.

1. The scene is looked at as `first_look` does it, with `SIDE_PX` pixels a side at most. So what the file's
   nodata, mask and alpha say, and a certain collar, count here as they do for every tile.
2. Regions without imagery are holes if a square of `HOLE_PX` fits into them. Smaller ones, and narrow edges,
   hide no object as a whole.
3. Holes are widened by two cells before the outline is drawn and simplified by less than one. So it never
   claims ground without imagery, but for holes too small for the look.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import rasterio.features
import shapely
from numpy.typing import NDArray
from rasterio.transform import Affine
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError, SourceError
from pipeline.files.raster_access import href_kind
from pipeline.load.collar import grow
from pipeline.load.first_look import FULL_READ_BYTES, LookSize, look_at
from pipeline.load.prepare_scenes import LoadOptions, settle_collar
from pipeline.schema.imagery import Scene

SIDE_PX = 512
"""Longest side of the look."""

REMOTE_BYTES = 64_000_000
"""Decoded bytes of red, green and blue that are read of a remote scene at most: it has small overviews, or it
counts whole.
"""

HOLE_PX = 32
"""Side of the square that fits into a hole, in pixels of the scene, and at least two cells of the look."""

_WIDENED_CELLS = 2
"""What a look of one pixel per cell may miss at the edge of a hole, and what the outline is simplified by."""

_SIMPLIFIED_CELLS = 0.7


def imagery_outline(scene: Scene, options: LoadOptions, *, alone: bool = True) -> BaseGeometry | None:
    """Draw the outline of a scene's imagery: polygons in pixels (col, row) of the scene, slightly too small.

    None: it has no hole, or nothing is known of it: it is too large to be read without overviews, or broken
    for good. At the scene's edges the outline may reach a cell beyond it. `alone`: as for `look_at`. Raises
    NotAloneError, and SourceError (retryable) when a server does not answer: another answer would be another
    plan.
    """
    if scene.failure:
        return None
    remote = any(href_kind(file.href) != "local" for file in scene.files)
    size = LookSize(
        side_px=SIDE_PX, full_read_bytes=REMOTE_BYTES if remote else FULL_READ_BYTES, sampled=False
    )
    try:
        look = look_at(replace(scene, quality=None), nodata=options.nodata, alone=alone, size=size)
        if look.whole is None:
            return None
        collar, _ = settle_collar(scene, look, options)
    except (InputError, SourceError) as error:
        if getattr(error, "retryable", False):
            raise
        return None
    valid = look.whole.valid
    if collar is not None:
        valid = valid & ~(collar.cells() & collar.has_value(look.whole.values))
    holes = large_holes(valid, cell_px=look.cell_px)
    return outline_around(holes, width=scene.width, height=scene.height) if holes.any() else None


def large_holes(valid: NDArray[np.bool_], *, cell_px: int) -> NDArray[np.bool_]:
    """Find the 4-connected regions (h, w) that lack imagery and are wide enough to hide an object.

    `valid` (h, w): True = imagery. `cell_px`: pixels of the scene per cell.
    """
    lacking = ~valid
    side = max(2, math.ceil(HOLE_PX / cell_px))
    cores = ndimage.minimum_filter(lacking, size=side, mode="constant", cval=0)
    labels, count = ndimage.label(lacking)
    wide = np.zeros(count + 1, dtype=np.bool_)
    wide[labels[cores]] = True
    wide[0] = False
    holes: NDArray[np.bool_] = wide[labels]
    return holes


def outline_around(holes: NDArray[np.bool_], *, width: int, height: int) -> BaseGeometry:
    """Draw what is left of a scene of `width` x `height` pixels around its holes (h, w), in its pixels."""
    rows, cols = holes.shape
    kept = np.pad(~grow(holes, _WIDENED_CELLS), 1, mode="edge").astype(np.uint8)
    to_cells = Affine.translation(-1, -1)
    shapes = rasterio.features.shapes(kept, mask=kept > 0, transform=to_cells)
    cells = shapely.union_all([shapely.geometry.shape(shape) for shape, _ in shapes])
    drawn = shapely.make_valid(shapely.simplify(cells, _SIMPLIFIED_CELLS))
    return shapely.transform(drawn, lambda xy: xy * (width / cols, height / rows))
