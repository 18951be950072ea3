"""Where scenes lie, in longitude and latitude: exactly one by one, and about for many in one step.

A catalogue has scenes by the ten thousand. Their exact bounds (`scene_bounds_lonlat`) cost a tenth of a
millisecond each, and most of them lie clearly inside or outside of an area. `quick_bounds` takes nine points
of each, and leaves out those of which these do not tell enough: large ones, and those near 180 degrees or a
pole. `meeting` tells which scenes meet some ground, by both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.warp import transform_bounds
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.geo.globe import LONLAT_CRS, cut_at_180
from pipeline.geo.planet import body_name, body_of
from pipeline.grid.lattice import affine_of, crs_name
from pipeline.grid.scene_list import SceneList
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import AffineTuple

ERROR = 0.02
"""Share of a scene's longer side by which its quick bounds may be wrong; its curved edges stray by less."""

MAX_SIDE = 2.0
"""Degrees up to which a scene is small enough."""

_AT_ONCE = 16_384
"""Scenes that are looked at in one step, to bound memory."""

MAX_LATITUDE = 80.0
MAX_LONGITUDE = 177.0


def quick_bounds(scenes: Sequence[Scene]) -> NDArray[np.float64]:
    """Find (west, south, east, north) in degrees, (n, 4). NaN: look at this scene by itself."""
    columns = SceneList.of(scenes).columns
    bounds = np.full((len(scenes), 4), np.nan)
    for wkt in dict.fromkeys(columns.crs.tolist()):
        if wkt is not None and body_of(wkt) == "earth":
            numbers = np.flatnonzero(columns.crs == wkt)
            for start in range(0, numbers.size, _AT_ONCE):
                own = numbers[start : start + _AT_ONCE]
                bounds[own] = _bounds(wkt, columns.transforms[own], columns.sizes[own])
    return bounds


def meeting(
    scenes: Sequence[Scene], ground: BaseGeometry, quick: NDArray[np.float64] | None = None
) -> NDArray[np.bool_]:
    """Tell which scenes' boxes in degrees meet some ground (degrees, cut at 180), (n,).

    `quick`: their `quick_bounds`, where these are known. Raises InputError for a scene that has no place on
    Earth.
    """
    shapely.prepare(ground)
    quick = quick_bounds(scenes) if quick is None else quick
    meets = np.zeros(len(scenes), dtype=np.bool_)
    unsure = np.zeros(len(scenes), dtype=np.bool_)
    for start in range(0, len(scenes), _AT_ONCE):
        own = slice(start, start + _AT_ONCE)
        meets[own] = shapely.intersects(ground, boxes(grown(quick[own], margin=-ERROR)))
        open_ = start + np.flatnonzero(~meets[own])
        around = boxes(grown(quick[open_], margin=ERROR))
        unsure[open_] = shapely.intersects(ground, around) | np.isnan(quick[open_, 0])
    numbers = np.flatnonzero(unsure)
    for number, scene in zip(numbers.tolist(), SceneList.of(scenes).take(numbers), strict=True):
        exact = lonlat_boxes(scene_bounds_lonlat(scene), margin=1e-9)
        meets[number] = ground.intersects(exact)
    return meets


def grown(bounds: NDArray[np.float64], *, margin: float, least: float = 0.0) -> NDArray[np.float64]:
    """Grow bounds (n, 4) by `margin` of their longer sides and by `least` degrees."""
    west, south, east, north = bounds.T
    by = margin * np.maximum(east - west, north - south) + least
    return np.stack([west - by, south - by, east + by, north + by], axis=1)


def boxes(bounds: NDArray[np.float64]) -> NDArray[np.object_]:
    """Make boxes (n,) of bounds (n, 4); None where they are NaN."""
    found = np.full(len(bounds), None, dtype=object)
    known = np.isfinite(bounds[:, 0])
    found[known] = shapely.box(*bounds[known].T)
    return found


def _bounds(wkt: str, transforms: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        move = Transformer.from_crs(CRS.from_wkt(wkt), LONLAT_CRS, always_xy=True)
    except ProjError:
        return np.full((len(sizes), 4), np.nan)
    a, b, c, d, e, f = transforms.T[:, :, None]
    shares = np.array([(col, row) for col in (0.0, 0.5, 1.0) for row in (0.0, 0.5, 1.0)]).T[:, None, :]
    cols = shares[0] * sizes[:, :1]
    rows = shares[1] * sizes[:, 1:]
    lon, lat = move.transform(a * cols + b * rows + c, d * cols + e * rows + f)
    with np.errstate(invalid="ignore"):
        found = np.stack([lon.min(axis=1), lat.min(axis=1), lon.max(axis=1), lat.max(axis=1)], axis=1)
        west, south, east, north = found.T
        told = (east - west <= MAX_SIDE) & (north - south <= MAX_SIDE) & np.isfinite(found).all(axis=1)
        told &= (np.abs(found[:, ::2]) < MAX_LONGITUDE).all(axis=1)
        told &= (np.abs(found[:, 1::2]) < MAX_LATITUDE).all(axis=1)
    found[~told] = np.nan
    return found


def scene_bounds_lonlat(scene: Scene) -> tuple[float, float, float, float]:
    """Find (west, south, east, north) of a scene in degrees; west > east where it crosses the antimeridian
    (RFC 7946, 5.2).

    Raises InputError when it has no place on Earth.
    """
    if scene.crs_wkt is None:
        raise InputError(
            f"{scene.href} must have a CRS to be compared with an AOI",
            came="none",
            remedy="say which with --crs, or use --whole-scene",
        )
    if body_of(scene.crs_wkt) != "earth":
        body = body_name(scene.crs_wkt)
        raise InputError(
            f"{scene.href} must have a place on Earth to be compared with an AOI",
            came=f"{crs_name(scene.crs_wkt)}, {f'on {body}' if body else 'a local CRS'}",
            remedy="use --whole-scene",
        )
    try:
        return _bounds_lonlat(scene.crs_wkt, scene.transform, scene.width, scene.height)
    except Exception as error:
        raise InputError(
            f"{scene.href} must have a place on Earth",
            came=f"{crs_name(scene.crs_wkt)}: {error}",
            remedy="use --whole-scene",
        ) from error


@lru_cache(maxsize=65536)
def _bounds_lonlat(
    crs_wkt: str, transform: AffineTuple, width: int, height: int
) -> tuple[float, float, float, float]:
    corners = [affine_of(transform) @ (col, row) for col in (0, width) for row in (0, height)]
    xs = [x for x, _ in corners]
    ys = [y for _, y in corners]
    bounds = transform_bounds(crs_wkt, LONLAT_CRS, min(xs), min(ys), max(xs), max(ys), densify_pts=21)
    west, south, east, north = (float(value) for value in bounds)
    if not all(math.isfinite(value) for value in (west, south, east, north)):
        raise ValueError("no finite extent in lon/lat")
    return west, south, east, north


def lonlat_boxes(bounds: tuple[float, float, float, float], *, margin: float = 0.0) -> BaseGeometry:
    """Turn bounds in degrees into polygons between -180 and 180, grown by `margin` degrees.

    The bounds may have west > east, or reach beyond 180.
    """
    west, south, east, north = bounds
    east += 360.0 if west > east else 0.0
    west, south, east, north = (
        west - margin,
        max(south - margin, -90.0),
        east + margin,
        min(north + margin, 90.0),
    )
    if east - west >= 360:
        return shapely.box(-180.0, south, 180.0, north)
    return cut_at_180(shapely.box(west, south, east, north))
