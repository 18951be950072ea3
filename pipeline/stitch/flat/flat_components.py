"""Components of the joined fragments: ids, representatives, flags.

1. A component is named 1 + its smallest core pixel. Cores are disjoint, so the name is unique, whatever the
   order of edges.
2. A component of ghosts alone (no owner saw it) is dropped, unless some tile saw it whole and `rescue_share`
   asks for it.
3. The representative is the fragment with the largest `pack_best`, the smallest node on a tie. If it is
   uncensored and `explains` the component, the component is `complete`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.tiling import TileLattice
from pipeline.stitch.components import explains, pack_best
from pipeline.stitch.flat.flat_matches import Matches
from pipeline.stitch.fragment_table import FragmentTable, sides_reached
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.stitch.union_find import best_nodes, roots


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
    """(m + 1,) the representative's tile saw the whole object and paints it."""
    truncated: NDArray[np.bool_]
    """(m + 1,) not complete, and a fragment with core pixels ends at a read-window border while the tile
    behind it saw nothing that fits.
    """
    one_sided: NDArray[np.bool_]
    """(m + 1,) complete, but a neighbour into whose core the object reaches did not see it."""
    members: Members

    @property
    def n(self) -> int:
        return int(self.ids.size) - 1


def resolve(
    lattice: TileLattice, table: FragmentTable, matches: Matches, options: StitchOptions
) -> tuple[NDArray[np.int32], Components]:
    """Name the components. Returns that of each fragment (n,), 0 for ghosts nobody owns, and all that have a
    core pixel."""
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
    core_px = np.bincount(index, weights=table.core_px, minlength=heads.size + 1).astype(np.int64)
    whole = (table.censored[rep[1:]] == 0) & explains(table.full_px[rep[1:]], core_px[1:])
    complete[1:] = whole & options.complete_first
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
    """(n,) by root: True where some fragment is uncensored and the options rescue such objects."""
    whole = np.zeros(root.size, dtype=np.bool_)
    if options.rescues:
        whole[root[table.censored == 0]] = True
    return whole


def _members(
    index: NDArray[np.int32], table: FragmentTable, rep: NDArray[np.int64], complete: NDArray[np.bool_]
) -> Members:
    """Fragments with core pixels, and representatives; of a complete object only the latter has weight."""
    is_rep = rep[index] == np.arange(index.size)
    node = np.flatnonzero((index > 0) & ((table.core_px > 0) | is_rep))
    node = node[np.argsort(index[node], kind="stable")]
    own = np.where(is_rep[node], table.full_px[node], 0)
    px = np.where(complete[index[node]], own, table.core_px[node])
    return Members(component=index[node].astype(np.int64), node=node, px=px)
