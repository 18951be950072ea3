"""The run grid: one CRS, one affine, one integer lattice, and where each scene sits on it.

1. `lattice_choice` chooses it. `place_on` takes one that is given.
2. `place_scenes` says whether a scene's pixels are the grid's own, and outlines those that are not.
3. `crop` cuts the grid to a window.

All geometry is in pixels of the grid (x = column edge, y = row edge).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import rasterio.crs
import rasterio.errors
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from pipeline.errors import InputError
from pipeline.geo.globe import turn_of
from pipeline.geo.pixel_rules import offsets_on
from pipeline.grid.pixel_size import pixel_side
from pipeline.grid.scene_edges import edge_points, moved_edges
from pipeline.grid.scene_list import SceneColumns, SceneList
from pipeline.grid.scene_places import ScenePlaces
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import AffineTuple, RunGrid, Window

Mode = Literal["scene", "mosaic"]
SLACK_PX = 1e-3
"""A thousandth of a pixel more than a whole one is rounding."""

MAX_GRID_SIDE_PX = 2**31 - 1
"""GDAL's limit for the side of a raster."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """A run grid before it is cropped, with the scenes on it."""

    grid: RunGrid
    mode: Mode
    scenes: SceneList
    places: ScenePlaces
    """Of these scenes."""


def affine_of(transform: AffineTuple) -> Affine:
    """The `Affine` of six floats."""
    return Affine(*transform)


def tuple_of(affine: Affine) -> AffineTuple:
    """The six floats of an `Affine`."""
    a, b, c, d, e, f = (float(value) for value in tuple(affine)[:6])
    return a, b, c, d, e, f


@functools.lru_cache(maxsize=4096)
def same_crs(one: str | None, other: str | None) -> bool:
    """Compare two CRSs given as WKT. The order of their axes does not count; None equals None alone."""
    if one is None or other is None or one == other:
        return one == other
    return bool(CRS.from_wkt(one).equals(CRS.from_wkt(other), ignore_axis_order=True))


def place_on(grid: RunGrid, scenes: Sequence[Scene]) -> Placement:
    """Place scenes (at least one) on a grid that is given. Those with a `failure` have no say in its mode."""
    placed = on_one_turn(scenes)
    places = place_scenes(placed, grid)
    warped = bool((places.warped & ~placed.columns.failed).any())
    return Placement(grid=grid, mode="mosaic" if warped else "scene", scenes=placed, places=places)


def crs_from_text(text: str) -> str:
    """Turn a CRS as users write it (EPSG code, WKT or PROJ string) into WKT2. Raises InputError."""
    try:
        return str(rasterio.crs.CRS.from_user_input(text).to_wkt(version="WKT2_2019"))
    except (rasterio.errors.CRSError, ValueError) as error:
        raise InputError(
            "--crs must name a CRS", came=text, remedy="use an EPSG code such as EPSG:32636"
        ) from error


def crs_name(wkt: str | None) -> str:
    """Short name for messages: EPSG code when there is one."""
    if wkt is None:
        return "no CRS"
    crs = CRS.from_wkt(wkt)
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.name


def on_one_turn(scenes: Sequence[Scene]) -> SceneList:
    """Put scenes that share the first one's CRS on the same turn of the globe, at most half a turn apart.

    Scenes on both sides of the antimeridian then lie side by side, and 190 E beside 170 W.
    """
    listed = SceneList.of(scenes)
    columns = listed.columns
    first = int(np.argmin(columns.failed))
    wkt = columns.crs[first]
    turn = None if wkt is None else turn_of(wkt)
    if turn is None:
        return listed
    a, b, c = columns.transforms.T[:3]
    width, height = columns.sizes.T
    middles = width / 2 * a + height / 2 * b + c
    turns = np.where(in_crs(columns, wkt), np.rint((middles - middles[first]) / turn.width), 0.0)
    numbers = np.flatnonzero(turns)
    moved = {}
    for number, scene in zip(numbers.tolist(), listed.take(numbers), strict=True):
        a, b, c, d, e, f = scene.transform
        moved[number] = replace(scene, transform=(a, b, c - float(turns[number]) * turn.width, d, e, f))
    return listed.replaced(moved)


def in_crs(columns: SceneColumns, crs_wkt: str | None) -> NDArray[np.bool_]:
    """Tell which scenes have a CRS, whatever its text, (n,)."""
    found = np.zeros(len(columns.crs), dtype=np.bool_)
    for wkt in dict.fromkeys(columns.crs.tolist()):
        if same_crs(wkt, crs_wkt):
            found |= columns.crs == wkt
    return found


def undefined_in(scene: Scene, crs_wkt: str | None) -> InputError:
    """Say that a scene has no place in a CRS."""
    return InputError(
        f"{scene.href} must lie where the run's CRS {crs_name(crs_wkt)} is defined",
        came=f"{crs_name(scene.crs_wkt)}, no finite extent in it",
        remedy="choose another --crs",
    )


def outer_window(x0: float, y0: float, x1: float, y1: float) -> Window:
    """Find the whole pixels around a rectangle of pixel edges, less SLACK_PX."""
    return Window(
        row0=math.floor(y0 + SLACK_PX),
        col0=math.floor(x0 + SLACK_PX),
        row1=math.ceil(y1 - SLACK_PX),
        col1=math.ceil(x1 - SLACK_PX),
    )


def crop(placement: Placement, window: Window) -> Placement:
    """Cut or grow the grid to `window`, in pixels of the current grid. Places move along."""
    grid = placement.grid
    row0 = window.row0
    col0 = window.col0
    return replace(
        placement,
        grid=RunGrid(
            crs_wkt=grid.crs_wkt,
            transform=tuple_of(affine_of(grid.transform) @ Affine.translation(col0, row0)),
            width=window.width,
            height=window.height,
        ),
        places=placement.places.seen_from(row0, col0),
    )


def stored_on(columns: SceneColumns, grid: RunGrid) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Tell which scenes have their pixels on the grid's lattice, (n,), and where: (n, 2) row and column."""
    own = in_crs(columns, grid.crs_wkt)
    at, fits = offsets_on(grid.transform, columns.transforms, columns.sizes)
    return at, own & fits


def place_scenes(scenes: Sequence[Scene], grid: RunGrid) -> ScenePlaces:
    """Place each scene on the grid: where its pixels are the grid's own, as a whole rectangle.

    On a map with turns (`globe.turn_of`) a scene lies on the same turn as the scene before it. So scenes on
    both sides of the antimeridian stay together. Raises InputError where a scene has no place in the grid's
    CRS.
    """
    listed = SceneList.of(scenes)
    columns = listed.columns
    at, stored = stored_on(columns, grid)
    corners = at[:, ::-1].astype(np.float64)
    bounds = np.concatenate([corners, corners + columns.sizes], axis=1)
    others = np.flatnonzero(~stored)
    shapes = np.empty(0, dtype=object)
    if others.size:
        edges = _edges_on(listed, others.tolist(), grid)
        lengths = [len(points) for points in edges]
        points = np.concatenate(edges)
        pixels = np.column_stack(~affine_of(grid.transform) @ (points[:, 0], points[:, 1]))
        rings = shapely.linearrings(pixels, indices=np.repeat(np.arange(len(edges)), lengths))
        shapes = np.asarray(shapely.polygons(rings), dtype=object)
        bounds[others] = shapely.bounds(shapes)
    return ScenePlaces(bounds=bounds, warped=~stored, shapes=shapes)


def _edges_on(scenes: SceneList, numbers: Sequence[int], grid: RunGrid) -> list[NDArray[np.float64]]:
    """Edges of some scenes in the grid's CRS, each (k, 2) x, y, on neighbouring turns. Raises InputError."""
    columns = scenes.columns
    found: dict[int, NDArray[np.float64]] = {}
    by_crs: dict[str | None, list[int]] = {}
    for number in numbers:
        by_crs.setdefault(columns.crs[number], []).append(number)
    for wkt, own in by_crs.items():
        places = columns.transforms[own], columns.sizes[own]
        if same_crs(wkt, grid.crs_wkt):
            found |= zip(own, edge_points(*places, 2), strict=True)
            continue
        assert wkt is not None
        assert grid.crs_wkt is not None
        edges = moved_edges(*places, wkt, grid.crs_wkt, pixel=pixel_side(grid.transform))
        found |= zip(own, edges, strict=True)
    turn = None if grid.crs_wkt is None else turn_of(grid.crs_wkt)
    near: float | None = None
    for number in numbers:
        if same_crs(columns.crs[number], grid.crs_wkt):
            continue
        points = found[number]
        if not np.isfinite(points).all():
            raise undefined_in(scenes[number], grid.crs_wkt)
        if turn is not None:
            middle = float(points[:, 0].mean())
            near = (grid.transform[2] if number else 0.0) if near is None else near
            points[:, 0] -= turn.width * round((middle - near) / turn.width)
            near = float(points[:, 0].mean())
    return [found[number] for number in numbers]
