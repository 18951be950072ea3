"""Where clouds hide the ground in a scene, as its quality mask says.

1. `QualityFile` opens the mask, which has its own lattice: 20 m of `SCL` under bands of 10 m. It must lie on
   the axes of its scene, in the same CRS, and cover it.
2. `QualityFile.marks` says for a window of the run grid which pixels are hidden, and which lack imagery.
   Each takes the mask's nearest pixel. Where mask and run grid share a CRS and axes, that is a multiplication
   per row and column, with ties settled to 1 / STEPS of a pixel, so no pixel depends on who asks for it.
   Otherwise the mask is warped like a scene (`warped_scene`).
3. `QualityFile.marks_of_look` says the same for a part of the first look.

A mask that cannot be read is its scene's failure. It never counts as clear.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio.crs
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.windows import Window as RasterWindow

from pipeline.errors import SourceError
from pipeline.files.raster_access import open_quality
from pipeline.load.warped_scene import WarpedScene
from pipeline.schema.imagery import QualityMask, Scene
from pipeline.schema.quality_rule import QualityRule
from pipeline.schema.tiling import RunGrid, Window

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

STEPS = 2**12
"""Places on the mask are rounded to this fraction of its pixel before the pixel below them is taken."""

STRIP_PX = 2**24
"""Pixels of the mask that are read at once, where it is finer than the run grid."""

_SLACK_PX = 1.0
"""How much of its own pixels a mask may fall short of its scene."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What a mask says of some pixels."""

    hidden: NDArray[np.bool_]
    """(h, w); True = the ground is hidden, or nothing is known."""
    lacking: NDArray[np.bool_]
    """(h, w); True = there is no imagery."""


def quality_source(scene: Scene) -> Scene:
    """Make the scene that stands for the mask's file where its environment is entered."""
    assert scene.quality is not None
    file = scene.quality.file
    return replace(
        scene, href=file.href, access=file.access, identity=file.identity, band_files=(), quality=None
    )


def quality_text(quality: QualityMask) -> str:
    """Say which mask is read, and what of it hides the ground."""
    rule = QualityRule.of(quality.rule)
    listed = str(rule).partition(";")[0].partition(":")[2].replace(",", ", ")
    what = {"values": "values", "bits": "bits", "above": "values above"}[rule.kind]
    return f"{quality.source}: {what} {listed} hide the ground"


class QualityFile:
    """The open mask of a scene. Use it inside `raster_environment(quality_source(scene))`."""

    def __init__(self, scene: Scene, grid: RunGrid | None = None) -> None:
        """Open and check the mask. `grid`: the run grid, for `marks`.

        Raises SourceError: the file cannot be read, is not the planned one, or does not fit its scene or
        rule.
        """
        assert scene.quality is not None
        self._scene = scene
        self._grid = grid
        self._band = scene.quality.file.band
        self._rule = QualityRule.of(scene.quality.rule)
        self._dataset: DatasetReader = open_quality(scene)
        self._warped: WarpedScene | None = None
        try:
            self._require_readable()
            self._transform = self._placed()
            self._require_cover()
            if grid is not None and self._on_grid(grid) is None:
                self._warped = self._warp(grid)
        except BaseException:
            self._dataset.close()
            raise

    def close(self) -> None:
        if self._warped is not None:
            self._warped.close()
        self._dataset.close()

    def marks(self, window: Window) -> Marks:
        """Read what the mask says of a window of the run grid, (h, w)."""
        assert self._grid is not None
        if self._warped is not None:
            return self._marks_warped(self._warped, window)
        to_mask = self._on_grid(self._grid)
        assert to_mask is not None
        rows = _nearest(to_mask.e, to_mask.f, window.row0, window.row1, self._dataset.height)
        cols = _nearest(to_mask.a, to_mask.c, window.col0, window.col1, self._dataset.width)
        values = self._gathered(rows, cols)
        return self._judged(values)

    def marks_of_look(self, part: Window, shape: tuple[int, int]) -> Marks:
        """Read what the mask says of a part of the scene, which was read with `shape` (h, w)."""
        to_mask = ~self._transform @ Affine(*self._scene.transform)
        height, width = shape
        place = RasterWindow.from_slices(
            _inside(to_mask.e, to_mask.f, part.row0, part.row1, self._dataset.height),
            _inside(to_mask.a, to_mask.c, part.col0, part.col1, self._dataset.width),
        )
        return self._judged(
            self._dataset.read(
                self._band, window=place, out_shape=(height, width), resampling=Resampling.nearest
            )
        )

    def _judged(self, values: NDArray[Any]) -> Marks:
        return Marks(hidden=self._rule.hides(values), lacking=self._rule.lacks(values))

    def _gathered(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[Any]:
        """Read the pixels where ascending rows and columns of the mask cross, (rows, cols)."""
        found = np.empty((rows.size, cols.size), dtype=self._dataset.dtypes[self._band - 1])
        col0 = int(cols[0])
        width = int(cols[-1]) + 1 - col0
        per_strip = max(1, int(rows.size * STRIP_PX // max((int(rows[-1]) + 1 - int(rows[0])) * width, 1)))
        for start in range(0, rows.size, per_strip):
            strip = rows[start : start + per_strip]
            row0 = int(strip[0])
            where = RasterWindow(col0, row0, width, int(strip[-1]) + 1 - row0)
            values = self._dataset.read(self._band, window=where)
            found[start : start + per_strip] = values[np.ix_(strip - row0, cols - col0)]
        return found

    def _marks_warped(self, warped: WarpedScene, window: Window) -> Marks:
        hidden = np.ones(window.shape, dtype=np.bool_)
        lacking = np.zeros(window.shape, dtype=np.bool_)
        alpha = self._dataset.count + 1
        for part in warped.parts(window):
            slices = part.piece.slices_in(window)
            judged = self._judged(part.dataset.read(self._band, window=part.where))
            known = part.dataset.read(alpha, window=part.where) > 0
            hidden[slices] = judged.hidden | ~known
            lacking[slices] = judged.lacking & known
        return Marks(hidden=hidden, lacking=lacking)

    def _warp(self, grid: RunGrid) -> WarpedScene:
        """Alpha tells where the mask has a pixel; its nodata value is a value like any other."""
        assert self._scene.crs_wkt is not None
        return WarpedScene(
            self._dataset,
            self._scene.crs_wkt,
            grid,
            Resampling.nearest,
            add_alpha=True,
            src_nodata=None,
            nodata=None,
            src_transform=self._transform,
        )

    def _on_grid(self, grid: RunGrid) -> Affine | None:
        """Where (col, row) of the run grid lie on the mask. None: CRS or axes differ."""
        if grid.crs_wkt != self._scene.crs_wkt:
            return None
        to_mask = ~self._transform @ Affine(*grid.transform)
        return to_mask if _on_axes(to_mask, max(grid.width, grid.height)) else None

    def _placed(self) -> Affine:
        """The mask's affine, on the same turn of the globe as its scene's. Raises SourceError."""
        own = self._dataset.transform
        wkt = self._scene.crs_wkt
        if self._dataset.crs and wkt and self._dataset.crs != rasterio.crs.CRS.from_wkt(wkt):
            raise self._refused(
                "must have the CRS of its scene", str(self._dataset.crs)[:120], "warp it with `gdalwarp`"
            )
        if wkt and CRS.from_wkt(wkt).is_geographic:
            turns = round((self._scene.transform[2] - own.c) / 360)
            own = Affine.translation(360 * turns, 0) @ own
        return own

    def _require_readable(self) -> None:
        if not 1 <= self._band <= self._dataset.count:
            raise self._refused(
                f"must have a band {self._band}", f"{self._dataset.count} bands", "name another band"
            )
        dtype = self._dataset.dtypes[self._band - 1]
        if dtype.startswith("complex") or not self._rule.fits(dtype):
            raise self._refused(f"must fit the rule {self._rule}", f"values of type {dtype}", "change --mask")

    def _require_cover(self) -> None:
        """Raise SourceError unless the mask lies on the scene's axes and reaches as far as it does."""
        scene = self._scene
        to_mask = ~self._transform @ Affine(*scene.transform)
        left, top = to_mask @ (0.0, 0.0)
        right, bottom = to_mask @ (float(scene.width), float(scene.height))
        on_axes = _on_axes(to_mask, max(scene.width, scene.height))
        width = self._dataset.width
        height = self._dataset.height
        reaches = min(left, top) >= -_SLACK_PX and right <= width + _SLACK_PX and bottom <= height + _SLACK_PX
        if not (on_axes and reaches):
            raise self._refused(
                f"must cover its scene {scene.scene_id} and lie on its axes",
                f"{width} x {height} px; the scene lies over columns {left:.1f} to {right:.1f} and rows "
                f"{top:.1f} to {bottom:.1f}",
                "give the mask of this scene, or make one with `gdalwarp -r near`",
            )

    def _refused(self, required: str, came: str, remedy: str) -> SourceError:
        assert self._scene.quality is not None
        return SourceError(
            f"The quality mask {self._scene.quality.file.href} {required}. Got: {came}. To fix: {remedy}"
        )


def _on_axes(move: Affine, side_px: int) -> bool:
    """Whether rows stay rows and columns stay columns, to a tenth of a pixel over `side_px`."""
    return bool(move.a > 0 and move.e > 0) and max(abs(move.b), abs(move.d)) * side_px < 0.1


def _nearest(scale: float, offset: float, start: int, stop: int, length: int) -> NDArray[np.int64]:
    """Find the mask's row for each of [start, stop), or its column; beyond the mask the outermost."""
    places = (np.arange(start, stop) + 0.5) * scale + offset
    found = np.floor(np.rint(places * STEPS) / STEPS).astype(np.int64)
    clipped: NDArray[np.int64] = np.clip(found, 0, length - 1)
    return clipped


def _inside(scale: float, offset: float, start: int, stop: int, length: int) -> tuple[float, float]:
    """The part of [start, stop) on the mask, cut where the mask ends; at least a tenth of a pixel."""
    low = min(max(start * scale + offset, 0.0), length - 0.1)
    high = max(min(stop * scale + offset, float(length)), low + 0.1)
    return low, high
