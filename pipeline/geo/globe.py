"""The Earth is round: geometry in longitude and latitude, cut where longitudes begin again.

1. Some maps can go on beside themselves, turn after turn of the globe. `turn_of` says how wide one turn is:
   360 degrees of longitude, or the width of a cylindrical projection such as Web Mercator.
2. `to_lonlat` moves polygons of any CRS to WGS 84. On maps with turns longitudes count on past 180. On others
   an edge that jumps over half the globe crosses 180, and GDAL finds the poles.
3. `cut_at_180` brings polygons of any turn between -180 and 180, in parts (RFC 7946, section 3.1.9).
4. `joined` mends what a projection has torn at its own edge, and `on_all_turns` offers geometry wherever a
   grid may have it.
5. `narrowest_bbox` is the smallest box around them; west > east says that it crosses the antimeridian
   (RFC 7946, section 5.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.warp import transform_geom
from shapely.geometry.base import BaseGeometry

LONLAT_CRS = "OGC:CRS84"
"""Longitude, latitude on WGS 84, in this axis order."""

MERCATOR_LATITUDE = 89.5
"""Degrees from the equator up to which a cylindrical map is used: its poles may lie at infinity."""

_ROUNDING_DEG = 1e-9
"""Less than a millimetre; an overhang of this size is no place of its own."""

_SAMPLES_DEG = 15.0
"""Spacing of the longitudes at which a projection is tried."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The turn of the globe on a map that can go on beside itself: how x and longitude belong together."""

    x_at_0: float
    """x of longitude 0, on some turn, in units of the CRS."""
    per_degree: float
    """x per degree of longitude; negative where x grows to the west."""

    @property
    def width(self) -> float:
        """x of one turn of the globe, positive."""
        return abs(360.0 * self.per_degree)

    def lon_like(self, lon: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add whole turns to longitudes (n,), in degrees, so that they count on past 180 as x (n,) does."""
        counted = (x - self.x_at_0) / self.per_degree
        return lon + 360.0 * np.round((counted - lon) / 360.0)

    def x_like(self, x: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add whole turns to x (n,), so that it goes on past the map's own edge as longitudes (n,) do."""
        counted = self.x_at_0 + lon * self.per_degree
        return x + self.width * np.round((counted - x) / self.width)


@lru_cache(maxsize=64)
def turn_of(crs_wkt: str) -> Turn | None:
    """Find the turn of a CRS (WKT), if it is geographic or a cylindrical projection in its normal aspect.

    None: the map does not go on beside itself.
    """
    crs = CRS.from_wkt(crs_wkt)
    geodetic = crs.geodetic_crs
    if geodetic is None:
        return None
    if crs.is_geographic:
        return Turn(x_at_0=0.0, per_degree=math.radians(1.0) / crs.axis_info[0].unit_conversion_factor)
    if not crs.is_projected:
        return None
    move = Transformer.from_crs(geodetic, crs, always_xy=True)
    lon = np.arange(-180.0, 180.0, _SAMPLES_DEG) * _degree(geodetic)
    x, y = move.transform(lon, np.zeros_like(lon))
    x_high, _ = move.transform(lon, np.full_like(lon, 45.0 * _degree(geodetic)))
    if not np.isfinite([*x, *y, *x_high]).all():
        return None
    step = np.diff(np.append(x, x[0]))
    usual = float(np.median(step))
    if usual == 0:
        return None
    slack = 1e-6 * abs(usual)
    even = np.abs(step - usual) <= slack
    straight = np.abs(np.remainder(x_high - x + slack, usual * lon.size)) <= 2 * slack
    if even.sum() < lon.size - 1 or not straight.all() or np.ptp(y) > slack:
        return None
    return Turn(x_at_0=float(x[lon.size // 2]), per_degree=usual / _SAMPLES_DEG)


def _degree(geodetic: CRS) -> float:
    """One degree in units of a geodetic CRS."""
    return math.radians(1.0) / float(geodetic.axis_info[0].unit_conversion_factor)


def to_lonlat(polygons: BaseGeometry, crs_wkt: str) -> BaseGeometry:
    """Move polygons of a CRS (WKT) to lon/lat (WGS 84), cut at 180 and at the poles.

    Only vertices are moved, so long edges should be split first. Raises ValueError, or an error of pyproj or
    rasterio, where the polygons have no place on Earth.
    """
    turn = turn_of(crs_wkt)
    if turn is None:
        lonlat = _counted_on(_moved_plainly(polygons, crs_wkt)) or shapely.geometry.shape(
            transform_geom(crs_wkt, LONLAT_CRS, shapely.geometry.mapping(polygons))
        )
    else:
        move = Transformer.from_crs(crs_wkt, LONLAT_CRS, always_xy=True)
        pole = math.pi / 2 / CRS.from_wkt(crs_wkt).axis_info[0].unit_conversion_factor
        highest = pole if CRS.from_wkt(crs_wkt).is_geographic else math.inf

        def apply(xy: NDArray[np.float64]) -> NDArray[np.float64]:
            lon, lat = move.transform(xy[:, 0], np.clip(xy[:, 1], -highest, highest))
            return np.column_stack([turn.lon_like(lon, xy[:, 0]), lat])

        lonlat = shapely.transform(polygons, apply)
    if lonlat.is_empty or not np.isfinite(shapely.get_coordinates(lonlat)).all():
        raise ValueError("no finite place in longitude and latitude")
    return cut_at_180(lonlat)


def polygons_to_lonlat(polygons: NDArray[np.object_], crs_wkt: str) -> NDArray[np.object_]:
    """Move many polygons (n,) of a CRS (WKT) as `to_lonlat` does, in one transformation of all vertices.

    Only those that leave -180..180, or jump across it, go through `to_lonlat` one by one. Raises what that
    raises.
    """
    moved = _moved_plainly(polygons, crs_wkt)
    west, south, east, north = shapely.bounds(moved).T
    plain = (west >= -180) & (east <= 180) & (east - west < 180) & (south >= -90) & (north <= 90)
    for place in np.flatnonzero(~plain & ~shapely.is_empty(polygons)).tolist():
        moved[place] = to_lonlat(polygons[place], crs_wkt)
    return np.asarray(moved, dtype=object)


def _moved_plainly[Shapes: (BaseGeometry, NDArray[np.object_])](polygons: Shapes, crs_wkt: str) -> Shapes:
    """Move vertices to longitude and latitude, whatever becomes of the edges between them."""
    move = Transformer.from_crs(crs_wkt, LONLAT_CRS, always_xy=True)
    moved: Shapes = shapely.transform(
        polygons, lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1]))
    )
    return moved


def _counted_on(lonlat: BaseGeometry) -> BaseGeometry | None:
    """Let longitudes of polygons that cross the antimeridian count on past 180.

    None: no edge crosses it, or a ring goes around a pole.
    """
    rings, part = shapely.get_rings(shapely.get_parts(lonlat), return_index=True)
    crosses = False
    counted = []
    for ring in rings:
        lon, lat = shapely.get_coordinates(ring).T
        if not np.isfinite(lon).all():
            return None
        turns = np.round(np.diff(lon) / 360.0)
        if turns.sum() != 0:
            return None
        crosses |= bool(turns.any())
        counted.append(np.column_stack([lon - 360.0 * np.concatenate([[0.0], np.cumsum(turns)]), lat]))
    if not crosses:
        return None
    polygons = []
    for number in np.unique(part).tolist():
        shell, *holes = [counted[place] for place in np.flatnonzero(part == number).tolist()]
        near = [hole - (360.0 * np.round((hole[0, 0] - shell[0, 0]) / 360.0), 0.0) for hole in holes]
        polygons.append(shapely.Polygon(shell, near))
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)


def joined(geometries: NDArray[np.object_], crs_wkt: str) -> NDArray[np.object_]:
    """Join what a projection has torn at its own edge: geometries (n,) in the CRS (WKT).

    Places beyond the edge come out on the other side of the map. Every vertex is brought to within half a
    turn of its geometry's first one. Maps without turns stay as they are.
    """
    turn = turn_of(crs_wkt)
    if turn is None:
        return geometries
    xy, owner = shapely.get_coordinates(geometries, return_index=True)
    first = xy[np.searchsorted(owner, np.arange(len(geometries))).clip(max=max(len(xy) - 1, 0)), 0]
    moved = xy.copy()
    moved[:, 0] -= turn.width * np.round((xy[:, 0] - first[owner]) / turn.width)
    return np.asarray(shapely.set_coordinates(geometries.copy(), moved), dtype=object)


def on_all_turns(geometries: NDArray[np.object_], crs_wkt: str) -> list[NDArray[np.object_]]:
    """Offer geometries (n,) in the CRS (WKT) on every turn that a grid can lie on.

    Returns them a turn to the west, as they are, and a turn to the east. On a map without turns only as they
    are.
    """
    turn = turn_of(crs_wkt)
    if turn is None:
        return [geometries]
    return [
        np.asarray(shapely.transform(geometries, partial(np.add, (by, 0.0))), dtype=object)
        for by in (-turn.width, 0.0, turn.width)
    ]


def cut_at_180(polygons: BaseGeometry) -> BaseGeometry:
    """Cut polygons in degrees, on any turn of the globe, into valid parts within -180..180 and -90..90."""
    whole = polygons if polygons.is_valid else polygonal(shapely.make_valid(polygons))
    west, south, east, north = whole.bounds
    if west >= -180 and east <= 180 and south >= -90 and north <= 90:
        return whole
    first = math.floor((west + 180.0 + _ROUNDING_DEG) / 360.0)
    last = max(math.ceil((east + 180.0 - _ROUNDING_DEG) / 360.0), first + 1)
    parts = []
    for turn in range(first, last):
        frame = shapely.box(360.0 * turn - 180.0, -90.0, 360.0 * turn + 180.0, 90.0)
        part = polygonal(shapely.intersection(whole, frame))
        parts.append(shapely.transform(part, partial(np.add, (-360.0 * turn, 0.0))))
    return polygonal(shapely.union_all(parts))


def polygonal(geometry: BaseGeometry) -> BaseGeometry:
    """Keep the polygons of a geometry, as Polygon or MultiPolygon (possibly empty)."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts) if parts else shapely.MultiPolygon()


def narrowest_bbox(polygons: BaseGeometry) -> tuple[float, float, float, float]:
    """Find the narrowest box (west, south, east, north) around polygons between -180 and 180 degrees.

    The box leaves out the widest stretch of longitudes without a polygon. When that stretch is not the one
    over the antimeridian, the box crosses it: west > east.
    """
    bounds = shapely.bounds(shapely.get_parts(polygons))
    bounds = bounds[np.argsort(bounds[:, 0], kind="stable")]
    reached = np.maximum.accumulate(bounds[:, 2])
    south = float(bounds[:, 1].min())
    north = float(bounds[:, 3].max())
    gaps = bounds[1:, 0] - reached[:-1]
    over_180 = bounds[0, 0] + 360.0 - reached[-1]
    if not gaps.size or gaps.max() <= over_180 + _ROUNDING_DEG:
        return float(bounds[0, 0]), south, float(reached[-1]), north
    widest = int(gaps.argmax())
    return float(bounds[widest + 1, 0]), south, float(reached[widest]), north
