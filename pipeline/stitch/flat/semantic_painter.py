"""Semantic mode for the whole region: blocks are labelled one by one and joined over their borders.

1. `_scan` labels each block (pipeline.stitch.block_regions). It keeps each region's first pixel, the pairs
   that touch over block borders, and the fragments seen in each region.
2. `_join` joins touching regions. A region's id is 1 + its smallest pixel index.
3. `SemanticPainter.block` labels a block again and gets the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.tiling import TileLattice
from pipeline.stitch.block_regions import (
    closed_sides,
    evidence,
    first_pixels,
    label_regions,
    touching,
    witnesses,
)
from pipeline.stitch.components import pack_best
from pipeline.stitch.flat.flat_components import Components, Members
from pipeline.stitch.flat.flat_sources import blocks_of
from pipeline.stitch.fragment_table import FragmentTable
from pipeline.stitch.sources import TileCache
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.stitch.union_find import best_nodes, roots, union_edges


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

    def blocked(self, _block_row: int, _block_col: int) -> NDArray[np.int32]:
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
        """Describe the components.

        A region's score is the mean over all pixels that any tile saw of it, halos included.
        `truncated`: it reaches a read-window border behind which no tile may paint. `complete` and
        `one_sided` say nothing here and are False.
        """
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
