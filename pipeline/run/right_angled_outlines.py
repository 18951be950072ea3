"""Right angles for the outlines of an export, object by object, and still no overlaps.

1. `square_up` takes every outline out of the store and makes it right-angled, in a plane that has the angles
   of the ground (`pipeline.stitch.right_angles`).
2. The new outline is cut to its own ground (`on_own_ground`): the pixels that are closer to its object than
   to any other, in the id raster. So two new outlines share nothing, and none covers an object that kept its
   own. Where neighbours touch, the edge between them is that of the pixels.
3. It counts if it still overlaps the object well enough. All others keep their outlines, and are counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import rasterio.features
import shapely
import shapely.geometry
from affine import Affine
from numpy.typing import NDArray

from pipeline.schema.tiling import RunGrid, Window
from pipeline.stitch.right_angles import overlap, right_angled
from pipeline.write.export.mask_reader import MaskReader
from pipeline.write.export.outline_store import OutlineStore
from pipeline.write.on_body import Ground, ground_of

LEAST_PX = 1.0
"""Area in pixels of the smallest part that a cut leaves: less is a sliver."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SquaredUp:
    """What became of the outlines."""

    n_right_angled: int
    """All of their corners are right angles, or all but those beside a neighbour."""
    n_as_before: int
    """Nothing with right angles fits them on their own ground."""


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
            drawn = right_angled(outline, plane_at(outline, ground), least_iou=least_iou)
            made = None if drawn is None else on_own_ground(drawn, number, reader, query, grid)
            if made is not None and overlap(made, outline) >= least_iou:
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


def on_own_ground(
    made: shapely.Geometry, number: int, reader: MaskReader, query: int, grid: RunGrid
) -> shapely.Geometry | None:
    """Cut an outline to the pixels that are closer to its own object than to any other. None: nothing is
    left."""
    from scipy.ndimage import distance_transform_edt

    touched = _window_of(made, grid, margin_px=1)
    ids = reader.read("instance_id", query, touched)
    if not (ids == number).any():
        return None
    covered = _touched(made, touched)
    reach = math.ceil(float(distance_transform_edt(ids != number)[covered].max())) + 1
    around = _window_of(made, grid, margin_px=reach + 1)
    ids = reader.read("instance_id", query, around)
    others = (ids > 0) & (ids != number)
    if others.any():
        own = distance_transform_edt(ids != number)
        foreign = _touched(made, around) & (own >= distance_transform_edt(~others))
        if foreign.any():
            made = shapely.difference(made, _outline(foreign, around))
    cut = shapely.intersection(made, shapely.box(0, 0, grid.width, grid.height))
    parts = [part for part in shapely.get_parts(cut) if part.geom_type == "Polygon" and part.area >= LEAST_PX]
    return shapely.union_all(parts) if parts else None


def _outline(mask: NDArray[np.bool_], window: Window) -> shapely.Geometry:
    """The pixels of a mask (h, w) of a window as one shape."""
    moved = Affine.translation(window.col0, window.row0)
    found = rasterio.features.shapes(mask.astype(np.uint8), mask=mask, transform=moved)
    return shapely.union_all([shapely.geometry.shape(part) for part, _ in found])


def _touched(shape: shapely.Geometry, window: Window) -> NDArray[np.bool_]:
    """Mark the pixels (h, w) of a window that a shape touches."""
    moved = Affine.translation(window.col0, window.row0)
    burnt = rasterio.features.rasterize(
        [shape], out_shape=window.shape, transform=moved, all_touched=True, dtype="uint8"
    )
    return np.asarray(burnt, dtype=np.bool_)


def _window_of(shape: shapely.Geometry, grid: RunGrid, *, margin_px: int) -> Window:
    """The window around a shape, as far as the grid reaches."""
    x0, y0, x1, y1 = shapely.bounds(shape).tolist()
    return Window(
        row0=max(math.floor(y0) - margin_px, 0),
        col0=max(math.floor(x0) - margin_px, 0),
        row1=min(math.ceil(y1) + margin_px, grid.height),
        col1=min(math.ceil(x1) + margin_px, grid.width),
    )
