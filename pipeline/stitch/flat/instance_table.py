"""The instance table of one query: what was painted, counted on the painted raster itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.tile_answers import SCORE_Q_SCALE
from pipeline.schema.tiling import TileLattice, Window
from pipeline.stitch.components import least_px
from pipeline.stitch.flat.flat_components import Components
from pipeline.stitch.flat.flat_sources import blocks_of
from pipeline.stitch.fragment_table import FragmentTable
from pipeline.stitch.outlines import count_pixels
from pipeline.stitch.stitch_options import StitchOptions

AoiMask = Callable[[Window], NDArray[np.bool_]]
"""Window of the run grid -> (h, w), True = inside the AOI."""


class Painter(Protocol):
    """Blocks of component numbers, the same whenever asked."""

    def block(self, block_row: int, block_col: int, /) -> NDArray[np.int32]:
        """Paint the block: (h, w) over its core window, 0 = background."""
        ...

    def blocked(self, block_row: int, block_col: int, /) -> NDArray[np.int32]:
        """Components that would reach into cores of this block where nothing may be painted."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Instances:
    """One row per instance (n,), sorted by `instance_id`; every id of the raster has a row and vice versa."""

    instance_id: NDArray[np.uint64]
    """1 + smallest core pixel index over the instance's fragments; above GHOST for rescued objects, which
    have none.
    """
    area_px: NDArray[np.int64]
    """Painted pixels."""
    aoi_px: NDArray[np.int64]
    """Painted pixels inside the AOI; = area_px without one."""
    score_sum: NDArray[np.int64]
    """Sum over weight pixels of scores in 1/65535; integers, so that no order of addition changes it."""
    score_px: NDArray[np.int64]
    """Weight pixels: of the representative alone when complete, else the core pixels of all fragments
    (semantic mode: all evidence pixels).
    """
    rep_tile_row: NDArray[np.int64]
    """Tile and local id of the representative fragment: the best single view of the instance."""
    rep_tile_col: NDArray[np.int64]
    rep_local: NDArray[np.int64]
    rep_prompt: NDArray[np.int64]
    """Its `prompt_index`."""
    n_tiles: NDArray[np.int64]
    """Tiles with a member fragment."""
    complete: NDArray[np.bool_]
    """Painted from the one tile that saw it whole."""
    truncated: NDArray[np.bool_]
    """Part of it was cut off: nothing that fits was seen beyond a read window, or a failed tile is in the
    way.
    """
    one_sided: NDArray[np.bool_]
    """Complete, but a neighbour into whose core it reaches did not see it."""
    window: NDArray[np.int64]
    """(n, 4) bounding window of the painted pixels: row0, col0, row1, col1."""
    member_start: NDArray[np.int64]
    """(n + 1,) members of row i are [member_start[i], member_start[i + 1]) of the member columns."""
    member_tile_row: NDArray[np.int64]
    member_tile_col: NDArray[np.int64]
    member_local: NDArray[np.int64]
    member_prompt: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.instance_id.size)

    @property
    def score(self) -> NDArray[np.float64]:
        """Mean scores (n,), 0..1."""
        return np.asarray(self.score_sum / np.maximum(self.score_px, 1) / SCORE_Q_SCALE, dtype=np.float64)

    def tiles_of(self, row: int) -> list[tuple[int, int]]:
        """List (tile_row, tile_col) of all member fragments' tiles, sorted, each once."""
        part = slice(int(self.member_start[row]), int(self.member_start[row + 1]))
        return sorted(
            set(zip(self.member_tile_row[part].tolist(), self.member_tile_col[part].tolist(), strict=True))
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Painted:
    """Counts over the whole painted raster, (m + 1,) per component number."""

    area_px: NDArray[np.int64]
    aoi_px: NDArray[np.int64]
    window: NDArray[np.int64]
    blocked: NDArray[np.bool_]


def measure_painted(lattice: TileLattice, painter: Painter, n: int, aoi_mask: AoiMask | None) -> Painted:
    """Paint every block once and count, without keeping any of it."""
    area_px = np.zeros(n + 1, dtype=np.int64)
    aoi_px = np.zeros(n + 1, dtype=np.int64)
    window = np.zeros((n + 1, 4), dtype=np.int64)
    blocked = np.zeros(n + 1, dtype=np.bool_)
    for block_row, block_col in blocks_of(lattice):
        core = lattice.block_core(block_row, block_col)
        image = painter.block(block_row, block_col)
        blocked[painter.blocked(block_row, block_col)] = True
        if not image.any():
            continue
        inside = np.ones((1, 1), dtype=np.bool_) if aoi_mask is None else aoi_mask(core)
        assert aoi_mask is None or inside.shape == core.shape, (
            "the AOI mask must cover the window it was asked for"
        )
        count_pixels(image, inside, core.row0, core.col0, area_px, aoi_px, window)
    return Painted(area_px=area_px, aoi_px=aoi_px, window=window, blocked=blocked)


def instance_table(
    table: FragmentTable, components: Components, painted: Painted, options: StitchOptions
) -> tuple[NDArray[np.int64], Instances]:
    """Make rows, and the component number of each, of the components that show at least `min_area_px` (and
    `least_px`) pixels.
    """
    full_px = np.zeros(components.n + 1, dtype=np.int64)
    full_px[1:] = table.full_px[components.rep[1:]]
    least = least_px(components.ids, full_px, options)
    number = np.flatnonzero(painted.area_px >= np.maximum(least, options.min_area_px))
    members = components.members
    score_sum = np.zeros(components.n + 1, dtype=np.int64)
    score_px = np.zeros(components.n + 1, dtype=np.int64)
    np.add.at(score_sum, members.component, table.score_q[members.node] * members.px)
    np.add.at(score_px, members.component, members.px)
    first = np.searchsorted(members.component, number)
    count = np.searchsorted(members.component, number, side="right") - first
    start = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(count)])
    take = np.repeat(first - start[:-1], count) + np.arange(int(start[-1]))
    node = members.node[take]
    rep = components.rep[number]
    tile_rc = np.stack([table.tile // table.n_tile_cols, table.tile % table.n_tile_cols])
    row_tile = np.unique(np.stack([np.repeat(np.arange(number.size), count), table.tile[node]]), axis=1)[0]
    rows = Instances(
        instance_id=components.ids[number],
        area_px=painted.area_px[number],
        aoi_px=painted.aoi_px[number],
        score_sum=score_sum[number],
        score_px=score_px[number],
        rep_tile_row=tile_rc[0, rep],
        rep_tile_col=tile_rc[1, rep],
        rep_local=table.local[rep],
        rep_prompt=table.prompt_index[rep],
        n_tiles=np.bincount(row_tile, minlength=number.size).astype(np.int64),
        complete=components.complete[number],
        truncated=components.truncated[number] | painted.blocked[number],
        one_sided=components.one_sided[number],
        window=painted.window[number],
        member_start=start,
        member_tile_row=tile_rc[0, node],
        member_tile_col=tile_rc[1, node],
        member_local=table.local[node],
        member_prompt=table.prompt_index[node],
    )
    return number, rows
