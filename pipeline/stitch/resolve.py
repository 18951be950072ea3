"""Stage C: from seam edges to components, their ids and their representatives.

1. `match_seams` visits every seam of the region once (right and lower neighbour of each tile, block by block
   so that a few tiles are in memory), and joins matched fragments (`union_edges`, union by minimum). Nodes
   are ranks by anchor (`FragmentTable`), so the root of a component is the fragment with its smallest core
   pixel.
2. `resolve` names a component 1 + anchor of its root: unique, because cores are disjoint and labels
   single-valued, and the same for every order of edges. Components of ghosts only (objects that no owner saw)
   are dropped, unless some tile saw them whole and `rescue_share` asks for them; nothing else is painted
   where the owner of the pixels saw nothing but a whole object from next door (complete-first).
3. The representative of a component is the maximum of (`pack_best`: uncensored, margin up to a few px, score,
   margin; -rank) over its fragments. When it is uncensored, some tile saw the whole object and the component
   is `complete`.

Flags. `truncated`: not complete, and a fragment with core pixels ends at a read-window border while the tile
behind it saw nothing that fits; the core part is kept. `one_sided`: complete, but a neighbour into whose core
the object reaches did not see it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.errors import RecordError
from pipeline.schema import TileLattice, TileSpec
from pipeline.stitch.components import pack_best
from pipeline.stitch.flatten import EAST, NORTH, SOUTH, WEST
from pipeline.stitch.fragment_table import FragmentTable
from pipeline.stitch.seams import seam_edges
from pipeline.stitch.sources import TileCache, block_tile_ranges, blocks_of
from pipeline.stitch.stitch_options import StitchOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchedEdges:
    """Matched pairs of pieces over all seams; columns (e,), in any order."""

    a: NDArray[np.int64]
    """Node in the upper or left tile."""
    b: NDArray[np.int64]
    side: NDArray[np.int64]
    """Side of a's tile on which b's lies: EAST or SOUTH."""
    score: NDArray[np.float64]

    def take(self, rows: NDArray[np.bool_]) -> MatchedEdges:
        """The rows of a mask."""
        return MatchedEdges(a=self.a[rows], b=self.b[rows], side=self.side[rows], score=self.score[rows])


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """The union-find after all seams."""

    parent: NDArray[np.int64]
    """(n,) parent[i] <= i."""
    matched: NDArray[np.int64]
    """(n,) side bits of the seams on which the fragment found a partner."""
    edges: MatchedEdges
    n_contradictions: int = 0
    """Pairs of fragments that the audit found joined against their tile's own verdict."""
    n_cut: int = 0
    """Edges that it cut; no longer in `edges`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Members:
    """Which fragments make up which component, sorted by (component, node)."""

    component: NDArray[np.int64]
    node: NDArray[np.int64]
    px: NDArray[np.int64]
    """Weight of the fragment's score in the component's score, in pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Components:
    """Components 1..m in the order of their ids; number 0 stands for background."""

    ids: NDArray[np.uint64]
    """(m + 1,) instance id = 1 + smallest core pixel index; ids[0] = 0."""
    rep: NDArray[np.int64]
    """(m + 1,) node of the representative."""
    complete: NDArray[np.bool_]
    """(m + 1,) the representative's tile saw the whole object and paints it alone."""
    truncated: NDArray[np.bool_]
    one_sided: NDArray[np.bool_]
    members: Members

    @property
    def n(self) -> int:
        return int(self.ids.size) - 1


def seams_of(lattice: TileLattice) -> Iterator[tuple[TileSpec, TileSpec, int]]:
    """(tile, neighbour, side of the tile) for every seam, block by block."""
    for block_row, block_col in blocks_of(lattice):
        rows, cols = block_tile_ranges(lattice, block_row, block_col)
        for tile_row in rows:
            for tile_col in cols:
                tile = lattice.tile(tile_row, tile_col)
                if tile_col + 1 < lattice.n_tile_cols:
                    yield tile, lattice.tile(tile_row, tile_col + 1), EAST
                if tile_row + 1 < lattice.n_tile_rows:
                    yield tile, lattice.tile(tile_row + 1, tile_col), SOUTH


def match_seams(
    lattice: TileLattice, cache: TileCache, table: FragmentTable, options: StitchOptions
) -> Matches:
    """Evidence of all seams, joined. Raises RecordError when labels hold ids without a fragment."""
    found = [MatchedEdges(a=_NONE, b=_NONE, side=_NONE, score=_NONE.astype(np.float64))]
    for tile, other, side in seams_of(lattice):
        nodes_a = table.nodes(tile)
        nodes_b = table.nodes(other)
        if not nodes_a.size or not nodes_b.size:
            continue
        strips = seam_strips(tile, other, side, cache)
        if strips is None:
            continue
        edges = seam_edges(*strips, options)
        if not len(edges):
            continue
        a = _lookup(nodes_a, edges.local_a, tile)
        b = _lookup(nodes_b, edges.local_b, other)
        found.append(MatchedEdges(a=a, b=b, side=np.full(a.size, side, dtype=np.int64), score=edges.score))
    columns = {
        item.name: np.concatenate([getattr(part, item.name) for part in found])
        for item in fields(MatchedEdges)
    }
    return match_table(len(table), MatchedEdges(**columns))


_NONE = np.zeros(0, dtype=np.int64)


def match_table(n: int, edges: MatchedEdges) -> Matches:
    """Join `n` nodes by the edges given."""
    parent = np.arange(n, dtype=np.int64)
    matched = np.zeros(n, dtype=np.int64)
    union_edges(parent, edges.a, edges.b)
    np.bitwise_or.at(matched, edges.a, edges.side)
    np.bitwise_or.at(matched, edges.b, np.where(edges.side == EAST, WEST, NORTH))
    return Matches(parent=parent, matched=matched, edges=edges)


def seam_strips(
    tile: TileSpec, other: TileSpec, side: int, cache: TileCache
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]] | None:
    """Both tiles' labels of their seam, axis 0 along the seam (lower seams are transposed); None when one has
    none.
    """
    a = cache.labels(tile)
    b = cache.labels(other)
    seam = tile.read.intersect(other.read)
    if a is None or b is None or seam is None:
        return None
    strip_a = a[seam.slices_in(tile.read)]
    strip_b = b[seam.slices_in(other.read)]
    return (strip_a.T, strip_b.T) if side == SOUTH else (strip_a, strip_b)


def _lookup(nodes: NDArray[np.int64], local: NDArray[np.int64], tile: TileSpec) -> NDArray[np.int64]:
    if int(local.max()) > nodes.size:
        raise RecordError(
            f"labels of tile {tile.tile_id} hold id {int(local.max())}, but it has {nodes.size} fragments"
        )
    return nodes[local - 1]


@njit(cache=True)
def union_edges(parent: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64]) -> None:
    """Join the ends of each edge; the smaller root wins. In place; path halving keeps parent[i] <= i."""
    for i in range(a.size):
        x, y = a[i], b[i]
        while parent[x] != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        while parent[y] != y:
            parent[y] = parent[parent[y]]
            y = parent[y]
        if x < y:
            parent[y] = x
        elif y < x:
            parent[x] = y


@njit(cache=True)
def roots(parent: NDArray[np.int64]) -> Any:
    """Root of every node: one pass, because parents come before children."""
    root = np.empty_like(parent)
    for i in range(parent.size):
        root[i] = i if parent[i] == i else root[parent[i]]
    return root


def resolve(
    lattice: TileLattice, table: FragmentTable, matches: Matches, options: StitchOptions
) -> tuple[NDArray[np.int32], Components]:
    """(component of each fragment (n,), 0 for ghosts nobody owns; all components that have a core pixel)."""
    root = roots(matches.parent)
    owned = table.anchor >= 0
    heads = np.flatnonzero((root == np.arange(root.size)) & (owned | _seen_whole(root, table, options)))
    dense = np.zeros(root.size, dtype=np.int32)
    dense[heads] = np.arange(1, heads.size + 1, dtype=np.int32)
    index = dense[root]
    ids = np.zeros(heads.size + 1, dtype=np.uint64)
    ids[1:] = (table.key[heads] + 1).astype(np.uint64)
    rep = best_nodes(index, heads.size, pack_best(table, options))
    complete = np.zeros(heads.size + 1, dtype=np.bool_)
    complete[1:] = (table.censored[rep[1:]] == 0) & options.complete_first
    reaches = sides_reached(lattice, table)
    lost = table.censored if options.complete_first else table.censored | reaches
    cut = (table.core_px > 0) & ((lost & ~matches.matched) != 0)
    truncated = np.zeros_like(complete)
    truncated[index[cut]] = True
    truncated &= ~complete
    truncated[0] = False
    one_sided = complete.copy()
    one_sided[1:] &= ((reaches[rep[1:]] & ~matches.matched[rep[1:]]) != 0) | ~owned[heads]
    members = _members(index, table, rep, complete)
    return index, Components(
        ids=ids, rep=rep, complete=complete, truncated=truncated, one_sided=one_sided, members=members
    )


def _seen_whole(root: NDArray[np.int64], table: FragmentTable, options: StitchOptions) -> NDArray[np.bool_]:
    """(n,) by root: some fragment is uncensored, and such objects are shown even when the owner missed them."""
    whole = np.zeros(root.size, dtype=np.bool_)
    if options.rescues:
        whole[root[table.censored == 0]] = True
    return whole


def _members(
    index: NDArray[np.int32], table: FragmentTable, rep: NDArray[np.int64], complete: NDArray[np.bool_]
) -> Members:
    """Fragments with core pixels and representatives. A complete object has its representative's score alone."""
    is_rep = rep[index] == np.arange(index.size)
    node = np.flatnonzero((index > 0) & ((table.core_px > 0) | is_rep))
    node = node[np.argsort(index[node], kind="stable")]
    own = np.where(is_rep[node], table.full_px[node], 0)
    px = np.where(complete[index[node]], own, table.core_px[node])
    return Members(component=index[node].astype(np.int64), node=node, px=px)


def sides_reached(lattice: TileLattice, table: FragmentTable) -> NDArray[np.int64]:
    """(n,) bits of the sides on which a fragment reaches beyond its tile's core."""
    side = lattice.core_px
    row0 = table.tile // table.n_tile_cols * side
    col0 = table.tile % table.n_tile_cols * side
    window = table.window
    return np.asarray(
        NORTH * (window[:, 0] < row0)
        + EAST * (window[:, 3] > col0 + side)
        + SOUTH * (window[:, 2] > row0 + side)
        + WEST * (window[:, 1] < col0),
        dtype=np.int64,
    )


@njit(cache=True)
def best_nodes(index: NDArray[np.int32], n: int, best: NDArray[np.int64]) -> Any:
    """(n + 1,) per component the node with the largest (best, -rank); -1 for index 0."""
    leads = np.full(n + 1, -1, dtype=np.int64)
    for i in range(index.size):
        k = index[i]
        if k > 0 and (leads[k] < 0 or best[i] > best[leads[k]]):
            leads[k] = i
    return leads
