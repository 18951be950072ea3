"""From pixels of the run grid to the world: CRS, affine and geodesic area.

The merge works in integer pixel-edge coordinates, which are exact. `to_crs_coordinates` alone applies the
affine to geometries, once and last, with the same arithmetic for every vertex: edges shared in pixels stay
shared in metres. A grid without CRS stays in pixel space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from pipeline.schema import AffineTuple, RunGrid

Geometries = NDArray[np.object_]
"""Array of shapely geometries."""

_IDENTITY: AffineTuple = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

EDGE_M = 200.0
"""Longest straight edge, in metres, before geodesic work splits it. A straight edge of a projection, or of a
parallel, bulges from the geodesic between its ends by about length**2 / (8 * 6.4e6 m) * tan(latitude): under
2 mm at 200 m and 70 N, a relative area error below 1e-5 for the object it bounds.
"""


def affine_or_identity(grid: RunGrid) -> AffineTuple:
    """The grid's affine (a, b, c, d, e, f). A grid without CRS has the identity, whatever its source said."""
    return grid.transform if grid.crs_wkt is not None else _IDENTITY


def is_rotated(grid: RunGrid) -> bool:
    """Whether rows and columns are not parallel to the CRS axes."""
    _, b, _, d, _, _ = affine_or_identity(grid)
    return b != 0.0 or d != 0.0


@lru_cache(maxsize=16)
def crs_from_wkt(wkt: str) -> pyproj.CRS:
    """The CRS of a WKT text, parsed once."""
    return pyproj.CRS.from_wkt(wkt)


def crs_of(grid: RunGrid) -> pyproj.CRS | None:
    """The grid's CRS. None: it is in pixel space."""
    return None if grid.crs_wkt is None else crs_from_wkt(grid.crs_wkt)


def projjson_of(grid: RunGrid) -> Mapping[str, object] | None:
    """The CRS as PROJJSON, as GeoParquet and STAC want it. None: the grid has no CRS."""
    crs = crs_of(grid)
    return None if crs is None else dict(crs.to_json_dict())


def authority_code_of(grid: RunGrid) -> str | None:
    """The CRS's code, like `EPSG:32633`. None: it is not exactly a registered one."""
    crs = crs_of(grid)
    authority = None if crs is None else crs.to_authority(min_confidence=100)
    return None if authority is None else ":".join(authority)


def to_crs_coordinates(geometries: Sequence[shapely.Geometry] | Geometries, grid: RunGrid) -> Geometries:
    """Move geometries from pixel-edge coordinates (x = column, y = row) to CRS coordinates.

    A north-up affine mirrors rings, so they are turned again: exteriors counter-clockwise, holes clockwise.
    """
    a, b, c, d, e, f = affine_or_identity(grid)

    def apply(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        x = xy[:, 0]
        y = xy[:, 1]
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])

    moved = shapely.transform(np.asarray(geometries, dtype=object), apply)
    return np.asarray(shapely.orient_polygons(moved), dtype=object)


def to_pixels(geometries: Sequence[shapely.Geometry] | Geometries, grid: RunGrid) -> Geometries:
    """Turn CRS coordinates into pixel-edge coordinates: the inverse of `to_crs_coordinates`, up to rounding
    in the last digits."""
    a, b, c, d, e, f = affine_or_identity(grid)
    inverse = np.linalg.inv(np.array([[a, b], [d, e]]))
    return np.asarray(
        shapely.transform(np.asarray(geometries, dtype=object), lambda xy: (xy - (c, f)) @ inverse.T),
        dtype=object,
    )


def is_on_earth(grid: RunGrid) -> bool:
    """Whether pixels have a longitude and latitude: the grid has a CRS, and not a local engineering one."""
    crs = crs_of(grid)
    return crs is not None and crs.geodetic_crs is not None


def geodesic_area_m2(polygons: Sequence[shapely.Geometry] | Geometries, grid: RunGrid) -> NDArray[np.float64]:
    """Measure (multi)polygons in pixel-edge coordinates: true ground area in square metres, NaN without CRS.

    Edges are split to at most EDGE_M metres (never finer than a pixel), taken to longitude and latitude on
    the CRS's own ellipsoid, and integrated there (pyproj.Geod, Karney's algorithm). Holes are subtracted ring
    by ring.
    """
    shapes = np.asarray(polygons, dtype=object)
    crs = crs_of(grid)
    if crs is None or shapes.size == 0:
        return np.full(shapes.shape, np.nan, dtype=np.float64)
    geod = crs.get_geod()
    geodetic = crs.geodetic_crs
    if geod is None or geodetic is None:  # an engineering CRS has no place on the globe
        return np.full(shapes.shape, np.nan, dtype=np.float64)
    move = transformer(crs.to_wkt(), geodetic.to_wkt())
    parts, owner = shapely.get_parts(shapely.segmentize(shapes, _edge_px(grid)), return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    if len(rings) == 0:
        return np.zeros(shapes.shape, dtype=np.float64)
    sign = np.where(np.concatenate([[True], part[1:] != part[:-1]]), 1.0, -1.0)
    a, b, c, d, e, f = affine_or_identity(grid)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    lon, lat = move.transform(a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(ring, minlength=len(rings)))])
    areas = np.array([abs(geod.polygon_area_perimeter(lon[i:j], lat[i:j])[0]) for i, j in pairwise(bounds)])
    return np.bincount(owner[part], weights=sign * areas, minlength=shapes.size).astype(np.float64)


@lru_cache(maxsize=64)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """The transformer from one CRS to another (WKT or code), x before y.

    Making one takes milliseconds, so 64 are kept: enough for all UTM zones of a mosaic.
    """
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def _edge_px(grid: RunGrid) -> float:
    """EDGE_M in pixels of the grid, at least one."""
    crs = crs_of(grid)
    assert crs is not None
    a, b, _, d, e, _ = grid.transform
    side = max(np.hypot(a, d), np.hypot(b, e)) * crs.axis_info[0].unit_conversion_factor
    side_m = side * (6_378_137.0 if crs.is_geographic else 1.0)
    return float(max(EDGE_M / side_m, 1.0))
