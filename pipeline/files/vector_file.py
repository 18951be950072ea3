"""Features of a user's vector file: an area of interest, known locations, polygons to score against.

1. The suffix chooses the reader: this module for GeoJSON, pyarrow for GeoParquet, GDAL for all else. A file
   of several layers is refused: only its author knows which one is meant.
2. Features without a geometry are left out, heights are dropped, collections are taken apart. What is left
   must be of kinds that the caller can use.
3. Attributes keep their types: an integer column with gaps stays one.

Whether a polygon can be used at all is decided in `sound_geometry`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import shapely
import shapely.geometry
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from pipeline.errors import InputError
from pipeline.files.text_file import read_text

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

GEOJSON_SUFFIXES = frozenset({".geojson", ".json"})
PARQUET_SUFFIXES = frozenset({".parquet", ".geoparquet", ".pq"})

POLYGONS = frozenset({"Polygon", "MultiPolygon"})
POINTS = frozenset({"Point", "MultiPoint"})

_GEOJSON_CRS = "EPSG:4326"
"""What GeoJSON is in without a `crs` member: WGS 84 (RFC 7946, section 4), by the name that GDAL gives it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """The features of a file that have a geometry; n of them, in the order of the file."""

    path: Path
    geometries: NDArray[np.object_]
    """(n,) shapely geometries, flat (x, y), none of them empty. They may be invalid."""
    ids: tuple[str, ...]
    """Per feature, its id: `id` of a GeoJSON Feature, GDAL's fid, else its place in the file from 0."""
    places: NDArray[np.int64]
    """(n,) places in the file, from 0, for messages."""
    attributes: Sequence[Mapping[str, Any]]
    """Per feature, column -> value. Null is None."""
    crs: CRS | None
    """None: the file does not say."""

    def frame(self) -> GeoDataFrame:
        """The geometries as a GeoDataFrame, without attributes."""
        import geopandas

        return geopandas.GeoDataFrame(geometry=self.geometries, crs=self.crs)


class _ArrowRows(Sequence[Mapping[str, Any]]):
    """Rows of a table as mappings, made when asked for: a city's buildings are many."""

    def __init__(self, table: pa.Table, rows: NDArray[np.int64]) -> None:
        self._table = table
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _ArrowRows(self._table, self._rows[index])
        return self._table.slice(int(self._rows[index]), 1).to_pylist()[0]


@dataclass(frozen=True, kw_only=True)
class _FileContent:
    """A file as its reader gives it, features without geometry included."""

    geometries: NDArray[np.object_]
    ids: Sequence[str]
    table: pa.Table | Sequence[Mapping[str, Any]]
    crs: CRS | None


def read_features(path: Path, *, what: str, kinds: Collection[str]) -> Features:
    """Read the features of a vector file; those without a geometry are left out.

    `kinds`: the geometries that the caller can use (`POLYGONS`, `POINTS`). `what` names the file in messages
    ("the truth"). Raises InputError when the file is missing, unreadable, empty, a table without geometries
    or of several layers, or when it holds geometry of another kind.
    """
    wanted = " and ".join(
        name for name, group in (("polygons", POLYGONS), ("points", POINTS)) if group <= set(kinds)
    )
    remedy = f"give a GeoJSON, GeoPackage or GeoParquet file with {wanted}"
    if not path.is_file():
        raise InputError(f"{what} must be a vector file", came=f"{path}, which is no file", remedy=remedy)
    read = _read(path, what, remedy)
    here = ~(shapely.is_missing(read.geometries) | shapely.is_empty(read.geometries))
    places = np.flatnonzero(here)
    if not places.size:
        raise InputError(f"{what} must hold at least one geometry", came=f"none in {path}", remedy=remedy)
    geometries = shapely.force_2d(read.geometries[places])
    others = {
        kind: place
        for place, geometry in zip(places[::-1].tolist(), geometries[::-1], strict=True)
        for kind in _kinds_in(geometry) - set(kinds)
    }
    if others:
        raise InputError(
            f"{what} must hold {wanted} only",
            came=", ".join(f"{kind} as geometry {others[kind]}" for kind in sorted(others)) + f" in {path}",
            remedy="take them out, or draw the outlines of what they stand for",
        )
    rows = read.table
    return Features(
        path=path,
        geometries=np.array([_without_collection(geometry) for geometry in geometries], dtype=object),
        ids=tuple(read.ids[place] for place in places.tolist()),
        places=places,
        attributes=_ArrowRows(rows, places)
        if isinstance(rows, pa.Table)
        else [rows[place] for place in places.tolist()],
        crs=read.crs,
    )


def read_vector_file(path: Path, *, what: str, kinds: Collection[str]) -> GeoDataFrame:
    """Read the geometries of `read_features` as a GeoDataFrame, with the file's CRS."""
    return read_features(path, what=what, kinds=kinds).frame()


def _kinds_in(geometry: shapely.Geometry) -> set[str]:
    """Type names of a geometry's parts; a collection counts as what it holds."""
    if geometry.geom_type != "GeometryCollection":
        return {geometry.geom_type}
    return {kind for part in shapely.get_parts(geometry) for kind in _kinds_in(part)}


def _without_collection(geometry: shapely.Geometry) -> shapely.Geometry:
    """A collection of polygons alone as one multi-polygon, whose parts may overlap; others as they are."""
    if geometry.geom_type != "GeometryCollection" or not _kinds_in(geometry) <= POLYGONS:
        return geometry
    return shapely.multipolygons(list(_leaves(geometry)))


def _leaves(geometry: shapely.Geometry) -> Iterable[shapely.Geometry]:
    for part in shapely.get_parts(geometry):
        yield from _leaves(part) if hasattr(part, "geoms") else (part,)


def _read(path: Path, what: str, remedy: str) -> _FileContent:
    """Read all features with the reader that fits. Raises InputError."""
    from pyogrio.errors import DataLayerError, DataSourceError
    from shapely.errors import ShapelyError

    suffix = path.suffix.lower()
    geojson = partial(_read_geojson, what=what)
    gdal = partial(_read_gdal, what=what)
    reader = geojson if suffix in GEOJSON_SUFFIXES else _read_parquet if suffix in PARQUET_SUFFIXES else gdal
    try:
        read = reader(path)
    except (OSError, ValueError, DataSourceError, DataLayerError, pa.ArrowException, ShapelyError) as error:
        raise InputError(
            f"{what} must be a readable vector file", came=f"{path}: {error}", remedy=remedy
        ) from error
    if read is None:
        raise InputError(
            f"{what} must be a file with geometries", came=f"a table without any in {path}", remedy=remedy
        )
    return read


def _read_parquet(path: Path) -> _FileContent | None:
    import geopandas
    import pyarrow.parquet as pq

    frame = geopandas.read_parquet(path)
    if not isinstance(frame, geopandas.GeoDataFrame):
        return None
    plain = [name for name in frame.columns if str(frame[name].dtype) != "geometry"]
    return _FileContent(
        geometries=frame.geometry.to_numpy(),
        ids=[str(place) for place in range(len(frame))],
        table=pq.read_table(path, columns=plain).select(plain),
        crs=frame.crs,
    )


def _read_gdal(path: Path, *, what: str) -> _FileContent | None:
    """Read with GDAL: GeoPackage, KML, FlatGeobuf, Shapefile and more."""
    import pyogrio

    layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    if len(layers) > 1:
        raise InputError(
            f"{what} must have one layer",
            came=f"{', '.join(layers)} in {path}",
            remedy="save the layer you mean as a file of its own",
        )
    meta, table = pyogrio.read_arrow(path, return_fids=True)
    outline = meta["geometry_name"] or "wkb_geometry"
    if not layers or outline not in table.column_names:
        return None
    wkb = table[outline].to_numpy()
    return _FileContent(
        geometries=np.asarray(shapely.from_wkb(wkb), dtype=object),
        ids=[str(fid) for fid in table[meta["fid_column"]].to_pylist()],
        table=table.drop_columns([outline, meta["fid_column"]]),
        crs=None if meta["crs"] is None else CRS.from_user_input(meta["crs"]),
    )


def _read_geojson(path: Path, *, what: str) -> _FileContent:
    try:
        document = json.loads(read_text(path, what))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{what} must be a readable vector file",
            came=f"{path}: text that is not JSON ({error})",
            remedy="export it again as GeoJSON",
        ) from error
    features = _geojson_features(document, path, what)
    geometries = np.empty(len(features), dtype=object)
    for place, feature in enumerate(features):
        member = feature.get("geometry")
        try:
            geometries[place] = None if member is None else shapely.geometry.shape(member)
        except Exception as error:
            raise InputError(
                f"Geometry {place} of {what} must be a GeoJSON geometry",
                came=f"{type(error).__name__}: {error} in {path}",
                remedy="export it again",
            ) from error
    return _FileContent(
        geometries=geometries,
        ids=[str(feature.get("id", place)) for place, feature in enumerate(features)],
        table=[feature.get("properties") or {} for feature in features],
        crs=_geojson_crs(document, path, what),
    )


def _geojson_features(document: object, path: Path, what: str) -> list[dict[str, Any]]:
    """List the features of a GeoJSON document; a bare geometry becomes one. Raises InputError."""
    kind = document.get("type") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(kind, str):
        raise InputError(
            f"{what} must be a GeoJSON Feature, FeatureCollection or geometry",
            came=f"{document!r:.80} in {path}",
            remedy="export it again as GeoJSON",
        )
    if kind == "Feature":
        return [document]
    if kind != "FeatureCollection":
        return [{"geometry": document}]
    features = document.get("features")
    if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
        raise InputError(
            f"{what} must have a list of features",
            came=f"features = {features!r:.80} in {path}",
            remedy="export it again as GeoJSON",
        )
    return features


def _geojson_crs(document: dict[str, Any], path: Path, what: str) -> CRS:
    """Read the CRS of the older `crs` member (GeoJSON 2008); without one it is WGS 84 (RFC 7946)."""
    member = document.get("crs")
    if member is None:
        return CRS.from_user_input(_GEOJSON_CRS)
    try:
        crs = CRS.from_user_input(member["properties"]["name"])
        return CRS.from_user_input(_GEOJSON_CRS) if crs == CRS.from_user_input("OGC:CRS84") else crs
    except (CRSError, KeyError, TypeError) as error:
        raise InputError(
            f"The `crs` member of {what} must name a CRS",
            came=f"{member!r:.120} in {path}",
            remedy="write it in lon/lat, without `crs`",
        ) from error
