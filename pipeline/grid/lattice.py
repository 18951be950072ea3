"""The run grid: one CRS, one affine, one integer lattice, and where each scene sits on it.

1. `choose_lattice` decides the mode. In scene mode all scenes lie on one lattice. It becomes the grid, and
   pixels are read as they are stored. Everything else is mosaic mode, also when another CRS or resolution is
   asked for: the grid is north-up, and scenes of other lattices are warped onto it.
2. `pixel_offsets` says whether a scene's pixels are the grid's own. `place_scenes` outlines each scene on the
   grid.
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
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.geo.globe import turn_of
from pipeline.geo.pixel_rules import offsets_on
from pipeline.grid.pixel_size import check_pixel_size, pixel_side
from pipeline.grid.scene_edges import edge_points, moved_edges, moved_points, scene_arrays
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import AffineTuple, RunGrid, Window

Mode = Literal["scene", "mosaic"]
OffsetRC = tuple[int, int]
"""(row, col) of the scene's first pixel on the run grid."""

RESOLUTION_TOLERANCE = 0.01
"""Relative difference up to which pixel sizes count as equal when the finest scene is looked for:
reprojection changes them a little.
"""

SLACK_PX = 1e-3
"""A thousandth of a pixel more than a whole one is rounding."""

MAX_GRID_SIDE_PX = 2**31 - 1
"""GDAL's limit for the side of a raster."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """A run grid before it is cropped, with the scenes on it."""

    grid: RunGrid
    mode: Mode
    scenes: tuple[Scene, ...]
    offsets: tuple[OffsetRC | None, ...]
    """Per scene, where its first pixel lies. None: it has another lattice and must be warped."""
    outlines: tuple[BaseGeometry, ...]
    """Per scene, the polygon of its extent in pixels (x, y) of the grid."""


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


def pixel_offsets(scenes: Sequence[Scene], grid: RunGrid) -> tuple[OffsetRC | None, ...]:
    """Find (row, col) of each scene's first pixel on the grid. None: it has another lattice."""
    found: list[OffsetRC | None] = [None] * len(scenes)
    fitting = {wkt for wkt in {scene.crs_wkt for scene in scenes} if same_crs(wkt, grid.crs_wkt)}
    own = [number for number, scene in enumerate(scenes) if scene.crs_wkt in fitting]
    if own:
        offsets, fits = offsets_on(grid.transform, *scene_arrays([scenes[number] for number in own]))
        for number, (row, col), fit in zip(own, offsets.tolist(), fits.tolist(), strict=True):
            found[number] = (row, col) if fit else None
    return tuple(found)


def choose_lattice(scenes: Sequence[Scene], crs: str | None, resolution: float | None) -> Placement:
    """Decide mode and grid for all scenes (at least one). The grid covers them whole.

    `crs` is what the user wrote; None: the CRS that all scenes share. `resolution` is the side of a pixel in
    units of that CRS; None: the finest scene's. Scenes share a lattice when they have one CRS, pixels of one
    size and direction (south-up and rotated ones too), and origins that are whole pixels apart.

    Scenes with a `failure` have a place on the grid and no say in it, because their lattice may be wrong.

    Raises InputError when the scenes do not share a CRS and none is given, and for a CRS or a resolution that
    cannot be meant.
    """
    placed = on_one_turn(scenes)
    sound = [number for number, scene in enumerate(placed) if not scene.failure] or range(len(placed))
    first = placed[sound[0]]
    lattice = RunGrid(
        crs_wkt=first.crs_wkt, transform=first.transform, width=first.width, height=first.height
    )
    offsets = pixel_offsets(placed, lattice)
    shared = all(offsets[number] is not None for number in sound)
    members = [placed[number] for number in sound]
    wanted_wkt = crs_from_text(crs) if crs is not None else None
    _require_crs(members)
    if shared and _is_wanted(first, wanted_wkt, resolution):
        return _union(lattice, "scene", placed, offsets)
    if first.crs_wkt is None:
        raise InputError(
            f"{first.href} must have a CRS to be resampled",
            came="none",
            remedy="say which with --crs, or leave out --resolution",
        )
    lattice = _mosaic_lattice(members, wanted_wkt or common_crs(members), resolution)
    return _union(lattice, "mosaic", placed, pixel_offsets(placed, lattice))


def place_on(grid: RunGrid, scenes: Sequence[Scene]) -> Placement:
    """Place scenes (at least one) on a grid that is given. Those with a `failure` have no say in its mode."""
    placed = on_one_turn(scenes)
    offsets = pixel_offsets(placed, grid)
    warped = any(not scene.failure and at is None for scene, at in zip(placed, offsets, strict=True))
    return Placement(
        grid=grid,
        mode="mosaic" if warped else "scene",
        scenes=placed,
        offsets=offsets,
        outlines=tuple(place_scenes(placed, grid)),
    )


def _require_crs(scenes: Sequence[Scene]) -> None:
    """Refuse several scenes of which one has no CRS. Raises InputError."""
    if len(scenes) > 1 and any(scene.crs_wkt is None for scene in scenes):
        nameless = ", ".join(scene.href for scene in scenes if scene.crs_wkt is None)
        raise InputError(
            "Several sources must all have a CRS",
            came=f"none in {nameless}",
            remedy="say which with --crs, or run them one by one",
        )


def _is_wanted(scene: Scene, wanted_wkt: str | None, resolution: float | None) -> bool:
    """Tell whether the lattice of a scene has the CRS and the resolution that are asked for."""
    return (wanted_wkt is None or same_crs(wanted_wkt, scene.crs_wkt)) and (
        resolution is None or _has_resolution(scene, resolution)
    )


def crs_from_text(text: str) -> str:
    """Turn a CRS as users write it (EPSG code, WKT or PROJ string) into WKT2. Raises InputError."""
    try:
        return str(rasterio.crs.CRS.from_user_input(text).to_wkt(version="WKT2_2019"))
    except (rasterio.errors.CRSError, ValueError) as error:
        raise InputError(
            "--crs must name a CRS", came=text, remedy="use an EPSG code such as EPSG:32636"
        ) from error


def _has_resolution(scene: Scene, resolution: float, tolerance: float = 1e-6) -> bool:
    """Compare both sides of the scene's pixels with `resolution`, up to a relative tolerance."""
    a, b, _, d, e, _ = scene.transform
    return all(
        math.isclose(size, resolution, rel_tol=tolerance) for size in (math.hypot(a, d), math.hypot(b, e))
    )


def common_crs(scenes: Sequence[Scene]) -> str:
    """Find the CRS that all scenes share. Raises InputError when they do not."""
    first = scenes[0].crs_wkt
    assert first is not None
    if not all(same_crs(scene.crs_wkt, first) for scene in scenes):
        listed = "; ".join(f"{scene.href}: {crs_name(scene.crs_wkt)}" for scene in scenes[:8])
        more = f"; and {len(scenes) - 8} more" if len(scenes) > 8 else ""
        raise InputError(
            "Sources must share one CRS when --crs is not given",
            came=listed + more,
            remedy=f"add --crs, e.g. --crs {crs_name(first)}, or name the sources of one CRS alone",
        )
    return first


def crs_name(wkt: str | None) -> str:
    """Short name for messages: EPSG code when there is one."""
    if wkt is None:
        return "no CRS"
    crs = CRS.from_wkt(wkt)
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.name


def _is_north_up(scene: Scene) -> bool:
    a, b, _, d, e, _ = scene.transform
    return b == 0 and d == 0 and a > 0 and e < 0


def _resolution_in(scene: Scene, crs_wkt: str) -> float:
    """Geometric mean of a pixel's sides in units of the CRS, at the scene's centre."""
    if same_crs(scene.crs_wkt, crs_wkt):
        return pixel_side(scene.transform)
    col = scene.width / 2
    row = scene.height / 2
    corners = [affine_of(scene.transform) @ corner for corner in ((col, row), (col + 1, row), (col, row + 1))]
    assert scene.crs_wkt is not None
    points = moved_points(np.array(corners), scene.crs_wkt, crs_wkt)
    if not np.isfinite(points).all():
        raise _undefined(scene, crs_wkt)
    resolution = math.sqrt(abs(float(np.linalg.det(points[1:] - points[0]))))
    if resolution <= 0:
        raise _undefined(scene, crs_wkt)
    return resolution


def on_one_turn(scenes: Sequence[Scene]) -> tuple[Scene, ...]:
    """Put scenes that share the first one's CRS on the same turn of the globe, at most half a turn apart.

    Scenes on both sides of the antimeridian then lie side by side, and 190 E beside 170 W.
    """
    first = next((scene for scene in scenes if not scene.failure), scenes[0])
    turn = None if first.crs_wkt is None else turn_of(first.crs_wkt)
    if turn is None:
        return tuple(scenes)
    middle = _middle_x(first)
    placed = []
    for scene in scenes:
        if same_crs(scene.crs_wkt, first.crs_wkt):
            a, b, c, d, e, f = scene.transform
            turns = round((_middle_x(scene) - middle) / turn.width)
            scene = replace(scene, transform=(a, b, c - turns * turn.width, d, e, f)) if turns else scene
        placed.append(scene)
    return tuple(placed)


def _middle_x(scene: Scene) -> float:
    return float((affine_of(scene.transform) @ (scene.width / 2, scene.height / 2))[0])


def _undefined(scene: Scene, crs_wkt: str | None) -> InputError:
    return InputError(
        f"{scene.href} must lie where the run's CRS {crs_name(crs_wkt)} is defined",
        came=f"{crs_name(scene.crs_wkt)}, no finite extent in it",
        remedy="choose another --crs",
    )


def _mosaic_lattice(scenes: Sequence[Scene], crs_wkt: str, resolution: float | None) -> RunGrid:
    """Choose the mosaic's lattice, as a grid of no particular size; `_union` gives it its extent.

    The phase is that of the first scene with this CRS and resolution, so it is read without resampling.
    Without one, origins are multiples of the resolution, so that separate runs agree.
    """
    own = [_resolution_in(scene, crs_wkt) for scene in scenes]
    if resolution is not None:
        sides = [size * max(scene.width, scene.height) for size, scene in zip(own, scenes, strict=True)]
        check_pixel_size(resolution, min(own), crs_wkt, extent=max(sides))
    target = min(own) if resolution is None else resolution
    tolerance = RESOLUTION_TOLERANCE if resolution is None else 1e-6
    for scene in scenes:
        if (
            same_crs(scene.crs_wkt, crs_wkt)
            and _is_north_up(scene)
            and _has_resolution(scene, target, tolerance)
        ):
            return RunGrid(crs_wkt=crs_wkt, transform=scene.transform, width=scene.width, height=scene.height)
    return RunGrid(crs_wkt=crs_wkt, transform=(target, 0.0, 0.0, 0.0, -target, 0.0), width=1, height=1)


def _union(
    lattice: RunGrid, mode: Mode, scenes: Sequence[Scene], offsets: tuple[OffsetRC | None, ...]
) -> Placement:
    """Grow the lattice to the bounding window of all scenes, which lie there at `offsets`."""
    outlines = place_scenes(scenes, lattice, offsets)
    bounds = shapely.bounds(np.array(outlines, dtype=object))
    window = outer_window(
        float(bounds[:, 0].min()),
        float(bounds[:, 1].min()),
        float(bounds[:, 2].max()),
        float(bounds[:, 3].max()),
    )
    if max(window.shape) > MAX_GRID_SIDE_PX:
        raise InputError(
            f"The run grid may have at most {MAX_GRID_SIDE_PX:,} pixels a side",
            came=f"{window.width:,} x {window.height:,}",
            remedy="choose a coarser --resolution (in units of the CRS) or fewer sources",
        )
    placement = Placement(
        grid=lattice,
        mode=mode,
        scenes=tuple(scenes),
        offsets=offsets,
        outlines=tuple(outlines),
    )
    return crop(placement, window)


def outer_window(x0: float, y0: float, x1: float, y1: float) -> Window:
    """Find the whole pixels around a rectangle of pixel edges, less SLACK_PX."""
    return Window(
        row0=math.floor(y0 + SLACK_PX),
        col0=math.floor(x0 + SLACK_PX),
        row1=math.ceil(y1 - SLACK_PX),
        col1=math.ceil(x1 - SLACK_PX),
    )


def crop(placement: Placement, window: Window) -> Placement:
    """Cut or grow the grid to `window`, in pixels of the current grid. Offsets and outlines move along."""
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
        offsets=tuple(
            None if offset is None else (offset[0] - row0, offset[1] - col0) for offset in placement.offsets
        ),
        outlines=tuple(
            shapely.transform(np.array(placement.outlines, dtype=object), lambda xy: xy - (col0, row0))
        ),
    )


def place_scenes(
    scenes: Sequence[Scene], grid: RunGrid, offsets: Sequence[OffsetRC | None] | None = None
) -> list[BaseGeometry]:
    """Outline each scene as a polygon in pixels of the grid; on the grid's own lattice a whole rectangle.

    `offsets`: their `pixel_offsets`, where these are known.
    On a map with turns (`globe.turn_of`) a scene lies on the same turn as the scene before it. So scenes on
    both sides of the antimeridian stay together. Raises InputError where a scene has no place in the grid's
    CRS.
    """
    offsets = pixel_offsets(scenes, grid) if offsets is None else offsets
    outlines = np.full(len(scenes), None, dtype=object)
    stored = [number for number, offset in enumerate(offsets) if offset is not None]
    if stored:
        row, col = np.array([offsets[number] for number in stored], dtype=np.float64).T
        width, height = scene_arrays([scenes[number] for number in stored])[1].T
        outlines[stored] = shapely.box(col, row, col + width, row + height)
    others = [number for number, offset in enumerate(offsets) if offset is None]
    if others:
        edges = _edges_on(scenes, others, grid)
        lengths = [len(points) for points in edges]
        points = np.concatenate(edges)
        pixels = np.column_stack(~affine_of(grid.transform) @ (points[:, 0], points[:, 1]))
        rings = shapely.linearrings(pixels, indices=np.repeat(np.arange(len(edges)), lengths))
        outlines[others] = shapely.polygons(rings)
    return list(outlines)


def _edges_on(scenes: Sequence[Scene], numbers: Sequence[int], grid: RunGrid) -> list[NDArray[np.float64]]:
    """Edges of some scenes in the grid's CRS, each (k, 2) x, y, on neighbouring turns. Raises InputError."""
    found: dict[int, NDArray[np.float64]] = {}
    by_crs: dict[str | None, list[int]] = {}
    for number in numbers:
        by_crs.setdefault(scenes[number].crs_wkt, []).append(number)
    for wkt, own in by_crs.items():
        members = [scenes[number] for number in own]
        if same_crs(wkt, grid.crs_wkt):
            found |= zip(own, edge_points(*scene_arrays(members), 2), strict=True)
            continue
        assert wkt is not None
        assert grid.crs_wkt is not None
        edges = moved_edges(members, wkt, grid.crs_wkt, pixel_side(grid.transform))
        found |= zip(own, edges, strict=True)
    turn = None if grid.crs_wkt is None else turn_of(grid.crs_wkt)
    near: float | None = None
    for number in numbers:
        if same_crs(scenes[number].crs_wkt, grid.crs_wkt):
            continue
        points = found[number]
        if not np.isfinite(points).all():
            raise _undefined(scenes[number], grid.crs_wkt)
        if turn is not None:
            middle = float(points[:, 0].mean())
            near = (grid.transform[2] if number else 0.0) if near is None else near
            points[:, 0] -= turn.width * round((middle - near) / turn.width)
            near = float(points[:, 0].mean())
    return [found[number] for number in numbers]
