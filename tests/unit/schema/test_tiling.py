"""The lattice arithmetic that every stage relies on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.schema.tiling import (
    BlockSpec,
    RunGrid,
    TileLattice,
    TileSpec,
    Window,
    block_id,
    block_place,
    tile_id,
)


def lattices() -> st.SearchStrategy[TileLattice]:
    def build(height: int, width: int, core: int, halo: int, k: int) -> TileLattice:
        grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=width, height=height)
        return TileLattice(grid=grid, tile_px=core + 2 * halo, halo_px=halo, block_tiles=k)

    return st.builds(
        build,
        st.integers(1, 60),
        st.integers(1, 60),
        st.integers(1, 20),
        st.integers(1, 8),
        st.integers(1, 4),
    )


@given(lattices())
def test_cores_partition_the_grid_and_blocks_partition_the_cores(lattice: TileLattice) -> None:
    owners = np.zeros((lattice.grid.height, lattice.grid.width), dtype=np.int64)
    for block_row in range(lattice.n_block_rows):
        for block_col in range(lattice.n_block_cols):
            covered = np.zeros_like(owners, dtype=bool)
            for tile in lattice.tiles_of_block(block_row, block_col):
                owners[tile.core.row0 : tile.core.row1, tile.core.col0 : tile.core.col1] += 1
                covered[tile.core.row0 : tile.core.row1, tile.core.col0 : tile.core.col1] = True
            core = lattice.block_core(block_row, block_col)
            assert covered[core.row0 : core.row1, core.col0 : core.col1].all()
            assert covered.sum() == core.area_px
    assert (owners == 1).all()


@given(lattices(), st.data())
def test_read_window_is_the_core_grown_by_the_halo_inside_the_grid(
    lattice: TileLattice, data: st.DataObject
) -> None:
    tile = lattice.tile(
        data.draw(st.integers(0, lattice.n_tile_rows - 1)), data.draw(st.integers(0, lattice.n_tile_cols - 1))
    )
    grown = Window(
        row0=tile.core.row0 - lattice.halo_px,
        col0=tile.core.col0 - lattice.halo_px,
        row1=tile.core.row1 + lattice.halo_px,
        col1=tile.core.col1 + lattice.halo_px,
    )
    assert tile.read == grown.intersect(lattice.grid.window)
    assert max(tile.read.shape) <= lattice.tile_px


def test_the_example_of_the_design() -> None:
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=5000, height=5000)
    lattice = TileLattice(grid=grid, tile_px=1024, halo_px=64, block_tiles=4)
    assert (lattice.core_px, lattice.shard_px, lattice.n_tile_rows, lattice.n_block_rows) == (896, 3584, 6, 2)


def test_names_of_tiles_and_blocks_are_those_on_disk() -> None:
    window = Window(row0=0, col0=0, row1=1, col1=1)
    tile = TileSpec(tile_row=3, tile_col=12345, core=window, read=window)
    block = BlockSpec(block_row=0, block_col=27, core=window, read=window, tiles=(tile,))
    assert (tile_id(3, 12345), tile.tile_id) == ("r00003c12345", "r00003c12345")
    assert (block_id(0, 27), block.block_id) == ("b00000_00027", "b00000_00027")
    assert [block_place(name) for name in ("b00000_00000", "b00012_00345", "b123456_00007")] == [
        (0, 0),
        (12, 345),
        (123456, 7),
    ]


@pytest.mark.parametrize(
    ("tile_px", "halo_px", "block_tiles"), [(64, 32, 1), (64, 0, 1), (64, 40, 1), (64, 8, 0)]
)
def test_impossible_lattices_are_refused(tile_px: int, halo_px: int, block_tiles: int) -> None:
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=10, height=10)
    with pytest.raises(ValueError, match="got"):
        TileLattice(grid=grid, tile_px=tile_px, halo_px=halo_px, block_tiles=block_tiles)


def test_windows_by_hand() -> None:
    outer = Window(row0=10, col0=20, row1=30, col1=50)
    inner = Window(row0=12, col0=20, row1=15, col1=60)
    assert inner.intersect(outer) == Window(row0=12, col0=20, row1=15, col1=50)
    assert outer.intersect(Window(row0=30, col0=20, row1=31, col1=50)) is None
    assert inner.slices_in(outer) == (slice(2, 5), slice(0, 40))
    with pytest.raises(ValueError, match="inside out"):
        Window(row0=3, col0=0, row1=2, col1=1)


def test_the_window_around_windows_by_hand() -> None:
    windows = [Window(row0=2, col0=5, row1=4, col1=6), Window(row0=1, col0=7, row1=3, col1=9)]
    assert Window.around(windows) == Window(row0=1, col0=5, row1=4, col1=9)


@given(lattices(), st.tuples(*[st.integers(-30, 90)] * 4))
def test_tiles_that_read_a_window_are_those_whose_read_windows_meet_it(
    lattice: TileLattice, edges: tuple[int, int, int, int]
) -> None:
    (row0, row1), (col0, col1) = sorted(edges[:2]), sorted(edges[2:])
    window = Window(row0=row0, col0=col0, row1=row1, col1=col1).intersect(lattice.grid.window)
    window = window or Window(row0=0, col0=0, row1=0, col1=0)
    marked = np.zeros((lattice.n_tile_rows, lattice.n_tile_cols), dtype=bool)
    marked[lattice.tiles_reading(window)] = True
    for row, col in np.ndindex(marked.shape):
        assert marked[row, col] == (lattice.tile(row, col).read.intersect(window) is not None)
