"""From pixels of the run grid to the world: CRS and affine.

The merge works in integer pixel-edge coordinates, which are exact. `to_crs_coordinates` alone applies the
affine to geometries, once and last, with the same arithmetic for every vertex: edges shared in pixels stay
shared in metres. A grid without CRS stays in pixel space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pyproj
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray

from pipeline.geo.planet import body_of
from pipeline.schema.tiling import AffineTuple, RunGrid, Window

Geometries = NDArray[np.object_]
"""Array of shapely geometries."""

_IDENTITY: AffineTuple = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def affine_or_identity(grid: RunGrid) -> AffineTuple:
    """The grid's affine (a, b, c, d, e, f). A grid without CRS has the identity, whatever its source said."""
    return grid.transform if grid.crs_wkt is not None else _IDENTITY


def is_rotated(grid: RunGrid) -> bool:
    """Whether rows and columns are not parallel to the CRS axes."""
    _, b, _, d, _, _ = affine_or_identity(grid)
    return b != 0.0 or d != 0.0


@lru_cache(maxsize=16)
def crs_from_wkt(wkt: str) -> pyproj.CRS:
    """The CRS of a WKT text, parsed once."""
    return pyproj.CRS.from_wkt(wkt)


def crs_of(grid: RunGrid) -> pyproj.CRS | None:
    """The grid's CRS. None: it is in pixel space."""
    return None if grid.crs_wkt is None else crs_from_wkt(grid.crs_wkt)


def projjson_of(grid: RunGrid) -> Mapping[str, object] | None:
    """The CRS as PROJJSON, as GeoParquet and STAC want it. None: the grid has no CRS."""
    crs = crs_of(grid)
    return None if crs is None else dict(crs.to_json_dict())


def authority_code_of(grid: RunGrid) -> str | None:
    """The CRS's code, like `EPSG:32633`. None: it is not exactly a registered one."""
    crs = crs_of(grid)
    authority = None if crs is None else crs.to_authority(min_confidence=100)
    return None if authority is None else ":".join(authority)


def to_crs_coordinates(geometries: Sequence[shapely.Geometry] | Geometries, grid: RunGrid) -> Geometries:
    """Move geometries from pixel-edge coordinates (x = column, y = row) to CRS coordinates.

    A north-up affine mirrors rings, so they are turned again: exteriors counter-clockwise, holes clockwise.
    """
    a, b, c, d, e, f = affine_or_identity(grid)

    def apply(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        x = xy[:, 0]
        y = xy[:, 1]
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])

    moved = shapely.transform(np.asarray(geometries, dtype=object), apply)
    return np.asarray(shapely.orient_polygons(moved), dtype=object)


def to_pixels(geometries: Sequence[shapely.Geometry] | Geometries, grid: RunGrid) -> Geometries:
    """Turn CRS coordinates into pixel-edge coordinates: the inverse of `to_crs_coordinates`, up to rounding
    in the last digits."""
    return np.asarray(
        shapely.transform(np.asarray(geometries, dtype=object), lambda xy: xy_to_pixels(xy, grid)),
        dtype=object,
    )


def xy_to_pixels(xy: NDArray[np.float64], grid: RunGrid) -> NDArray[np.float64]:
    """Turn CRS coordinates (n, 2) into pixel-edge coordinates (n, 2)."""
    a, b, c, d, e, f = affine_or_identity(grid)
    inverse = np.linalg.inv(np.array([[a, b], [d, e]]))
    return np.asarray((xy - (c, f)) @ inverse.T)


def touched_pixels(area: shapely.Geometry, grid: RunGrid, window: Window) -> NDArray[np.bool_]:
    """Mark the pixels (h, w) of a window that an area touches: the rule by which a run selects its objects.

    area: in the CRS of the grid, in whose affine it lies.
    """
    burnt = rasterio.features.rasterize(
        [area],
        out_shape=window.shape,
        transform=Affine(*grid.transform) @ Affine.translation(window.col0, window.row0),
        all_touched=True,
        dtype="uint8",
    )
    return np.asarray(burnt, dtype=np.bool_)


def is_on_earth(grid: RunGrid) -> bool:
    """Whether the grid has a CRS of the Earth, and not a local one or one of another planet."""
    return grid.crs_wkt is not None and body_of(grid.crs_wkt) == "earth"


@lru_cache(maxsize=64)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """The transformer from one CRS to another (WKT or code), x before y.

    Making one takes milliseconds, so 64 are kept: enough for all UTM zones of a mosaic.
    """
    return pyproj.Transformer.from_crs(source, target, always_xy=True)
