"""A ground sampling distance in metres -> the side of a pixel in units of the run grid's CRS.

The CRS is measured where the run looks: in the middle of the area of interest and the scenes. A metre of Web
Mercator is half a metre of ground at 60 N, and a degree of longitude 56 km. Scenes whose own pixels come
within `OWN_PIXELS` of the wish keep them, because resampling by less than that makes pixels worse, not truer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pyproj import Transformer

from pipeline.errors import InputError
from pipeline.geo.globe import LONLAT_CRS, turn_of
from pipeline.grid.lattice import affine_of, crs_from_text, crs_name, same_crs
from pipeline.grid.lattice_choice import common_crs
from pipeline.grid.pixel_size import ground_side_m, pixel_side
from pipeline.schema.imagery import Scene

OWN_PIXELS = 0.01
"""Relative difference up to which a scene's own pixels are what was asked for: the scale of a UTM zone alone
varies by a thousandth, and a sensor's nominal sampling distance by more."""

_MAX_LATITUDE = 89.9


def resolution_of_gsd(
    scenes: Sequence[Scene],
    crs: str | None,
    gsd_m: float,
    *,
    bounds_lonlat: tuple[float, float, float, float] | None,
) -> float:
    """Find the side of a pixel, in units of the CRS, that measures `gsd_m` metres on the ground.

    `crs`: the run grid's as the user wrote it; None: the scenes' own. `bounds_lonlat`: west, south, east,
    north of the AOI where scenes are; None: whole scenes. Raises InputError where the CRS has no metres.
    """
    if scenes[0].crs_wkt is None:
        raise InputError(
            f"{scenes[0].href} must have a CRS to be measured on the ground",
            came="none",
            remedy="say which with --crs, or leave out --gsd",
        )
    wkt = crs_from_text(crs) if crs is not None else common_crs(scenes)
    own = [scene for scene in scenes if same_crs(scene.crs_wkt, wkt)]
    x, y = _middle(scenes[0], wkt, bounds_lonlat)
    try:
        unit_m = ground_side_m(wkt, x, y)
    except ValueError as error:
        raise InputError(
            "--gsd needs a CRS whose units are known on the ground",
            came=f"{crs_name(wkt)}: {error}",
            remedy="give --resolution in the unit of the CRS, or another --crs",
        ) from error
    sides = [pixel_side(scene.transform) for scene in own]
    fitting = [side for side in sides if math.isclose(side * unit_m, gsd_m, rel_tol=OWN_PIXELS)]
    return min(fitting) if fitting else gsd_m / unit_m


def _middle(
    scene: Scene, crs_wkt: str, bounds_lonlat: tuple[float, float, float, float] | None
) -> tuple[float, float]:
    """The middle of the AOI's box, or of the first scene, in the CRS."""
    if bounds_lonlat is not None:
        west, south, east, north = bounds_lonlat
        east += 360.0 if west > east else 0.0
        lon = (west + east) / 2
        lat = min(max((south + north) / 2, -_MAX_LATITUDE), _MAX_LATITUDE)
        move = Transformer.from_crs(LONLAT_CRS, crs_wkt, always_xy=True)
        x, y = move.transform(lon if lon <= 180 else lon - 360.0, lat)
        return float(x), float(y)
    x, y = affine_of(scene.transform) @ (scene.width / 2, scene.height / 2)
    if same_crs(scene.crs_wkt, crs_wkt):
        return float(x), float(y)
    assert scene.crs_wkt is not None
    x, y = Transformer.from_crs(scene.crs_wkt, crs_wkt, always_xy=True).transform(x, y)
    turn = turn_of(crs_wkt)
    return float(x if turn is None else turn.x_at_0), float(y)
