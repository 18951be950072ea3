"""Semantic mode in one block: what is there, not which object it belongs to.

1. `evidence`: a pixel is foreground when any tile that covers it found something there.
2. `label_regions` labels the 4-connected regions, and `first_pixels` names them.
3. `touching` pairs regions over a line between blocks.
4. `witnesses` tells which fragment saw how much of which region.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.schema.tiling import TileLattice, TileSpec, Window
from pipeline.stitch.flatten import EAST, NORTH, SOUTH, WEST
from pipeline.stitch.fragment_table import FragmentTable
from pipeline.stitch.seams import pair_counts
from pipeline.stitch.sources import TileCache, block_tile_ranges, check_ids, tiles_near


def evidence(lattice: TileLattice, cache: TileCache, block_row: int, block_col: int) -> NDArray[np.bool_]:
    """Make the mask (h, w) of the block's core: True where a tile found something and painting is allowed.

    That tile may be the owner or one whose halo reaches the pixel. Cores of tiles that failed or were never
    looked at stay empty.
    """
    window = lattice.block_core(block_row, block_col)
    found = np.zeros(window.shape, dtype=np.bool_)
    for tile, shared in tiles_on(lattice, block_row, block_col):
        labels = cache.labels(tile)
        if labels is not None:
            found[shared.slices_in(window)] |= labels[shared.slices_in(tile.read)] > 0
    for tile in lattice.tiles_of_block(block_row, block_col):
        if not cache.paintable(tile):
            found[tile.core.slices_in(window)] = False
    return found


def tiles_on(lattice: TileLattice, block_row: int, block_col: int) -> Iterator[tuple[TileSpec, Window]]:
    """List the tiles whose read window reaches the block's core, each with the window that they share."""
    window = lattice.block_core(block_row, block_col)
    for tile in tiles_near(lattice, *block_tile_ranges(lattice, block_row, block_col)):
        shared = tile.read.intersect(window)
        if shared is not None:
            yield tile, shared


def witnesses(
    lattice: TileLattice,
    cache: TileCache,
    table: FragmentTable,
    *,
    block: tuple[int, int],
    labels: NDArray[np.int64],
) -> Iterator[NDArray[np.int64]]:
    """Yield (3, k) region, node and common pixels for each tile that saw something of the block.

    `labels`: (h, w) region numbers.

    Raises RecordError when a tile's labels hold ids without a fragment.
    """
    window = lattice.block_core(*block)
    for tile, shared in tiles_on(lattice, *block):
        seen = cache.labels(tile)
        nodes = table.nodes(tile)
        if seen is None:
            continue
        check_ids(tile, seen, nodes.size)
        region, fragment, px = pair_counts(
            labels[shared.slices_in(window)], seen[shared.slices_in(tile.read)]
        )
        yield np.stack([region, nodes[fragment - 1], px])


def closed_sides(lattice: TileLattice, cache: TileCache, table: FragmentTable) -> NDArray[np.int64]:
    """Find for each fragment (n,) the sides of its tile, as bits, behind which nothing may be painted."""
    closed = np.zeros(table.tile_keys.size, dtype=np.int64)
    for k, key in enumerate(table.tile_keys.tolist()):
        tile_row, tile_col = divmod(key, lattice.n_tile_cols)
        for side, dr, dc in ((NORTH, -1, 0), (EAST, 0, 1), (SOUTH, 1, 0), (WEST, 0, -1)):
            row = tile_row + dr
            col = tile_col + dc
            inside = 0 <= row < lattice.n_tile_rows and 0 <= col < lattice.n_tile_cols
            if inside and not cache.paintable(lattice.tile(row, col)):
                closed[k] |= side
    return closed[np.searchsorted(table.tile_keys, table.tile)]


def label_regions(found: NDArray[np.bool_]) -> tuple[NDArray[np.uint32], int]:
    """Number the 4-connected regions of a block 1..n. Returns their image and n, the same whenever asked."""
    import cc3d

    labels, n = cc3d.connected_components(
        np.ascontiguousarray(found), connectivity=4, return_N=True, out_dtype=np.uint32
    )
    return labels, int(n)


def touching(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find pairs (2, k) of values > 0 that face each other across two lines of pixels, each once.

    Two lines say it all, so blocks never meet in memory.
    """
    both = (a > 0) & (b > 0)
    return np.unique(np.stack([a[both], b[both]]), axis=1)


@njit(cache=True)
def first_pixels(
    labels: NDArray[np.uint32], n: int, row0: int, col0: int, grid_width: int
) -> NDArray[np.int64]:
    """Find the smallest global pixel index of each label, (n,)."""
    first = np.full(n, -1, dtype=np.int64)
    for r in range(labels.shape[0]):
        for c in range(labels.shape[1]):
            k = np.int64(labels[r, c]) - 1
            if k >= 0 and first[k] < 0:
                first[k] = (row0 + r) * grid_width + col0 + c
    return first
