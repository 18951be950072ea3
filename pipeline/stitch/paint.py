"""Stage D: from local ids to component numbers, core by core; complete objects first.

1. A core shows the component of its own tile's label.
2. A COMPLETE component (some tile saw it whole) is painted from that tile alone: other fragments of it are
   erased from the cores they own, and the representative's mask is painted where the owner shows background
   or the same component.
3. Two representatives that claim one background pixel: the smaller id wins. A pixel that its owner gave to
   another component is never overwritten, even if that component is painted from elsewhere and leaves the
   pixel empty.
4. Nothing is painted into the core of a tile that failed or was never looked at (`blocked` reports what would
   have been).

A pixel's value depends on the labels of its own tile and of the tiles whose halo covers it, and on nothing
else, so blocks can be painted in any order and by any number of workers. Component numbers are ordered as
instance ids are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.errors import RecordError
from pipeline.schema import TileLattice, TileSpec, Window
from pipeline.stitch.fragment_table import FragmentTable
from pipeline.stitch.resolve import Components, sides_reached
from pipeline.stitch.sources import TileCache, reach_tiles


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnTile:
    """What the owner of a core shows. Tables are (n + 1,), indexed by local id, [0] = 0."""

    read: Window
    labels: NDArray[np.uint16]
    owner: NDArray[np.int32]
    """Component of each local id."""
    paint: NDArray[np.int32]
    """The same, but 0 for fragments that another tile paints."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimingTile:
    """A neighbour that saw objects whole which reach out of its core."""

    read: Window
    labels: NDArray[np.uint16]
    claim: NDArray[np.int32]
    """(n + 1,) component of each local id that represents one, else 0."""


def paint_core(core: Window, own: OwnTile | None, claims: list[ClaimingTile]) -> NDArray[np.int32]:
    """Component numbers (h, w) over `core`, 0 = background. The order of `claims` does not matter."""
    out = np.zeros(core.shape, dtype=np.int32)
    labels = np.zeros(core.shape, dtype=np.uint16)
    owner = np.zeros(1, dtype=np.int32)
    if own is not None:
        labels = own.labels[core.slices_in(own.read)]
        owner = own.owner
        _paint_own(out, labels, own.paint)
    for other in claims:
        shared = core.intersect(other.read)
        if shared is not None:
            inside = shared.slices_in(core)
            _paint_claims(
                out[inside], labels[inside], owner, other.labels[shared.slices_in(other.read)], other.claim
            )
    return out


@njit(cache=True)
def _paint_own(out: NDArray[np.int32], labels: NDArray[np.uint16], paint: NDArray[np.int32]) -> None:
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            if labels[r, c]:
                out[r, c] = paint[labels[r, c]]


@njit(cache=True)
def _paint_claims(
    out: NDArray[np.int32],
    labels: NDArray[np.uint16],
    owner: NDArray[np.int32],
    seen: NDArray[np.uint16],
    claim: NDArray[np.int32],
) -> None:
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            wanted = claim[seen[r, c]]
            if wanted == 0:
                continue
            if labels[r, c] == 0:
                if out[r, c] == 0 or wanted < out[r, c]:
                    out[r, c] = wanted
            elif owner[labels[r, c]] == wanted:
                out[r, c] = wanted


class InstancePainter:
    """Paints blocks of component numbers from the resolved components and the labels of a few tiles."""

    def __init__(
        self,
        lattice: TileLattice,
        cache: TileCache,
        table: FragmentTable,
        *,
        index: NDArray[np.int32],
        components: Components,
    ) -> None:
        """`index` is the component of each fragment."""
        self._lattice = lattice
        self._cache = cache
        self._table = table
        self._index = index
        self._components = components
        self._claiming = _claiming_nodes(lattice, table, components)

    def block(self, block_row: int, block_col: int) -> NDArray[np.int32]:
        """Component numbers (h, w) over the block's core window."""
        window = self._lattice.block_core(block_row, block_col)
        out = np.zeros(window.shape, dtype=np.int32)
        for tile in self._tiles(block_row, block_col):
            if self._cache.paintable(tile):
                out[tile.core.slices_in(window)] = paint_core(tile.core, self._own(tile), self._claims(tile))
        return out

    def blocked(self, block_row: int, block_col: int) -> NDArray[np.int32]:
        """Sorted component numbers that some tile saw whole and that reach into a core where nothing may be
        painted.
        """
        found: list[NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)]
        for tile in self._tiles(block_row, block_col):
            if not self._cache.paintable(tile):
                found.extend(np.unique(paint_core(tile.core, None, [claim])) for claim in self._claims(tile))
        values = np.unique(np.concatenate(found))
        return values[values > 0]

    def _tiles(self, block_row: int, block_col: int) -> Iterator[TileSpec]:
        return self._lattice.tiles_of_block(block_row, block_col)

    def _own(self, tile: TileSpec) -> OwnTile | None:
        nodes = self._table.nodes(tile)
        labels = self._cache.labels(tile) if nodes.size else None
        if labels is None:
            return None
        if int(labels.max(initial=0)) > nodes.size:
            raise RecordError(
                f"labels of tile {tile.tile_id} hold id {int(labels.max())}, but it has {nodes.size} fragments"
            )
        index = self._index[nodes]
        elsewhere = self._components.complete[index] & (self._components.rep[index] != nodes)
        return OwnTile(
            read=tile.read, labels=labels, owner=_table(index), paint=_table(np.where(elsewhere, 0, index))
        )

    def _claims(self, tile: TileSpec) -> list[ClaimingTile]:
        claims = []
        reach = reach_tiles(self._lattice)
        core = tile.core
        for tile_row in range(tile.tile_row - reach, tile.tile_row + reach + 1):
            for tile_col in range(tile.tile_col - reach, tile.tile_col + reach + 1):
                nodes = self._claiming.get((tile_row, tile_col))
                if nodes is None or (tile_row, tile_col) == (tile.tile_row, tile.tile_col):
                    continue
                window = self._table.window[nodes]
                near = (
                    (window[:, 0] < core.row1)
                    & (window[:, 2] > core.row0)
                    & (window[:, 1] < core.col1)
                    & (window[:, 3] > core.col0)
                )
                other = self._lattice.tile(tile_row, tile_col)
                labels = self._cache.labels(other) if near.any() else None
                if labels is not None:
                    claim = np.zeros(self._table.nodes(other).size + 1, dtype=np.int32)
                    claim[self._table.local[nodes[near]]] = self._index[nodes[near]]
                    claims.append(ClaimingTile(read=other.read, labels=labels, claim=claim))
        return claims


def _claiming_nodes(
    lattice: TileLattice, table: FragmentTable, components: Components
) -> dict[tuple[int, int], NDArray[np.int64]]:
    """(tile_row, tile_col) -> representatives of complete components that reach beyond their tile's core."""
    nodes = components.rep[1:][components.complete[1:]]
    nodes = nodes[sides_reached(lattice, table)[nodes] != 0]
    nodes = nodes[np.argsort(table.tile[nodes], kind="stable")]
    keys, starts = np.unique(table.tile[nodes], return_index=True)
    parts = np.split(nodes, starts[1:])
    return {divmod(int(key), table.n_tile_cols): part for key, part in zip(keys, parts, strict=False)}


def _table(values: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.concatenate([np.zeros(1, dtype=np.int32), values.astype(np.int32)])
