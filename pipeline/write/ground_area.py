"""Ground area of polygons, on the ellipsoid of the body that the run grid lies on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.schema.tiling import RunGrid
from pipeline.write.georeference import Geometries, crs_from_wkt
from pipeline.write.on_body import Ground, ground_of

EDGE_M = 200.0
"""Longest straight edge, in metres, before geodesic work splits it. A straight edge of a projection, or of a
parallel, bulges from the geodesic between its ends by about length**2 / (8 * 6.4e6 m) * tan(latitude): under
2 mm at 200 m and 70 N, a relative area error below 1e-5 for the object it bounds.
"""

_LEAST_EDGE_PX = 0.1
"""Edges are not split finer than this: pixels of kilometres have few vertices, but not thousands."""

_LARGE_SHARE = 0.125
"""Share of the body from which a ring may enclose more than half of it, by the size of its pixels."""


def geodesic_area_m2(polygons: Sequence[shapely.Geometry] | Geometries, grid: RunGrid) -> NDArray[np.float64]:
    """Measure (multi)polygons in pixel-edge coordinates: (n,) ground area in square metres, NaN: unknown.

    Edges are split to at most EDGE_M metres, taken to longitude and latitude on the CRS's own ellipsoid, and
    integrated there (pyproj.Geod, Karney's algorithm). Holes are subtracted ring by ring. Of an object that
    reaches off the body the part on it counts. Unknown: all areas on a grid without a body (`ground_of`), and
    that of an object beside the body.
    """
    shapes = np.asarray(polygons, dtype=object)
    ground = ground_of(grid)
    if ground is None or shapes.size == 0:
        return np.full(shapes.shape, np.nan, dtype=np.float64)
    parts, owner = shapely.get_parts(shapely.segmentize(shapes, _edge_px(ground)), return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    if len(rings) == 0:
        return np.zeros(shapes.shape, dtype=np.float64)
    outer = np.concatenate([[True], part[1:] != part[:-1]])
    areas = _ring_areas(ground, rings, parts[part])
    around = np.bincount(part[outer], weights=areas[outer], minlength=len(parts))
    holes = np.bincount(part[~outer], weights=np.nan_to_num(areas[~outer]), minlength=len(parts))
    of_part = around - holes
    known = np.isfinite(of_part)
    total = np.bincount(owner[known], weights=of_part[known], minlength=shapes.size)
    # an object of several parts is measured by those that lie on the body
    n_known = np.bincount(owner[known], minlength=shapes.size)
    n_parts = np.bincount(owner, minlength=shapes.size)
    return np.where((n_known == 0) & (n_parts > 0), np.nan, total)


def _ring_areas(ground: Ground, rings: Geometries, parts: Geometries) -> NDArray[np.float64]:
    """(n,) area inside each ring; NaN beside the body. `parts`: the polygon of each ring."""
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    lonlat = ground.lonlat(xy)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(ring, minlength=len(rings)))]).tolist()
    for number in np.unique(ring[np.isnan(lonlat[:, 0])]).tolist():
        where = slice(bounds[number], bounds[number + 1])
        lonlat[where] = ground.held(xy[where], parts[number])
    measure = ground.geod.polygon_area_perimeter
    areas = np.array([measure(lonlat[i:j, 0], lonlat[i:j, 1])[0] for i, j in pairwise(bounds)])
    return _unfolded(ground, areas, rings)


def _unfolded(ground: Ground, signed_m2: NDArray[np.float64], rings: Geometries) -> NDArray[np.float64]:
    """Areas without a sign. Geod knows them up to the whole body: how often a ring goes around more than half
    of it is told by the pixels inside.
    """
    areas = np.abs(signed_m2)
    middles, pixels_m2 = ground.sampled_pixels
    share_px = ground.grid.width * ground.grid.height / len(middles)
    largest = pixels_m2[np.argmax(np.abs(pixels_m2))]
    least_m2 = _LARGE_SHARE * ground.body_m2
    if share_px * np.abs(pixels_m2).sum() < least_m2:
        return areas
    polygons = shapely.polygons(rings)
    for number in np.flatnonzero(shapely.area(polygons) * abs(largest) >= least_m2).tolist():
        inside = shapely.intersects_xy(polygons[number], middles[:, 0], middles[:, 1])
        about = share_px * np.abs(pixels_m2[inside]).sum()
        # a ring that turns as pixels do is positive where they are
        facing = signed_m2[number] * np.sign(largest) * (1.0 if shapely.is_ccw(rings[number]) else -1.0)
        areas[number] = abs(facing + ground.body_m2 * round((about - facing) / ground.body_m2))
    return areas


def _edge_px(ground: Ground) -> float:
    """EDGE_M in pixels of the grid, at least _LEAST_EDGE_PX."""
    grid = ground.grid
    assert grid.crs_wkt is not None
    crs = crs_from_wkt(grid.crs_wkt)
    a, b, _, d, e, _ = grid.transform
    side = max(np.hypot(a, d), np.hypot(b, e)) * crs.axis_info[0].unit_conversion_factor
    side_m = side * (ground.geod.a if crs.is_geographic else 1.0)
    return float(max(EDGE_M / side_m, _LEAST_EDGE_PX))
