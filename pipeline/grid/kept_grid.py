"""A run grid that does not follow from the scenes and the area alone.

1. A run that goes on keeps its grid, and a run of another date takes over that of an earlier one.
2. `laid_over` lays a new grid over a region that is larger than what is looked at now, so that there is room
   for a larger area and for further scenes.
3. `require_on_grid` refuses an area or a scene that reaches beyond such a grid: nothing is left out in
   silence, and a grid that grew would change the ids of all objects.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import partial

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.geo.globe import LONLAT_CRS, MERCATOR_LATITUDE, polygonal, turn_of
from pipeline.grid.aoi import Aoi
from pipeline.grid.lattice import MAX_GRID_SIDE_PX, Placement, affine_of, crop, outer_window
from pipeline.schema.tiling import RunGrid

_EDGE_STEPS = 256
"""Pieces into which the longest side of a region is cut, so that edges can bend."""

_ROUNDING_PX = 0.5
"""Less than half a pixel beyond the grid is rounding: edges that bend are cut into pieces."""

REMEDY = (
    "look at less, with --aoi FILE inside that grid (for a second date: the area of both), or begin a run "
    "whose grid has room: another --out, with --grid-area FILE that covers all that will ever be looked at"
)


@dataclass(frozen=True, kw_only=True)
class KeptGrid:
    """What a plan takes over from an earlier one, or from the user."""

    grid: RunGrid | None = None
    """None: the scenes say."""
    area: Aoi | None = None
    """Region that a new grid covers. None: as far as scenes show the AOI."""
    scene_ids: frozenset[str] = frozenset()
    """Scenes that stay in the plan even if no tile needs them: their place was a guess in the earlier one."""
    binding: bool = False
    """Whether what reaches beyond `grid` is refused; with an `area` it always is."""
    guessed: frozenset[str] = frozenset()
    """Scenes whose headers are not open yet: these are refused where they lie beyond the grid as a whole."""

    @property
    def is_binding(self) -> bool:
        return self.binding or self.area is not None


def laid_over(placement: Placement, area: Aoi) -> Placement:
    """Cut or grow the grid to the window around a region, in whole pixels.

    Raises InputError where the region has no place in the grid's CRS, or is too large for a grid.
    """
    bounds = shapely.bounds(_to_pixels(_moved(area, placement.grid), placement.grid))
    window = outer_window(*(float(edge) for edge in bounds))
    if max(window.shape) > MAX_GRID_SIDE_PX or not window.area_px:
        raise InputError(
            f"The run grid may have 1 to {MAX_GRID_SIDE_PX:,} pixels a side",
            came=f"{window.width:,} x {window.height:,} over --grid-area {area.source}",
            remedy="choose a coarser --resolution (in units of the CRS) or a smaller --grid-area",
        )
    return crop(placement, window)


def _moved(area: Aoi, grid: RunGrid) -> BaseGeometry:
    """The region in the grid's CRS, on the grid's turn of the globe. Raises InputError."""
    if grid.crs_wkt is None:
        raise InputError(
            "--grid-area needs scenes with a CRS", came="none", remedy="leave --grid-area out, or say --crs"
        )
    crs = CRS.from_wkt(grid.crs_wkt)
    turn = turn_of(grid.crs_wkt)
    region = area.geometry
    if turn is not None and not crs.is_geographic:
        region = polygonal(
            shapely.intersection(region, shapely.box(-180.0, -MERCATOR_LATITUDE, 180.0, MERCATOR_LATITUDE))
        )
    west, south, east, north = region.bounds
    dense = region.segmentize(max(east - west, north - south) / _EDGE_STEPS)
    move = Transformer.from_crs(LONLAT_CRS, crs, always_xy=True)

    def apply(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = move.transform(lonlat[:, 0], lonlat[:, 1])
        return np.column_stack([x if turn is None else turn.x_like(x, lonlat[:, 0]), y])

    moved = shapely.transform(dense, apply)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise InputError(
            "--grid-area must lie where the run's CRS is defined",
            came=f"{area.source} with points that have no place in {crs.name}",
            remedy="make it smaller, or choose another --crs",
        )
    if turn is None:
        return moved
    middle = float((affine_of(grid.transform) @ (grid.width / 2, grid.height / 2))[0])
    parts = []
    for part in shapely.get_parts(moved):
        own = (part.bounds[0] + part.bounds[2]) / 2
        by = turn.width * round((middle - own) / turn.width)
        parts.append(shapely.transform(part, partial(np.add, (by, 0.0))))
    return shapely.multipolygons(parts)


def _to_pixels(geometry: BaseGeometry, grid: RunGrid) -> BaseGeometry:
    inverse = ~affine_of(grid.transform)
    return shapely.transform(geometry, lambda xy: np.column_stack(inverse @ (xy[:, 0], xy[:, 1])))


def require_on_grid(placement: Placement, area_px: BaseGeometry | None, guessed: Set[str]) -> None:
    """Check that what scenes show of the area lies on the grid. Raises InputError, which says how much does
    not.

    `area_px`: the AOI in pixels of the grid; None: whole scenes. `guessed`: as in `KeptGrid`. Scenes that
    cannot be read have no say.
    """
    grid = placement.grid
    room = _box_of(grid, _ROUNDING_PX)
    columns = placement.scenes.columns
    outlines = np.array(placement.places.outlines, dtype=object)
    is_guess = np.array([name in guessed for name in columns.ids.tolist()], dtype=np.bool_)
    asked = ~columns.failed & ~(is_guess & shapely.intersects(outlines, room))
    shown = outlines[asked] if area_px is None else shapely.intersection(outlines[asked], area_px)
    beyond = ~shapely.covered_by(shown, room) & ~shapely.is_empty(shown)
    if not beyond.any():
        return
    names = columns.ids[asked].tolist()
    raise InputError(
        f"What is looked at must lie on the run grid of {grid.width:,} x {grid.height:,} pixels",
        came=_came(
            shapely.difference(shapely.union_all(shown[beyond]), _box_of(grid)).area,
            shapely.union_all(shown).area,
            [name for name, is_beyond in zip(names, beyond, strict=True) if is_beyond],
        )
        + ("" if area_px is None else ", within the AOI"),
        remedy=REMEDY,
    )


def _box_of(grid: RunGrid, margin: float = 0.0) -> BaseGeometry:
    """The grid in pixels of itself, larger by a margin."""
    return shapely.box(-margin, -margin, grid.width + margin, grid.height + margin)


def _came(outside: float, whole: float, names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    share = 100.0 * outside / whole
    return f"{max(outside, 1.0):,.0f} pixels beyond it ({share:.2g} %), which {names[0]}{more} shows"
