"""Which lattice the run grid has.

In scene mode all scenes lie on one lattice. It becomes the grid, and pixels are read as they are stored.
Everything else is mosaic mode, also when another CRS or resolution is asked for: the grid is north-up, and
scenes of other lattices are warped onto it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.grid.lattice import (
    MAX_GRID_SIDE_PX,
    Mode,
    Placement,
    crop,
    crs_from_text,
    crs_name,
    in_crs,
    on_one_turn,
    outer_window,
    place_scenes,
    same_crs,
    stored_on,
    undefined_in,
)
from pipeline.grid.pixel_size import check_pixel_size
from pipeline.grid.scene_edges import moved_points
from pipeline.grid.scene_list import SceneColumns, SceneList, are_none
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import RunGrid

RESOLUTION_TOLERANCE = 0.01
"""Relative difference up to which pixel sizes count as equal when the finest scene is looked for:
reprojection changes them a little.
"""


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
    sound = np.flatnonzero(~placed.columns.failed)
    sound = sound if sound.size else np.arange(len(placed))
    first = placed[int(sound[0])]
    lattice = RunGrid(
        crs_wkt=first.crs_wkt, transform=first.transform, width=first.width, height=first.height
    )
    shared = bool(stored_on(placed.columns, lattice)[1][sound].all())
    members = placed.take(sound)
    wanted_wkt = crs_from_text(crs) if crs is not None else None
    _require_crs(members)
    if shared and _is_wanted(members.columns, wanted_wkt, resolution):
        return _union(lattice, "scene", placed)
    if first.crs_wkt is None:
        raise InputError(
            f"{first.href} must have a CRS to be resampled",
            came="none",
            remedy="say which with --crs, or leave out --resolution",
        )
    lattice = _mosaic_lattice(members, wanted_wkt or common_crs(members), resolution)
    return _union(lattice, "mosaic", placed)


def _require_crs(scenes: SceneList) -> None:
    """Refuse several scenes of which one has no CRS. Raises InputError."""
    nameless = scenes.take(are_none(scenes.columns.crs))
    if len(scenes) > 1 and len(nameless):
        raise InputError(
            "Several sources must all have a CRS",
            came=f"none in {', '.join(scene.href for scene in nameless)}",
            remedy="say which with --crs, or run them one by one",
        )


def _is_wanted(columns: SceneColumns, wanted_wkt: str | None, resolution: float | None) -> bool:
    """Tell whether the lattice of the first scene has the CRS and the resolution that are asked for."""
    return (wanted_wkt is None or same_crs(wanted_wkt, columns.crs[0])) and (
        resolution is None or bool(_have_resolution(columns.transforms[:1], resolution)[0])
    )


def _have_resolution(
    transforms: NDArray[np.float64], resolution: float, tolerance: float = 1e-6
) -> NDArray[np.bool_]:
    """Compare both sides of scenes' pixels with `resolution`, up to a relative tolerance, (n,)."""
    a, b, _, d, e, _ = transforms.T
    sizes = np.stack([np.hypot(a, d), np.hypot(b, e)])
    close = np.abs(sizes - resolution) <= tolerance * np.maximum(sizes, abs(resolution))
    return np.asarray(close.all(axis=0) & np.isfinite(resolution), dtype=np.bool_)


def common_crs(scenes: Sequence[Scene]) -> str:
    """Find the CRS that all scenes share. Raises InputError when they do not."""
    columns = SceneList.of(scenes).columns
    first = columns.crs[0]
    assert isinstance(first, str)
    if not in_crs(columns, first).all():
        listed = "; ".join(f"{scene.href}: {crs_name(scene.crs_wkt)}" for scene in scenes[:8])
        more = f"; and {len(scenes) - 8} more" if len(scenes) > 8 else ""
        raise InputError(
            "Sources must share one CRS when --crs is not given",
            came=listed + more,
            remedy=f"add --crs, e.g. --crs {crs_name(first)}, or name the sources of one CRS alone",
        )
    return first


def _are_north_up(transforms: NDArray[np.float64]) -> NDArray[np.bool_]:
    a, b, _, d, e, _ = transforms.T
    return np.asarray((b == 0) & (d == 0) & (a > 0) & (e < 0), dtype=np.bool_)


def _resolutions_in(scenes: SceneList, crs_wkt: str) -> NDArray[np.float64]:
    """Geometric mean of a pixel's sides in units of the CRS, at each scene's centre, (n,).

    Raises InputError where a scene has no place in it.
    """
    columns = scenes.columns
    a, b, c, d, e, f = columns.transforms.T
    found = np.sqrt(np.abs(a * e - b * d))
    others = ~in_crs(columns, crs_wkt)
    col, row = columns.sizes.T / 2
    cols = np.stack([col, col + 1, col], axis=1)
    rows = np.stack([row, row, row + 1], axis=1)
    for wkt in dict.fromkeys(columns.crs[others].tolist()):
        own = np.flatnonzero(columns.crs == wkt)
        x = cols[own] * a[own, None] + rows[own] * b[own, None] + c[own, None]
        y = cols[own] * d[own, None] + rows[own] * e[own, None] + f[own, None]
        points = moved_points(np.stack([x, y], axis=2), wkt, crs_wkt)
        with np.errstate(invalid="ignore"):
            found[own] = np.sqrt(np.abs(np.linalg.det(points[:, 1:] - points[:, :1])))
        found[own[~np.isfinite(points).all(axis=(1, 2))]] = np.nan
    nowhere = np.flatnonzero(others & ~(found > 0))
    if nowhere.size:
        raise undefined_in(scenes[int(nowhere[0])], crs_wkt)
    return np.asarray(found, dtype=np.float64)


def _mosaic_lattice(scenes: SceneList, crs_wkt: str, resolution: float | None) -> RunGrid:
    """Choose the mosaic's lattice, as a grid of no particular size; `_union` gives it its extent.

    The phase is that of the first scene with this CRS and resolution, so it is read without resampling.
    Without one, origins are multiples of the resolution, so that separate runs agree.
    """
    columns = scenes.columns
    own = _resolutions_in(scenes, crs_wkt)
    finest = float(own.min())
    if resolution is not None:
        longest = float((own * columns.sizes.max(axis=1)).max())
        check_pixel_size(resolution, finest, crs_wkt, extent=longest)
    target = finest if resolution is None else resolution
    tolerance = RESOLUTION_TOLERANCE if resolution is None else 1e-6
    fitting = in_crs(columns, crs_wkt) & _are_north_up(columns.transforms)
    fitting &= _have_resolution(columns.transforms, target, tolerance)
    if fitting.any():
        _, transform, width, height = columns.place_of(int(np.argmax(fitting)))
        return RunGrid(crs_wkt=crs_wkt, transform=transform, width=width, height=height)
    return RunGrid(crs_wkt=crs_wkt, transform=(target, 0.0, 0.0, 0.0, -target, 0.0), width=1, height=1)


def _union(lattice: RunGrid, mode: Mode, scenes: SceneList) -> Placement:
    """Place all scenes on the lattice, and grow it to the window around them."""
    places = place_scenes(scenes, lattice)
    window = outer_window(
        *(float(edge) for edge in places.bounds[:, :2].min(axis=0)),
        *(float(edge) for edge in places.bounds[:, 2:].max(axis=0)),
    )
    if max(window.shape) > MAX_GRID_SIDE_PX:
        raise InputError(
            f"The run grid may have at most {MAX_GRID_SIDE_PX:,} pixels a side",
            came=f"{window.width:,} x {window.height:,}",
            remedy="choose a coarser --resolution (in units of the CRS) or fewer sources",
        )
    return crop(Placement(grid=lattice, mode=mode, scenes=scenes, places=places), window)
