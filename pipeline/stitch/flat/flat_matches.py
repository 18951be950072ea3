"""Every seam of the region, matched and joined in one union-find.

1. `seams_of` lists each seam once: the right and the lower neighbour of each tile, block by block, so that a
   few tiles are in memory.
2. `match_seams` matches the two sides of each (pipeline.stitch.seams) and joins what matched.
3. `audit_matches` takes components apart that contradict one tile's own view, if asked
   (pipeline.stitch.contradictions).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.tiling import TileLattice, TileSpec
from pipeline.stitch.contradictions import Links, cut_edges, forbidden_pairs
from pipeline.stitch.flat.flat_sources import blocks_of
from pipeline.stitch.flatten import EAST, NORTH, SOUTH, WEST
from pipeline.stitch.fragment_table import FragmentTable
from pipeline.stitch.seams import match_seam
from pipeline.stitch.sources import TileCache, block_tile_ranges
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.stitch.union_find import roots, union_edges

_NONE = np.zeros(0, dtype=np.int64)


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


def seams_of(lattice: TileLattice) -> Iterator[tuple[TileSpec, TileSpec, int]]:
    """Yield tile, neighbour and side of the tile for every seam, block by block."""
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
        found_in_both = table.nodes(tile).size and table.nodes(other).size
        strips = seam_strips(tile, other, side, cache) if found_in_both else None
        if strips is None:
            continue
        whole = table.whole(tile, strips[0]), table.whole(other, strips[1])
        edges = match_seam(*strips, whole=whole, options=options).edges
        a = table.nodes(tile)[edges.local_a - 1]
        b = table.nodes(other)[edges.local_b - 1]
        found.append(MatchedEdges(a=a, b=b, side=np.full(a.size, side, dtype=np.int64), score=edges.score))
    columns = {
        item.name: np.concatenate([getattr(part, item.name) for part in found])
        for item in fields(MatchedEdges)
    }
    return match_table(len(table), MatchedEdges(**columns))


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
    """Both tiles' labels of their seam, axis 0 along the seam. None: one of them found nothing."""
    a = cache.labels(tile)
    b = cache.labels(other)
    seam = tile.read.intersect(other.read)
    if a is None or b is None or seam is None:
        return None
    strip_a = a[seam.slices_in(tile.read)]
    strip_b = b[seam.slices_in(other.read)]
    return (strip_a.T, strip_b.T) if side == SOUTH else (strip_a, strip_b)


def audit_matches(lattice: TileLattice, cache: TileCache, table: FragmentTable, matches: Matches) -> Matches:
    """The matches of a region in one process, audited; `matches` must hold its edges."""
    component = np.asarray(roots(matches.parent), dtype=np.int64)

    def labels_of(number: int) -> NDArray[np.uint16] | None:
        return cache.labels(lattice.tile(*divmod(number, lattice.n_tile_cols)))

    forbidden = forbidden_pairs(table, component, labels_of)
    if not forbidden.shape[1]:
        return matches
    edges = matches.edges
    suspect = np.flatnonzero(np.isin(component[edges.a], forbidden[2]))
    links = Links(
        a=table.place[edges.a[suspect]], b=table.place[edges.b[suspect]], score=edges.score[suspect]
    )
    kept = np.ones(edges.a.size, dtype=np.bool_)
    kept[suspect[cut_edges(links, forbidden)]] = False
    return replace(
        match_table(len(table), edges.take(kept)),
        n_contradictions=forbidden.shape[1],
        n_cut=int((~kept).sum()),
    )
