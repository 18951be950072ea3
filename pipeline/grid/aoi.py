"""Where to look: the area of interest, in lon/lat.

`read_aoi` takes GeoJSON, GeoParquet and GeoPackage; `aoi_from_bbox` takes west, south, east, north. An area
is made of polygons that are valid and lie inside the lon/lat range (`_checked`). Invalid geometry is refused
with the place of the fault. A repaired bow-tie may cover other ground than its author meant, and what is
looked at decides what is found.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
import shapely.geometry
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.warp import transform_geom
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError

LONLAT_CRS = "OGC:CRS84"
"""Longitude, latitude on WGS 84, in this axis order."""

_GEOJSON_SUFFIXES = frozenset({".geojson", ".json"})
_PARQUET_SUFFIXES = frozenset({".parquet", ".geoparquet", ".pq"})
_GPKG_SUFFIXES = frozenset({".gpkg"})
_DENSIFY_STEPS = 256
"""Steps per extent into which straight edges are cut before reprojection, so that they can bend."""


@dataclass(frozen=True, kw_only=True)
class Aoi:
    """The area of interest."""

    geometry: BaseGeometry
    """Valid Polygon or MultiPolygon in lon/lat (OGC:CRS84), cut at the antimeridian (RFC 7946, 3.1.9)."""
    source: str
    """Where it came from, for messages and run.json."""

    @property
    def bounds_lonlat(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees of the stored geometry.

        An AOI across the antimeridian spans the globe.
        """
        west, south, east, north = (float(value) for value in self.geometry.bounds)
        return west, south, east, north


def aoi_from_bbox(west: float, south: float, east: float, north: float) -> Aoi:
    """Make the box between two meridians and two parallels, in degrees. Raises InputError.

    A box with west > east crosses the antimeridian (RFC 7946, 5.2).
    """
    came = f"{west} {south} {east} {north}"
    if not all(math.isfinite(value) for value in (west, south, east, north)):
        raise InputError(
            "--bbox must be four finite numbers W S E N",
            came=came,
            remedy="give degrees, e.g. 32.59 0.34 32.61 0.36",
        )
    if max(abs(west), abs(east)) > 180 or max(abs(south), abs(north)) > 90:
        raise InputError(
            "--bbox must be W S E N in degrees of longitude (-180..180) and latitude (-90..90)",
            came=came,
            remedy="convert it to lon/lat",
        )
    if south >= north or west == east:
        raise InputError(
            "--bbox must be W S E N with S < N and W different from E",
            came=came,
            remedy="check the order: west south east north",
        )
    parts = [shapely.box(west, south, east, north)]
    if west > east:
        parts = [shapely.box(west, south, 180.0, north), shapely.box(-180.0, south, east, north)]
        parts = [part for part in parts if part.area > 0]
    geometry = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return Aoi(geometry=geometry, source=f"bbox {came}")


def read_aoi(path: str | Path) -> Aoi:
    """Read the area of interest from a GeoJSON, GeoParquet or GeoPackage file, in the CRS that it declares.

    Raises InputError when the file is missing, unreadable, empty, or holds anything but valid polygons with
    an area.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            "The AOI must be an existing file",
            came=str(path),
            remedy="give a GeoJSON, GeoParquet or GeoPackage file, or --bbox W S E N",
        )
    suffix = path.suffix.lower()
    if suffix in _GEOJSON_SUFFIXES:
        geometries, crs = _read_geojson(path)
    elif suffix in _PARQUET_SUFFIXES or suffix in _GPKG_SUFFIXES:
        geometries, crs = _read_table(path)
    else:
        raise InputError(
            "The AOI must be GeoJSON (.geojson, .json), GeoParquet (.parquet) or GeoPackage (.gpkg)",
            came=str(path),
            remedy="convert it, e.g. `ogr2ogr aoi.geojson " + path.name + "`",
        )
    return Aoi(geometry=_checked(geometries, crs, str(path)), source=str(path))


def _read_geojson(path: Path) -> tuple[list[BaseGeometry], CRS]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, OSError) as error:
        raise InputError(
            f"The AOI {path} must be GeoJSON",
            came=f"text that is not JSON ({error})",
            remedy="export it again as GeoJSON",
        ) from error
    members = _geojson_geometries(document, path)
    geometries = []
    for index, member in enumerate(members):
        try:
            geometries.append(shapely.geometry.shape(member))
        except Exception as error:
            raise InputError(
                f"Geometry {index} of the AOI {path} must be a GeoJSON geometry",
                came=f"{type(error).__name__}: {error}",
                remedy="export it again",
            ) from error
    return geometries, _geojson_crs(document, path)


def _geojson_geometries(document: object, path: Path) -> list[object]:
    """List the geometries of a GeoJSON document, without those that are null. Raises InputError."""
    kind = document.get("type") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(kind, str):
        raise InputError(
            f"The AOI {path} must be a GeoJSON Feature, FeatureCollection or geometry",
            came=f"{document!r:.80}",
            remedy="export it again as GeoJSON",
        )
    members: list[object] = [document]
    if kind == "FeatureCollection":
        features = document.get("features")
        if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
            raise InputError(
                f"The AOI {path} must have a list of features",
                came=f"features = {features!r:.80}",
                remedy="export it again as GeoJSON",
            )
        members = [feature.get("geometry") for feature in features]
    elif kind == "Feature":
        members = [document.get("geometry")]
    return [member for member in members if member is not None]


def _geojson_crs(document: dict[str, dict[str, dict[str, str]]], path: Path) -> CRS:
    """Read the CRS of the older `crs` member (GeoJSON 2008); without one it is OGC:CRS84 (RFC 7946)."""
    member = document.get("crs")
    if member is None:
        return CRS.from_user_input(LONLAT_CRS)
    try:
        return CRS.from_user_input(member["properties"]["name"])
    except (CRSError, KeyError, TypeError) as error:
        raise InputError(
            f"The `crs` member of the AOI {path} must name a CRS",
            came=f"{member!r:.120}",
            remedy="write the AOI in lon/lat, without `crs`",
        ) from error


def _read_table(path: Path) -> tuple[list[BaseGeometry], CRS]:
    import geopandas
    import pyogrio

    try:
        if path.suffix.lower() in _GPKG_SUFFIXES:
            layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
            if len(layers) > 1:
                raise InputError(
                    f"The AOI {path} must have one layer",
                    came=", ".join(layers),
                    remedy="save the layer you mean as a file of its own",
                )
            frame = geopandas.read_file(path)
        else:
            frame = geopandas.read_parquet(path)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"The AOI {path} must be readable as GeoParquet or GeoPackage",
            came=f"{type(error).__name__}: {error}",
            remedy="export it again",
        ) from error
    if "geometry" not in frame and not isinstance(frame, geopandas.GeoDataFrame):
        raise InputError(
            f"The AOI {path} must have a geometry column",
            came=f"columns {list(frame.columns)}",
            remedy="export it with geometry",
        )
    geometries = [geometry for geometry in frame.geometry if geometry is not None]
    if frame.crs is None and path.suffix.lower() in _GPKG_SUFFIXES:
        raise InputError(
            f"The AOI {path} must declare its CRS",
            came="a layer without CRS",
            remedy="set the layer's CRS and save it again",
        )
    return geometries, CRS.from_user_input(frame.crs if frame.crs is not None else LONLAT_CRS)


def _checked(geometries: list[BaseGeometry], crs: CRS, name: str) -> BaseGeometry:
    """Join a file's geometries into one valid lon/lat (Multi)Polygon. Raises InputError with the fault."""
    polygons: list[BaseGeometry] = []
    for index, geometry in enumerate(geometries):
        geometry = shapely.force_2d(geometry)
        if geometry.is_empty:
            continue
        if geometry.geom_type not in ("Polygon", "MultiPolygon"):
            raise InputError(
                f"The AOI {name} must hold polygons",
                came=f"a {geometry.geom_type} as geometry {index}",
                remedy="buffer points and lines into polygons",
            )
        if not np.isfinite(shapely.get_coordinates(geometry)).all():
            raise InputError(
                f"The AOI {name} must have finite coordinates",
                came=f"NaN or infinity in geometry {index}",
                remedy="export it again",
            )
        if not geometry.is_valid:
            fault = shapely.is_valid_reason(geometry)
            raise InputError(
                f"The AOI {name} must be valid",
                came=f"{fault} in geometry {index}",
                remedy="repair it there, e.g. with QGIS `Fix geometries`",
            )
        polygons.append(geometry)
    if not polygons:
        raise InputError(
            f"The AOI {name} must hold at least one polygon",
            came="no geometry",
            remedy="draw the area you want to search",
        )
    merged = shapely.union_all(polygons)
    if merged.area <= 0:
        raise InputError(
            f"The AOI {name} must cover an area", came="zero area", remedy="draw the area you want to search"
        )
    lonlat = _to_lonlat(merged, crs, name)
    _check_range(lonlat, name)
    return lonlat


def _to_lonlat(geometry: BaseGeometry, crs: CRS, name: str) -> BaseGeometry:
    if crs == CRS.from_user_input(LONLAT_CRS) or crs.to_epsg() == 4326:
        return geometry
    west, south, east, north = geometry.bounds
    dense = geometry.segmentize(max(east - west, north - south) / _DENSIFY_STEPS)
    try:
        moved = transform_geom(crs.to_wkt(), LONLAT_CRS, shapely.geometry.mapping(dense))
        lonlat = shapely.geometry.shape(moved)
    except Exception as error:
        raise InputError(
            f"The AOI {name} must convert to lon/lat",
            came=f"{crs.name}: {error}",
            remedy="write the AOI in lon/lat (EPSG:4326)",
        ) from error
    if lonlat.is_empty or not np.isfinite(shapely.get_coordinates(lonlat)).all():
        raise InputError(
            f"The AOI {name} must lie where its CRS is defined",
            came=crs.name,
            remedy="write the AOI in lon/lat (EPSG:4326)",
        )
    return lonlat if lonlat.is_valid else polygonal(shapely.make_valid(lonlat))


def _check_range(lonlat: BaseGeometry, name: str) -> None:
    west, south, east, north = lonlat.bounds
    came = f"x from {west:g} to {east:g}, y from {south:g} to {north:g}"
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise InputError(
            f"The AOI {name} must be in degrees: longitude -180..180, latitude -90..90",
            came=came,
            remedy="reproject it to EPSG:4326, declare its CRS, or cut it at the antimeridian",
        )
    for ring in shapely.get_rings(shapely.get_parts(lonlat)):
        lon = shapely.get_coordinates(ring)[:, 0]
        steps = np.abs(np.diff(lon))
        if ((steps > 180) & (steps < 360)).any():
            raise InputError(
                f"The AOI {name} must not have an edge longer than 180 degrees of longitude",
                came=came,
                remedy="cut it at the antimeridian (RFC 7946, 3.1.9), or give --bbox with W > E",
            )


def polygonal(geometry: BaseGeometry) -> BaseGeometry:
    """Keep the polygons of a geometry, as Polygon or MultiPolygon (possibly empty)."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts) if parts else shapely.MultiPolygon()
