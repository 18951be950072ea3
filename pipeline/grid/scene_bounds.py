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
from pipeline.grid.scene_edges import scene_arrays
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import AffineTuple

ERROR = 0.02
"""Share of a scene's longer side by which its quick bounds may be wrong; its curved edges stray by less."""

MAX_SIDE = 2.0
"""Degrees up to which a scene is small enough."""

MAX_LATITUDE = 80.0
MAX_LONGITUDE = 177.0


def quick_bounds(scenes: Sequence[Scene]) -> NDArray[np.float64]:
    """Find (west, south, east, north) in degrees, (n, 4). NaN: look at this scene by itself."""
    bounds = np.full((len(scenes), 4), np.nan)
    by_crs: dict[str, list[int]] = {}
    for number, scene in enumerate(scenes):
        if scene.crs_wkt is not None:
            by_crs.setdefault(scene.crs_wkt, []).append(number)
    for wkt, numbers in by_crs.items():
        if body_of(wkt) == "earth":
            bounds[numbers] = _bounds(wkt, [scenes[number] for number in numbers])
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
    meets = shapely.intersects(ground, boxes(quick, margin=-ERROR))
    misses = ~shapely.intersects(ground, boxes(quick, margin=ERROR)) & np.isfinite(quick[:, 0])
    for number in np.flatnonzero(~meets & ~misses).tolist():
        exact = lonlat_boxes(scene_bounds_lonlat(scenes[number]), margin=1e-9)
        meets[number] = ground.intersects(exact)
    return np.asarray(meets, dtype=np.bool_)


def boxes(bounds: NDArray[np.float64], *, margin: float, least: float = 0.0) -> NDArray[np.object_]:
    """Make boxes (n,) of bounds (n, 4), grown by `margin` of their longer sides and by `least` degrees; None
    where they are NaN."""
    west, south, east, north = bounds.T
    with np.errstate(invalid="ignore"):
        by = margin * np.maximum(east - west, north - south) + least
    found = np.full(len(bounds), None, dtype=object)
    known = np.isfinite(west)
    found[known] = shapely.box(west - by, south - by, east + by, north + by)[known]
    return found


def _bounds(wkt: str, scenes: Sequence[Scene]) -> NDArray[np.float64]:
    try:
        move = Transformer.from_crs(CRS.from_wkt(wkt), LONLAT_CRS, always_xy=True)
    except ProjError:
        return np.full((len(scenes), 4), np.nan)
    transforms, sizes = scene_arrays(scenes)
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
