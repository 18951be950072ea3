"""Scenes that show nothing of the area, and fill what its tiles see around it.

A tile's read window reaches beyond the area: by its halo, and by the part of its core that lies behind the
area's edge. The models judge by what they see there, so no pixel of it may be missing that some scene has.

1. `seen_ground` is all ground that the tiles see which are looked at.
2. `with_halo_scenes` finds the scenes that meet it, and places them on a grid that is settled. They change
   neither the grid nor the tiles that are looked at, and they keep their place in the order of the mosaic.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.geo.globe import to_lonlat
from pipeline.grid.lattice import Placement, affine_of, in_crs, on_one_turn, place_scenes
from pipeline.grid.scene_bounds import meeting
from pipeline.grid.scene_list import SceneList
from pipeline.grid.scene_places import ScenePlaces
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import TileLattice

MARGIN_PX = 1.0
"""Pixels by which seen ground is grown, so that rounding leaves no scene out."""


def seen_ground(lattice: TileLattice, inside: NDArray[np.bool_]) -> BaseGeometry | None:
    """Unite the read windows of the tiles that are looked at, in degrees, cut at 180, a pixel too large.

    `inside`: (n_tile_rows, n_tile_cols). None: a corner of them lies nowhere on Earth.
    """
    grid = lattice.grid
    if grid.crs_wkt is None:
        return None
    seen = _read_windows(lattice, inside).buffer(MARGIN_PX, join_style="mitre").segmentize(lattice.core_px)
    affine = affine_of(grid.transform)
    ground = shapely.transform(seen, lambda xy: np.column_stack(affine @ (xy[:, 0], xy[:, 1])))
    try:
        return to_lonlat(ground, grid.crs_wkt)
    except Exception:  # GDAL's own errors have no public class
        return None


def _read_windows(lattice: TileLattice, inside: NDArray[np.bool_]) -> BaseGeometry:
    """Unite read windows in pixels of the grid, by the runs of neighbours in each row of tiles."""
    edges = np.diff(np.pad(inside, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, first = np.nonzero(edges == 1)
    _, stop = np.nonzero(edges == -1)
    side = lattice.core_px
    halo = lattice.halo_px
    runs = shapely.box(
        np.maximum(first * side - halo, 0),
        np.maximum(row * side - halo, 0),
        np.minimum(stop * side + halo, lattice.grid.width),
        np.minimum((row + 1) * side + halo, lattice.grid.height),
    )
    return shapely.union_all(runs)


def with_halo_scenes(
    placement: Placement,
    near: NDArray[np.int64],
    scenes: SceneList,
    *,
    ground: BaseGeometry | None,
    any_crs: bool,
) -> tuple[Placement, NDArray[np.bool_]]:
    """Add the scenes that meet `ground` to those that are placed, in the order of `scenes`.

    `near`: numbers of the placed ones, (n,). `ground`: `seen_ground`; None: any scene may meet it. `any_crs`:
    whether scenes of other CRSs are warped. Returns the placement, and per scene whether it was added.
    """
    grid = placement.grid
    others = np.setdiff1d(np.arange(len(scenes)), near)
    if ground is not None and others.size:
        others = others[meeting(scenes.take(others), ground)]
    if not any_crs:
        others = others[in_crs(scenes.columns, grid.crs_wkt)[others]]
    anchor = placement.scenes[int(np.argmin(placement.scenes.columns.failed))]
    numbers: list[int] = []
    added: list[Scene] = []
    places: list[ScenePlaces] = []
    for number, scene in zip(others.tolist(), scenes.take(others), strict=True):
        pair = on_one_turn((anchor, scene))
        try:
            place = place_scenes(pair, grid)
        except InputError:  # it has no place in the grid's CRS
            continue
        numbers.append(number)
        added.append(pair[1])
        places.append(place.take(np.array([1])))
    order = np.argsort(np.concatenate([near, np.array(numbers, dtype=np.int64)]))
    placed = replace(
        placement,
        scenes=SceneList.joined([placement.scenes, SceneList.of(added)]).take(order),
        places=ScenePlaces.joined([placement.places, *places]).take(order),
    )
    return placed, order >= len(near)
