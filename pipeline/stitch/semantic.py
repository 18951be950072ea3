"""Semantic mode: what is there, not which object it belongs to.

1. A pixel is foreground when its owner OR any tile whose halo covers it found something there (`evidence`);
   cores of tiles that failed or were never looked at stay empty.
2. `cc3d` labels the 4-connected regions of each block; edge rows and columns of neighbouring blocks join them
   (union by minimum over regions ranked by their smallest pixel), so that blocks never meet in memory.
3. A region's id is 1 + its smallest pixel index: equal to labelling the whole grid at once.

Only one pass over the labels is kept in numbers (regions per block, edge rows, and how many pixels of which
fragment lie in which region); painting a block labels it again, which gives the same numbers. A region's
score is the mean over all evidence pixels of all tiles, halo included. `truncated`: it reaches a read-window
border behind which no tile may paint. `complete` and `one_sided` say nothing here and are False.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.errors import RecordError
from pipeline.schema import TileLattice, TileSpec, Window
from pipeline.stitch.components import pack_best
from pipeline.stitch.flatten import EAST, NORTH, SOUTH, WEST
from pipeline.stitch.fragment_table import FragmentTable
from pipeline.stitch.resolve import Components, Members, best_nodes, roots, union_edges
from pipeline.stitch.seams import pair_counts
from pipeline.stitch.sources import TileCache, block_tile_ranges, blocks_of, tiles_near
from pipeline.stitch.stitch_options import StitchOptions


@dataclass(kw_only=True)
class _Scan:
    """What is left of the blocks after labelling them: regions are numbered 1.. over all blocks in scan
    order.
    """

    first: list[NDArray[np.int64]] = field(default_factory=list)
    edges: list[NDArray[np.int64]] = field(default_factory=list)
    """(2, k) region pairs that touch over a block border."""
    evidence: list[NDArray[np.int64]] = field(default_factory=list)
    """(3, k): region, node, pixels."""
    offset: dict[tuple[int, int], int] = field(default_factory=dict)
    n: int = 0


class SemanticPainter:
    """Paints blocks of region numbers; the regions are labelled and joined on construction."""

    def __init__(
        self, lattice: TileLattice, cache: TileCache, table: FragmentTable, options: StitchOptions
    ) -> None:
        self._lattice = lattice
        self._cache = cache
        self._table = table
        self._best = pack_best(table, options)
        scan = self._scan()
        self._offset = scan.offset
        self._component, ids = _join(scan)
        self.components = self._describe(scan, ids)

    def block(self, block_row: int, block_col: int) -> NDArray[np.int32]:
        """Region numbers (h, w) over the block's core window."""
        labels, n = label_regions(evidence(self._lattice, self._cache, block_row, block_col))
        start = self._offset[block_row, block_col]
        table = np.zeros(n + 1, dtype=np.int32)
        table[1:] = self._component[start + 1 : start + n + 1]
        return table[labels]

    def blocked(self, block_row: int, block_col: int) -> NDArray[np.int32]:
        """Nothing: a region is never painted from elsewhere."""
        return np.zeros(0, dtype=np.int32)

    def _scan(self) -> _Scan:
        scan = _Scan()
        width = self._lattice.grid.width
        below = np.zeros(width, dtype=np.int64)
        """Region of the last row of the blocks above, per column."""
        right = np.zeros(0, dtype=np.int64)
        for block_row, block_col in blocks_of(self._lattice):
            window = self._lattice.block_core(block_row, block_col)
            local, n = label_regions(evidence(self._lattice, self._cache, block_row, block_col))
            scan.offset[block_row, block_col] = scan.n
            labels = np.where(local > 0, local.astype(np.int64) + scan.n, 0)
            scan.first.append(first_pixels(local, n, window.row0, window.col0, width))
            scan.edges.append(touching(below[window.col0 : window.col1], labels[0]))
            if block_col:
                scan.edges.append(touching(right, labels[:, 0]))
            below[window.col0 : window.col1], right = labels[-1], labels[:, -1].copy()
            scan.evidence.extend(
                witnesses(
                    self._lattice, self._cache, self._table, block=(block_row, block_col), labels=labels
                )
            )
            scan.n += n
        return scan

    def _describe(self, scan: _Scan, ids: NDArray[np.uint64]) -> Components:
        table = self._table
        region, node, px = np.concatenate([np.zeros((3, 0), dtype=np.int64), *scan.evidence], axis=1)
        component = self._component[region].astype(np.int64)
        pair, where = np.unique(np.stack([component, node]), axis=1, return_inverse=True)
        weight = np.zeros(pair.shape[1], dtype=np.int64)
        np.add.at(weight, where.reshape(-1), px)
        component, node = pair
        best = best_nodes(component, ids.size - 1, self._best[node])
        rep = np.append(node, -1)[best]
        none = np.zeros(ids.size, dtype=np.bool_)
        truncated = none.copy()
        truncated[
            component[(table.censored & closed_sides(self._lattice, self._cache, table))[node] != 0]
        ] = True
        members = Members(component=component, node=node, px=weight)
        return Components(
            ids=ids, rep=rep, complete=none, truncated=truncated, one_sided=none.copy(), members=members
        )


def evidence(lattice: TileLattice, cache: TileCache, block_row: int, block_col: int) -> NDArray[np.bool_]:
    """(h, w) over the block's core window: True where any tile found something, False in cores that may not
    be painted.
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
    """(tile, window shared with the block's core window) of all tiles whose read window reaches it."""
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
    """(3, k) region, node, pixels per tile that saw something of the block; `labels` (h, w) holds the region
    numbers.

    Raises RecordError when a tile's labels hold ids without a fragment.
    """
    window = lattice.block_core(*block)
    for tile, shared in tiles_on(lattice, *block):
        seen = cache.labels(tile)
        nodes = table.nodes(tile)
        if seen is None:
            continue
        if int(seen.max(initial=0)) > nodes.size:
            raise RecordError(f"labels of tile {tile.tile_id} hold an id above its {nodes.size} fragments")
        region, fragment, px = pair_counts(
            labels[shared.slices_in(window)], seen[shared.slices_in(tile.read)]
        )
        yield np.stack([region, nodes[fragment - 1], px])


def closed_sides(lattice: TileLattice, cache: TileCache, table: FragmentTable) -> NDArray[np.int64]:
    """(n,) bits of the sides of each fragment's tile behind which no tile may paint."""
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
    """(4-connected regions 1..n of a block, n): the same numbers whenever asked."""
    import cc3d

    labels, n = cc3d.connected_components(
        np.ascontiguousarray(found), connectivity=4, return_N=True, out_dtype=np.uint32
    )
    return labels, int(n)


def touching(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """(2, k) distinct pairs of values > 0 that face each other along two lines of pixels."""
    both = (a > 0) & (b > 0)
    return np.unique(np.stack([a[both], b[both]]), axis=1)


def _join(scan: _Scan) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """(component of each region (n + 1,), instance ids (m + 1,)), both with 0 for background."""
    first = np.concatenate([np.zeros(0, dtype=np.int64), *scan.first])
    order = np.argsort(first)
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    edges = np.concatenate([np.zeros((2, 0), dtype=np.int64), *scan.edges], axis=1) - 1
    parent = np.arange(order.size, dtype=np.int64)
    union_edges(parent, rank[edges[0]], rank[edges[1]])
    root = roots(parent)
    heads = np.flatnonzero(root == np.arange(root.size))
    dense = np.zeros(root.size, dtype=np.int32)
    dense[heads] = np.arange(1, heads.size + 1, dtype=np.int32)
    component = np.concatenate([np.zeros(1, dtype=np.int32), dense[root][rank]])
    ids = np.concatenate([np.zeros(1, dtype=np.uint64), (first[order][heads] + 1).astype(np.uint64)])
    return component, ids


@njit(cache=True)
def first_pixels(labels: NDArray[np.uint32], n: int, row0: int, col0: int, grid_width: int) -> Any:
    """(n,) smallest global pixel index of each label."""
    first = np.full(n, -1, dtype=np.int64)
    for r in range(labels.shape[0]):
        for c in range(labels.shape[1]):
            k = np.int64(labels[r, c]) - 1
            if k >= 0 and first[k] < 0:
                first[k] = (row0 + r) * grid_width + col0 + c
    return first
