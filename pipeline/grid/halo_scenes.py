"""Scenes that show nothing of the area, and fill what its tiles see around it.

A tile's read window reaches beyond the area: by its halo, and by the part of its core that lies behind the
area's edge. The models judge by what they see there, so no pixel of it may be missing that some scene has.

1. `seen_ground` is all ground that the tiles see which are looked at.
2. `with_halo_scenes` finds the scenes that meet it, and places them on a grid that is settled. They change
   neither the grid nor the tiles that are looked at, and they keep their place in the order of the mosaic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.geo.globe import to_lonlat
from pipeline.grid.lattice import Placement, affine_of, on_one_turn, pixel_offsets, place_scenes, same_crs
from pipeline.grid.scene_bounds import meeting
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import RunGrid, TileLattice

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
    near: Sequence[int],
    scenes: Sequence[Scene],
    *,
    ground: BaseGeometry | None,
    any_crs: bool,
) -> tuple[Placement, tuple[bool, ...]]:
    """Add the scenes that meet `ground` to those that are placed, in the order of `scenes`.

    `near`: numbers of the placed ones. `ground`: `seen_ground`; None: any scene may meet it. `any_crs`:
    whether scenes of other CRSs are warped. Returns the placement, and per scene whether it was added.
    """
    others = sorted(set(range(len(scenes))) - set(near))
    if ground is not None and others:
        meets = meeting([scenes[number] for number in others], ground).tolist()
        others = [number for number, meet in zip(others, meets, strict=True) if meet]
    anchor = next((scene for scene in placement.scenes if not scene.failure), placement.scenes[0])
    found = dict(
        zip(near, zip(placement.scenes, placement.offsets, placement.outlines, strict=True), strict=True)
    )
    for number in others:
        if any_crs or same_crs(scenes[number].crs_wkt, placement.grid.crs_wkt):
            placed = _placed(scenes[number], anchor, placement.grid)
            if placed is not None:
                found[number] = placed
    order = sorted(found)
    added = set(order) - set(near)
    return replace(
        placement,
        scenes=tuple(found[number][0] for number in order),
        offsets=tuple(found[number][1] for number in order),
        outlines=tuple(found[number][2] for number in order),
    ), tuple(number in added for number in order)


def _placed(
    scene: Scene, anchor: Scene, grid: RunGrid
) -> tuple[Scene, tuple[int, int] | None, BaseGeometry] | None:
    """Place one scene on the same turn of the globe as `anchor`. None: it has no place in the grid's CRS."""
    scene = on_one_turn((anchor, scene))[1]
    try:
        outline = place_scenes((anchor, scene), grid)[1]
    except InputError:
        return None
    return scene, pixel_offsets([scene], grid)[0], outline
