"""Windows of scenes on the grid, and the tiles that read them: against one window at a time."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from pipeline.grid.lattice import outer_window
from pipeline.grid.scene_windows import read_by, scene_windows, window_array
from pipeline.schema.tiling import RunGrid, TileLattice, Window

GRID = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=30, height=20)
LATTICE = TileLattice(grid=GRID, tile_px=8, halo_px=1, block_tiles=2)


def test_a_scene_beside_the_grid_has_no_window_and_a_warped_one_is_looked_for_everywhere() -> None:
    """A plan once gave both an empty window, and merging again both the second rule."""
    inside = shapely.box(5, -4, 12, 9)
    beside = shapely.box(40, 0, 50, 10)
    nothing = Window(row0=0, col0=0, row1=0, col1=0)
    cut = Window(row0=0, col0=5, row1=9, col1=12)
    assert scene_windows([(-4, 5), (0, 40)], [inside, beside], GRID) == (cut, nothing)
    assert scene_windows([None, None], [inside, beside], GRID) == (cut, GRID.window)


corner = st.one_of(st.integers(-10, 40).map(float), st.floats(-10, 40))


@given(boxes=st.lists(st.tuples(corner, corner, st.floats(0.01, 30), st.floats(0.01, 30)), min_size=1))
def test_many_windows_are_each_the_pixels_around_its_outline(boxes: list[tuple[float, ...]]) -> None:
    outlines = [shapely.box(x, y, x + width, y + height) for x, y, width, height in boxes]
    for outline, window in zip(outlines, scene_windows([(0, 0)] * len(boxes), outlines, GRID), strict=True):
        alone = outer_window(*outline.bounds).intersect(GRID.window)
        assert window == (alone or Window(row0=0, col0=0, row1=0, col1=0))


@given(
    boxes=st.lists(st.tuples(corner, corner, st.floats(0.01, 30), st.floats(0.01, 30)), min_size=1),
    seed=st.integers(0, 99),
)
def test_a_window_is_read_where_a_tile_is_looked_at(boxes: list[tuple[float, ...]], seed: int) -> None:
    outlines = [shapely.box(x, y, x + width, y + height) for x, y, width, height in boxes]
    shape = (LATTICE.n_tile_rows, LATTICE.n_tile_cols)
    inside = np.random.default_rng(seed).random(shape) < 0.2
    offsets = [(0, 0)] * len(boxes)
    found = read_by(inside, LATTICE, window_array(shapely.bounds(outlines), np.zeros(len(boxes), bool), GRID))
    for window, read in zip(scene_windows(offsets, outlines, GRID), found.tolist(), strict=True):
        tiles = [LATTICE.tile(row, col) for row, col in np.argwhere(inside).tolist()]
        assert read == any(tile.read.intersect(window) is not None for tile in tiles)
