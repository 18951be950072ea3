"""Raster -> polygons along pixel edges: a crack tracer, 4-connected, exact.

1. `cc3d` cuts the id image into its 4-connected parts; each becomes one polygon.
2. `_trace` walks along the cracks between pixels. A part's first ring is its shell, the others are holes.
3. `_build` makes polygons of the rings, and `_group` one geometry of all parts of an id.

Coordinates are integers (x = column, y = row) of pixel EDGES on the run grid.
"""

from __future__ import annotations

import numpy as np
import shapely
from numba import njit
from numpy.typing import NDArray


def polygonise[I: np.integer](
    ids: NDArray[I], origin_rc: tuple[int, int]
) -> tuple[NDArray[I], NDArray[np.object_], NDArray[np.int64]]:
    """Make polygons of an id image.

    `ids`: (H, W) integers, 0 = background, whose pixel (0, 0) is pixel `origin_rc` (row, column) of the run
    grid. Returns (ids ascending, one Polygon or MultiPolygon each in (x, y) pixel edges of the run grid, area
    in pixels). Geometries are canonical (`shapely.normalize`, vertices at corners only).
    """
    import cc3d

    empty = np.zeros(0, dtype=ids.dtype), np.zeros(0, dtype=np.object_), np.zeros(0, dtype=np.int64)
    if not ids.any():
        return empty
    parts, n_parts = cc3d.connected_components(
        np.ascontiguousarray(ids), connectivity=4, return_N=True, out_dtype=np.uint32
    )
    values, areas = _part_table(ids, parts, n_parts)
    xy, ring_start, ring_part = _trace(parts)
    polygons = _build(xy + np.array([origin_rc[1], origin_rc[0]]), ring_start, ring_part)
    return _group(values[1:], polygons, areas[1:])


def _build(
    xy: NDArray[np.int64], ring_start: NDArray[np.int64], ring_part: NDArray[np.int64]
) -> NDArray[np.object_]:
    """One polygon per part 1..n. The first ring of a part is its shell."""
    ring_of_vertex = np.repeat(np.arange(ring_part.size), np.diff(ring_start))
    rings = shapely.linearrings(xy.astype(np.float64), indices=ring_of_vertex)
    order = np.argsort(ring_part, kind="stable")
    return np.asarray(shapely.polygons(rings[order], indices=ring_part[order] - 1), dtype=np.object_)


def _group[I: np.integer](
    values: NDArray[I], polygons: NDArray[np.object_], areas: NDArray[np.int64]
) -> tuple[NDArray[I], NDArray[np.object_], NDArray[np.int64]]:
    ids, group, parts = np.unique(values, return_inverse=True, return_counts=True)
    area = np.zeros(ids.size, dtype=np.int64)
    np.add.at(area, group, areas)
    order = np.argsort(group, kind="stable")
    geometry = polygons[order[np.cumsum(parts) - parts]]
    several = np.flatnonzero(parts > 1)
    if several.size:
        renumber = np.full(ids.size, -1, dtype=np.int64)
        renumber[several] = np.arange(several.size)
        chosen = order[renumber[group[order]] >= 0]
        geometry[several] = shapely.multipolygons(polygons[chosen], indices=renumber[group[chosen]])
    return ids, np.asarray(shapely.normalize(geometry), dtype=np.object_), area


@njit(cache=True)
def _part_table(
    ids: NDArray[np.integer], parts: NDArray[np.uint32], n: int
) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    values = np.zeros(n + 1, dtype=ids.dtype)
    areas = np.zeros(n + 1, dtype=np.int64)
    for r in range(ids.shape[0]):
        for c in range(ids.shape[1]):
            part = parts[r, c]
            values[part] = ids[r, c]
            areas[part] += 1
    return values, areas


@njit(cache=True, inline="always")
def _at(parts: NDArray[np.uint32], r: int, c: int) -> np.uint32:
    if r < 0 or c < 0 or r >= parts.shape[0] or c >= parts.shape[1]:
        return np.uint32(0)
    return np.uint32(parts[r, c])


_Rings = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


@njit(cache=True)
def _trace(parts: NDArray[np.uint32]) -> _Rings:
    """(vertices (v, 2) x, y; ring offsets (k + 1,); part of each ring (k,)), rings not closed.

    A walk starts at a top edge that no ring has used, and keeps the part on its right. Where two pixels of
    the part touch only diagonally it turns LEFT, so no ring passes a vertex twice: a pocket becomes a hole
    that touches the shell at a point, which is valid. The two background pixels there belong to different
    pieces, because the part connects its diagonal pixels by another way.
    """
    height, width = parts.shape
    used = np.zeros((height, width), dtype=np.bool_)
    xy = np.empty((4096, 2), dtype=np.int64)
    ring_start = np.empty(1024, dtype=np.int64)
    ring_part = np.empty(1024, dtype=np.int64)
    n_xy, n_rings = 0, 0
    for r in range(height):
        for c in range(width):
            part = parts[r, c]
            if part == 0 or used[r, c] or _at(parts, r - 1, c) == part:
                continue
            if n_rings + 2 > ring_start.size:
                ring_start = np.append(ring_start, np.empty(ring_start.size, dtype=np.int64))
                ring_part = np.append(ring_part, np.empty(ring_part.size, dtype=np.int64))
            ring_start[n_rings] = n_xy
            ring_part[n_rings] = part
            n_rings += 1
            x, y, dx, dy = c, r, 1, 0  # the top edge of (r, c), left to right
            while True:
                if dx == 1:
                    if used[y, x]:
                        break
                    used[y, x] = True
                x, y = x + dx, y + dy
                # pixels ahead of vertex (x, y): `left` of the walk and `right` of it
                left = _at(parts, y + (dy - dx - 1) // 2, x + (dx + dy - 1) // 2)
                right = _at(parts, y + (dy + dx - 1) // 2, x + (dx - dy - 1) // 2)
                if left != part and right == part:
                    continue
                if n_xy == xy.shape[0]:
                    grown = np.empty((2 * n_xy, 2), dtype=np.int64)
                    grown[:n_xy] = xy
                    xy = grown
                xy[n_xy, 0] = x
                xy[n_xy, 1] = y
                n_xy += 1
                if left == part:
                    dx, dy = dy, -dx
                else:
                    dx, dy = -dy, dx
    ring_start[n_rings] = n_xy
    return xy[:n_xy].copy(), ring_start[: n_rings + 1].copy(), ring_part[:n_rings].copy()
