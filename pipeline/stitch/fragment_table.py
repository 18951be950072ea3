"""All fragments of a piece of the region as columns, in the order in which the merge prefers them.

A node is one fragment. Its number is its rank by (anchor, tile, local), ghosts last. So union by minimum
makes the fragment with the smallest core pixel the root of every component, whatever order edges come in;
and a component whose root is a ghost has no core pixel at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RecordError
from pipeline.schema.tiling import TileLattice, TileSpec
from pipeline.stitch.flatten import EAST, NORTH, SOUTH, WEST
from pipeline.stitch.sources import check_ids
from pipeline.stitch.supertiles import GHOST, LOCAL_BITS

_SLOT_COLUMNS = (
    "tile",
    "local",
    "anchor",
    "core_px",
    "full_px",
    "score_q",
    "censored",
    "margin",
    "prompt_index",
)
_WINDOW_COLUMNS = ("row0", "col0", "row1", "col1")
N_COLUMNS = len(_SLOT_COLUMNS) + len(_WINDOW_COLUMNS)
"""Columns of the rows that `rank_fragments` takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FragmentTable:
    """Columns (n,) in rank order."""

    tile: NDArray[np.int64]
    """tile_row * n_tile_cols + tile_col."""
    local: NDArray[np.int64]
    anchor: NDArray[np.int64]
    """Smallest global pixel index of the core pixels; -1 = ghost."""
    core_px: NDArray[np.int64]
    full_px: NDArray[np.int64]
    score_q: NDArray[np.int64]
    censored: NDArray[np.int64]
    margin: NDArray[np.int64]
    prompt_index: NDArray[np.int64]
    window: NDArray[np.int64]
    """(n, 4): row0, col0, row1, col1 on the run grid."""
    tile_keys: NDArray[np.int64]
    """(t,) `tile` values that have fragments, ascending."""
    tile_start: NDArray[np.int64]
    """(t + 1,) first slot of each tile."""
    rank_of_slot: NDArray[np.int64]
    """(n,) node of local id l of tile_keys[k] is rank_of_slot[tile_start[k] + l - 1]."""
    n_tile_cols: int

    def __len__(self) -> int:
        return int(self.tile.size)

    @property
    def place(self) -> NDArray[np.int64]:
        """Tile number and local id as one integer, (n,)."""
        return (self.tile << LOCAL_BITS) | self.local

    @property
    def key(self) -> NDArray[np.int64]:
        """Integers (n,) in the order of nodes that mean the same in every super-tile."""
        return np.where(self.anchor >= 0, self.anchor, GHOST + self.place)

    def nodes(self, tile: TileSpec) -> NDArray[np.int64]:
        """Nodes of local ids 1..n of a tile; empty when it has none."""
        key = tile.tile_row * self.n_tile_cols + tile.tile_col
        k = int(np.searchsorted(self.tile_keys, key))
        if k == self.tile_keys.size or int(self.tile_keys[k]) != key:
            return self.rank_of_slot[:0]
        return self.rank_of_slot[int(self.tile_start[k]) : int(self.tile_start[k + 1])]

    def whole(self, tile: TileSpec, labels: NDArray[np.uint16]) -> NDArray[np.bool_]:
        """Say (n + 1,) by local id which fragments a tile saw whole; [0] = False.

        Raises RecordError when `labels`, all or some of the tile's, hold an id without a fragment.
        """
        nodes = self.nodes(tile)
        check_ids(tile, labels, nodes.size)
        return np.append(False, self.censored[nodes] == 0)


def table_of_columns(parts: Sequence[Mapping[str, NDArray[np.int64]]], lattice: TileLattice) -> FragmentTable:
    """The table of several blocks.

    `parts`: columns (n,) named as the fields of `Fragment` (window: row0, col0, row1, col1), and tile_row and
    tile_col. Raises RecordError when the local ids of a tile are not 1..n.
    """
    rows = [np.zeros((0, N_COLUMNS), dtype=np.int64)]
    for part in parts:
        tile = part["tile_row"] * lattice.n_tile_cols + part["tile_col"]
        rows.append(
            np.stack([tile, *(part[name] for name in (*_SLOT_COLUMNS[1:], *_WINDOW_COLUMNS))], axis=1)
        )
    return rank_fragments(np.concatenate(rows), lattice)


def rank_fragments(table: NDArray[np.int64], lattice: TileLattice) -> FragmentTable:
    """The table of rows (n, N_COLUMNS): tile number, fragment columns, window; in any order.

    Raises RecordError when the local ids of a tile are not 1..n.
    """
    slots = table[np.lexsort((table[:, 1], table[:, 0]))]
    keys, starts = np.unique(slots[:, 0], return_index=True)
    starts = np.append(starts, slots.shape[0]).astype(np.int64)
    _check_locals(slots, starts)
    anchor = slots[:, 2]
    order = np.lexsort((slots[:, 1], slots[:, 0], anchor, anchor < 0))
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    columns = {name: np.ascontiguousarray(slots[order, i]) for i, name in enumerate(_SLOT_COLUMNS)}
    window = np.ascontiguousarray(slots[order, len(_SLOT_COLUMNS) :])
    return FragmentTable(
        **columns,
        window=window,
        tile_keys=keys,
        tile_start=starts,
        rank_of_slot=rank,
        n_tile_cols=lattice.n_tile_cols,
    )


def rows_of(table: FragmentTable) -> NDArray[np.int64]:
    """Make the rows (n, N_COLUMNS) from which `rank_fragments` makes this table again."""
    return np.concatenate(
        [np.stack([getattr(table, name) for name in _SLOT_COLUMNS], axis=1), table.window], axis=1
    )


def _check_locals(slots: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
    expected = np.arange(slots.shape[0]) - np.repeat(starts[:-1], np.diff(starts)) + 1
    wrong = np.flatnonzero(slots[:, 1] != expected)
    if wrong.size:
        tile = int(slots[wrong[0], 0])
        raise RecordError(
            f"local ids of tile number {tile} must be 1..n without gaps, found {int(slots[wrong[0], 1])}"
        )


def sides_reached(lattice: TileLattice, table: FragmentTable) -> NDArray[np.int64]:
    """Find the sides, as bits (n,), on which a fragment reaches beyond its tile's core."""
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
