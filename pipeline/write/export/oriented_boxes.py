"""Length, width and heading of objects: the smallest rectangle around each, measured on the ground.

1. Every vertex gets its direction and distance from the middle of its object, on the body's ellipsoid
   (`pyproj.Geod`). Drawn on a plane they are the object in metres, with north up.
2. `shapely.oriented_envelope` is the rectangle of least area around that. Its sides are length and width, and
   the longer one points to the heading.
3. For the rectangle's shape in the run's CRS, the plane is fitted to the vertices as they are there.

The plane is exact along lines through the middle. Across them it is 0.00001 % too long at 5 km.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import shapely

from pipeline.schema.tiling import RunGrid
from pipeline.write.georeference import Geometries, to_crs_coordinates
from pipeline.write.on_body import Ground, ground_of

COLUMNS = pa.schema(
    [
        ("length_m", pa.float64()),
        ("width_m", pa.float64()),
        ("heading_deg", pa.float64()),
        ("box_fill", pa.float64()),
    ]
)
"""Longer and shorter side in metres, direction of the longer one in degrees clockwise from north, 0 to 180,
and the share of the rectangle that the object fills."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OrientedBoxes:
    """The rectangles of n objects."""

    measures: pa.RecordBatch
    """n rows of `COLUMNS`; null where an object has no place on a body."""
    rectangles: Geometries
    """(n,) polygons in the CRS; None where there is no measure."""


def oriented_boxes(polygons_px: Geometries, grid: RunGrid) -> OrientedBoxes:
    """Measure objects.

    polygons_px: (n,) (multi)polygons in pixel-edge coordinates (x = column, y = row) of the run grid.
    """
    n = len(polygons_px)
    values = np.full((n, len(COLUMNS)), np.nan)
    rectangles = np.full(n, None, dtype=object)
    ground = ground_of(grid)
    for at in range(n if ground is not None else 0):
        assert ground is not None
        measured = _measure(polygons_px[at], ground)
        if measured is not None:
            values[at], rectangles[at] = measured
    columns = [pa.array(values[:, column], from_pandas=True) for column in range(len(COLUMNS))]
    known = np.array([shape is not None for shape in rectangles], dtype=bool)
    if known.any():
        rectangles[known] = to_crs_coordinates(rectangles[known], grid)
    return OrientedBoxes(measures=pa.RecordBatch.from_arrays(columns, schema=COLUMNS), rectangles=rectangles)


def _measure(polygon: shapely.Geometry, ground: Ground) -> tuple[list[float], shapely.Polygon] | None:
    """(the four measures, rectangle in pixel edges)."""
    hull_px = shapely.get_coordinates(polygon.convex_hull)[:-1]
    middle = ground.lonlat(np.array([[polygon.centroid.x, polygon.centroid.y]]))
    lonlat = ground.lonlat(hull_px)
    if not (np.isfinite(lonlat).all() and np.isfinite(middle).all()):
        return None
    start = np.repeat(middle, len(lonlat), axis=0)
    azimuth, _, distance = ground.geod.inv(start[:, 0], start[:, 1], lonlat[:, 0], lonlat[:, 1])
    toward = np.radians(azimuth)
    plane = np.column_stack([distance * np.sin(toward), distance * np.cos(toward)])
    box = shapely.oriented_envelope(shapely.MultiPoint(plane))
    corners = shapely.get_coordinates(box)[:4]
    sides = np.diff(corners[:3], axis=0)
    lengths = np.hypot(sides[:, 0], sides[:, 1])
    longer = int(lengths[1] > lengths[0])
    heading = round(float(np.degrees(np.arctan2(sides[longer, 0], sides[longer, 1]))), 6) % 180.0
    known = np.column_stack([plane, np.ones(len(plane))])
    to_px, *_ = np.linalg.lstsq(known, hull_px, rcond=None)
    rectangle = shapely.Polygon(np.column_stack([corners, np.ones(4)]) @ to_px)
    fill = float(polygon.area / rectangle.area)
    return [float(lengths.max()), float(lengths.min()), heading, fill], rectangle
