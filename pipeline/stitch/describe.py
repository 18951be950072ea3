"""Joined components -> what painting needs of every fragment, what publishing needs of every component.

1. `describe_fragments` gives each fragment the id of its component. It says whether the fragment gives way to
   a whole view of its component, and whether it is that view and claims pixels of neighbours' cores.
2. Every component gets a row as far as this super-tile knows it: flags, score, representative, member tiles.
3. A component that can show in one block alone is local, and that block's task publishes it. The others are
   crossing: their rows go to the super-tile that owns the id, which dissolves them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.tile_answers import SCORE_Q_SCALE
from pipeline.stitch.components import Roots, least_px
from pipeline.stitch.flatten import EAST, NORTH, WEST
from pipeline.stitch.fragment_table import FragmentTable, sides_reached
from pipeline.stitch.join import Relabel
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.stitch.supertile_seams import FragmentBorder
from pipeline.stitch.supertiles import GHOST, SuperLattice, SuperTile, block_of_tile

CROSSING = -1
"""`home` of a component that may show in several blocks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PaintColumns:
    """Fragments for painting, sorted by (block, tile, local); all columns (n,)."""

    block: NDArray[np.int64]
    """Block number of the tile."""
    tile: NDArray[np.int64]
    local: NDArray[np.int64]
    id: NDArray[np.uint64]
    """Instance id of the component; 0 for ghosts that nobody owns and nobody rescues."""
    shown: NDArray[np.bool_]
    """The fragment's own tile paints it in its core. Others give way to the whole view of their component,
    unless it leaves too much of them uncovered (`paint_core`)."""
    claims: NDArray[np.bool_]
    """It is painted into neighbours' cores too: a representative that saw the whole object and reaches out of
    its core."""
    score: NDArray[np.float32]
    """Score of the component, 0..1."""
    window: NDArray[np.int64]
    """(n, 4) row0, col0, row1, col1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComponentColumns:
    """Components as far as one super-tile knows them, by (home, id); all columns (m,)."""

    home: NDArray[np.int64]
    """Block number of a local component, CROSSING for the others."""
    id: NDArray[np.uint64]
    complete: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    """Not complete, and a fragment with core pixels ends at a read-window border while the tile behind it saw
    nothing that fits."""
    one_sided: NDArray[np.bool_]
    """Complete, but a neighbour into whose core it reaches did not see it."""
    rep_place: NDArray[np.int64]
    rep_prompt: NDArray[np.int64]
    score: NDArray[np.float32]
    least_px: NDArray[np.int64]
    """Pixels that it must show; above 1 for rescued objects."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemberColumns:
    """Tiles whose fragments make up a component, each once, by (home, id, tile)."""

    home: NDArray[np.int64]
    id: NDArray[np.uint64]
    tile: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class FragmentColumns:
    """What is kept of a super-tile's fragments between resolving and describing."""

    table: FragmentTable
    component: NDArray[np.int64]
    matched: NDArray[np.int64]


def incoming_bits(tile_side: dict[int, FragmentBorder | None]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find where upper and left neighbours matched this super-tile's fragments: places, and sides as bits.

    `tile_side`: {EAST: border of the left neighbour, SOUTH: of the upper one}, None at the region's border.
    """
    places = [np.zeros(0, dtype=np.int64)]
    bits = [np.zeros(0, dtype=np.int64)]
    for side, border in tile_side.items():
        if border is not None:
            found = border.edges[border.edges[:, 0] == side, 2]
            places.append(found)
            bits.append(np.full(found.size, WEST if side == EAST else NORTH, dtype=np.int64))
    return np.concatenate(places), np.concatenate(bits)


def whole_roots(own: Roots, relabel: Relabel) -> tuple[Roots, NDArray[np.bool_]]:
    """Replace components that go on elsewhere by the whole that they belong to.

    Returns all components of the super-tile, and (m,) True for those that were replaced.
    """
    row = np.searchsorted(own.key, relabel.key)
    columns = {name: getattr(own, name).copy() for name in Roots.__slots__}
    for name, column in columns.items():
        column[row] = getattr(relabel.whole, name)
    crosses = np.zeros(len(own), dtype=np.bool_)
    crosses[row] = True
    return Roots(**columns), crosses


def mean_score(score_sum: NDArray[np.int64], score_px: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean scores 0..1 of integer sums."""
    return np.asarray(score_sum / np.maximum(score_px, 1) / SCORE_Q_SCALE, dtype=np.float32)


def describe_fragments(
    supers: SuperLattice,
    tile: SuperTile,
    *,
    fragments: FragmentColumns,
    own: Roots,
    relabel: Relabel,
    incoming: tuple[NDArray[np.int64], NDArray[np.int64]],
    options: StitchOptions,
) -> tuple[PaintColumns, ComponentColumns, MemberColumns]:
    """Everything later steps need of one super-tile in instances mode.

    `truncated` and `one_sided` need the seams of all four sides; the neighbours looked at the upper and left
    ones (`incoming_bits`).
    """
    table = fragments.table
    component = fragments.component
    whole, crosses = whole_roots(own, relabel)
    ids = whole.ids(options)
    complete = whole.complete(options.complete_first)
    score = mean_score(*whole.score_parts(complete))
    matched = _with_incoming(table, fragments.matched, incoming)
    reaches = sides_reached(supers.lattice, table)
    is_rep = whole.rep_place[component] == table.place
    lost = table.censored if options.complete_first else table.censored | reaches
    truncated = np.zeros(len(own), dtype=np.bool_)
    one_sided = np.zeros(len(own), dtype=np.bool_)
    truncated[component[(table.core_px > 0) & ((lost & ~matched) != 0)]] = True
    one_sided[component[is_rep & ((reaches & ~matched) != 0)]] = True
    one_sided |= ids > GHOST
    home = _homes(supers, tile, table, component, complete=complete, is_rep=is_rep)
    home[crosses] = CROSSING
    rows = np.flatnonzero(ids > 0)
    rows = rows[np.lexsort((ids[rows], home[rows]))]
    components = ComponentColumns(
        home=home[rows],
        id=ids[rows],
        complete=complete[rows],
        truncated=(truncated & ~complete)[rows],
        one_sided=(one_sided & complete)[rows],
        rep_place=whole.rep_place[rows],
        rep_prompt=whole.rep_prompt[rows],
        score=score[rows],
        least_px=least_px(ids, whole.rep_full_px, options)[rows],
    )
    paint = _paint_columns(supers, table, whole, ids=ids, component=component, complete=complete)
    member = (ids[component] > 0) & ((table.core_px > 0) | is_rep)
    members = member_columns(home[component[member]], ids[component[member]], table.tile[member])
    return paint, components, members


def member_columns(
    home: NDArray[np.int64], ids: NDArray[np.uint64], tile: NDArray[np.int64]
) -> MemberColumns:
    """Distinct (home, id, tile), sorted."""
    order = np.lexsort((tile, ids, home))
    home, ids, tile = home[order], ids[order], tile[order]
    first = np.ones(order.size, dtype=np.bool_)
    first[1:] = (ids[1:] != ids[:-1]) | (tile[1:] != tile[:-1]) | (home[1:] != home[:-1])
    return MemberColumns(home=home[first], id=ids[first], tile=tile[first])


def _paint_columns(
    supers: SuperLattice,
    table: FragmentTable,
    whole: Roots,
    *,
    ids: NDArray[np.uint64],
    component: NDArray[np.int64],
    complete: NDArray[np.bool_],
) -> PaintColumns:
    block = block_of_tile(supers.lattice, table.tile)
    order = np.lexsort((table.local, table.tile, block))
    mine = component[order]
    full = complete[component[order]]
    is_rep = whole.rep_place[mine] == table.place[order]
    reaches = sides_reached(supers.lattice, table)[order] != 0
    return PaintColumns(
        block=block[order],
        tile=table.tile[order],
        local=table.local[order],
        id=ids[mine],
        shown=~full | is_rep,
        claims=full & is_rep & reaches,
        score=mean_score(*whole.score_parts(complete))[mine],
        window=table.window[order],
    )


def _with_incoming(
    table: FragmentTable, matched: NDArray[np.int64], incoming: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> NDArray[np.int64]:
    places, bits = incoming
    out = matched.copy()
    order = np.argsort(table.place)
    row = np.searchsorted(table.place[order], places)
    np.bitwise_or.at(out, order[row], bits)
    return out


def _homes(
    supers: SuperLattice,
    tile: SuperTile,
    table: FragmentTable,
    component: NDArray[np.int64],
    *,
    complete: NDArray[np.bool_],
    is_rep: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Block number of each component that can show in one block of this super-tile alone, else CROSSING.

    An object can show in the cores of its members and, if complete, inside its representative's window.
    """
    lattice = supers.lattice
    n = complete.size
    side = lattice.shard_px
    cols = lattice.n_block_cols
    first = np.full((n, 2), np.iinfo(np.int64).max)
    last = np.full((n, 2), -1, dtype=np.int64)
    block = block_of_tile(lattice, table.tile)
    core = table.core_px > 0
    places = np.stack([block[core] // cols, block[core] % cols], axis=1)
    np.minimum.at(first, component[core], places)
    np.maximum.at(last, component[core], places)
    rep = np.flatnonzero(is_rep & complete[component])
    np.minimum.at(first, component[rep], table.window[rep, :2] // side)
    np.maximum.at(last, component[rep], (table.window[rep, 2:] - 1) // side)
    k = lattice.block_tiles
    inside = (first >= (tile.tile_rows.start // k, tile.tile_cols.start // k)).all(axis=1)
    inside &= (last * k < (tile.tile_rows.stop, tile.tile_cols.stop)).all(axis=1)
    single = inside & (first == last).all(axis=1)
    return np.where(single, first[:, 0] * cols + first[:, 1], CROSSING)
