"""Where places of the web's map lie in the run grid, as a mesh that a page can look up without a projection.

1. `mesh_text` covers the grid with a mesh of places in Web Mercator, as vector tiles have it: u to the east
   and v to the south, 0..1 for the whole Earth. Each node knows its pixel.
2. Between nodes a page goes straight. The mesh is made finer until that is right to a fraction of a pixel;
   what is left is told. It is measured in the middle of the sides of cells: in the middle of a cell the
   two bends of a conformal projection cancel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.geo.globe import LONLAT_CRS
from pipeline.schema.tiling import RunGrid
from pipeline.write.georeference import is_on_earth, to_crs_coordinates, transformer, xy_to_pixels
from pipeline.write.report.map.map_outlines import base64_text, varints, zigzag

GOOD_PX = 0.25
"""A mesh is fine enough when no place between its nodes is off by more pixels."""

_SIDES = (9, 17, 33, 65, 129)
"""Nodes along a side."""

_PARTS = 64
"""Parts of a pixel that nodes are rounded to."""

_MOST_LATITUDE = 85.0
_ALONG_AN_EDGE = 33


def mesh_text(grid: RunGrid) -> dict[str, Any] | None:
    """Make the mesh. None: the grid is nowhere on Earth, near a pole, or on both sides of the date line."""
    box = _bounds(grid)
    if box is None:
        return None
    for side in _SIDES:
        us = np.linspace(box[0], box[2], side)
        vs = np.linspace(box[1], box[3], side)
        nodes = _pixels(grid, *np.meshgrid(us, vs))
        across = _pixels(grid, *np.meshgrid((us[1:] + us[:-1]) / 2, vs))
        down = _pixels(grid, *np.meshgrid(us, (vs[1:] + vs[:-1]) / 2))
        if not all(np.isfinite(some).all() for some in (nodes, across, down)):
            return None
        off_px = max(
            float(np.abs((nodes[:, 1:] + nodes[:, :-1]) / 2 - across).max()),
            float(np.abs((nodes[1:] + nodes[:-1]) / 2 - down).max()),
        )
        if off_px <= GOOD_PX:
            break
    rounded = np.rint(nodes.reshape(-1, 2) * _PARTS).astype(np.int64)
    steps = np.diff(rounded, axis=0, prepend=np.zeros((1, 2), dtype=np.int64))
    return {
        "box": [float(number) for number in box],
        "n": side,
        "parts": _PARTS,
        "steps": base64_text(varints(zigzag(steps.ravel()))),
        "off_px": round(off_px, 3),
    }


def _bounds(grid: RunGrid) -> tuple[float, float, float, float] | None:
    """(u0, v0, u1, v1) of the grid's edges."""
    if grid.crs_wkt is None or not is_on_earth(grid):
        return None
    edge = np.linspace(0, 1, _ALONG_AN_EDGE)
    cols = np.concatenate([edge, edge, np.zeros_like(edge), np.ones_like(edge)]) * grid.width
    rows = np.concatenate([np.zeros_like(edge), np.ones_like(edge), edge, edge]) * grid.height
    xy = shapely.get_coordinates(to_crs_coordinates(shapely.points(cols, rows), grid))
    lon, lat = transformer(grid.crs_wkt, LONLAT_CRS).transform(xy[:, 0], xy[:, 1])
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()) or np.abs(lat).max() > _MOST_LATITUDE:
        return None
    if lon.max() - lon.min() > 180 or max(lon.max(), -lon.min()) > 180:
        return None
    u = lon / 360 + 0.5
    v = 0.5 - np.log(np.tan(np.pi / 4 + np.radians(lat) / 2)) / (2 * np.pi)
    return float(u.min()), float(v.min()), float(u.max()), float(v.max())


def _pixels(grid: RunGrid, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels (column, row) of places (h, w) of the web's map, (h, w, 2)."""
    assert grid.crs_wkt is not None
    lon = (u - 0.5) * 360
    lat = np.degrees(2 * np.arctan(np.exp((0.5 - v) * 2 * np.pi)) - np.pi / 2)
    x, y = transformer(LONLAT_CRS, grid.crs_wkt).transform(lon.ravel(), lat.ravel())
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return np.full((*u.shape, 2), np.nan)
    return xy_to_pixels(np.column_stack([x, y]), grid).reshape(*u.shape, 2)
