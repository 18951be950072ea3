"""Stage D, block by block: described fragments and the labels around a block -> one picture of the block.

The picture holds component numbers in the order of their ids; ids and scores are a table beside it. Cores of
tiles that failed or were never looked at stay empty, and `blocked` names what would have reached into them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.tiling import TileLattice, TileSpec
from pipeline.stitch.describe import PaintColumns
from pipeline.stitch.paint_core import ClaimingTile, OwnTile, by_local, paint_core
from pipeline.stitch.sources import TileCache, block_tile_ranges, check_ids, reach_tiles


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundPixels:
    """Pixels of masks in the cores of the tiles that found them."""

    given_px: int = 0
    kept_px: int = 0
    """Those of them that show an object after the merge: at least `StitchOptions.keep_share`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockPicture:
    """One painted block."""

    image: NDArray[np.int32]
    """(h, w) over the block's core window: 0 = background, else a row of `ids`."""
    ids: NDArray[np.uint64]
    """(n + 1,) ascending; ids[0] = 0."""
    score: NDArray[np.float32]
    """(n + 1,) score of each, 0..1."""
    blocked: NDArray[np.uint64]
    """Ids that would reach into cores of this block where nothing may be painted, ascending."""
    found: FoundPixels


def concatenate_paint(parts: Sequence[PaintColumns]) -> PaintColumns:
    """Join several blocks' fragments in one table."""
    return PaintColumns(
        block=np.concatenate([part.block for part in parts]),
        tile=np.concatenate([part.tile for part in parts]),
        local=np.concatenate([part.local for part in parts]),
        id=np.concatenate([part.id for part in parts]),
        shown=np.concatenate([part.shown for part in parts]),
        claims=np.concatenate([part.claims for part in parts]),
        score=np.concatenate([part.score for part in parts]),
        window=np.concatenate([part.window for part in parts]),
    )


def found_pixels(
    lattice: TileLattice, cache: TileCache, block: tuple[int, int], image: NDArray[np.int32]
) -> FoundPixels:
    """Count what the tiles of a block found in their cores, and how much of it `image` (h, w) shows.

    Tiles that may not be painted count for nothing.
    """
    window = lattice.block_core(*block)
    given = kept = 0
    for tile in lattice.tiles_of_block(*block):
        labels = cache.labels(tile) if cache.paintable(tile) else None
        if labels is not None:
            own = labels[tile.core.slices_in(tile.read)] > 0
            given += int(np.count_nonzero(own))
            kept += int(np.count_nonzero(own & (image[tile.core.slices_in(window)] > 0)))
    return FoundPixels(given_px=given, kept_px=kept)


def near_blocks(lattice: TileLattice, block_row: int, block_col: int) -> list[tuple[int, int]]:
    """List the block and all blocks with a tile whose halo can reach it, row-major."""
    k = lattice.block_tiles
    reach = reach_tiles(lattice)
    rows, cols = block_tile_ranges(lattice, block_row, block_col)
    first = max(rows.start - reach, 0) // k, max(cols.start - reach, 0) // k
    last = (
        min(rows.stop - 1 + reach, lattice.n_tile_rows - 1) // k,
        min(cols.stop - 1 + reach, lattice.n_tile_cols - 1) // k,
    )
    return [(row, col) for row in range(first[0], last[0] + 1) for col in range(first[1], last[1] + 1)]


class BlockPainter:
    """Paints one block from the described fragments of `near_blocks`."""

    def __init__(
        self, lattice: TileLattice, cache: TileCache, fragments: PaintColumns, keep_share: float
    ) -> None:
        """`keep_share`: see `StitchOptions`."""
        self._keep_share = keep_share
        self._lattice = lattice
        self._cache = cache
        order = np.lexsort((fragments.local, fragments.tile))
        self._tile = fragments.tile[order]
        self._local = fragments.local[order]
        self._claims = fragments.claims[order]
        self._window = fragments.window[order]
        ids, first, number = np.unique(fragments.id[order], return_index=True, return_inverse=True)
        offset = 0 if ids.size and ids[0] == 0 else 1
        self._number = (number.reshape(-1) + offset).astype(np.int32)
        self._shown = np.where(fragments.shown[order], self._number, 0).astype(np.int32)
        known = ids[1 - offset :]
        self.ids = np.concatenate([np.zeros(1, dtype=np.uint64), known])
        self.score = np.concatenate(
            [np.zeros(1, dtype=np.float32), fragments.score[order][first][1 - offset :]]
        )
        self.ids.setflags(write=False)

    def picture(self, block_row: int, block_col: int) -> BlockPicture:
        """Paint the block. Raises RecordError when labels hold ids without a fragment."""
        window = self._lattice.block_core(block_row, block_col)
        image = np.zeros(window.shape, dtype=np.int32)
        blocked = [np.zeros(0, dtype=np.int32)]
        for tile in self._lattice.tiles_of_block(block_row, block_col):
            claims = self._claims_on(tile)
            if self._cache.paintable(tile):
                where = tile.core.slices_in(window)
                image[where] = paint_core(tile.core, self._own(tile), claims, self._keep_share)
            else:
                blocked.extend(np.unique(paint_core(tile.core, None, [claim], 0.0)) for claim in claims)
        stopped = np.unique(np.concatenate(blocked))
        return BlockPicture(
            image=image,
            ids=self.ids,
            score=self.score,
            blocked=self.ids[stopped[stopped > 0]],
            found=found_pixels(self._lattice, self._cache, (block_row, block_col), image),
        )

    def _rows(self, tile: TileSpec) -> slice:
        number = tile.tile_row * self._lattice.n_tile_cols + tile.tile_col
        return slice(
            int(np.searchsorted(self._tile, number)), int(np.searchsorted(self._tile, number, side="right"))
        )

    def _own(self, tile: TileSpec) -> OwnTile | None:
        rows = self._rows(tile)
        n = rows.stop - rows.start
        labels = self._cache.labels(tile) if n else None
        if labels is None:
            return None
        check_ids(tile, labels, n)
        return OwnTile(
            read=tile.read,
            labels=labels,
            owner=by_local(self._number[rows]),
            paint=by_local(self._shown[rows]),
        )

    def _claims_on(self, tile: TileSpec) -> list[ClaimingTile]:
        claims = []
        reach = reach_tiles(self._lattice)
        core = tile.core
        lattice = self._lattice
        for tile_row in range(
            max(tile.tile_row - reach, 0), min(tile.tile_row + reach + 1, lattice.n_tile_rows)
        ):
            for tile_col in range(
                max(tile.tile_col - reach, 0), min(tile.tile_col + reach + 1, lattice.n_tile_cols)
            ):
                if (tile_row, tile_col) == (tile.tile_row, tile.tile_col):
                    continue
                other = lattice.tile(tile_row, tile_col)
                rows = self._rows(other)
                window = self._window[rows]
                near = self._claims[rows] & (window[:, 0] < core.row1) & (window[:, 2] > core.row0)
                near &= (window[:, 1] < core.col1) & (window[:, 3] > core.col0)
                labels = self._cache.labels(other) if near.any() else None
                if labels is not None:
                    claim = by_local(np.where(near, self._number[rows], 0))
                    claims.append(ClaimingTile(read=other.read, labels=labels, claim=claim))
        return claims
