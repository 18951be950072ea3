"""Scenes that cannot be read keep a place in the plan, and have no lattice that anybody could believe.

Their place may be known in longitude and latitude alone, or in a CRS that only a wrong item names. The CRSs
of a run divide it into zones, and such a scene must not make one. `among_neighbours` puts it, as one large
pixel, into the CRS of the nearest scene that can be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
from pyproj import CRS, Transformer

from pipeline.errors import InputError
from pipeline.geo.globe import LONLAT_CRS
from pipeline.grid.lattice import same_crs
from pipeline.grid.scene_bounds import scene_bounds_lonlat
from pipeline.grid.scene_list import SceneList, are_none
from pipeline.schema.imagery import Scene

_STEPS = 9
"""Points a side at which a place is moved to another CRS."""


def among_neighbours(scenes: Sequence[Scene]) -> SceneList:
    """Give scenes with a `failure` the CRS of the nearest scene without one, where none shares their own.

    Scenes without a place on Earth stay as they are, and so do all where none can be read.
    """
    listed = SceneList.of(scenes)
    columns = listed.columns
    sound = ~columns.failed & ~are_none(columns.crs)
    known = list(dict.fromkeys(columns.crs[sound].tolist()))
    if not known:
        return listed
    lost = [
        number
        for number in np.flatnonzero(columns.failed).tolist()
        if not any(same_crs(columns.crs[number], wkt) for wkt in known)
    ]
    others = list(listed.take(sound)) if lost else []
    moved = {}
    for number in lost:
        with suppress(InputError):
            moved[number] = _moved(listed[number], others)
    return listed.replaced(moved)


def _moved(scene: Scene, others: Sequence[Scene]) -> Scene:
    """Put a scene into the CRS of the nearest of `others`. Raises InputError where one lies nowhere."""
    west, south, east, north = scene_bounds_lonlat(scene)
    east += 360.0 if west > east else 0.0
    middle = ((west + east) / 2, (south + north) / 2)
    nearest = min(others, key=lambda other: _distance(middle, scene_bounds_lonlat(other)))
    assert nearest.crs_wkt is not None
    lon, lat = np.meshgrid(np.linspace(west, east, _STEPS), np.linspace(south, north, _STEPS))
    move = Transformer.from_crs(LONLAT_CRS, CRS.from_wkt(nearest.crs_wkt), always_xy=True)
    x, y = move.transform(lon.ravel(), lat.ravel())
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return scene
    width = float(x.max() - x.min())
    height = float(y.max() - y.min())
    return replace(
        scene,
        crs_wkt=nearest.crs_wkt,
        transform=(width, 0.0, float(x.min()), 0.0, -height, float(y.max())),
        width=1,
        height=1,
    )


def _distance(place: tuple[float, float], bounds: tuple[float, float, float, float]) -> float:
    """From a place to the middle of bounds, in degrees of latitude, the short way around."""
    west, south, east, north = bounds
    lon = (west + east + (360.0 if west > east else 0.0)) / 2
    away = (place[0] - lon + 180.0) % 360.0 - 180.0
    return math.hypot(away * math.cos(math.radians(place[1])), place[1] - (south + north) / 2)
