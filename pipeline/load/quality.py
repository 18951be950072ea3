"""Where clouds hide the ground in a scene, as its quality mask says.

1. `open_marks` opens the mask: a file (`QualityFile`), or bands from which it is computed (`ComputedMask`).
2. `QualityFile.marks` says for a window of the run grid which pixels are hidden, and which lack imagery. The
   mask has its own lattice (mask_lattice.py): 20 m of `SCL` under bands of 10 m. Where the run grid has other
   axes or another CRS, the mask is warped like a scene, by nearest neighbour (`warped_scene`).
3. `QualityFile.marks_of_look` says the same for a part of the first look.

A mask that cannot be read is its scene's failure. It never counts as clear. Where imagery is warped, a pixel
beside a cloud may still mix in some of it, as the filter is a pixel wide.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window as RasterWindow

from pipeline.files.raster_access import open_quality
from pipeline.load.computed_mask import ComputedMask
from pipeline.load.mask_lattice import Marks, MaskLattice, refused
from pipeline.load.warped_scene import WarpedScene
from pipeline.schema.imagery import QualityMask, Scene
from pipeline.schema.quality_rule import QualityRule
from pipeline.schema.tiling import RunGrid, Window

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

STRIP_PX = 2**24
"""Pixels of the mask that are read at once, where it is finer than the run grid."""


class OpenMarks(Protocol):
    """The open mask of a scene. Use it inside `raster_environment(quality_source(scene))`, and close it."""

    def marks(self, window: Window) -> Marks:
        """Say of a window of the run grid what is hidden, (h, w)."""
        ...

    def close(self) -> None: ...


def quality_source(scene: Scene) -> Scene:
    """Make the scene that stands for the mask's files where their environment is entered."""
    assert scene.quality is not None
    file = scene.quality.file
    return replace(
        scene,
        href=file.href,
        access=file.access,
        identity=file.identity,
        band_files=scene.quality.bands,
        quality=None,
    )


def quality_text(quality: QualityMask) -> str:
    """Say which mask is read, and what of it hides the ground."""
    if quality.model:
        return quality.source
    rule = QualityRule.of(quality.rule)
    listed = str(rule).partition(";")[0].partition(":")[2].replace(",", ", ")
    what = {"values": "values", "bits": "bits", "above": "values above"}[rule.kind]
    return f"{quality.source}: {what} {listed} hide the ground"


def open_marks(scene: Scene, grid: RunGrid) -> OpenMarks:
    """Open the mask of a scene for windows of a run grid.

    Raises SourceError: a file cannot be read, is not the planned one, or does not fit its scene or rule.
    """
    assert scene.quality is not None
    return ComputedMask(scene, grid) if scene.quality.model else QualityFile(scene, grid)


class QualityFile:
    """`OpenMarks` of a file."""

    def __init__(self, scene: Scene, grid: RunGrid | None = None) -> None:
        """Open and check the mask. `grid`: the run grid, for `marks`. Raises SourceError as `open_marks`."""
        assert scene.quality is not None
        self._scene = scene
        self._grid = grid
        self._band = scene.quality.file.band
        self._rule = QualityRule.of(scene.quality.rule)
        (dataset,) = open_quality(scene)
        self._dataset: DatasetReader = dataset
        self._warped: WarpedScene | None = None
        try:
            self._require_readable()
            self._lattice = MaskLattice.of(self._dataset, scene, scene.quality.file.href)
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
        places = self._lattice.crossing(self._grid, window)
        if places is not None:
            return self._gathered(*places)
        if self._warped is None:
            self._warped = self._warp(self._grid)
        return self._marks_warped(self._warped, window)

    def marks_of_look(self, part: Window, shape: tuple[int, int]) -> Marks:
        """Read what the mask says of a part of the scene, which was read with `shape` (h, w)."""
        move = self._lattice.places_of(self._scene.transform)
        place = RasterWindow.from_slices(
            _inside(part.row0 * move.e + move.f, part.row1 * move.e + move.f, self._lattice.height),
            _inside(part.col0 * move.a + move.c, part.col1 * move.a + move.c, self._lattice.width),
        )
        values = self._dataset.read(self._band, window=place, out_shape=shape, resampling=Resampling.nearest)
        return self._judged(values)

    def _judged(self, values: NDArray[Any]) -> Marks:
        return Marks(hidden=self._rule.hides(values), lacking=self._rule.lacks(values))

    def _gathered(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Marks:
        """Read the pixels where ascending rows and columns of the mask cross, (rows, cols).

        The rule is asked where there are fewer pixels: a mask that is coarser than the run grid is judged
        before its pixels are repeated.
        """
        shape = (rows.size, cols.size)
        marks = Marks(hidden=np.empty(shape, dtype=np.bool_), lacking=np.empty(shape, dtype=np.bool_))
        col0 = int(cols[0])
        width = int(cols[-1]) + 1 - col0
        per_strip = max(1, int(rows.size * STRIP_PX // max((int(rows[-1]) + 1 - int(rows[0])) * width, 1)))
        for start in range(0, rows.size, per_strip):
            own = slice(start, start + per_strip)
            row0 = int(rows[own][0])
            where = RasterWindow(col0, row0, width, int(rows[own][-1]) + 1 - row0)
            values = self._dataset.read(self._band, window=where)
            if values.size > rows[own].size * cols.size:
                judged = self._judged(_crossed(values, rows[own] - row0, cols - col0))
                marks.hidden[own] = judged.hidden
                marks.lacking[own] = judged.lacking
            else:
                judged = self._judged(values)
                marks.hidden[own] = _crossed(judged.hidden, rows[own] - row0, cols - col0)
                marks.lacking[own] = _crossed(judged.lacking, rows[own] - row0, cols - col0)
        return marks

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
            src_transform=self._lattice.transform,
        )

    def _require_readable(self) -> None:
        """Raise SourceError unless the file has the band, with values that the rule can be asked of."""
        assert self._scene.quality is not None
        name = self._scene.quality.file.href
        if not 1 <= self._band <= self._dataset.count:
            raise refused(
                name, f"must have a band {self._band}", f"{self._dataset.count} bands", "name another band"
            )
        dtype = self._dataset.dtypes[self._band - 1]
        if dtype.startswith("complex") or not self._rule.fits(dtype):
            raise refused(name, f"must fit the rule {self._rule}", f"values of type {dtype}", "change --mask")


def _crossed(values: NDArray[Any], rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[Any]:
    return values.take(rows, axis=0).take(cols, axis=1)


def _inside(start: float, stop: float, length: int) -> tuple[float, float]:
    """The part of [start, stop) that lies on the mask; at least a tenth of a pixel."""
    low = min(max(start, 0.0), length - 0.1)
    return low, max(min(stop, float(length)), low + 0.1)
