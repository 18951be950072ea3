"""The pixels of a comparison as a sampling frame: lost, gained, kept, beside objects, away from them.

1. `read_change_frame` reads changes.tif once, in squares of `SQUARE_PX`, and counts the pixels of each class.
2. `change_strata` makes strata of them. Ground beside objects is one of its own: most mistakes about change
   lie along outlines, and a rare one far from all outlines then weighs less (Olofsson et al., Remote Sensing
   of Environment 236, 2020).
3. `ChangeReader.classes` says of every pixel of a square which class it has, so that a drawn one is found.

Pixels that were not judged at both dates are in no stratum.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import rasterio.windows
import shapely
from numpy.typing import NDArray

from pipeline.assess.draw_units import StratumMembers
from pipeline.compare.pixel_overlap import GAINED, KEPT, LOST, NOT_COMPARABLE, NOTHING
from pipeline.errors import InputError
from pipeline.schema.tiling import RunGrid, Window
from pipeline.write.ground_area import geodesic_area_m2

SQUARE_PX = 512
"""Side of the squares that are counted and searched."""

NEAR_PX = 8
"""Width of the band around objects of either date that is a stratum."""

CLASSES = ("lost", "gained", "kept", "beside objects", "away from objects")
"""What a pixel can be, by position."""

UNJUDGED_HERE = 255
"""Class of a pixel that was not judged at both dates."""

_BESIDE = CLASSES.index("beside objects")
_AWAY = CLASSES.index("away from objects")
_MAPPED = {LOST: 0, GAINED: 1, KEPT: 2}

_DEVIATION = (0.45, 0.45, 0.35, 0.3, 0.07)
"""Standard deviation that is expected of the answers in each class: a guess that costs precision where it is
wrong, and never bias."""

_LEAST_SHARE = (0.2, 0.2, 0.15, 0.15, 0.0)
"""Share of the points that a class gets at least: the ground without objects would take all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ChangeFrame:
    """Squares with judged pixels, columns (m,)."""

    window: NDArray[np.int32]
    """(m, 4): row0, col0, row1, col1 in pixels of changes.tif."""
    n_px: NDArray[np.int64]
    """(m, 5): pixels of each class."""
    px_m2: NDArray[np.float64]
    """Ground area of a pixel; NaN without a CRS."""


class ChangeReader:
    """The class of every pixel of a comparison."""

    def __init__(self, raster: Path) -> None:
        """Open changes.tif. Raises InputError where it cannot be read."""
        try:
            self._dataset = rasterio.open(raster)
        except rasterio.errors.RasterioIOError as error:
            raise InputError(
                "a comparison must have a readable changes.tif",
                came=str(error),
                remedy="compare again: python jobs/compare_runs.py BEFORE AFTER --out DIR --overwrite",
            ) from error

    @property
    def whole(self) -> Window:
        """All of the raster."""
        return Window(row0=0, col0=0, row1=self._dataset.height, col1=self._dataset.width)

    def classes(self, window: Window) -> NDArray[np.uint8]:
        """(h, w) positions in CLASSES, or UNJUDGED_HERE. What is beside is decided beyond the border too."""
        from scipy.ndimage import maximum_filter

        whole = self.whole
        grown = Window(
            row0=max(window.row0 - NEAR_PX, 0),
            col0=max(window.col0 - NEAR_PX, 0),
            row1=min(window.row1 + NEAR_PX, whole.row1),
            col1=min(window.col1 + NEAR_PX, whole.col1),
        )
        place = rasterio.windows.Window(grown.col0, grown.row0, grown.width, grown.height)
        states: NDArray[np.uint8] = self._dataset.read(1, window=place)
        objects = (states != NOTHING) & (states != NOT_COMPARABLE)
        here = window.slices_in(grown)
        found = np.full(window.shape, _AWAY, dtype=np.uint8)
        if objects.any():
            found[maximum_filter(objects, size=2 * NEAR_PX + 1, mode="constant")[here]] = _BESIDE
        for state, number in _MAPPED.items():
            found[states[here] == state] = number
        found[states[here] == NOT_COMPARABLE] = UNJUDGED_HERE
        return found

    def close(self) -> None:
        self._dataset.close()


def read_change_frame(reader: ChangeReader, grid: RunGrid, origin_rc: tuple[int, int]) -> ChangeFrame:
    """Count the pixels of all squares. `origin_rc`: row and column of the raster's first pixel in `grid`."""
    whole = reader.whole
    windows: list[tuple[int, int, int, int]] = []
    counts: list[NDArray[np.int64]] = []
    areas: list[float] = []
    for row0 in range(0, whole.row1, SQUARE_PX):
        for col0 in range(0, whole.col1, SQUARE_PX):
            row1 = min(row0 + SQUARE_PX, whole.row1)
            square = Window(row0=row0, col0=col0, row1=row1, col1=min(col0 + SQUARE_PX, whole.col1))
            found = reader.classes(square)
            n_px = np.bincount(found[found != UNJUDGED_HERE], minlength=len(CLASSES))
            if n_px.any():
                windows.append((square.row0, square.col0, square.row1, square.col1))
                counts.append(n_px)
                areas.append(_pixel_m2(square.shifted(*origin_rc), grid))
    return ChangeFrame(
        window=np.asarray(windows, dtype=np.int32).reshape(-1, 4),
        n_px=np.asarray(counts, dtype=np.int64).reshape(-1, len(CLASSES)),
        px_m2=np.asarray(areas, dtype=np.float64),
    )


def change_strata(frame: ChangeFrame) -> list[StratumMembers]:
    """One stratum per class, in the order of CLASSES."""
    return [_stratum(frame, number) for number in range(len(CLASSES))]


def _stratum(frame: ChangeFrame, number: int) -> StratumMembers:
    rows = np.flatnonzero(frame.n_px[:, number] > 0)
    n_px = frame.n_px[rows, number]
    return StratumMembers(
        name=CLASSES[number],
        rows=rows,
        deviation=_DEVIATION[number],
        least_share=_LEAST_SHARE[number],
        n_px=n_px,
        pixel_class=number,
        area_m2=float((n_px * frame.px_m2[rows]).sum()),
    )


def _pixel_m2(square: Window, grid: RunGrid) -> float:
    area = geodesic_area_m2([shapely.box(square.col0, square.row0, square.col1, square.row1)], grid)[0]
    return float(area) / square.area_px
