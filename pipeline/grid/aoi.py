"""Where to look: the area of interest, in lon/lat.

1. `read_aoi` takes GeoJSON, GeoParquet, GeoPackage and KML in any CRS; `aoi_from_bbox` takes west, south,
   east, north.
2. All polygons must be sound (`sound_geometry`). An unsound one is refused with the place of its fault: what
   is looked at decides what is found.
3. `_to_lonlat` splits long edges, so that they can bend, and cuts the area at the antimeridian. Longitudes
   may count on past 180, or from 0 to 360.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.files.sound_geometry import UnsoundGeometryError, sound_parts
from pipeline.files.vector_file import (
    GEOJSON_SUFFIXES,
    PARQUET_SUFFIXES,
    POLYGONS,
    Features,
    read_features,
)
from pipeline.geo.globe import LONLAT_CRS, cut_at_180, narrowest_bbox, to_lonlat

_OTHER_SUFFIXES = frozenset({".gpkg", ".kml"})
_DENSIFY_STEPS = 256
"""Steps per extent into which straight edges are cut before reprojection, so that they can bend."""

MAX_LONGITUDE = 540.0
"""Degrees: web maps go on past the antimeridian, and what is drawn there lies on the next turn."""


@dataclass(frozen=True, kw_only=True)
class Aoi:
    """The area of interest."""

    geometry: BaseGeometry
    """Valid Polygon or MultiPolygon in lon/lat (OGC:CRS84), cut at the antimeridian (RFC 7946, 3.1.9)."""
    source: str
    """Where it came from, for messages and run.json."""

    @property
    def bounds_lonlat(self) -> tuple[float, float, float, float]:
        """Give (west, south, east, north) in degrees. west > east: it crosses the antimeridian."""
        return narrowest_bbox(self.geometry)


def aoi_from_bbox(west: float, south: float, east: float, north: float) -> Aoi:
    """Make the box between two meridians and two parallels, in degrees. Raises InputError.

    A box with west > east crosses the antimeridian (RFC 7946, 5.2). Longitudes may also count on past 180:
    179 to 181, or 190 to 200.
    """
    came = f"{west} {south} {east} {north}"
    if not all(math.isfinite(value) for value in (west, south, east, north)):
        raise InputError(
            "--bbox must be four finite numbers W S E N",
            came=came,
            remedy="give degrees, e.g. 32.59 0.34 32.61 0.36",
        )
    if max(abs(west), abs(east)) > 360 or max(abs(south), abs(north)) > 90:
        swapped = max(abs(west), abs(east)) <= 90 and max(abs(south), abs(north)) <= 360
        raise InputError(
            "--bbox must be W S E N in degrees of longitude (-180..180, or 0..360) and latitude (-90..90)",
            came=came,
            remedy="put longitude before latitude" if swapped else "convert it to lon/lat",
        )
    if south >= north or west == east or abs(east - west) > 360:
        raise InputError(
            "--bbox must be W S E N with S < N and W different from E, at most 360 degrees wide",
            came=came,
            remedy="check the order: west south east north",
        )
    width = east - west if east > west else (east - west) % 360.0
    return Aoi(geometry=cut_at_180(shapely.box(west, south, west + width, north)), source=f"bbox {came}")


def read_aoi(path: str | Path, *, what: str = "The AOI") -> Aoi:
    """Read the area of interest from a file, in the CRS that it declares: all its polygons together.
    `what`: how messages name it.

    Raises InputError when the file is missing, unreadable, empty, or holds anything but sound polygons with
    an area.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{what} must be an existing file",
            came=str(path),
            remedy="give a GeoJSON, GeoParquet, GeoPackage or KML file, or --bbox W S E N",
        )
    if path.suffix.lower() not in GEOJSON_SUFFIXES | PARQUET_SUFFIXES | _OTHER_SUFFIXES:
        raise InputError(
            f"{what} must be GeoJSON (.geojson, .json), GeoParquet (.parquet), GeoPackage (.gpkg) or "
            "KML (.kml)",
            came=str(path),
            remedy="convert it, e.g. `ogr2ogr aoi.geojson " + path.name + "`",
        )
    features = read_features(path, what=what, kinds=POLYGONS)
    return Aoi(geometry=area_lonlat(features, what), source=str(path))


def area_lonlat(features: Features, what: str) -> BaseGeometry:
    """Join all polygons of some features into one (Multi)Polygon in lon/lat, cut at the antimeridian.

    Raises InputError when they have no CRS, are not sound, or have no area.
    """
    path = features.path
    crs = features.crs
    if crs is None and path.suffix.lower() not in PARQUET_SUFFIXES:
        raise InputError(
            f"{what} {path} must declare its CRS",
            came="a layer without CRS",
            remedy="set the layer's CRS and save it again",
        )
    return _to_lonlat(_area(features, what), crs or CRS.from_user_input(LONLAT_CRS), str(path), what)


def _area(features: Features, what: str) -> BaseGeometry:
    """Join all polygons of a file into one valid (Multi)Polygon. Raises InputError with the first fault."""
    parts: list[BaseGeometry] = []
    for place, geometry in zip(features.places, features.geometries, strict=True):
        try:
            parts += sound_parts(geometry)
        except UnsoundGeometryError as error:
            raise InputError(
                f"{what} {features.path} must be valid",
                came=f"{error} in geometry {place}",
                remedy="repair it there, e.g. with QGIS `Fix geometries`",
            ) from error
    merged = shapely.union_all(parts)
    if merged.area <= 0:
        raise InputError(
            f"{what} {features.path} must cover an area",
            came="zero area",
            remedy="draw the area you want to search",
        )
    return merged


def _to_lonlat(area: BaseGeometry, crs: CRS, name: str, what: str) -> BaseGeometry:
    """Move the area to lon/lat, cut at the antimeridian. Raises InputError."""
    if crs.is_geographic:
        _require_degrees(area, crs, name, what)
    west, south, east, north = area.bounds
    dense = area.segmentize(max(east - west, north - south) / _DENSIFY_STEPS)
    try:
        lonlat = to_lonlat(dense, crs.to_wkt())
    except Exception as error:
        raise InputError(
            f"{what} {name} must lie where its CRS is defined",
            came=f"{crs.name}: {error}",
            remedy="write the AOI in lon/lat (EPSG:4326)",
        ) from error
    if lonlat.is_empty or lonlat.area <= 0:
        raise InputError(
            f"{what} {name} must cover an area on Earth",
            came=f"{crs.name}: nothing of it lies between the poles",
            remedy="write the AOI in lon/lat (EPSG:4326)",
        )
    return lonlat


def _require_degrees(area: BaseGeometry, crs: CRS, name: str, what: str) -> None:
    """Check that coordinates can be longitude and latitude. Raises InputError."""
    degree = math.radians(1.0) / crs.axis_info[0].unit_conversion_factor
    west, south, east, north = (value / degree for value in area.bounds)
    came = f"x from {west:g} to {east:g}, y from {south:g} to {north:g}"
    if max(abs(west), abs(east)) > MAX_LONGITUDE or max(abs(south), abs(north)) > 90:
        raise InputError(
            f"{what} {name} must be in degrees: longitude -180..180, latitude -90..90",
            came=came,
            remedy="reproject it to EPSG:4326, declare its CRS, or put longitude before latitude",
        )
    if east - west > 360:
        raise InputError(
            f"{what} {name} must be at most 360 degrees wide", came=came, remedy="cut it at the antimeridian"
        )
    for ring in shapely.get_rings(shapely.get_parts(area)):
        steps = np.abs(np.diff(shapely.get_coordinates(ring)[:, 0])) / degree
        if ((steps > 180) & (steps < 360)).any():
            raise InputError(
                f"{what} {name} must not have an edge longer than 180 degrees of longitude",
                came=came,
                remedy="cut it at the antimeridian (RFC 7946, 3.1.9), count longitudes on past 180, or give "
                "--bbox with W > E",
            )
