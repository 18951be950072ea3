"""Features of a user's vector file: known locations to prompt with, polygons to score against.

1. The suffix chooses the reader: pyarrow for GeoParquet, GDAL for GeoJSON, GeoPackage and all else.
2. A file of several layers is refused: only its author knows which one is meant.
3. Rows without a geometry are left out. The rest must be of kinds that the caller can use.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

_PARQUET_SUFFIXES = frozenset({".parquet", ".geoparquet", ".pq"})

POLYGONS = frozenset({"Polygon", "MultiPolygon"})
POINTS = frozenset({"Point", "MultiPoint"})


def read_vector_file(path: Path, *, what: str, kinds: Collection[str]) -> GeoDataFrame:
    """Read the rows of a vector file that have a geometry: at least one, all of `kinds` (shapely's type
    names).

    `what` names the file in messages ("the truth"). The CRS is the file's own, and may be missing. Raises
    InputError when the file is missing, unreadable, a table without geometries, of several layers, empty, or
    holds geometry of another kind.
    """
    import geopandas
    import pyarrow
    from pyogrio.errors import DataLayerError, DataSourceError
    from shapely.errors import ShapelyError

    wanted = " and ".join(
        name for name, group in (("polygons", POLYGONS), ("points", POINTS)) if group <= set(kinds)
    )
    remedy = f"give a GeoJSON, GeoPackage or GeoParquet file with {wanted}"
    if not path.is_file():
        raise InputError(f"{what} must be a vector file", came=f"{path}, which is no file", remedy=remedy)
    try:
        if path.suffix.lower() in _PARQUET_SUFFIXES:
            frame = geopandas.read_parquet(path)
        else:
            _check_layers(path, what)
            frame = geopandas.read_file(path)
    except (
        OSError,
        ValueError,
        DataSourceError,
        DataLayerError,
        pyarrow.ArrowException,
        ShapelyError,
    ) as error:
        raise InputError(
            f"{what} must be a readable vector file", came=f"{path}: {error}", remedy=remedy
        ) from error
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise InputError(
            f"{what} must be a file with geometries", came=f"a table without any in {path}", remedy=remedy
        )
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    if frame.empty:
        raise InputError(f"{what} must hold at least one geometry", came=f"none in {path}", remedy=remedy)
    others = sorted(set(frame.geom_type) - set(kinds))
    if others:
        remedy = "take them out, or draw the outlines of what they stand for"
        raise InputError(
            f"{what} must hold {wanted} only", came=f"{', '.join(others)} in {path}", remedy=remedy
        )
    return frame


def _check_layers(path: Path, what: str) -> None:
    """Check that there is one layer with geometries. Raises InputError for more than one, and pyogrio's
    errors for what GDAL cannot open."""
    import pyogrio

    layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    if len(layers) > 1:
        remedy = "save the layer you mean as a file of its own"
        raise InputError(f"{what} must have one layer", came=f"{', '.join(layers)} in {path}", remedy=remedy)
