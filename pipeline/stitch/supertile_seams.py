"""Stage C for one super-tile: its seams, joined inside, and the edges that leave it.

1. `resolve_fragments` loads the fragments of the super-tile's blocks and matches each seam whose upper or
   left tile is inside. Tiles outside give only their strip, and which of its fragments they saw whole.
2. A match inside joins at once. One over the border becomes a row of `FragmentBorder.edges`;
   `FragmentBorder.entry` names the fragments that upper and left neighbours refer to.
3. `Roots` sums up each component as far as it is known here.

The result depends on the super-tile's own records and on those behind its right and lower border.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.errors import RecordError
from pipeline.schema.tiling import TileLattice, TileSpec
from pipeline.stitch.components import Roots, pack_best
from pipeline.stitch.contradictions import Links, join_links
from pipeline.stitch.flatten import EAST, MAX_LOCAL, NORTH, SOUTH, WEST
from pipeline.stitch.fragment_table import FragmentTable, table_of_columns
from pipeline.stitch.seams import SeamEdges, match_seam
from pipeline.stitch.sources import BlockSource, block_tile_ranges
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.stitch.supertiles import LOCAL_BITS, SuperLattice, SuperTile
from pipeline.stitch.union_find import best_nodes, roots, union_edges

SCORE_BINS = 20
"""Bins of the match-score histogram over 0..1."""

_TilePair = tuple[int, ...]
"""Numbers of two neighbouring tiles, the upper or left one first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FragmentBorder:
    """What neighbouring super-tiles need to know about each other."""

    edges: NDArray[np.int64]
    """(e, 3): side (EAST or SOUTH), key of the own component, place of the other fragment."""
    entry: NDArray[np.int64]
    """(f, 2): place, key of the component, of all fragments of the first tile row and column; ascending by
    place.
    """

    def pairs(self, other: FragmentBorder, side: int) -> NDArray[np.int64]:
        """Find the pairs (2, k) of component keys that the seams to the neighbour on `side` join.

        Raises RecordError when a matched label of the neighbour has no fragment there.
        """
        mine = self.edges[self.edges[:, 0] == side]
        row = np.searchsorted(other.entry[:, 0], mine[:, 2])
        known = np.append(other.entry[:, 0], -1)[row] == mine[:, 2]
        if not known.all():
            place = int(mine[~known][0, 2])
            raise RecordError(
                f"labels of tile number {place >> LOCAL_BITS} hold id {place & 0xFFFF}, "
                "but no such fragment is on record; "
                "the block record is damaged or of another run"
            )
        return np.stack([mine[:, 1], other.entry[row, 1]])


@dataclass(frozen=True, kw_only=True, slots=True)
class FragmentResolution:
    """One super-tile after its seams."""

    table: FragmentTable
    """Fragments of the super-tile's tiles, by rank."""
    component: NDArray[np.int64]
    """(n,) row of `roots` of each fragment."""
    matched: NDArray[np.int64]
    """(n,) side bits on which a partner was found, over the seams visited here."""
    roots: Roots
    border: FragmentBorder
    scores: NDArray[np.int64]
    """(SCORE_BINS,) mutual-best pairs by match score."""
    n_disputed: int
    """Pairs that overlap enough, and were refused because a tile saw one end whole (`undisputed`)."""
    links: Links
    """The edges of the seams visited here, as the audit wants them."""

    @property
    def n_edges(self) -> int:
        return int(self.links.a.size)


def resolve_fragments(
    supers: SuperLattice,
    tile: SuperTile,
    source: BlockSource,
    options: StitchOptions,
    cut: NDArray[np.int64] | None = None,
) -> FragmentResolution:
    """Resolve one super-tile. Raises RecordError when records contradict themselves or the lattice.

    `cut`: (k, 2) places of fragments whose edges are left out, the upper or left one first: what the audit
    decided.
    """
    lattice = supers.lattice
    cuts = _by_seam(cut)
    table = table_of_columns([source.fragments(*block) for block in supers.blocks(tile)], lattice)
    behind = table_of_columns([source.fragments(*block) for block in supers.blocks_behind(tile)], lattice)
    parent = np.arange(len(table), dtype=np.int64)
    matched = np.zeros(len(table), dtype=np.int64)
    scores = np.zeros(SCORE_BINS, dtype=np.int64)
    n_disputed = 0
    crossing: list[NDArray[np.int64]] = [np.zeros((0, 3), dtype=np.int64)]
    links: list[Links] = []
    for spec, other, side in super_seams(supers, tile):
        nodes = table.nodes(spec)
        strips = seam_labels(source, spec, other, side) if nodes.size else None
        if strips is None:
            continue
        inside = tile.holds(other.tile_row, other.tile_col)
        there = table if inside else behind
        whole = table.whole(spec, strips[0]), there.whole(other, strips[1])
        match = match_seam(*strips, whole=whole, options=options)
        bins = np.minimum((match.scores * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
        scores += np.bincount(bins, minlength=SCORE_BINS)
        n_disputed += match.n_disputed
        found = _links(lattice, spec, other, match.edges, cuts)
        if not found.a.size:
            continue
        links.append(found)
        a = nodes[(found.a & MAX_LOCAL) - 1]
        matched[a] |= side
        if inside:
            b = there.nodes(other)[(found.b & MAX_LOCAL) - 1]
            matched[b] |= WEST if side == EAST else NORTH
            union_edges(parent, a, b)
        else:
            crossing.append(np.stack([np.full(a.size, side, dtype=np.int64), a, found.b], axis=1))
    component, components = _components(table, roots(parent), options)
    out = np.concatenate(crossing)
    out[:, 1] = components.key[component[out[:, 1]]]
    return FragmentResolution(
        table=table,
        component=component,
        matched=matched,
        roots=components,
        border=FragmentBorder(
            edges=np.unique(out, axis=0), entry=_entry(tile, table, components.key[component])
        ),
        scores=scores,
        n_disputed=n_disputed,
        links=join_links(links),
    )


def _links(
    lattice: TileLattice,
    tile: TileSpec,
    other: TileSpec,
    edges: SeamEdges,
    cuts: Mapping[_TilePair, NDArray[np.int64]],
) -> Links:
    """The edges of one seam between places, without those that the audit cut."""
    number = tuple(spec.tile_row * lattice.n_tile_cols + spec.tile_col for spec in (tile, other))
    a = (number[0] << LOCAL_BITS) | edges.local_a
    b = (number[1] << LOCAL_BITS) | edges.local_b
    kept = ~np.isin((edges.local_a << LOCAL_BITS) | edges.local_b, cuts.get(number, []))
    return Links(a=a[kept], b=b[kept], score=edges.score[kept])


def _by_seam(cut: NDArray[np.int64] | None) -> dict[_TilePair, NDArray[np.int64]]:
    """The local ids of both ends of each cut edge in one integer, by seam."""
    found: dict[_TilePair, list[int]] = {}
    for a, b in [] if cut is None else cut.tolist():
        found.setdefault((a >> LOCAL_BITS, b >> LOCAL_BITS), []).append(
            ((a & MAX_LOCAL) << LOCAL_BITS) | (b & MAX_LOCAL)
        )
    return {key: np.array(pairs, dtype=np.int64) for key, pairs in found.items()}


def super_seams(supers: SuperLattice, tile: SuperTile) -> Iterator[tuple[TileSpec, TileSpec, int]]:
    """Yield tile, neighbour and side for each seam whose upper or left tile is in the super-tile."""
    lattice = supers.lattice
    for block in supers.blocks(tile):
        rows, cols = block_tile_ranges(lattice, *block)
        for row in rows:
            for col in cols:
                spec = lattice.tile(row, col)
                if col + 1 < lattice.n_tile_cols:
                    yield spec, lattice.tile(row, col + 1), EAST
                if row + 1 < lattice.n_tile_rows:
                    yield spec, lattice.tile(row + 1, col), SOUTH


def seam_labels(
    source: BlockSource, tile: TileSpec, other: TileSpec, side: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]] | None:
    """Both tiles' strips of their seam, axis 0 along the seam. None: one of them found nothing.

    Raises RecordError for a strip of another shape or type.
    """
    a = source.strip(tile.tile_row, tile.tile_col, side)
    b = None if a is None else source.strip(other.tile_row, other.tile_col, WEST if side == EAST else NORTH)
    if a is None or b is None:
        return None
    seam = tile.read.intersect(other.read)
    for spec, strip in ((tile, a), (other, b)):
        if seam is None or strip.shape != seam.shape or strip.dtype != np.uint16:
            want = None if seam is None else seam.shape
            came = f"{strip.dtype} {strip.shape}"
            raise RecordError(
                f"the seam strip of tile {spec.tile_id} must be uint16 {want}, got {came}: "
                "the record is of another run"
            )
    return (a.T, b.T) if side == SOUTH else (a, b)


def _components(
    table: FragmentTable, root: NDArray[np.int64], options: StitchOptions
) -> tuple[NDArray[np.int64], Roots]:
    """(row of each fragment's component, components by key)."""
    heads = np.flatnonzero(root == np.arange(root.size))
    dense = np.zeros(root.size, dtype=np.int64)
    dense[heads] = np.arange(heads.size)
    component = dense[root]
    best = pack_best(table, options)
    rep = best_nodes((component + 1).astype(np.int32), heads.size, best)[1:]
    sum_q, sum_px = _sums(component, heads.size, table.score_q, table.core_px)
    key = table.key
    place = table.place
    views = {
        "rep_key": key[rep],
        "rep_place": place[rep],
        "rep_prompt": table.prompt_index[rep],
        "rep_full_px": table.full_px[rep],
    }
    return component, Roots(key=key[heads], best=best[rep], sum_q=sum_q, sum_px=sum_px, **views)


@njit(cache=True)
def _sums(
    component: NDArray[np.int64], n: int, score_q: NDArray[np.int64], px: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    total, weight = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    for i in range(component.size):
        total[component[i]] += score_q[i] * px[i]
        weight[component[i]] += px[i]
    return total, weight


def _entry(tile: SuperTile, table: FragmentTable, key: NDArray[np.int64]) -> NDArray[np.int64]:
    row = table.tile // table.n_tile_cols
    col = table.tile % table.n_tile_cols
    near = np.flatnonzero((row == tile.tile_rows.start) | (col == tile.tile_cols.start))
    near = near[np.argsort(table.place[near])]
    return np.stack([table.place[near], key[near]], axis=1)
