"""Right angles for the outlines of an export, object by object, and still no overlaps.

1. `square_up` takes every outline out of the store and makes it right-angled, in a plane that has the angles
   of the ground (`pipeline.stitch.right_angles`).
2. The new outline counts only if it stays on its own ground: no pixel that it touches may be as close to
   another object as to its own, in the id raster. So two new outlines share no pixel, and none covers pixels
   of an object that kept its own.
3. All others keep their outlines, and are counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray

from pipeline.schema.tiling import RunGrid, Window
from pipeline.stitch.right_angles import right_angled
from pipeline.write.export.mask_reader import MaskReader
from pipeline.write.export.outline_store import OutlineStore
from pipeline.write.on_body import Ground, ground_of


@dataclass(frozen=True, kw_only=True, slots=True)
class SquaredUp:
    """What became of the outlines."""

    n_right_angled: int
    n_as_before: int
    """Nothing with right angles fits them, or stays on their own ground."""


def square_up(
    store: OutlineStore,
    reader: MaskReader,
    *,
    grid: RunGrid,
    queries: Sequence[int],
    least_iou: float,
    progress: Callable[[float], None],
) -> SquaredUp:
    """Make the outlines of a store right-angled where that fits.

    least_iou: intersection over union with the outline before. `progress` is told the share that is done.
    """
    ground = ground_of(grid)
    done = 0
    for nth, query in enumerate(queries):
        ids = store.ids(query)
        for at, number in enumerate(ids.tolist()):
            outline = store.outlines(query, ids[at : at + 1])[0]
            made = right_angled(outline, plane_at(outline, ground), least_iou=least_iou)
            if made is not None and on_own_ground(made, number, reader, query, grid):
                store.replace(query, number, made)
                done += 1
            progress((nth + (at + 1) / len(ids)) / len(queries))
    total = sum(len(store.ids(query)) for query in queries)
    return SquaredUp(n_right_angled=done, n_as_before=total - done)


def plane_at(outline: shapely.Geometry, ground: Ground | None) -> NDArray[np.float64]:
    """(2, 2) matrix from pixels around the middle of an outline to a plane with the ground's angles, in units
    of a pixel's mean side. Without a ground, pixels are taken for squares."""
    x = outline.centroid.x
    y = outline.centroid.y
    if ground is None:
        return np.eye(2)
    lonlat = ground.lonlat(np.array([(x, y), (x + 1.0, y), (x, y + 1.0)]))
    if not np.isfinite(lonlat).all():
        return np.eye(2)
    azimuth, _, distance = ground.geod.inv(
        np.repeat(lonlat[0, 0], 2), np.repeat(lonlat[0, 1], 2), lonlat[1:, 0], lonlat[1:, 1]
    )
    toward = np.radians(azimuth)
    plane = np.array([distance * np.sin(toward), distance * np.cos(toward)])
    return np.asarray(plane / math.sqrt(abs(np.linalg.det(plane))))


def on_own_ground(made: shapely.Geometry, number: int, reader: MaskReader, query: int, grid: RunGrid) -> bool:
    """Whether every pixel that an outline touches lies closer to its own object than to any other."""
    from scipy.ndimage import distance_transform_edt

    touched = _window_of(made, grid, margin_px=1)
    if touched is None:
        return False
    ids = reader.read("instance_id", query, touched)
    if not (ids == number).any():
        return False
    covered = _touched(made, touched)
    reach = math.ceil(float(distance_transform_edt(ids != number)[covered].max())) + 1
    around = _window_of(made, grid, margin_px=reach + 1)
    assert around is not None, "a larger margin cannot leave the grid"
    ids = reader.read("instance_id", query, around)
    others = (ids > 0) & (ids != number)
    if not others.any():
        return True
    covered = _touched(made, around)
    own = distance_transform_edt(ids != number)[covered]
    other = distance_transform_edt(~others)[covered]
    return bool((own < other).all())


def _touched(shape: shapely.Geometry, window: Window) -> NDArray[np.bool_]:
    """Mark the pixels (h, w) of a window that a shape touches."""
    moved = Affine.translation(window.col0, window.row0)
    burnt = rasterio.features.rasterize(
        [shape], out_shape=window.shape, transform=moved, all_touched=True, dtype="uint8"
    )
    return np.asarray(burnt, dtype=np.bool_)


def _window_of(shape: shapely.Geometry, grid: RunGrid, *, margin_px: int) -> Window | None:
    """The window around a shape. None: it reaches beyond the grid."""
    x0, y0, x1, y1 = shapely.bounds(shape).tolist()
    if x0 < 0 or y0 < 0 or x1 > grid.width or y1 > grid.height:
        return None
    return Window(
        row0=max(math.floor(y0) - margin_px, 0),
        col0=max(math.floor(x0) - margin_px, 0),
        row1=min(math.ceil(y1) + margin_px, grid.height),
        col1=min(math.ceil(x1) + margin_px, grid.width),
    )
