"""What lies under the objects of the map: the imagery in several sizes, and what became of the ground.

1. `picture_levels` cuts the overview into tiles, at its own size and at halves of it, until the page's budget
   is spent: the coarsest first. The page enlarges the finest that it has.
2. `ground_text` packs what became of every tile (`report_data.TILE_STATES`).
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.schema.tiling import RunGrid
from pipeline.write.georeference import crs_of
from pipeline.write.report.map.map_outlines import run_lengths
from pipeline.write.report.report_data import TILE_STATES

PICTURE_PX = 2048
"""Longer side of the finest picture under the map, in pixels."""

MAX_PICTURE_BYTES = 3_000_000
"""Most bytes of all picture tiles; finer ones are left out."""

TILE_PX = 512
"""Side of a picture tile."""

MAX_CELLS = 512
"""Most cells along a side of the raster of states; beyond it several tiles share one."""


_UNITS = {"metre": "m", "degree": "°"}


def picture_levels(rgb: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Make tiles of `rgb` (h, w, 3), which shows the whole grid: a level per size, the coarsest first, with
    its tiles row by row as base64 of WebP.
    """
    sizes = [(rgb.shape[1], rgb.shape[0])]
    while max(sizes[-1]) > TILE_PX:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    whole = Image.fromarray(np.ascontiguousarray(rgb))
    levels: list[dict[str, Any]] = []
    spent = 0
    for width, height in reversed(sizes):
        scaled = (
            whole if whole.size == (width, height) else whole.resize((width, height), Image.Resampling.BOX)
        )
        tiles = [
            _webp(scaled.crop((left, top, min(left + TILE_PX, width), min(top + TILE_PX, height))))
            for top in range(0, height, TILE_PX)
            for left in range(0, width, TILE_PX)
        ]
        spent += sum(map(len, tiles))
        if levels and spent > MAX_PICTURE_BYTES:
            break
        levels.append(
            {"w": width, "h": height, "tile": TILE_PX, "tiles": [base64.b64encode(t).decode() for t in tiles]}
        )
    return levels


def ground_text(states: NDArray[np.uint8], cell_px: tuple[float, float]) -> dict[str, Any]:
    """Pack states (rows, cols), as `read_states` gives them. `cell_px`: width and height of a cell."""
    step = -(-max(*states.shape, 1) // MAX_CELLS)
    rows, cols = states.shape
    padded = np.pad(states, ((0, -rows % step), (0, -cols % step)))
    cells = padded.reshape(padded.shape[0] // step, step, -1, step).max(axis=(1, 3))
    return {
        "names": list(TILE_STATES),
        "cell": [cell_px[0] * step, cell_px[1] * step],
        "shared": step > 1,
        "rows": cells.shape[0],
        "cols": cells.shape[1],
        "codes": run_lengths(cells),
    }


def place_text(grid: RunGrid) -> dict[str, Any]:
    """The grid: its size, and how pixels become coordinates of its CRS, where it has one."""
    crs = crs_of(grid)
    unit = "px" if crs is None else _UNITS.get(crs.axis_info[0].unit_name, crs.axis_info[0].unit_name)
    affine = None if crs is None else list(grid.transform)
    return {"width": grid.width, "height": grid.height, "affine": affine, "unit": unit}


def _webp(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, format="WEBP", quality=80, method=2)
    return sink.getvalue()
