from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.stitch.supertiles import GHOST, SuperLattice, block_of_tile, tile_of_key


@pytest.mark.parametrize(("side", "k", "rounded"), [(1, 1, 1), (1, 3, 3), (4, 3, 6), (32, 4, 32)])
def test_sides_are_whole_blocks(worlds: SimpleNamespace, side: int, k: int, rounded: int) -> None:
    assert SuperLattice(worlds.make_lattice((50, 70), 10, 2, k), side).side_tiles == rounded


def test_every_tile_and_block_lies_in_one_super_tile(worlds: SimpleNamespace) -> None:
    lattice = worlds.make_lattice((51, 72), 10, 2, 2)  # 6 x 8 tiles, 3 x 4 blocks
    supers = SuperLattice(lattice, 4)
    assert (supers.n_rows, supers.n_cols) == (2, 2)
    tiles = [(r, c) for tile in supers.all() for r in tile.tile_rows for c in tile.tile_cols]
    assert sorted(tiles) == worlds.all_tiles(lattice)
    blocks = [block for tile in supers.all() for block in supers.blocks(tile)]
    assert sorted(blocks) == [(r, c) for r in range(3) for c in range(4)]
    for tile in supers.all():
        assert all(supers.of_block(*block) == tile for block in supers.blocks(tile))
        assert tile.holds(tile.tile_rows.start, tile.tile_cols.start)
    assert supers.after(supers.at(0, 0), 1) == supers.at(0, 1) == supers.numbered(1)
    assert supers.before(supers.at(0, 0), 1) is None
    assert supers.after(supers.at(1, 0), 0) is None
    with pytest.raises(IndexError, match="2 x 2"):
        supers.at(2, 0)
    with pytest.raises(ValueError, match="at least one"):
        SuperLattice(lattice, 0)


def test_blocks_behind_touch_the_right_and_lower_side(worlds: SimpleNamespace) -> None:
    """3 x 4 blocks of 2 x 2 tiles in super-tiles of 2 x 2 blocks."""
    supers = SuperLattice(worlds.make_lattice((36, 48), 6, 2, 2), 4)
    assert supers.blocks_behind(supers.at(0, 0)) == [(0, 2), (1, 2), (2, 0), (2, 1)]
    assert supers.blocks_behind(supers.at(0, 1)) == [(2, 2), (2, 3)]
    assert supers.blocks_behind(supers.at(1, 0)) == [(2, 2)]
    assert supers.blocks_behind(supers.at(1, 1)) == []


def test_keys_lead_home(worlds: SimpleNamespace) -> None:
    """Every pixel's key belongs to the tile whose core holds it; a ghost's to the tile that saw it."""
    lattice = worlds.make_lattice((23, 31), 7, 2, 2)
    supers = SuperLattice(lattice, 2)
    pixels = np.arange(23 * 31)
    tile = tile_of_key(lattice, pixels)
    for row, col in worlds.all_tiles(lattice):
        core = lattice.tile(row, col).core
        inside = pixels.reshape(23, 31)[core.slices_in(lattice.grid.window)].ravel()
        assert (tile[inside] == row * lattice.n_tile_cols + col).all()
        ghost = np.array([GHOST + ((row * lattice.n_tile_cols + col) << 16 | 65535)])
        assert tile_of_key(lattice, ghost).tolist() == [row * lattice.n_tile_cols + col]
        home = supers.numbered(int(supers.home(ghost)[0]))
        assert home.holds(row, col)
        block = divmod(int(block_of_tile(lattice, tile_of_key(lattice, ghost))[0]), lattice.n_block_cols)
        assert block == (row // 2, col // 2)
