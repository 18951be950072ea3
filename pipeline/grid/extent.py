"""Can a raster lie where its header says? A CRS that its coordinates cannot be in is refused.

A wrong CRS is easily given (`gdal_translate -a_srs`), and everything after it would be wrong without a word:
areas, places, the choice of tiles.
"""

from __future__ import annotations

import math

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from pipeline.errors import InputError

MAX_TURNS = 1.5
"""Turns of the globe from longitude 0 within which a longitude is one: 0..360 and beyond, but not metres."""

POLE_OVERHANG_PX = 2.0
"""Pixels by which a global grid may reach over a pole: its rows are often centred on it."""

DEGREE_PIXEL_M = 1e-3
"""A pixel smaller than a millimetre, at coordinates that could be degrees, is a pixel in degrees."""

_LOOKS = 9
"""Points per side at which a raster is looked for on Earth."""


def require_possible(href: str, crs_wkt: str, affine: Affine, width: int, height: int) -> None:
    """Refuse a raster whose coordinates its CRS (WKT) cannot hold. Raises InputError with both extents.

    `affine` takes (col, row) pixel edges to the CRS; `width` and `height` are in pixels. A raster may reach
    off the Earth, as pictures of the whole disc do, but not lie off it altogether.
    """
    crs = CRS.from_wkt(crs_wkt)
    if crs.geodetic_crs is None or not (crs.is_geographic or crs.is_projected):
        return
    cols, rows = np.meshgrid(np.linspace(0, width, _LOOKS), np.linspace(0, height, _LOOKS))
    x = affine.a * cols + affine.b * rows + affine.c
    y = affine.d * cols + affine.e * rows + affine.f
    came = f"x from {x.min():.9g} to {x.max():.9g}, y from {y.min():.9g} to {y.max():.9g}"
    farthest = float(np.abs(x).max())
    highest = float(np.abs(y).max())
    unit = float(crs.axis_info[0].unit_conversion_factor)
    pixel = math.sqrt(abs(affine.determinant))
    if crs.is_geographic:
        turn = 2 * math.pi / unit
        if farthest > MAX_TURNS * turn or highest > turn / 4 + POLE_OVERHANG_PX * pixel:
            lon = f"{turn / 2:.6g}"
            lat = f"{turn / 4:.6g}"
            holds = f"longitudes from -{lon} to {lon} and latitudes from -{lat} to {lat}"
            like = "metres" if max(farthest, highest) > 4 * turn else "latitude before longitude"
            raise _impossible(href, crs, came, holds, f"these look like {like}")
        return
    if pixel * unit < DEGREE_PIXEL_M and farthest <= 360 and highest <= 90:
        raise _impossible(href, crs, came, "metres or feet", f"pixels of {pixel:.3g} look like degrees")
    try:
        place = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform(x, y)
    except ProjError:  # a projection without an inverse: nobody can say where it is
        return
    if not np.isfinite(place).all(axis=0).any():
        raise _impossible(href, crs, came, _extent_of(crs), "none of it has a place on Earth")


def _extent_of(crs: CRS) -> str:
    """The extent of a projected CRS's own area of use, in its coordinates."""
    area = crs.area_of_use
    if area is None:
        return "another range"
    box = shapely.box(area.west, area.south, area.east, area.north) if area.west < area.east else None
    if box is None:
        return f"places from {area.west:g} east to {area.east:g} west over the antimeridian"
    edge = shapely.get_coordinates(box.segmentize(1.0))
    move = Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
    x, y = (axis[np.isfinite(axis)] for axis in move.transform(edge[:, 0], edge[:, 1]))
    return f"x from {x.min():.9g} to {x.max():.9g}, y from {y.min():.9g} to {y.max():.9g}"


def _impossible(href: str, crs: CRS, came: str, holds: str, why: str) -> InputError:
    return InputError(
        f"The coordinates of {href} must be possible in its CRS ({crs.name}), which holds {holds}",
        came=f"{came}; {why}",
        remedy="give the file its true CRS, e.g. `gdal_translate -a_srs EPSG:... in.tif out.tif`",
    )
