"""Where a run grid lies on its body: longitude and latitude of its pixels, as far as they have any.

1. `ground_of` samples the grid once and says whether all of it, a part or nothing lies on the body. Corners
   of a full disk or of a world map in an ellipse do not, nor do half pixels beyond a pole.
2. `Ground.lonlat` takes pixel edges to degrees. Off the body, or on a second copy of it, they are NaN.
3. `Ground.held` brings the outline of an object that reaches off the body back to the body's edge.
4. `cells_on_ground` covers what of an area lies on the body with small cells, in longitude and latitude.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from pyproj.enums import TransformDirection

from pipeline.geo.planet import body_name, body_of
from pipeline.schema.tiling import RunGrid
from pipeline.write.georeference import affine_or_identity, crs_from_wkt, transformer

Points = NDArray[np.float64]
"""(n, 2) x, y: pixel edges (column, row) of the run grid, or longitude and latitude in degrees."""

_SAMPLES = 33
"""Places per side of the grid that are tried."""

_RETURN_PX = 0.1
"""A place lies on the body when its longitude and latitude lead back to within this many pixels."""

_BEYOND_DEG = 1e-6
"""Overhang of a latitude over a pole that is rounding: a tenth of a metre."""

_HALVINGS = 48
"""Steps of the search for the body's edge between two points: far below a millimetre on any grid."""

_CELLS = 64
"""Cells per side into which a footprint is cut where a grid reaches off the Earth."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """A run grid on its body."""

    grid: RunGrid
    geod: pyproj.Geod
    """The body's ellipsoid."""
    whole: bool
    """Whether every sampled place of the grid lies on the body."""
    _move: pyproj.Transformer
    _degrees: float
    """Degrees per unit of the geographic CRS: 0.9 for grads."""
    _meridian: float
    """Degrees from Greenwich to the prime meridian of the CRS."""
    _strict: bool
    """Whether longitude and latitude must lead back to where they came from."""

    def lonlat(self, xy_px: Points) -> Points:
        """Longitude (from Greenwich) and latitude in degrees, on the body's own ellipsoid; NaN where there is
        none.
        """
        a, b, c, d, e, f = affine_or_identity(self.grid)
        x = a * xy_px[:, 0] + b * xy_px[:, 1] + c
        y = d * xy_px[:, 0] + e * xy_px[:, 1] + f
        lon, lat = (np.asarray(part, dtype=np.float64) for part in self._move.transform(x, y))
        place = np.column_stack([lon, lat]) * self._degrees
        with np.errstate(invalid="ignore"):
            off = ~np.isfinite(place).all(axis=1) | (np.abs(place[:, 1]) > 90.0 + _BEYOND_DEG)
        place[:, 0] += self._meridian
        place[:, 1] = np.clip(place[:, 1], -90.0, 90.0)
        if self._strict:
            off |= ~self._leads_back(lon, lat, x, y)
        place[off] = np.nan
        return place

    def _leads_back(self, lon: Points, lat: Points, x: Points, y: Points) -> NDArray[np.bool_]:
        a, b, _, d, e, _ = affine_or_identity(self.grid)
        x_back, y_back = self._move.transform(lon, lat, direction=TransformDirection.INVERSE)
        with np.errstate(invalid="ignore"):
            away = np.hypot(np.asarray(x_back) - x, np.asarray(y_back) - y)
            return np.asarray(away <= _RETURN_PX * min(np.hypot(a, d), np.hypot(b, e)))

    def held(self, ring_px: Points, part: shapely.Geometry) -> Points:
        """Longitude and latitude of a ring of the polygon `part`. Vertices off the body move towards the
        middle, to the body's edge. NaN when nothing of the ring lies on it.
        """
        place = self.lonlat(ring_px)
        off = np.isnan(place[:, 0])
        inner = self._middle(ring_px[~off], part)
        if inner is None:
            return np.full_like(place, np.nan)
        place[off] = self.edge_between(inner, ring_px[off])
        return place

    def edge_between(self, inner_px: Points, outer_px: Points) -> Points:
        """The last places on the body on the ways from inner points on it to outer ones, (n, 2) each."""
        near = np.zeros(len(outer_px))
        far = np.ones_like(near)
        way = outer_px - inner_px
        for _ in range(_HALVINGS):
            half = (near + far) / 2
            on = np.isfinite(self.lonlat(inner_px + half[:, None] * way)[:, 0])
            near = np.where(on, half, near)
            far = np.where(on, far, half)
        return self.lonlat(inner_px + near[:, None] * way)

    def _middle(self, on_body: Points, part: shapely.Geometry) -> Points | None:
        """A place on the body, (1, 2), from which the ring can be seen. None: none was found."""
        tried = [part.point_on_surface(), part.centroid]
        candidates = [np.array([[point.x, point.y]]) for point in tried]
        if len(on_body):
            candidates = [on_body.mean(axis=0, keepdims=True), *candidates, on_body[:1]]
        for candidate in candidates:
            if np.isfinite(self.lonlat(candidate)).all():
                return candidate
        return None

    @cached_property
    def body_m2(self) -> float:
        """Surface of the whole body, in square metres."""
        a = float(self.geod.a)
        es = float(self.geod.es)
        if es <= 0:
            return 4 * math.pi * a * a
        ecc = math.sqrt(es)
        return 2 * math.pi * a * a * (1 + (1 - es) / ecc * math.atanh(ecc))

    @cached_property
    def sampled_pixels(self) -> tuple[Points, NDArray[np.float64]]:
        """Middles (n, 2) of pixels all over the grid, and the signed ground (n,) of each in square metres:
        negative where rows and columns turn the other way than longitude and latitude; 0 off the body.
        """
        grid = self.grid
        col, row = (part.ravel() for part in np.meshgrid(_between(grid.width - 1), _between(grid.height - 1)))
        corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], dtype=np.float64)
        pixels = np.column_stack([col, row])[:, None, :] + corners
        place = self.lonlat(pixels.reshape(-1, 2)).reshape(-1, 4, 2)
        measure = self.geod.polygon_area_perimeter
        ground = [float(measure(*ring.T)[0]) if np.isfinite(ring).all() else 0.0 for ring in place]
        return pixels.mean(axis=1), np.array(ground)


def why_unknown(grid: RunGrid) -> str:
    """Say why the areas of a grid are unknown. Empty: they are known, wherever it lies on its body."""
    if grid.crs_wkt is None:
        return "no CRS"
    if ground_of(grid) is not None:
        return ""
    name = crs_from_wkt(grid.crs_wkt).name
    if body_of(grid.crs_wkt) == "none":
        return f"{name}, which has no longitude and latitude"
    return f"{name}, in which no place of the run grid has a longitude and latitude"


def ground_note(grid: RunGrid) -> str:
    """Say what a CRS means for areas and footprint. Empty: it is the Earth's, or there is none."""
    ground = ground_of(grid)
    if grid.crs_wkt is None:
        return ""
    if ground is None:
        return f"areas are unknown (area_m2 is null), and item.json has no footprint: {why_unknown(grid)}"
    if body_of(grid.crs_wkt) == "other":
        return f"areas are those on {body_name(grid.crs_wkt)}, not on the Earth; item.json has no footprint"
    middles, _ = ground.sampled_pixels
    if not ground.whole and np.isnan(ground.lonlat(middles)[:, 0]).any():
        return "a part of the run grid lies off the Earth: objects there have no area (area_m2 is null)"
    return ""


@lru_cache(maxsize=16)
def ground_of(grid: RunGrid) -> Ground | None:
    """The grid on its body. None: areas are unknown, because the grid has no CRS or a local one, because its
    projection has no inverse, or because nothing of it lies on the body.
    """
    if grid.crs_wkt is None or body_of(grid.crs_wkt) == "none":
        return None
    crs = crs_from_wkt(grid.crs_wkt)
    geodetic = crs.geodetic_crs
    geod = crs.get_geod()
    if geodetic is None or geod is None:
        return None
    try:
        move = transformer(crs.to_wkt(), geodetic.to_wkt())
        degrees = math.degrees(geodetic.axis_info[0].unit_conversion_factor)
        strict = not crs.is_geographic and not _is_cylindrical(move, degrees)
        meridian = crs.prime_meridian
        shift = 0.0
        if meridian is not None:
            shift = math.degrees(meridian.longitude * meridian.unit_conversion_factor)
        ground = Ground(
            grid=grid, geod=geod, whole=False, _move=move, _degrees=degrees, _meridian=shift, _strict=strict
        )
        on = np.isfinite(ground.lonlat(_sample_px(grid))[:, 0])
    except pyproj.exceptions.ProjError:  # a projection without an inverse
        return None
    if not on.any():
        return None
    # where all of it lies on the body, nothing needs to be led back
    return replace(ground, whole=True, _strict=False) if on.all() else ground


def _is_cylindrical(move: pyproj.Transformer, degrees: float) -> bool:
    """Whether a degree of longitude has one width on all latitudes. Such a map goes on beside itself: what
    lies beyond its edge is on the body too, on another turn.
    """
    lon = np.array([10.0, 11.0, 10.0, 11.0]) / degrees
    lat = np.array([0.0, 0.0, 40.0, 40.0]) / degrees
    x, y = move.transform(lon, lat, direction=TransformDirection.INVERSE)
    if not np.isfinite([*x, *y]).all():
        return False
    width = x[1] - x[0]
    return bool(
        width != 0 and np.allclose([x[3] - x[2], y[1] - y[0] + width, y[3] - y[2] + width], width, rtol=1e-9)
    )


def _between(length: int) -> NDArray[np.float64]:
    return np.linspace(0.0, max(length, 0), _SAMPLES)


def _sample_px(grid: RunGrid) -> Points:
    """Corners, edges and inside of the grid, as pixel edges."""
    cols, rows = np.meshgrid(_between(grid.width), _between(grid.height))
    return np.column_stack([cols.ravel(), rows.ravel()])


def cells_on_ground(area_px: shapely.Geometry, ground: Ground) -> shapely.Geometry:
    """Cover what of an area (pixel edges) lies on the body, in degrees on its ellipsoid, cut at 180.

    The area's box is cut into 64 x 64 cells. Those with a corner on the body and their middle in the area
    count; their other corners move to the body's edge. Empty when no cell counts.
    """
    x0, y0, x1, y1 = area_px.bounds
    corners = np.stack(np.meshgrid(np.linspace(x0, x1, _CELLS + 1), np.linspace(y0, y1, _CELLS + 1)), axis=-1)
    shapely.prepare(area_px)
    middles = (corners[:-1, :-1] + corners[1:, 1:]) / 2
    counted = shapely.intersects_xy(area_px, middles[..., 0], middles[..., 1])
    place = ground.lonlat(corners.reshape(-1, 2)).reshape(corners.shape)
    on = np.isfinite(place[..., 0])
    inner = _neighbours_mean(corners, on)
    near = ~on & np.isfinite(inner[..., 0])
    place[near] = ground.edge_between(inner[near], corners[near])
    quads = _quads(place)[counted & _quads(on[..., None]).any(axis=(2, 3))]
    cells = _cells(quads[np.isfinite(quads).all(axis=(1, 2))])
    return shapely.simplify(shapely.union_all(cells, grid_size=1e-7), 0)


def _neighbours_mean(corners: Points, on: NDArray[np.bool_]) -> Points:
    """(n, n, 2) for each corner of a lattice the mean of those around it that are `on`; NaN without any."""
    total = np.zeros(corners.shape)
    count = np.zeros(on.shape)
    lattice = np.pad(np.where(on[..., None], corners, 0.0), ((1, 1), (1, 1), (0, 0)))
    weights = np.pad(on, 1)
    rows, cols = on.shape
    for down in range(3):
        for right in range(3):
            total += lattice[down : down + rows, right : right + cols]
            count += weights[down : down + rows, right : right + cols]
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count[..., None])


def _quads[T: np.generic](corners: NDArray[T]) -> NDArray[T]:
    """(n, n, 4, k) the corners of each cell, around, of a lattice of corners (n + 1, n + 1, k)."""
    return np.stack([corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]], axis=2)


def _cells(quads: Points) -> NDArray[np.object_]:
    """Cells of four corners (n, 4, 2) in degrees, in pieces between -180 and 180."""
    lon = np.unwrap(np.concatenate([quads[..., 0], quads[:, :1, 0]], axis=1), period=360.0, axis=1)
    lat = quads[..., 1]
    polar = np.abs(lon[:, -1] - lon[:, 0]) > 180  # once around a pole
    north = lat.mean(axis=1) > 0
    low = np.where(north, lat.min(axis=1), -90.0)[polar]
    high = np.where(north, 90.0, lat.max(axis=1))[polar]
    caps = shapely.box(-180.0, low, 180.0, high)
    lon = (lon[:, :-1] - 360.0 * np.floor((lon[:, :-1].min(axis=1, keepdims=True) + 180.0) / 360.0))[~polar]
    cells = shapely.make_valid(shapely.polygons(np.stack([lon, lat[~polar]], axis=-1)))
    across = lon.max(axis=1) > 180
    west = shapely.intersection(cells[across], shapely.box(-180.0, -90.0, 180.0, 90.0))
    east = shapely.intersection(cells[across], shapely.box(180.0, -90.0, 540.0, 90.0))
    east = shapely.transform(east, lambda xy: xy - (360.0, 0.0))
    return np.concatenate([caps, cells[~across], west, east])
