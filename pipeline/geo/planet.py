"""Which body a CRS lies on, and whether PROJ, which knows all CRSs, works at all.

A CRS lies on the Earth, on another body with an ellipsoid of its own, or on none: a local engineering grid,
heights alone, or geocentric coordinates.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import pyproj
import rasterio.crs
import rasterio.errors
import rasterio.warp

from pipeline.errors import InputError

Body = Literal["earth", "other", "none"]

EARTH_RADII_M = (6_350_000.0, 6_385_000.0)
"""Metres between which the equatorial radius of every ellipsoid and sphere of the Earth lies."""

_TOLD = 400
"""Longest words of PROJ that are repeated."""


@lru_cache(maxsize=256)
def body_of(crs_wkt: str) -> Body:
    """Say which body a CRS (WKT) lies on. None: it has no longitude and latitude."""
    crs = pyproj.CRS.from_wkt(crs_wkt)
    if not (crs.is_projected or crs.is_geographic) or crs.ellipsoid is None:
        return "none"
    smallest, largest = EARTH_RADII_M
    return "earth" if smallest <= crs.ellipsoid.semi_major_metre <= largest else "other"


@lru_cache(maxsize=256)
def body_name(crs_wkt: str) -> str:
    """Name a CRS's ellipsoid, and with it the body. Empty: it has none."""
    ellipsoid = pyproj.CRS.from_wkt(crs_wkt).ellipsoid
    if ellipsoid is None:
        return ""
    name = "a body without a name" if ellipsoid.name == "unknown" else ellipsoid.name
    return f"{name} (radius {ellipsoid.semi_major_metre / 1e3:,.0f} km)"


def require_proj() -> None:
    """Ask both PROJ libraries, rasterio's and pyproj's, for a known point. Raises InputError when one of them
    cannot answer: a PROJ_DATA that belongs to another installation is the usual reason.
    """
    for library, ask in (("rasterio", _rasterio_longitude), ("pyproj", _pyproj_longitude)):
        said = _fault(ask)
        if said:
            given = " ".join(
                f"{name}={os.environ[name]}" for name in ("PROJ_DATA", "PROJ_LIB") if name in os.environ
            )
            raise InputError(
                f"the PROJ installation is broken: the one in {library} must find a proj.db of its version",
                came=f"{given or 'no PROJ_DATA'}: {said}",
                remedy="unset PROJ_DATA and PROJ_LIB, which belong to another PROJ, or install "
                f"{library} again",
            )


def _fault(ask: Callable[[], float]) -> str:
    """What is wrong with an answer; empty: nothing. The point lies on the central meridian of zone 33."""
    try:
        longitude = ask()
    except (rasterio.errors.RasterioError, pyproj.exceptions.ProjError, ValueError) as error:
        return " ".join(str(error).split())[:_TOLD]
    return "" if abs(longitude - 15.0) < 1e-6 else f"EPSG:32633 begins at longitude {longitude}, not 15"


def _rasterio_longitude() -> float:
    with rasterio.Env():  # GDAL's words go to the exception, not to the screen
        (longitude,), _ = rasterio.warp.transform(
            rasterio.crs.CRS.from_epsg(32633), rasterio.crs.CRS.from_epsg(4326), [500_000.0], [0.0]
        )
    return float(longitude)


def _pyproj_longitude() -> float:
    return float(pyproj.Transformer.from_crs(32633, 4326, always_xy=True).transform(500_000.0, 0.0)[0])
