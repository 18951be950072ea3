"""What of a scene the models will not see, as shares with reasons.

They are counted in the first look at the scene (`first_look`), so they are about right and not exact. A
pixel that several `REASONS` leave out counts for the first of them.

Shares are of the scene's own pixels and do not depend on other scenes. A pixel that lies below another scene
is not counted here, because the place is judged. Clouds of a scene are counted even where another scene shows
the ground.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyproj
from numpy.typing import NDArray
from rasterio.transform import Affine

from pipeline.load.collar import Collar
from pipeline.load.first_look import FirstLook, LookPart
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import TileLattice

REASONS = ("outside", "mask", "alpha", "nodata", "not a number", "collar", "cloud", "unreadable")
"""`outside`: no planned tile owns it. `mask`, `alpha`, `nodata`: the file says so. `collar`: see there.
`cloud`: the scene's quality mask hides the ground. `unreadable`: the file is not the one that its item
describes, or cannot be opened."""

_WORDS = {
    "outside": "outside the area",
    "mask": "masked by the file",
    "alpha": "transparent",
    "nodata": "nodata",
    "not a number": "not a number",
    "collar": "black border (collar)",
    "cloud": "under clouds",
    "unreadable": "unreadable",
}

_NODES = 256
"""Pixels a side of a part of a look that are compared with the plan."""


@dataclass(frozen=True, kw_only=True)
class PlannedArea:
    """Which tiles of the run grid are looked at."""

    lattice: TileLattice
    inside: NDArray[np.bool_]
    """(tile rows, tile cols); True = planned."""

    def covers(self, scene: Scene, part: LookPart) -> NDArray[np.bool_]:
        """Find the pixels (h, w) of a part of a look that lie in the core of a planned tile.

        Up to 256 x 256 of them are placed on the run grid, and the others take the nearest of these.
        """
        height, width = part.valid.shape
        rows = _nodes(height)
        cols = _nodes(width)
        y = part.window.row0 + (rows + 0.5) * part.window.height / height
        x = part.window.col0 + (cols + 0.5) * part.window.width / width
        grid_x, grid_y = Affine(*scene.transform) @ (x[None, :] + 0 * y[:, None], y[:, None] + 0 * x[None, :])
        grid = self.lattice.grid
        if scene.crs_wkt != grid.crs_wkt and scene.crs_wkt and grid.crs_wkt:
            change = pyproj.Transformer.from_crs(scene.crs_wkt, grid.crs_wkt, always_xy=True)
            grid_x, grid_y = change.transform(grid_x, grid_y)
        if grid.crs_wkt and pyproj.CRS.from_wkt(grid.crs_wkt).is_geographic:
            grid_x = grid.transform[2] + (grid_x - grid.transform[2]) % 360  # it may run past 180 degrees
        col, row = ~Affine(*grid.transform) @ (grid_x, grid_y)
        owned = self._planned(np.asarray(row), np.asarray(col))
        return owned[np.ix_(_nearest(rows, height), _nearest(cols, width))]

    def _planned(self, row: NDArray[np.float64], col: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether a planned tile owns each place, in pixels of the run grid; infinity is nowhere."""
        grid = self.lattice.grid
        on_grid = (row >= 0) & (col >= 0) & (row < grid.height) & (col < grid.width)
        tile_row = np.where(on_grid, row, 0).astype(np.int64) // self.lattice.core_px
        tile_col = np.where(on_grid, col, 0).astype(np.int64) // self.lattice.core_px
        planned: NDArray[np.bool_] = on_grid & self.inside[tile_row, tile_col]
        return planned


def _nodes(length: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, length - 1, min(length, _NODES)).round().astype(np.int64))


def _nearest(nodes: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Index of the nearest of the evenly spaced `nodes` for each of `length` places."""
    return np.rint(np.arange(length) * (nodes.size - 1) / max(length - 1, 1)).astype(np.int64)


def unjudged_shares(
    look: FirstLook, scene: Scene, *, collar: Collar | None, area: PlannedArea | None
) -> dict[str, float]:
    """Measure reason -> share of the scene's pixels, 0..1; only reasons that occur.

    `area`: which tiles are looked at; None: all.
    """
    counts = dict.fromkeys(REASONS, 0)
    total = 0
    for part in look.parts:
        if not part.even:
            continue
        left = np.ones(part.valid.shape, dtype=np.bool_)
        for reason, pixels in _reasons(part, look, scene, collar, area):
            counts[reason] += int((left & pixels).sum())
            left &= ~pixels
        total += left.size
    return {reason: count / total for reason, count in counts.items() if count}


def _reasons(
    part: LookPart, look: FirstLook, scene: Scene, collar: Collar | None, area: PlannedArea | None
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Reasons with the pixels (h, w) of a part for which they hold, in order."""
    found = []
    if area is not None:
        found.append(("outside", ~area.covers(scene, part)))
    number = np.ones(part.valid.shape, dtype=np.bool_)
    if np.issubdtype(part.values.dtype, np.floating) and look.rule.nodata is None:
        number = np.isfinite(part.values).any(axis=0)
    kind = "not a number" if look.rule.kind == "none" else look.rule.kind
    found += [("not a number", ~number & ~part.valid), (kind, ~part.valid)]
    if collar is not None:
        found.append(("collar", collar.cells() & collar.has_value(part.values)))
    if part.marks is not None:
        found += [("nodata", part.marks.lacking), ("cloud", part.marks.hidden)]
    return found


def unjudged_text(shares: Mapping[str, Any]) -> str:
    """Say the shares in words: `12.0 % nodata, 3.1 % black border (collar)`. Empty: all is judged."""
    return ", ".join(f"{percent(float(share))} {_WORDS.get(name, name)}" for name, share in shares.items())


def percent(share: float) -> str:
    """Write a share so that neither nothing nor all is rounded away."""
    text = f"{100 * share:.1f}"
    if text == "0.0" and share > 0:
        return "less than 0.1 %"
    if text == "100.0" and share < 1:
        return "more than 99.9 %"
    return f"{text} %"
