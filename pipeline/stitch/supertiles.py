"""Super-tiles: squares of whole blocks, so that seams are resolved in tasks of bounded size.

What lies in one super-tile is settled there, and what crosses its border by numbers that mean the same
everywhere:

    place   of a fragment: tile number and local id
    key     of a fragment or component: its smallest core pixel index; ghosts come after all pixels

An instance id is 1 + the smallest key of its component, so it tells which super-tile owns it (`home`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.tiling import TileLattice

GHOST = 1 << 62
"""Keys from here on belong to ghosts: GHOST + place. The smaller key is preferred, so they come last.
Instance ids above it belong to rescued objects: whole in some tile's halo, missed by the owners of their
pixels.
"""

LOCAL_BITS = 16
"""Bits of a place that hold the local id (uint16). Above them lies the tile number, tile_row * n_tile_cols +
tile_col.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuperTile:
    """One super-tile by the tiles it holds."""

    row: int
    col: int
    tile_rows: range
    tile_cols: range

    @property
    def name(self) -> str:
        """Stem of its files."""
        return f"s{self.row:05d}_{self.col:05d}"

    def holds(self, tile_row: int, tile_col: int) -> bool:
        return tile_row in self.tile_rows and tile_col in self.tile_cols


@dataclass(frozen=True, slots=True)
class SuperLattice:
    """A tile lattice cut into super-tiles of `side_tiles` tiles a side, rounded up to whole blocks."""

    lattice: TileLattice
    side_tiles: int

    def __post_init__(self) -> None:
        if self.side_tiles < 1:
            raise ValueError(f"a super-tile needs at least one tile a side, got {self.side_tiles}")
        k = self.lattice.block_tiles
        object.__setattr__(self, "side_tiles", -(-self.side_tiles // k) * k)

    @property
    def n_rows(self) -> int:
        return -(-self.lattice.n_tile_rows // self.side_tiles)

    @property
    def n_cols(self) -> int:
        return -(-self.lattice.n_tile_cols // self.side_tiles)

    def at(self, row: int, col: int) -> SuperTile:
        """The super-tile at a position. Raises IndexError outside the lattice."""
        if not (0 <= row < self.n_rows and 0 <= col < self.n_cols):
            raise IndexError(
                f"super-tile ({row}, {col}) lies outside the {self.n_rows} x {self.n_cols} of the region"
            )
        side = self.side_tiles
        lattice = self.lattice
        return SuperTile(
            row=row,
            col=col,
            tile_rows=range(row * side, min((row + 1) * side, lattice.n_tile_rows)),
            tile_cols=range(col * side, min((col + 1) * side, lattice.n_tile_cols)),
        )

    def all(self) -> Iterator[SuperTile]:
        """All super-tiles, row by row."""
        for row in range(self.n_rows):
            for col in range(self.n_cols):
                yield self.at(row, col)

    def after(self, tile: SuperTile, axis: int) -> SuperTile | None:
        """The right (axis 1) or lower (axis 0) neighbour; None at the region's border."""
        row = tile.row + (axis == 0)
        col = tile.col + (axis == 1)
        return self.at(row, col) if row < self.n_rows and col < self.n_cols else None

    def before(self, tile: SuperTile, axis: int) -> SuperTile | None:
        """The left (axis 1) or upper (axis 0) neighbour; None at the region's border."""
        row = tile.row - (axis == 0)
        col = tile.col - (axis == 1)
        return self.at(row, col) if row >= 0 and col >= 0 else None

    def blocks(self, tile: SuperTile) -> list[tuple[int, int]]:
        """List (block_row, block_col) of its blocks, row-major."""
        k = self.lattice.block_tiles
        rows = range(tile.tile_rows.start // k, -(-tile.tile_rows.stop // k))
        cols = range(tile.tile_cols.start // k, -(-tile.tile_cols.stop // k))
        return [(row, col) for row in rows for col in cols]

    def blocks_behind(self, tile: SuperTile) -> list[tuple[int, int]]:
        """List (block_row, block_col) of the blocks that touch its right or its lower side from outside."""
        k = self.lattice.block_tiles
        below = -(-tile.tile_rows.stop // k)
        right = -(-tile.tile_cols.stop // k)
        rows = range(tile.tile_rows.start // k, below)
        cols = range(tile.tile_cols.start // k, right)
        found = [(row, right) for row in rows] if right < self.lattice.n_block_cols else []
        return found + ([(below, col) for col in cols] if below < self.lattice.n_block_rows else [])

    def of_block(self, block_row: int, block_col: int) -> SuperTile:
        """The super-tile that holds a block."""
        k = self.lattice.block_tiles
        return self.at(block_row * k // self.side_tiles, block_col * k // self.side_tiles)

    def home(self, key: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number (row * n_cols + col) of the super-tile that holds the tile of each key."""
        tile = tile_of_key(self.lattice, key)
        row = tile // self.lattice.n_tile_cols
        col = tile % self.lattice.n_tile_cols
        return np.asarray(row // self.side_tiles * self.n_cols + col // self.side_tiles, dtype=np.int64)

    def numbered(self, number: int) -> SuperTile:
        """The super-tile of a number that `home` gave."""
        return self.at(*divmod(number, self.n_cols))


def tile_of_key(lattice: TileLattice, key: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tile number of each key: the owner of the pixel row * width + col, or the tile that saw the ghost."""
    width = lattice.grid.width
    side = lattice.core_px
    owner = key // width // side * lattice.n_tile_cols + key % width // side
    return np.asarray(np.where(key >= GHOST, (key - GHOST) >> LOCAL_BITS, owner), dtype=np.int64)


def block_of_tile(lattice: TileLattice, tile: NDArray[np.int64]) -> NDArray[np.int64]:
    """Block number (block_row * n_block_cols + block_col) of each tile number."""
    k = lattice.block_tiles
    cols = lattice.n_tile_cols
    return np.asarray(tile // cols // k * lattice.n_block_cols + tile % cols // k, dtype=np.int64)
