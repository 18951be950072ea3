"""The plan: which tiles of which blocks are looked at. Nothing here opens a raster.

1. `relevant_scenes` drops scenes that miss the AOI, before they can influence the grid.
2. `lattice_choice.choose_lattice` chooses grid and mode.
3. `aoi_on_grid` moves the AOI to the run's CRS, and the grid is cut to it in whole pixels, unless it is given
   (`kept_grid`).
4. `cores_meeting` tests the cores of tiles. One is inside when it shares more than a sliver with the AOI
   and touches a scene.
5. `with_halo_scenes` adds scenes beyond the AOI that fill what these tiles see around it.

A tile outside is never read. Blocks run row-major, so that the reader's cache still holds the halos of their
neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.geo.globe import (
    LONLAT_CRS,
    MERCATOR_LATITUDE,
    narrowest_bbox,
    on_all_turns,
    polygonal,
    turn_of,
)
from pipeline.geo.pixel_rules import check_tiling
from pipeline.grid.aoi import Aoi
from pipeline.grid.gsd import resolution_of_gsd
from pipeline.grid.halo_scenes import seen_ground, with_halo_scenes
from pipeline.grid.kept_grid import KeptGrid, laid_over, require_on_grid
from pipeline.grid.lattice import Mode, Placement, affine_of, crop, in_crs, outer_window, place_on
from pipeline.grid.lattice_choice import choose_lattice
from pipeline.grid.neighbourhood import neighbourhood
from pipeline.grid.paused_collector import paused_collector
from pipeline.grid.scene_bounds import lonlat_boxes, meeting, quick_bounds, scene_bounds_lonlat
from pipeline.grid.scene_list import SceneList
from pipeline.grid.scene_places import OffsetRC, ScenePlaces
from pipeline.grid.scene_windows import read_by, window_array, windows_of
from pipeline.grid.source import require_sources
from pipeline.grid.tile_marks import cores_meeting, cores_under
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import BlockSpec, RunGrid, TileLattice, Window

MAX_TILES = 100_000_000
"""Most tiles of one run, inside and outside. Beyond it a wrong --resolution is likelier than a wish."""


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """How the region is cut."""

    tile_px: int = 1024
    """Side of a tile's read window."""
    halo_px: int = 64
    """Width of the halo on each side of a core."""
    block_tiles: int = 4
    """K: tiles per block side."""
    crs: str | None = None
    """CRS of the run grid; None: the scenes' own."""
    resolution: float | None = None
    """Units of that CRS per pixel; None: the scenes' own."""
    gsd_m: float | None = None
    """Side of a pixel on the ground, in metres, instead of `resolution`."""

    def __post_init__(self) -> None:
        check_tiling(self.tile_px, self.halo_px, self.block_tiles)


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What a run will look at: plain data that pickles and holds no open file."""

    lattice: TileLattice
    mode: Mode
    inside: NDArray[np.bool_]
    """(n_tile_rows, n_tile_cols); True: the core meets the AOI and a scene. False: empty(outside_aoi).
    Holes in the AOI count as outside.
    """
    aoi_grid: BaseGeometry | None
    """The AOI near the scenes in the run grid's CRS, not clipped to the grid. None: whole scenes."""
    scenes: Sequence[Scene]
    """Scenes that reach into the read window of a tile, in order of priority. No other one is ever read."""
    only_in_halos: tuple[bool, ...]
    """Per scene, whether it shows nothing of the AOI, and fills what tiles see around it."""
    places: ScenePlaces
    """Where these scenes lie on the run grid."""

    @property
    def grid(self) -> RunGrid:
        return self.lattice.grid

    @property
    def scene_windows(self) -> tuple[Window, ...]:
        """Per scene, the window of the run grid that it can fill (`scene_windows.window_array`)."""
        return windows_of(window_array(self.places.bounds, self.places.warped, self.grid))

    @property
    def offsets(self) -> tuple[OffsetRC | None, ...]:
        """Per scene, (row, col) of its first pixel on the run grid. None: it must be warped."""
        return self.places.offsets

    @property
    def outlines(self) -> tuple[BaseGeometry, ...]:
        """Per scene, the polygon of its extent in pixels (x, y) of the run grid."""
        return self.places.outlines

    @property
    def n_tiles(self) -> int:
        """Number of tiles that are looked at."""
        return int(np.count_nonzero(self.inside))

    @property
    def n_tiles_outside(self) -> int:
        return int(self.inside.size) - self.n_tiles

    def blocks(self) -> Iterator[BlockSpec]:
        """Yield the blocks that have a tile to look at, row-major; each lists those tiles only."""
        k = self.lattice.block_tiles
        for block_row in range(self.lattice.n_block_rows):
            band = self.inside[block_row * k : (block_row + 1) * k]
            for block_col in np.unique(np.nonzero(band)[1] // k).tolist():
                yield self.block(block_row, block_col)

    def block(self, block_row: int, block_col: int) -> BlockSpec:
        """Build one block with its tiles to look at. Raises IndexError when it has none."""
        tiles = tuple(
            tile
            for tile in self.lattice.tiles_of_block(block_row, block_col)
            if self.inside[tile.tile_row, tile.tile_col]
        )
        if not tiles:
            raise IndexError(f"block ({block_row}, {block_col}) has no tile to look at")
        core = self.lattice.block_core(block_row, block_col)
        read = Window.around([tile.read for tile in tiles])
        return BlockSpec(block_row=block_row, block_col=block_col, core=core, read=read, tiles=tiles)


@paused_collector()
def plan_tiles(
    aoi: Aoi | None,
    scenes: Sequence[Scene],
    options: GridOptions,
    *,
    halo_ids: Set[str] = frozenset(),
    kept: KeptGrid | None = None,
) -> Plan:
    """Plan a run over `scenes` (at least one) inside `aoi`. Without one, the scenes are looked at whole.

    `halo_ids`: scene_ids of scenes that are known to show nothing of the AOI, whatever their corners say.
    `kept`: the grid of an earlier plan, to go on with, or the region of a new one.

    Raises InputError when the AOI touches no scene, when the scenes cannot share a grid, and when there would
    be more than MAX_TILES tiles.
    """
    require_sources(scenes)
    listed = SceneList.of(scenes)
    numbers, quick = _relevant(listed, aoi, halo_ids)
    near = listed.take(numbers)
    kept = kept or KeptGrid()
    if kept.grid is not None:
        placement = place_on(kept.grid, near)
    else:
        placement = choose_lattice(near, options.crs, _resolution(near, aoi, options))
        placement = placement if kept.area is None else laid_over(placement, kept.area)
    geometry = None
    if aoi is not None:
        geometry = aoi_on_grid(aoi, neighbourhood(near, quick), placement.grid)
        if kept.grid is None and kept.area is None:
            placement = _cropped_to_aoi(placement, geometry, aoi)
    area_px = None if geometry is None else _to_pixels(geometry, placement.grid)
    if kept.is_binding:
        require_on_grid(placement, area_px, kept.guessed)
    lattice = TileLattice(
        grid=placement.grid, tile_px=options.tile_px, halo_px=options.halo_px, block_tiles=options.block_tiles
    )
    if lattice.n_tile_rows * lattice.n_tile_cols > MAX_TILES:
        raise InputError(
            f"A run may have at most {MAX_TILES:,} tiles",
            came=f"{lattice.n_tile_rows:,} x {lattice.n_tile_cols:,}",
            remedy="check --resolution (in units of the CRS), or cut the AOI into parts",
        )
    inside = cores_under(placement.places.bounds[~placement.places.warped], lattice)
    inside |= cores_meeting(placement.places.shapes, lattice)
    if area_px is not None:
        inside &= cores_meeting([area_px], lattice)
    if not inside.any():
        assert aoi is not None, "a whole scene meets its own grid"
        raise _no_overlap(aoi, listed)
    only_in_halos = np.zeros(len(near), dtype=np.bool_)
    if aoi is not None and len(near) < len(listed):
        ground = seen_ground(lattice, inside)
        placement, only_in_halos = with_halo_scenes(
            placement, numbers, listed, ground=ground, any_crs=_warps(near, placement.grid, options)
        )
    needed = _needed(placement, lattice, inside, kept)
    warped = only_in_halos & placement.places.warped & ~placement.scenes.columns.failed
    return Plan(
        lattice=lattice,
        mode=placement.mode if not warped[needed].any() else "mosaic",
        inside=inside,
        aoi_grid=geometry,
        scenes=placement.scenes.take(needed),
        only_in_halos=tuple(only_in_halos[needed].tolist()),
        places=placement.places.take(needed),
    )


def seen_beside(plan: Plan, scenes: SceneList, options: GridOptions) -> SceneList:
    """Of further scenes, which show nothing of the AOI, those that tiles of a plan see around it."""
    planned = SceneList.of(plan.scenes)
    placement, added = with_halo_scenes(
        Placement(grid=plan.grid, mode=plan.mode, scenes=planned, places=plan.places),
        np.arange(len(planned)),
        SceneList.joined([planned, scenes]),
        ground=seen_ground(plan.lattice, plan.inside),
        any_crs=_warps(planned, plan.grid, options),
    )
    return placement.scenes.take(added & _needed(placement, plan.lattice, plan.inside, KeptGrid()))


def _needed(
    placement: Placement, lattice: TileLattice, inside: NDArray[np.bool_], kept: KeptGrid
) -> NDArray[np.bool_]:
    """Tell which scenes reach into what a tile sees, (n,); those that stay anyhow count."""
    places = placement.places
    whole = shapely.box(0, 0, placement.grid.width, placement.grid.height)
    x0, y0, x1, y1 = places.bounds.T
    meets = (x0 <= placement.grid.width) & (y0 <= placement.grid.height) & (x1 >= 0) & (y1 >= 0)
    meets[places.warped] = shapely.intersects(places.shapes, whole)
    windows = window_array(places.bounds, places.warped, placement.grid)
    stays = np.array([name in kept.scene_ids for name in placement.scenes.ids], dtype=np.bool_)
    return np.asarray((meets & read_by(inside, lattice, windows)) | stays, dtype=np.bool_)


def _warps(scenes: SceneList, grid: RunGrid, options: GridOptions) -> bool:
    """Whether scenes of other CRSs than the grid's are warped: where one is asked for, or was given."""
    return options.crs is not None or not bool(in_crs(scenes.columns, grid.crs_wkt).all())


def _resolution(scenes: Sequence[Scene], aoi: Aoi | None, options: GridOptions) -> float | None:
    """The side of a pixel that is asked for, in units of the run grid's CRS. None: nothing is asked for."""
    if options.gsd_m is None:
        return options.resolution
    bounds = None
    if aoi is not None:
        places = [lonlat_boxes(scene_bounds_lonlat(scene), margin=1e-9) for scene in scenes]
        bounds = narrowest_bbox(polygonal(shapely.intersection(aoi.geometry, shapely.union_all(places))))
    return resolution_of_gsd(scenes, options.crs, options.gsd_m, bounds_lonlat=bounds)


def relevant_scenes(scenes: Sequence[Scene], aoi: Aoi | None) -> SceneList:
    """Keep the scenes whose lon/lat box meets the AOI, in order. Raises InputError when there is none."""
    require_sources(scenes)
    listed = SceneList.of(scenes)
    return listed.take(_relevant(listed, aoi)[0])


def _relevant(
    scenes: SceneList, aoi: Aoi | None, halo_ids: Set[str] = frozenset()
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers of the scenes that `relevant_scenes` keeps, without those of `halo_ids`; and the `quick_bounds`
    of these, which without an AOI nobody asks for."""
    if aoi is None:
        return np.arange(len(scenes)), np.full((len(scenes), 4), np.nan)
    in_halos = np.array([name in halo_ids for name in scenes.ids], dtype=np.bool_)
    numbers = np.flatnonzero(~in_halos)
    members = scenes.take(numbers)
    quick = quick_bounds(members)
    meets = meeting(members, aoi.geometry, quick)
    if not meets.any():
        raise _no_overlap(aoi, scenes)
    return numbers[meets], quick[meets]


def _no_overlap(aoi: Aoi, scenes: Sequence[Scene]) -> InputError:
    def shown(bounds: tuple[float, float, float, float]) -> str:
        texts = (f"{value:.6g}" if abs(value) >= 1e3 else f"{value:.6f}" for value in bounds)
        return f"[{', '.join(texts)}]"

    listed = "; ".join(f"{scene.scene_id} {shown(scene_bounds_lonlat(scene))}" for scene in scenes[:5])
    more = f"; and {len(scenes) - 5} more" if len(scenes) > 5 else ""
    return InputError(
        "The AOI must touch at least one scene",
        came=(
            f"AOI {aoi.source} {shown(aoi.bounds_lonlat)}, scenes {listed}{more} "
            "(west, south, east, north in lon/lat)"
        ),
        remedy="check the AOI's CRS and axis order, or give imagery of that place",
    )


def aoi_on_grid(aoi: Aoi, nearby: BaseGeometry, grid: RunGrid) -> BaseGeometry:
    """Move the AOI to the run grid's CRS, as a (Multi)Polygon; empty when no scene is near it.

    The AOI is clipped to `nearby`, the `neighbourhood` of the scenes, first, because a projection holds only
    near its own zone. Its edges are cut into short ones, because straight edges in lon/lat are curves
    elsewhere. On a map with turns the AOI is offered on each, because a grid may run past the antimeridian.
    """
    assert grid.crs_wkt is not None
    turn = turn_of(grid.crs_wkt)
    crs = CRS.from_wkt(grid.crs_wkt)
    if turn is not None and not crs.is_geographic:
        nearby = shapely.intersection(
            nearby, shapely.box(-180.0, -MERCATOR_LATITUDE, 180.0, MERCATOR_LATITUDE)
        )
    clipped = polygonal(shapely.intersection(aoi.geometry, nearby))
    if clipped.is_empty:
        return clipped
    finest = min(
        max(part.bounds[2] - part.bounds[0], part.bounds[3] - part.bounds[1])
        for part in shapely.get_parts(nearby)
    )
    dense = clipped.segmentize(max(finest / 256, (nearby.bounds[3] - nearby.bounds[1]) / 16384))
    move = Transformer.from_crs(LONLAT_CRS, crs, always_xy=True)

    def apply(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = move.transform(lonlat[:, 0], lonlat[:, 1])
        return np.column_stack([x if turn is None else turn.x_like(x, lonlat[:, 0]), y])

    moved = shapely.transform(dense, apply)
    if not moved.is_valid:
        moved = polygonal(shapely.make_valid(moved))  # around a pole the cut at 180 is a slit
    parts = np.array(shapely.get_parts(moved), dtype=object)
    turned = on_all_turns(parts, grid.crs_wkt)
    return moved if len(turned) == 1 else shapely.multipolygons(np.concatenate(turned))


def _to_pixels(geometry: BaseGeometry, grid: RunGrid) -> BaseGeometry:
    inverse = ~affine_of(grid.transform)
    return shapely.transform(geometry, lambda xy: np.column_stack(inverse @ (xy[:, 0], xy[:, 1])))


def _cropped_to_aoi(placement: Placement, geometry: BaseGeometry, aoi: Aoi) -> Placement:
    """Cut the grid to the window around the AOI's parts on it, in whole pixels."""
    whole = shapely.box(0, 0, placement.grid.width, placement.grid.height)
    parts = [
        part for part in shapely.get_parts(_to_pixels(geometry, placement.grid)) if part.intersects(whole)
    ]
    if not parts:
        raise _no_overlap(aoi, placement.scenes)
    bounds = np.array([part.bounds for part in parts])
    x0 = bounds[:, 0].min()
    y0 = bounds[:, 1].min()
    x1 = bounds[:, 2].max()
    y1 = bounds[:, 3].max()
    window = outer_window(float(x0), float(y0), float(max(x1, x0 + 1)), float(max(y1, y0 + 1))).intersect(
        placement.grid.window
    )
    if window is None:
        raise _no_overlap(aoi, placement.scenes)
    return crop(placement, window)
