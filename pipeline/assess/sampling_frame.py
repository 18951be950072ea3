"""List what can be drawn from a finished run: the sampling frames of one query.

Three kinds of unit, because three questions need different ones (Stehman and Wickham, Remote Sensing of
Environment 115, 2011):

1. Objects, for precision. `read_objects_frame` lists all that were published.
2. Squares of ground (cells), for what was missed. A missed object is on no list, so ground is drawn and
   searched. An object belongs to the one cell that holds its middle. Cells partition the cores of all tiles
   that were answered.
3. Points (pixels), for area, as Olofsson et al. (Remote Sensing of Environment 148, 2014) recommend: whether
   a point lies on an object is a question with an answer; how much of a square is covered is a guess. Points
   beside outlines are a stratum of their own: most errors of area lie there, and a rare omission far from all
   outlines then weighs less (Olofsson et al., Remote Sensing of Environment 236, 2020).

`read_ground_frame` reads the published mask once, tile by tile, and keeps 41 bytes per cell. Ground that was
not judged is in no frame: failed tiles, clouds, what has no imagery. `GroundReader` says of every pixel which
it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import shapely
import zarr
from numpy.typing import NDArray

from pipeline.evaluate.finished_run.run_ledger import RunPixels, aoi_in_pixels, read_ledger
from pipeline.files.store.stored_files import zarr_store
from pipeline.schema.tile_answers import Reason
from pipeline.schema.tiling import RunGrid, TileLattice, Window
from pipeline.write.ground_area import geodesic_area_m2
from pipeline.write.report.report_rows import batches, instance_files
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo

STATES = ("found", Reason.PROMPTER.value, Reason.GATE.value, Reason.VERIFIER.value)
"""What became of an answered tile: something was found, or who said that nothing is there."""

UNJUDGED, INSIDE, NEAR, FAR = range(4)
"""Classes of pixels: not judged, on a published object, beside one, or away from all."""

_MASK_OBJECT = 1


LEAST_CELL_PX = 192
"""Side of a cell that a screen shows well. Larger objects make larger cells (`fitting_cell_px`)."""

_OBJECTS_PER_SIDE = 4
"""Objects of median size that a cell holds side by side: in a smaller one nobody recognises them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameOptions:
    """How ground is cut into units."""

    cell_px: int = LEAST_CELL_PX
    """Longest side of a cell; cores of tiles are cut into as few equal parts as that allows."""
    near_px: int = 8
    """Width of the band around objects that is a stratum of points."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectsFrame:
    """All published objects of one query; columns (n,), by id."""

    instance_id: NDArray[np.uint64]
    score: NDArray[np.float64]
    at_edge: NDArray[np.bool_]
    """Joined across tile edges, seen by one of two tiles alone, or cut by the border of the imagery."""

    area_px: NDArray[np.int64]
    """Of an object of several rows that of the first."""

    def __len__(self) -> int:
        return len(self.instance_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class GroundFrame:
    """All cells with judged pixels for one query; columns (m,), row by row of tiles."""

    window: NDArray[np.int32]
    """(m, 4): row0, col0, row1, col1 on the run grid."""
    state: NDArray[np.uint8]
    """Position in STATES."""
    n_px: NDArray[np.int32]
    """(m, 4): pixels of each class."""
    px_m2: NDArray[np.float64]
    """Ground area of a pixel, the mean of its tile; NaN without a CRS."""

    def __len__(self) -> int:
        return len(self.state)


@dataclass(kw_only=True)
class _Cells:
    window: list[tuple[int, int, int, int]] = field(default_factory=list)
    state: list[int] = field(default_factory=list)
    n_px: list[NDArray[np.int64]] = field(default_factory=list)
    px_m2: list[float] = field(default_factory=list)


class GroundReader:
    """The class of every pixel for one query of a published run."""

    def __init__(self, run_dir: RunDir, info: RunInfo, query_index: int, options: FrameOptions) -> None:
        """Open the rasters of a run that passed `require_published`."""
        grid = info.lattice.grid
        self._grid = grid.window
        self._pixels = RunPixels(run_dir.path, aoi_in_pixels(bytes.fromhex(info.aoi_wkb), grid))
        self._mask = zarr.open_group(zarr_store(run_dir.masks, read_only=True), mode="r")["mask"]
        self._query_index = query_index
        self._near_px = options.near_px

    def classes(self, window: Window) -> NDArray[np.uint8]:
        """Read the classes of a window, (h, w). What lies near is decided beyond its border too."""
        from scipy.ndimage import maximum_filter

        judged = self._pixels.judged(window, self._query_index)
        if not judged.any():
            return np.zeros(window.shape, dtype=np.uint8)
        grown = _grown(window, self._near_px, self._grid)
        objects = (
            self._mask[self._query_index, grown.row0 : grown.row1, grown.col0 : grown.col1] == _MASK_OBJECT
        )
        here = window.slices_in(grown)
        found = np.full(window.shape, FAR, dtype=np.uint8)
        if objects.any():
            near = maximum_filter(objects, size=2 * self._near_px + 1, mode="constant")
            found[near[here]] = NEAR
            found[objects[here]] = INSIDE
        found[~judged] = UNJUDGED
        return found


def read_objects_frame(run_dir: RunDir, query_index: int) -> ObjectsFrame:
    """List the objects of a query. An object of several rows (`part_no`) is one."""
    names = ("query_index", "instance_id", "score", "part_no", "n_tiles", "truncated", "one_sided", "area_px")
    parts: list[dict[str, NDArray[np.generic]]] = []
    for path in instance_files(run_dir):
        for batch in batches(path, names):
            column = {name: batch[name].to_numpy(zero_copy_only=False) for name in names}
            mine = (column["query_index"] == query_index) & (column["part_no"] == 0)
            parts.append({name: column[name][mine] for name in names})
    nothing = np.zeros(0, dtype=np.int64)
    joined = {name: np.concatenate([part[name] for part in parts] or [nothing]) for name in names}
    order = np.argsort(joined["instance_id"], kind="stable")
    cut = joined["truncated"].astype(np.bool_) | joined["one_sided"].astype(np.bool_)
    return ObjectsFrame(
        instance_id=joined["instance_id"][order].astype(np.uint64),
        score=joined["score"][order].astype(np.float64),
        at_edge=(cut | (joined["n_tiles"] > 1))[order],
        area_px=joined["area_px"][order].astype(np.int64),
    )


def fitting_cell_px(frames: Sequence[ObjectsFrame], core_px: int) -> int:
    """The side of cells in which a person recognises the objects that were found, at most a tile's core."""
    areas = np.concatenate([frame.area_px for frame in frames]) if frames else np.zeros(0)
    side = float(np.sqrt(np.median(areas))) if len(areas) else 0.0
    return min(max(LEAST_CELL_PX, round(_OBJECTS_PER_SIDE * side)), core_px)


def read_ground_frame(run_dir: RunDir, info: RunInfo, query_index: int, options: FrameOptions) -> GroundFrame:
    """List the cells of a query, and count the pixels of each class in them."""
    lattice = info.lattice
    ledger = read_ledger(run_dir.path)
    reader = GroundReader(run_dir, info, query_index, options)
    cells = _Cells()
    for tile_row in range(lattice.n_tile_rows):
        for tile_col in range(lattice.n_tile_cols):
            tile = lattice.tile(tile_row, tile_col)
            entry = ledger.get((tile.tile_id, query_index))
            if entry is None or not entry.answered:
                continue
            state = STATES.index(entry.reason.value or STATES[0])
            _add_tile(cells, reader.classes(tile.core), tile.core, state, lattice, options.cell_px)
    return GroundFrame(
        window=np.asarray(cells.window, dtype=np.int32).reshape(-1, 4),
        state=np.asarray(cells.state, dtype=np.uint8),
        n_px=np.asarray(cells.n_px, dtype=np.int32).reshape(-1, 4),
        px_m2=np.asarray(cells.px_m2, dtype=np.float64),
    )


def _add_tile(
    cells: _Cells, found: NDArray[np.uint8], core: Window, state: int, lattice: TileLattice, side_px: int
) -> None:
    """Add the cells of one tile's core that have judged pixels."""
    px_m2 = _pixel_m2(core, lattice.grid)
    for row0, row1 in _parts(core.row0, core.row1, side_px):
        for col0, col1 in _parts(core.col0, core.col1, side_px):
            cell = Window(row0=row0, col0=col0, row1=row1, col1=col1)
            n_px = np.bincount(found[cell.slices_in(core)].ravel(), minlength=4)
            if n_px[1:].any():
                cells.window.append((row0, col0, row1, col1))
                cells.state.append(state)
                cells.n_px.append(n_px)
                cells.px_m2.append(px_m2)


def _parts(start: int, stop: int, longest: int) -> list[tuple[int, int]]:
    """Cut [start, stop) into as few equal parts as `longest` allows."""
    n = -(-(stop - start) // longest)
    edges = np.linspace(start, stop, n + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def _pixel_m2(core: Window, grid: RunGrid) -> float:
    area = geodesic_area_m2([shapely.box(core.col0, core.row0, core.col1, core.row1)], grid)[0]
    return float(area) / core.area_px


def _grown(window: Window, px: int, grid: Window) -> Window:
    return Window(
        row0=max(window.row0 - px, grid.row0),
        col0=max(window.col0 - px, grid.col0),
        row1=min(window.row1 + px, grid.row1),
        col1=min(window.col1 + px, grid.col1),
    )
