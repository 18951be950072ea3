"""Blocks of component numbers, painted core by core from the table of the whole region."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.schema.tiling import TileLattice, TileSpec
from pipeline.stitch.flat.flat_components import Components
from pipeline.stitch.fragment_table import FragmentTable, sides_reached
from pipeline.stitch.paint_core import ClaimingTile, OwnTile, by_local, paint_core
from pipeline.stitch.sources import TileCache, check_ids, reach_tiles


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
        keep_share: float,
    ) -> None:
        """`index` is the component of each fragment; `keep_share`: see `StitchOptions`."""
        self._keep_share = keep_share
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
                where = tile.core.slices_in(window)
                out[where] = paint_core(tile.core, self._own(tile), self._claims(tile), self._keep_share)
        return out

    def blocked(self, block_row: int, block_col: int) -> NDArray[np.int32]:
        """Numbers, ascending, of complete components that reach into a core where nothing may be painted."""
        found: list[NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)]
        for tile in self._tiles(block_row, block_col):
            if not self._cache.paintable(tile):
                claims = self._claims(tile)
                found.extend(np.unique(paint_core(tile.core, None, [claim], 0.0)) for claim in claims)
        values = np.unique(np.concatenate(found))
        return values[values > 0]

    def _tiles(self, block_row: int, block_col: int) -> Iterator[TileSpec]:
        return self._lattice.tiles_of_block(block_row, block_col)

    def _own(self, tile: TileSpec) -> OwnTile | None:
        nodes = self._table.nodes(tile)
        labels = self._cache.labels(tile) if nodes.size else None
        if labels is None:
            return None
        check_ids(tile, labels, nodes.size)
        index = self._index[nodes]
        elsewhere = self._components.complete[index] & (self._components.rep[index] != nodes)
        return OwnTile(
            read=tile.read,
            labels=labels,
            owner=by_local(index),
            paint=by_local(np.where(elsewhere, 0, index)),
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
