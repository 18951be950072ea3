"""What the merge reads of a run, a block or a few tiles at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RecordError
from pipeline.schema.tiling import TileLattice, TileSpec


class LabelSource(Protocol):
    """Labels and state of single tiles: all that painting needs."""

    def labels(self, tile_row: int, tile_col: int) -> NDArray[np.uint16] | None:
        """Read labels (H, W) over the tile's read window, 0 = background. None: nothing was found there."""
        ...

    def paintable(self, tile_row: int, tile_col: int) -> bool:
        """False for tiles that failed or were never looked at: nothing may appear in their core."""
        ...


class BlockSource(LabelSource, Protocol):
    """The tiles of ONE query, block by block: a task reads its neighbourhood and nothing else."""

    def fragments(self, block_row: int, block_col: int) -> Mapping[str, NDArray[np.int64]]:
        """Columns (n,) of all fragments of a block: tile_row, tile_col, the integers of `Fragment`, row0,
        col0, row1, col1.
        """
        ...

    def strip(self, tile_row: int, tile_col: int, side: int) -> NDArray[np.uint16] | None:
        """Labels of the seam on one side (a side bit of `Fragment.censored`): the part of `labels` that both
        tiles' read windows cover. None when nothing was found in the tile.
        """
        ...


def check_ids(tile: TileSpec, labels: NDArray[np.uint16], n: int) -> None:
    """Check that `labels`, all or some of a tile's, hold no id above its `n` fragments.

    Raises RecordError.
    """
    highest = int(labels.max(initial=0))
    if highest > n:
        raise RecordError(
            f"labels of tile {tile.tile_id} hold id {highest}, but it has {n} fragments; "
            "the block record is damaged or of another run"
        )


class TileCache:
    """The labels of the tiles used last, checked against the lattice on the way in."""

    def __init__(self, source: LabelSource, lattice: TileLattice) -> None:
        side = lattice.block_tiles + 2 * reach_tiles(lattice)
        self._source = source
        self._lattice = lattice
        self._capacity = side * side
        self._held: OrderedDict[tuple[int, int], NDArray[np.uint16] | None] = OrderedDict()

    def labels(self, tile: TileSpec) -> NDArray[np.uint16] | None:
        """Labels (H, W) of a tile or None. Raises RecordError when shape or type do not fit the lattice."""
        key = (tile.tile_row, tile.tile_col)
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        labels = self._source.labels(*key)
        if labels is not None and (labels.shape != tile.read.shape or labels.dtype != np.uint16):
            came = f"{labels.dtype} {labels.shape}"
            raise RecordError(
                f"labels of tile {tile.tile_id} must be uint16 {tile.read.shape}, got {came}: "
                "the record is of another run"
            )
        self._held[key] = labels
        if len(self._held) > self._capacity:
            self._held.popitem(last=False)
        return labels

    def paintable(self, tile: TileSpec) -> bool:
        return self._source.paintable(tile.tile_row, tile.tile_col)


def reach_tiles(lattice: TileLattice) -> int:
    """How many tiles away a halo can reach: 1 unless the halo is larger than the core."""
    return -(-lattice.halo_px // lattice.core_px)


def tiles_near(lattice: TileLattice, tile_rows: range, tile_cols: range) -> Iterator[TileSpec]:
    """The tiles of a rectangle of the lattice and all whose read window may reach into it, row by row."""
    reach = reach_tiles(lattice)
    for tile_row in range(max(tile_rows.start - reach, 0), min(tile_rows.stop + reach, lattice.n_tile_rows)):
        for tile_col in range(
            max(tile_cols.start - reach, 0), min(tile_cols.stop + reach, lattice.n_tile_cols)
        ):
            yield lattice.tile(tile_row, tile_col)


def block_tile_ranges(lattice: TileLattice, block_row: int, block_col: int) -> tuple[range, range]:
    """Tile rows and tile columns of a block."""
    k = lattice.block_tiles
    return (
        range(block_row * k, min((block_row + 1) * k, lattice.n_tile_rows)),
        range(block_col * k, min((block_col + 1) * k, lattice.n_tile_cols)),
    )
