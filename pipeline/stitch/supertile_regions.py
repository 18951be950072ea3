"""Semantic mode for one super-tile: the regions of its blocks, joined inside, and the lines where they go on.

1. `resolve_regions` labels each block (pipeline.stitch.block_regions), joins regions over block borders and
   names them by their smallest pixel.
2. `RegionBorder` keeps one line of component keys along each side, so that neighbours find the pairs to join.
3. `describe_regions` turns the joined keys into rows for painting and publishing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.stitch.block_picture import BlockPicture, found_pixels, near_blocks
from pipeline.stitch.block_regions import (
    closed_sides,
    evidence,
    first_pixels,
    label_regions,
    touching,
    witnesses,
)
from pipeline.stitch.components import Roots, pack_best, reduce_roots
from pipeline.stitch.describe import (
    CROSSING,
    ComponentColumns,
    MemberColumns,
    mean_score,
    member_columns,
    whole_roots,
)
from pipeline.stitch.flatten import EAST
from pipeline.stitch.fragment_table import FragmentTable, table_of_columns
from pipeline.stitch.join import Relabel
from pipeline.stitch.sources import BlockSource, TileCache
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.stitch.supertiles import SuperLattice, SuperTile, block_of_tile
from pipeline.stitch.union_find import roots, union_edges


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionBorder:
    """1 + component key of every pixel along a super-tile's sides, 0 = background."""

    north: NDArray[np.int64]
    east: NDArray[np.int64]
    south: NDArray[np.int64]
    west: NDArray[np.int64]

    def pairs(self, other: RegionBorder, side: int) -> NDArray[np.int64]:
        """Find the pairs (2, k) of component keys that touch over the border to the neighbour on `side`."""
        lines = (self.east, other.west) if side == EAST else (self.south, other.north)
        return touching(*lines) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionColumns:
    """Regions in the order in which blocks are labelled; columns (n,)."""

    block: NDArray[np.int64]
    component: NDArray[np.int64]
    """Row of `roots`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WitnessColumns:
    """Which tiles saw which component, each pair once; and which components a closed tile cuts off."""

    component: NDArray[np.int64]
    tile: NDArray[np.int64]
    cut: NDArray[np.bool_]
    """(m,) per row of `roots`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionResolution:
    """One super-tile after labelling."""

    regions: RegionColumns
    witnesses: WitnessColumns
    roots: Roots
    border: RegionBorder
    n_fragments: int
    """Fragments of the super-tile's own tiles."""


def resolve_regions(
    supers: SuperLattice, tile: SuperTile, source: BlockSource, options: StitchOptions
) -> RegionResolution:
    """Resolve one super-tile in semantic mode. Raises RecordError as `witnesses` does.

    Witnesses (which fragment saw how many pixels of which region) become scores, tiles and flags. Their tiles
    may lie beyond the border, so fragments are loaded one halo further.
    """
    lattice = supers.lattice
    blocks = supers.blocks(tile)
    around = sorted({near for block in blocks for near in near_blocks(lattice, *block)})
    table = table_of_columns([source.fragments(*block) for block in around], lattice)
    cache = TileCache(source, lattice)
    firsts = []
    numbers = []
    edges = [np.zeros((2, 0), dtype=np.int64)]
    seen = [np.zeros((3, 0), dtype=np.int64)]
    lines: _Lines = {}
    total = 0
    for row, col in blocks:
        window = lattice.block_core(row, col)
        local, n = label_regions(evidence(lattice, cache, row, col))
        labels = np.where(local > 0, local.astype(np.int64) + total, 0)
        firsts.append(
            np.asarray(first_pixels(local, n, window.row0, window.col0, lattice.grid.width), dtype=np.int64)
        )
        numbers.append(np.full(n, row * lattice.n_block_cols + col, dtype=np.int64))
        lines[row, col] = labels[0].copy(), labels[:, -1].copy(), labels[-1].copy(), labels[:, 0].copy()
        if (row - 1, col) in lines:
            edges.append(touching(lines[row - 1, col][2], labels[0]))
        if (row, col - 1) in lines:
            edges.append(touching(lines[row, col - 1][1], labels[:, 0]))
        seen.extend(witnesses(lattice, cache, table, block=(row, col), labels=labels))
        total += n
    component, key = _joined(np.concatenate(firsts), np.concatenate(edges, axis=1))
    region, node, px = np.concatenate(seen, axis=1)
    mine = component[region - 1]
    closed = closed_sides(lattice, cache, table)
    components, cut = _components(
        mine, node, px, table=table, best=pack_best(table, options), key=key, closed=closed
    )
    pairs = member_columns(np.zeros_like(mine), mine.astype(np.uint64), table.tile[node])
    found = WitnessColumns(component=pairs.id.astype(np.int64), tile=pairs.tile, cut=cut)
    regions = RegionColumns(block=np.concatenate(numbers), component=component)
    own = np.isin(
        block_of_tile(lattice, table.tile), [row * lattice.n_block_cols + col for row, col in blocks]
    )
    border = _border(lines, component, key)
    return RegionResolution(
        regions=regions, witnesses=found, roots=components, border=border, n_fragments=int(own.sum())
    )


def _joined(
    first: NDArray[np.int64], edges: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(component row of each region, keys of the components ascending)."""
    order = np.argsort(first)
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    parent = np.arange(order.size, dtype=np.int64)
    union_edges(parent, rank[edges[0] - 1], rank[edges[1] - 1])
    heads, component = np.unique(np.asarray(roots(parent), dtype=np.int64), return_inverse=True)
    return component.reshape(-1)[rank], first[order][heads]


def _components(
    component: NDArray[np.int64],
    node: NDArray[np.int64],
    px: NDArray[np.int64],
    *,
    table: FragmentTable,
    best: NDArray[np.int64],
    key: NDArray[np.int64],
    closed: NDArray[np.int64],
) -> tuple[Roots, NDArray[np.bool_]]:
    parts = Roots(
        key=key[component],
        best=best[node],
        rep_key=table.key[node],
        rep_place=table.place[node],
        rep_prompt=table.prompt_index[node],
        rep_full_px=table.full_px[node],
        sum_q=table.score_q[node] * px,
        sum_px=px,
    )
    cut = np.zeros(key.size, dtype=np.bool_)
    cut[component[(table.censored & closed)[node] != 0]] = True
    return reduce_roots(component, parts, key), cut


_Lines = dict[tuple[int, int], tuple[NDArray[np.int64], ...]]
"""Block -> its first row, last column, last row, first column of region numbers."""


def _border(lines: _Lines, component: NDArray[np.int64], key: NDArray[np.int64]) -> RegionBorder:
    names = np.concatenate([np.zeros(1, dtype=np.int64), key[component] + 1])
    rows = sorted({row for row, _ in lines})
    cols = sorted({col for _, col in lines})
    return RegionBorder(
        north=names[np.concatenate([lines[rows[0], col][0] for col in cols])],
        east=names[np.concatenate([lines[row, cols[-1]][1] for row in rows])],
        south=names[np.concatenate([lines[rows[-1], col][2] for col in cols])],
        west=names[np.concatenate([lines[row, cols[0]][3] for row in rows])],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionPaint:
    """What painting needs of a block's regions, in the order of `label_regions`; columns (n,)."""

    block: NDArray[np.int64]
    id: NDArray[np.uint64]
    score: NDArray[np.float32]


def describe_regions(
    regions: RegionColumns, witnesses: WitnessColumns, *, own: Roots, relabel: Relabel
) -> tuple[RegionPaint, ComponentColumns, MemberColumns]:
    """Everything later steps need of one super-tile; `complete` and `one_sided` are False."""
    whole, crosses = whole_roots(own, relabel)
    ids = (whole.key + 1).astype(np.uint64)
    score = mean_score(whole.sum_q, whole.sum_px)
    first = np.full(len(own), np.iinfo(np.int64).max)
    last = np.full(len(own), -1, dtype=np.int64)
    np.minimum.at(first, regions.component, regions.block)
    np.maximum.at(last, regions.component, regions.block)
    home = np.where((first == last) & ~crosses, first, CROSSING)
    rows = np.lexsort((ids, home))
    none = np.zeros(rows.size, dtype=np.bool_)
    components = ComponentColumns(
        home=home[rows],
        id=ids[rows],
        complete=none,
        truncated=witnesses.cut[rows],
        one_sided=none,
        rep_place=whole.rep_place[rows],
        rep_prompt=whole.rep_prompt[rows],
        score=score[rows],
        least_px=np.ones(rows.size, dtype=np.int64),
    )
    paint = RegionPaint(block=regions.block, id=ids[regions.component], score=score[regions.component])
    members = member_columns(home[witnesses.component], ids[witnesses.component], witnesses.tile)
    return paint, components, members


def region_picture(
    supers: SuperLattice, cache: TileCache, paint: RegionPaint, *, block: tuple[int, int]
) -> BlockPicture:
    """Paint one block; `paint` holds the rows of that block alone."""
    labels, n = label_regions(evidence(supers.lattice, cache, *block))
    assert n == paint.id.size, "a block was labelled differently than it was resolved"
    ids, first, number = np.unique(paint.id, return_index=True, return_inverse=True)
    table = np.concatenate([np.zeros(1, dtype=np.int32), (number.reshape(-1) + 1).astype(np.int32)])
    image = table[labels]
    return BlockPicture(
        image=image,
        ids=np.concatenate([np.zeros(1, dtype=np.uint64), ids]),
        score=np.concatenate([np.zeros(1, dtype=np.float32), paint.score[first]]),
        blocked=np.zeros(0, dtype=np.uint64),
        found=found_pixels(supers.lattice, cache, block, image),
    )
