"""Where scenes are, roughly: the part of the globe in which an AOI can matter to them.

Every scene gets a box in longitude and latitude that reaches a little further than itself, and the boxes are
joined. Of very many scenes they are joined on a raster, whose cells are a fraction of a scene's side: that
reaches further by a cell at most, and costs a tenth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.grid.scene_bounds import boxes, grown, lonlat_boxes, quick_bounds, scene_bounds_lonlat
from pipeline.grid.scene_list import SceneList
from pipeline.schema.imagery import Scene

MARGIN = 0.05
"""Share of its longer side by which a box reaches further than its scene."""

MOST_EXACT = 5000
"""Boxes that are joined as they are; 20 microseconds each."""

_CELLS = 8
"""Cells of the raster along a usual scene's side."""

_MOST_CELLS = 4096
"""Cells along the raster's longer side."""

_ROWS_AT_ONCE = 256
"""Rows of the raster that are counted in one step."""


def neighbourhood(scenes: Sequence[Scene], quick: NDArray[np.float64] | None = None) -> BaseGeometry:
    """Join the boxes around scenes, in lon/lat. Raises InputError when a scene has no place on Earth.

    `quick`: their `quick_bounds`, where these are known.
    """
    quick = quick_bounds(scenes) if quick is None else quick
    unknown = np.flatnonzero(np.isnan(quick[:, 0]))
    edges = grown(quick, margin=MARGIN, least=1e-4)
    others = np.empty(len(unknown), dtype=object)
    for place, scene in enumerate(SceneList.of(scenes).take(unknown)):
        west, south, east, north = scene_bounds_lonlat(scene)
        width = east - west + (360.0 if west > east else 0.0)
        margin = MARGIN * max(width, north - south) + 1e-4
        others[place] = lonlat_boxes((west, south, east, north), margin=margin)
    if len(edges) > MOST_EXACT:
        if unknown.size:
            known = np.delete(edges, unknown, axis=0)
            edges = np.concatenate([known, shapely.bounds(shapely.get_parts(others))])
        return joined_on_raster(edges)
    found = boxes(edges)
    found[unknown] = others
    return shapely.union_all(found)


def joined_on_raster(bounds: NDArray[np.float64]) -> BaseGeometry:
    """Join boxes (n, 4), west, south, east, north, on a raster: all cells that they touch."""
    low = bounds[:, :2].min(axis=0)
    extent = bounds[:, 2:].max(axis=0) - low
    usual = float(np.median((bounds[:, 2:] - bounds[:, :2]).max(axis=1)))
    cell = max(usual / _CELLS, float(extent.max()) / _MOST_CELLS)
    first = np.floor((bounds[:, :2] - low) / cell).astype(np.int32)
    after = np.maximum(np.ceil((bounds[:, 2:] - low) / cell).astype(np.int32), first + 1)
    cols, rows = after.max(axis=0)
    touched = _touched(first, after, int(rows), int(cols))
    to_degrees = Affine(cell, 0.0, float(low[0]), 0.0, cell, float(low[1]))
    shapes = rasterio.features.shapes(touched.view(np.uint8), mask=touched, transform=to_degrees)
    joined = shapely.union_all([shapely.geometry.shape(shape) for shape, _ in shapes])
    return shapely.intersection(joined, shapely.box(-180.0, -90.0, 180.0, 90.0))


def _touched(first: NDArray[np.int32], after: NDArray[np.int32], rows: int, cols: int) -> NDArray[np.bool_]:
    """Mark the cells (rows, cols) of rectangles, each from `first` to before `after`: (n, 2) col, row.

    Some rows at a time are counted, because counts take four times what marks take.
    """
    touched = np.zeros((rows, cols), dtype=np.bool_)
    starts = np.arange(0, rows, _ROWS_AT_ONCE)
    edges = [(1, *_by_band(first[:, 1], starts)), (-1, *_by_band(after[:, 1], starts))]
    above = np.zeros(cols + 1, dtype=np.int32)
    for band, start in enumerate(starts.tolist()):
        steps = np.zeros((_ROWS_AT_ONCE, cols + 1), dtype=np.int32)
        for sign, order, stops, row in edges:
            own = order[stops[band] : stops[band + 1]]
            own = own[row[own] < rows]
            np.add.at(steps, (row[own] - start, first[own, 0]), sign)
            np.add.at(steps, (row[own] - start, after[own, 0]), -sign)
        steps[0] += above
        steps.cumsum(axis=0, out=steps)
        above = steps[-1].copy()
        marks = touched[start : start + _ROWS_AT_ONCE]
        marks[:] = (steps.cumsum(axis=1, out=steps) > 0)[: len(marks), :-1]
    return touched


def _by_band(
    row: NDArray[np.int32], starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], list[int], NDArray[np.int32]]:
    """Sort rectangles by a row of theirs, (n,). Gives their order, the places in it where each band of rows
    begins and the last one ends, and the rows."""
    order = np.argsort(row, kind="stable")
    inner = np.searchsorted(row, starts[1:], sorter=order).tolist()
    return order, [0, *inner, len(row)], row
