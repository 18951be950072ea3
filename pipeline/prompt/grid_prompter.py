"""No prompt at all: a regular grid of points, each of which may lie in an object.

1. `spacing_px` turns a distance on the ground into pixels of the run grid.
2. `prompt` answers every query with the points of the tile's read window that have imagery.

The points belong to the run grid, not to the tile: point k lies at (k + 1/2) spacings from the grid's edge.
So two neighbouring tiles try the same places where they overlap, and find the same objects there as far as
the segmenter does; the merge joins objects by what both tiles saw. A grid of each tile's own would make the
objects near an edge depend on which tile looks. It also makes the answer a function of the place alone,
however tiles are grouped into blocks, and a run that goes on with a larger area keeps its points. With points
no farther apart than the halo is wide, each tile has one in its piece of every object that is wider than
that.

The segmenter decodes these points by `propose`; `pipeline/segment/proposals.py` says which masks are objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pyproj import Geod, Transformer

from pipeline.errors import InputError
from pipeline.geo.globe import LONLAT_CRS
from pipeline.prompt.prompter import same_for_all
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import Prompt, Reason, TilePrompts, TileStatus
from pipeline.schema.tiling import RunGrid

MIN_SPACING_PX = 4.0
"""Finest grid, in pixels. The small logits of SAM have cells of that size on a tile of 1024 px."""

_PROBE_PX = 10.0
"""Length on which a pixel is measured."""


class GridPrompter:
    """A `Prompter` that asks for everything."""

    def __init__(self, spacing_px: float) -> None:
        """`spacing_px`: distance of neighbouring points, in pixels of the run grid."""
        self._spacing = spacing_px

    @property
    def model_id(self) -> str:
        """`grid:` and the distance of its points."""
        return f"grid:{self._spacing:g}px"

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        """Give the same points for every query. EMPTY: no point of the window has imagery."""
        read = image.tile.read
        rows = _positions(read.row0, read.row1, self._spacing)
        cols = _positions(read.col0, read.col1, self._spacing)
        prompts = tuple(
            Prompt(box_xyxy=None, points_xy=((x, y),), point_labels=(1,))
            for y in rows
            for x in cols
            if image.valid[int(y), int(x)]
        )
        status, reason = (TileStatus.FOUND, Reason.NONE) if prompts else (TileStatus.EMPTY, Reason.PROMPTER)
        answer = TilePrompts(
            tile_id=image.tile.tile_id, query_index=0, status=status, reason=reason, prompts=prompts
        )
        return same_for_all(answer, len(queries))

    def close(self) -> None:
        """Do nothing: nothing was loaded."""


def _positions(start: int, stop: int, spacing: float) -> list[float]:
    """Points of the run grid's axis in [start, stop), counted from `start`."""
    first = math.ceil(start / spacing - 0.5)
    last = math.ceil(stop / spacing - 0.5)
    places = (np.arange(first, last) + 0.5) * spacing - start
    return [float(place) for place in places if 0 <= place < stop - start]


def spacing_px(spacing_m: float, grid: RunGrid) -> float:
    """Turn metres on the ground into pixels, in the middle of the grid.

    Raises InputError where the grid has no CRS or its middle is not on the Earth.
    """
    if grid.crs_wkt is None:
        raise InputError(
            "a spacing of points in metres needs imagery with a CRS",
            came="imagery without one",
            remedy="give --points-per-side, or georeference the imagery",
        )
    a, b, c, d, e, f = grid.transform
    col = grid.width / 2
    row = grid.height / 2
    cols = np.array([col, col + _PROBE_PX, col, col])
    rows = np.array([row, row, row, row + _PROBE_PX])
    move = Transformer.from_crs(grid.crs_wkt, LONLAT_CRS, always_xy=True)
    lon, lat = move.transform(a * cols + b * rows + c, d * cols + e * rows + f)
    if not np.isfinite([lon, lat]).all():
        raise InputError(
            "a spacing of points in metres needs a run grid on the Earth",
            came="one whose middle is not",
            remedy="give --points-per-side",
        )
    metres = Geod(ellps="WGS84").inv(lon[::2], lat[::2], lon[1::2], lat[1::2])[2]
    return spacing_m / math.sqrt(float(np.prod(metres))) * _PROBE_PX


def check_spacing(spacing: float) -> None:
    """Refuse a grid that is finer than a segmenter can tell apart. Raises InputError."""
    if spacing < MIN_SPACING_PX:
        raise InputError(
            f"points of a grid must be at least {MIN_SPACING_PX:g} px apart",
            came=f"{spacing:.3g} px",
            remedy="take fewer points (--points-per-side, --point-spacing-m), or finer pixels (--gsd)",
        )
