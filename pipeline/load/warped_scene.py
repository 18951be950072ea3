"""A scene of another lattice, resampled onto the run grid's: no pixel depends on who asks for it.

GDAL warps in chunks. It settles the scale of its filter per chunk and interpolates coordinates along the
chunk's rows, so the value of a pixel changes with the chunk (OSGeo/gdal#13702). Here nothing depends on it:

1. `Sheets` cuts the endless lattice behind the run grid into sheets, counted from the origin of the CRS. Two
   run grids on one lattice have the same sheets with the same transforms to the last bit, whatever their AOI,
   tiles and other scenes.
2. `WarpedScene` opens one WarpedVRT per sheet. Its filter has the scene's own scale (`filter_scales`), so no
   chunk is sharper than its neighbour, and coordinates are exact to TOLERANCE_PX.
3. `WarpedScene.parts` hands out a window in strips that are no higher than the VRT's blocks. For those, GDAL
   reads whole blocks of the sheet; larger requests of all bands would be warped as one chunk of their own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio.crs
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterWindow

from pipeline.schema.tiling import RunGrid, Window

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

SHEET_PX = 2**16
"""Side of a sheet in pixels: a whole number of VRT blocks, and larger than most scenes."""

STRIP_PX = 128
"""Height of a VRT block, which GDAL chooses for every VRT that is large enough."""

PHASE_STEPS = 2**14
"""The lattice's phase is rounded to this fraction of a pixel, so that the origins of two run grids, which
carry rounding errors of their own, lead to the same sheets.
"""

TOLERANCE_PX = 0.001
"""How far an interpolated coordinate may lie from the exact one, in pixels of the scene. Measured to cost no
more than GDAL's 0.125, because rows of 512 px are almost straight.
"""

OPEN_SHEETS = 4
"""Sheets of one scene that stay open: as many as meet in a corner."""

_SAME_SCALE = 0.95
"""From this scale on the filter is not widened, as in GDAL itself."""


@dataclass(frozen=True, kw_only=True)
class Sheets:
    """Where a north-up run grid lies on its endless lattice."""

    row0: int
    """Lattice row of the run grid's first row; row 0 begins at the origin of the CRS, plus the phase."""
    col0: int
    pixel: tuple[float, float]
    """Width (> 0) and height (< 0) of a pixel, in units of the CRS."""
    phase: tuple[float, float]
    """Where lattice column 0 and row 0 begin, in pixels from the origin of the CRS; 0 <= phase < 1."""

    @classmethod
    def of(cls, grid: RunGrid) -> Sheets:
        """Find the sheets of a run grid. Raises ValueError for a grid that is not north-up."""
        a, b, c, d, e, f = grid.transform
        if b or d or a <= 0 or e >= 0:
            raise ValueError(f"scenes are warped onto north-up grids only, got transform {grid.transform}")
        phase_x = _phase(c / a)
        phase_y = _phase(f / e)
        return cls(
            row0=round(f / e - phase_y), col0=round(c / a - phase_x), pixel=(a, e), phase=(phase_x, phase_y)
        )

    def transform(self, sheet_row: int, sheet_col: int) -> Affine:
        """Affine of a sheet: (col, row) pixel edges of the sheet to coordinates of the CRS."""
        a, e = self.pixel
        left = (sheet_col * SHEET_PX + self.phase[0]) * a
        top = (sheet_row * SHEET_PX + self.phase[1]) * e
        return Affine(a, 0.0, left, 0.0, e, top)

    def cut(self, window: Window) -> Iterator[tuple[tuple[int, int], Window]]:
        """Cut a window of the run grid at the borders of sheets and of their strips.

        Yields (sheet_row, sheet_col) and the piece in pixels of the run grid, down one sheet after another.
        """
        rows = _cuts(window.row0 + self.row0, window.row1 + self.row0, STRIP_PX)
        cols = _cuts(window.col0 + self.col0, window.col1 + self.col0, SHEET_PX)
        for left, right in cols:
            for top, bottom in rows:
                piece = Window(row0=top, col0=left, row1=bottom, col1=right)
                yield (top // SHEET_PX, left // SHEET_PX), piece.shifted(-self.row0, -self.col0)

    def on_sheet(self, piece: Window, sheet: tuple[int, int]) -> RasterWindow:
        """Give a piece from `cut` in pixels of its sheet."""
        row = piece.row0 + self.row0 - sheet[0] * SHEET_PX
        col = piece.col0 + self.col0 - sheet[1] * SHEET_PX
        return RasterWindow(col, row, piece.width, piece.height)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a window, and where its pixels are."""

    piece: Window
    """In pixels of the run grid."""
    dataset: WarpedVRT
    """The sheet with these pixels. Read it before the next part is asked for."""
    where: RasterWindow
    """The piece in pixels of the sheet."""


class WarpedScene:
    """An open dataset, warped onto the sheets of a run grid's lattice."""

    def __init__(
        self, dataset: DatasetReader, crs_wkt: str, grid: RunGrid, resampling: Resampling, **options: Any
    ) -> None:
        """`crs_wkt`: the dataset's CRS, as the run has it. `options`: more arguments of WarpedVRT."""
        self._dataset = dataset
        self._sheets = Sheets.of(grid)
        x, y = filter_scales(dataset, crs_wkt, grid)
        self._arguments = {
            "src_crs": rasterio.crs.CRS.from_wkt(crs_wkt),
            "crs": rasterio.crs.CRS.from_wkt(grid.crs_wkt),
            "width": SHEET_PX,
            "height": SHEET_PX,
            "resampling": resampling,
            "tolerance": TOLERANCE_PX,
            "XSCALE": repr(x),
            "YSCALE": repr(y),
            **options,
        }
        self._open: OrderedDict[tuple[int, int], WarpedVRT] = OrderedDict()

    def parts(self, window: Window) -> Iterator[Part]:
        """Cut a window of the run grid into parts that GDAL reads block by block, each with all its bands."""
        for sheet, piece in self._sheets.cut(window):
            where = self._sheets.on_sheet(piece, sheet)
            yield Part(piece=piece, dataset=self._sheet(sheet), where=where)

    def close(self) -> None:
        """Close the sheets; the dataset stays open. `parts` opens them again."""
        while self._open:
            self._open.popitem()[1].close()

    def _sheet(self, sheet: tuple[int, int]) -> WarpedVRT:
        if sheet in self._open:
            self._open.move_to_end(sheet)
            return self._open[sheet]
        while len(self._open) >= OPEN_SHEETS:
            self._open.popitem(last=False)[1].close()
        vrt = WarpedVRT(self._dataset, transform=self._sheets.transform(*sheet), **self._arguments)
        assert vrt.block_shapes[0][0] == STRIP_PX, "GDAL would warp a strip as one chunk of its own"
        self._open[sheet] = vrt
        return vrt


def warp_cells(
    cells: NDArray[np.bool_], transform: Affine, crs_wkt: str, grid: RunGrid, window: Window
) -> NDArray[np.bool_]:
    """Bring a bitmap (H, W) of a scene onto a window (h, w) of the run grid. A pixel takes its nearest cell,
    and False outside.

    `transform` takes (col, row) of cell edges to coordinates of the CRS.
    """
    height, width = cells.shape
    found = np.zeros(window.shape, dtype=np.bool_)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": rasterio.crs.CRS.from_wkt(crs_wkt)}
    with MemoryFile() as memory:
        with memory.open(**profile, width=width, height=height, transform=transform) as written:
            written.write(cells.astype(np.uint8), 1)
        with memory.open() as dataset:
            warped = WarpedScene(dataset, crs_wkt, grid, Resampling.nearest)
            for part in warped.parts(window):
                rows, cols = part.piece.slices_in(window)
                found[rows, cols] = part.dataset.read(1, window=part.where) > 0
            warped.close()
    return found


def filter_scales(dataset: DatasetReader, crs_wkt: str, grid: RunGrid) -> tuple[float, float]:
    """Count the grid's pixels per pixel of the dataset, along the dataset's rows and columns: GDAL's XSCALE
    and YSCALE.

    Measured in the middle of the dataset, so they depend on it and the grid's pixels alone. At most 1: where
    the grid is finer, the filter stays as wide as a pixel of the dataset.
    """
    assert grid.crs_wkt is not None
    move = Transformer.from_crs(CRS.from_wkt(crs_wkt), CRS.from_wkt(grid.crs_wkt), always_xy=True)
    col = dataset.width / 2
    row = dataset.height / 2
    cols = np.array([col - 0.5, col, col + 0.5, col, col, col])
    rows = np.array([row, row, row, row - 0.5, row, row + 0.5])
    moved = np.array(move.transform(*(dataset.transform @ (cols, rows)))).reshape(2, 2, 3)
    halves = 2 * np.diff(moved, axis=2)  # (x or y, along row or column, before and after the middle)
    # Where the map begins anew in the middle, at the antimeridian, one of the halves leaps across it.
    steps = np.where(np.abs(halves[..., 0]) <= np.abs(halves[..., 1]), halves[..., 0], halves[..., 1])
    per_dataset_px = steps / np.array([[grid.transform[0]], [grid.transform[4]]])
    if not np.isfinite(per_dataset_px).all() or np.linalg.det(per_dataset_px) == 0:
        return 1.0, 1.0  # the middle has no place in the grid's CRS
    per_grid_px = np.hypot(*np.linalg.inv(per_dataset_px).T)
    scales = [1.0 if size * _SAME_SCALE <= 1.0 else round(1.0 / float(size), 6) for size in per_grid_px]
    return scales[0], scales[1]


def _phase(position_px: float) -> float:
    """Fraction of a pixel of a position, rounded to 1 / PHASE_STEPS; 0 <= phase < 1."""
    return round(position_px % 1.0 * PHASE_STEPS) % PHASE_STEPS / PHASE_STEPS


def _cuts(start: int, stop: int, step: int) -> list[tuple[int, int]]:
    """Cut [start, stop) at the multiples of `step`."""
    edges = [start, *range((start // step + 1) * step, stop, step), stop]
    return list(pairwise(edges))
