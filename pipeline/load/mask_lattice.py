"""The lattice of a quality mask: it lies on the axes of its scene, and the pixels of a run grid find theirs.

Each pixel of the run grid takes the mask's pixel that its middle lies in. Where both share a CRS and axes,
that is a multiplication per row and column (`crossing`). Otherwise every middle is projected (`scattered`).
Places are rounded to 1 / STEPS of a mask's pixel first, which settles ties. So no pixel depends on who asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio.crs
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.transform import Affine

from pipeline.errors import SourceError
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import RunGrid, Window

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

STEPS = 2**12
"""Places on the mask are rounded to this fraction of its pixel before the pixel below them is taken."""

_SLACK_PX = 1.0
"""How much of its own pixels a mask may fall short of its scene."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What a mask says of some pixels."""

    hidden: NDArray[np.bool_]
    """(h, w); True = the ground is hidden, or nothing is known."""
    lacking: NDArray[np.bool_]
    """(h, w); True = there is no imagery."""


def refused(name: str, required: str, came: str, remedy: str) -> SourceError:
    """Make the error for a file of a mask that cannot be used."""
    return SourceError(f"The quality mask {name} {required}. Got: {came}. To fix: {remedy}")


@dataclass(frozen=True, kw_only=True)
class MaskLattice:
    """Where the pixels of a mask lie."""

    crs_wkt: str | None
    """The scene's CRS."""
    transform: Affine
    """(col, row) of pixel edges to coordinates of the CRS, on the same turn of the globe as the scene's."""
    width: int
    height: int

    @classmethod
    def of(cls, dataset: DatasetReader, scene: Scene, name: str) -> MaskLattice:
        """Find the lattice of a mask's file. `name`: the file, for messages.

        Raises SourceError for a file of another CRS or other axes than its scene's, and for one that does not
        reach as far.
        """
        own = dataset.transform
        wkt = scene.crs_wkt
        if dataset.crs and wkt and dataset.crs != rasterio.crs.CRS.from_wkt(wkt):
            raise refused(
                name, "must have the CRS of its scene", str(dataset.crs)[:120], "warp it with `gdalwarp`"
            )
        if wkt and CRS.from_wkt(wkt).is_geographic:
            turns = round((scene.transform[2] - own.c) / 360)
            own = Affine.translation(360 * turns, 0) @ own
        found = cls(crs_wkt=wkt, transform=own, width=int(dataset.width), height=int(dataset.height))
        found._require_cover(scene, name)
        return found

    def places_of(self, transform: Any) -> Affine:
        """Where (col, row) of another lattice in the same CRS lie on this one."""
        return ~self.transform @ Affine(*transform)

    def crossing(self, grid: RunGrid, window: Window) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Rows (h,) and columns (w,) of the mask for a window of the run grid; beyond the mask the outermost.

        None: CRS or axes differ.
        """
        if grid.crs_wkt != self.crs_wkt:
            return None
        move = self.places_of(grid.transform)
        if not on_axes(move, max(grid.width, grid.height)):
            return None
        rows = (np.arange(window.row0, window.row1) + 0.5) * move.e + move.f
        cols = (np.arange(window.col0, window.col1) + 0.5) * move.a + move.c
        return _pixels(rows, self.height), _pixels(cols, self.width)

    def scattered(
        self, grid: RunGrid, window: Window
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Rows and columns of the mask for a window of a run grid in any CRS, and where it has a pixel; all
        (h, w). Beyond the mask they are the outermost.
        """
        rows, cols = np.mgrid[window.row0 : window.row1, window.col0 : window.col1] + 0.5
        x, y = Affine(*grid.transform) @ (cols, rows)
        if grid.crs_wkt != self.crs_wkt:
            move = Transformer.from_crs(
                CRS.from_wkt(grid.crs_wkt), CRS.from_wkt(self.crs_wkt), always_xy=True
            )
            x, y = move.transform(x, y)
        own_cols, own_rows = (np.asarray(place) for place in ~self.transform @ (x, y))
        known = np.isfinite(own_cols) & np.isfinite(own_rows)
        known &= (own_rows >= 0) & (own_cols >= 0) & (own_rows < self.height) & (own_cols < self.width)
        inside = [np.where(known, place, 0.0) for place in (own_rows, own_cols)]
        return _pixels(inside[0], self.height), _pixels(inside[1], self.width), known

    def _require_cover(self, scene: Scene, name: str) -> None:
        """Raise SourceError unless the mask lies on the scene's axes and reaches as far as it does."""
        move = self.places_of(scene.transform)
        left, top = move @ (0.0, 0.0)
        right, bottom = move @ (float(scene.width), float(scene.height))
        reaches = min(left, top) >= -_SLACK_PX
        reaches &= right <= self.width + _SLACK_PX and bottom <= self.height + _SLACK_PX
        if not (reaches and on_axes(move, max(scene.width, scene.height))):
            raise refused(
                name,
                f"must cover its scene {scene.scene_id} and lie on its axes",
                f"{self.width} x {self.height} px; the scene lies over columns {left:.1f} to {right:.1f} and "
                f"rows {top:.1f} to {bottom:.1f}",
                "give the mask of this scene, or make one with `gdalwarp -r near`",
            )


def on_axes(move: Affine, side_px: int) -> bool:
    """Whether rows stay rows and columns stay columns, to a tenth of a pixel over `side_px`."""
    return bool(move.a > 0 and move.e > 0) and max(abs(move.b), abs(move.d)) * side_px < 0.1


def _pixels(places: NDArray[np.float64], length: int) -> NDArray[np.int64]:
    """The pixels that places lie in, the outermost for those beyond."""
    found = np.floor(np.rint(places * STEPS) / STEPS).astype(np.int64)
    clipped: NDArray[np.int64] = np.clip(found, 0, length - 1)
    return clipped
