"""Block records as the merge wants them: one query, tile by tile or block by block, in bounded memory.

`RecordSource` has the methods of the merge's Protocol `BlockSource` and does not import it, because stages
never import each other. It keeps the compressed columns of recent blocks within a budget of bytes. The merge
asks for neighbouring tiles in turn, so a handful of blocks is enough. Pixels are decoded anew each time, in
half a millisecond a tile.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from enum import IntEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import MissingRecordError, RecordError
from pipeline.files.store.store_path import StorePath
from pipeline.schema.imagery import ScenePixels
from pipeline.schema.tile_answers import Reason, TileStatus
from pipeline.schema.tiling import TileLattice, TileSpec, block_id
from pipeline.write.records.block_records import (
    REMEDY,
    read_columns,
    read_label_blobs,
    read_valid_blobs,
)
from pipeline.write.records.label_codec import decode_bits, decode_labels
from pipeline.write.records.record_columns import FRAGMENT
from pipeline.write.records.record_keys import RecordKeys, key_of
from pipeline.write.records.scene_columns import SCENE_COLUMNS, scene_pixels

BLOCK_CACHE_BYTES = 64 * 2**20
"""Bytes of compressed label images of recent blocks kept in memory; validity masks have the same budget."""

_FATE_CACHE_BYTES = 8 * 2**20
"""Bytes for what became of the tiles of recent blocks: about 100 a tile."""

NOT_LOOKED_AT = frozenset({Reason.OUTSIDE_AOI, Reason.NODATA, Reason.CLOUD})
"""Reasons of empty tiles whose pixels no model and no gate judged; rasters keep the fill value there."""


_SEAMS: Mapping[int, str] = {1: "seam_n", 2: "seam_e", 4: "seam_s", 8: "seam_w"}
"""Side bit (`schema.Fragment.censored`) -> column."""

_WINDOWS = tuple(f"{kind}_{edge}" for kind in ("core", "read") for edge in ("row0", "col0", "row1", "col1"))


class RasterFate(IntEnum):
    """What the rasters may say about one tile and one query."""

    UNPLANNED = 0
    FOUND = 1
    LOOKED_AT = 2
    NOT_LOOKED_AT = 3
    FAILED = 4


class RecordSource:
    """One query's tiles, read from the block records of a run.

    Tiles of a block without a record count as unplanned, whatever an earlier plan left there;
    `write_coverage` notices those that were planned.
    Every method raises RecordError when a record is damaged or foreign.
    """

    def __init__(
        self,
        record_path: Callable[[str], StorePath],
        lattice: TileLattice,
        *,
        keys: RecordKeys,
        query_index: int,
        block_cache_bytes: int = BLOCK_CACHE_BYTES,
    ) -> None:
        """`record_path` gives the file of a block_id."""
        self.lattice = lattice
        self.query_index = query_index
        self._record_path = record_path
        self._keys = keys
        self._blobs: _ByteCache[dict[tuple[int, int], bytes]] = _ByteCache(
            block_cache_bytes, size_of=_blob_bytes
        )
        self._valid: _ByteCache[dict[tuple[int, int], bytes]] = _ByteCache(
            block_cache_bytes, size_of=_blob_bytes
        )
        self._strips: _ByteCache[dict[tuple[int, int, int], bytes]] = _ByteCache(
            block_cache_bytes, size_of=_strip_bytes
        )
        self._fates: _ByteCache[dict[tuple[int, int], RasterFate]] = _ByteCache(
            _FATE_CACHE_BYTES, size_of=_fate_bytes
        )

    def fragments(self, block_row: int, block_col: int) -> dict[str, NDArray[np.int64]]:
        """Read one block's fragments as columns (n,): tile_row, tile_col and every field of `Fragment`.

        The field `window` is four columns: row0, col0, row1, col1. A block without a record has no fragments.
        Raises RecordError also when the record's tiles are not those of this lattice.
        """
        names = ["tile_row", "tile_col", *FRAGMENT.names]
        path = self._path(block_row, block_col)
        columns = ["tile_row", "tile_col", *_WINDOWS, "query_index", "status", "fragments"]
        try:
            table = self._columns((block_row, block_col), columns)
        except MissingRecordError:
            return {name: np.zeros(0, dtype=np.int64) for name in names}
        self._require_lattice(table, path)
        mine = (pc.field("query_index") == self.query_index) & (pc.field("status") == TileStatus.FOUND.value)
        table = table.filter(mine).combine_chunks()
        lists = table["fragments"].combine_chunks()
        counts = np.asarray(pc.list_value_length(lists).to_numpy(zero_copy_only=False), dtype=np.int64)
        values = lists.flatten()
        found = {
            name: np.repeat(table[name].to_numpy().astype(np.int64), counts)
            for name in ("tile_row", "tile_col")
        }
        return {
            **found,
            **{
                name: values.field(name).to_numpy(zero_copy_only=False).astype(np.int64)
                for name in FRAGMENT.names
            },
        }

    def _require_lattice(self, table: pa.Table, path: StorePath) -> None:
        columns = [table[name].to_pylist() for name in ("tile_row", "tile_col", *_WINDOWS)]
        for row, col, *edges in zip(*columns, strict=True):
            inside = row < self.lattice.n_tile_rows and col < self.lattice.n_tile_cols
            tile = self.lattice.tile(row, col) if inside else None
            windows = () if tile is None else (tile.core, tile.read)
            if edges != [
                getattr(window, edge) for window in windows for edge in ("row0", "col0", "row1", "col1")
            ]:
                raise RecordError(
                    f"block record {path} holds tile ({row}, {col}) with the windows {edges}, "
                    "which are not those of this run's lattice "
                    f"(tile {self.lattice.tile_px} px, halo {self.lattice.halo_px} px). To fix: {REMEDY}"
                )

    def strip(self, tile_row: int, tile_col: int, side: int) -> NDArray[np.uint16] | None:
        """Labels of the seam on one side (bit N=1, E=2, S=4, W=8). None: nothing was found in the tile."""
        if self.fate(tile_row, tile_col) is not RasterFate.FOUND:
            return None
        block = (tile_row // self.lattice.block_tiles, tile_col // self.lattice.block_tiles)
        blob = self._strips.get(block, lambda: self._read_strips(*block)).get((tile_row, tile_col, side))
        return None if blob is None else self._decoded(decode_labels, blob, block)

    def labels(self, tile_row: int, tile_col: int) -> NDArray[np.uint16] | None:
        """Labels (H, W) over the tile's read window, 0 = background. None: nothing was found there."""
        if self.fate(tile_row, tile_col) is not RasterFate.FOUND:
            return None
        block = (tile_row // self.lattice.block_tiles, tile_col // self.lattice.block_tiles)
        blob = self._blobs.get(block, lambda: self._read_labels(*block)).get((tile_row, tile_col))
        return None if blob is None else self._decoded(decode_labels, blob, block)

    def paintable(self, tile_row: int, tile_col: int) -> bool:
        """Whether the tile's pixels may be written: False for failed, unplanned and never-looked-at tiles."""
        return self.fate(tile_row, tile_col) in (RasterFate.FOUND, RasterFate.LOOKED_AT)

    def fate(self, tile_row: int, tile_col: int) -> RasterFate:
        """What became of a tile for this query. Only its own block's record is read."""
        block = (tile_row // self.lattice.block_tiles, tile_col // self.lattice.block_tiles)
        return self._fates.get(block, lambda: self._read_fates(*block)).get(
            (tile_row, tile_col), RasterFate.UNPLANNED
        )

    def looked_at(self, block_row: int, block_col: int) -> NDArray[np.bool_]:
        """Where a model or gate judged valid imagery for this query: (h, w) over the block's core window.

        False pixels keep the fill value in every raster: outside the plan, failed, nodata, cloud.
        """
        window = self.lattice.block_core(block_row, block_col)
        judged = np.zeros(window.shape, dtype=np.bool_)
        for tile in self.lattice.tiles_of_block(block_row, block_col):
            if self.paintable(tile.tile_row, tile.tile_col):
                judged[tile.core.slices_in(window)] = self._core_valid(tile)
        return judged

    def _core_valid(self, tile: TileSpec) -> NDArray[np.bool_]:
        """Validity (h, w) over a tile's core. Raises RecordError when its record does not hold it."""
        block = (tile.tile_row // self.lattice.block_tiles, tile.tile_col // self.lattice.block_tiles)
        blob = self._valid.get(block, lambda: self._read_valid(*block)).get((tile.tile_row, tile.tile_col))
        if blob is None:
            raise RecordError(
                f"block record {self._path(*block)} holds no validity for tile {tile.tile_id}. "
                f"To fix: {REMEDY}"
            )
        return self._decoded(decode_bits, blob, block)

    def scenes(self, block_row: int, block_col: int) -> ScenePixels:
        """Which scene gave each valid pixel of the block's core window, whatever the query. Numbers are
        places in the run's list of scenes.
        """
        columns = ["tile_row", "tile_col", *(name for name, _ in SCENE_COLUMNS)]
        try:
            table = self._columns((block_row, block_col), columns)
        except MissingRecordError:
            return ScenePixels()
        tiles = self._decoded(scene_pixels, table, (block_row, block_col))
        numbers = np.unique([number for scenes in tiles.values() for number in scenes.numbers]).astype(int)
        key = key_of(self._keys, block_id(block_row, block_col))
        named = key.run_numbers(tuple(numbers.tolist()))
        if len(numbers) < 2:
            return ScenePixels(numbers=named)
        window = self.lattice.block_core(block_row, block_col)
        image = np.zeros(window.shape, dtype=np.uint16)
        for place, scenes in tiles.items():
            own = np.searchsorted(numbers, np.array(scenes.numbers, dtype=int)) + 1
            rank = np.concatenate([[0], own]).astype(np.uint16)
            tile = self.lattice.tile(*place)
            shown = rank[-1] * self._core_valid(tile) if scenes.image is None else rank[scenes.image]
            image[tile.core.slices_in(window)] = shown
        return ScenePixels(numbers=named, image=image)

    def _decoded[Stored, Pixels](
        self, decode: Callable[[Stored], Pixels], stored: Stored, block: tuple[int, int]
    ) -> Pixels:
        try:
            return decode(stored)
        except ValueError as error:
            raise RecordError(
                f"block record {self._path(*block)} holds pixels that cannot be read ({error}). "
                f"To fix: {REMEDY}"
            ) from error

    def _read_fates(self, block_row: int, block_col: int) -> dict[tuple[int, int], RasterFate]:
        columns = ["tile_row", "tile_col", "query_index", "status", "reason"]
        try:
            table = self._columns((block_row, block_col), columns)
        except MissingRecordError:
            return {}
        rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
        return {
            (r, c): _fate(TileStatus(status), Reason(reason))
            for r, c, q, status, reason in rows
            if q == self.query_index
        }

    def _read_strips(self, block_row: int, block_col: int) -> dict[tuple[int, int, int], bytes]:
        columns = ["tile_row", "tile_col", "query_index", *_SEAMS.values()]
        table = self._columns((block_row, block_col), columns)
        column = {name: table[name].to_pylist() for name in columns}
        mine = [i for i, query in enumerate(column["query_index"]) if query == self.query_index]
        tiles = {i: (column["tile_row"][i], column["tile_col"][i]) for i in mine}
        return {
            (*tiles[i], side): column[name][i]
            for side, name in _SEAMS.items()
            for i in mine
            if column[name][i] is not None
        }

    def _read_labels(self, block_row: int, block_col: int) -> dict[tuple[int, int], bytes]:
        path = self._path(block_row, block_col)
        key = key_of(self._keys, path.stem)
        return read_label_blobs(path, key.fingerprint, key.seal, query_index=self.query_index)

    def _read_valid(self, block_row: int, block_col: int) -> dict[tuple[int, int], bytes]:
        path = self._path(block_row, block_col)
        key = key_of(self._keys, path.stem)
        return read_valid_blobs(path, key.fingerprint, key.seal)

    def _columns(self, block: tuple[int, int], columns: Sequence[str]) -> pa.Table:
        """Read some columns of one record. Raises MissingRecordError also for a block that is not planned."""
        path = self._path(*block)
        key = key_of(self._keys, path.stem)
        return read_columns(path, key.fingerprint, key.seal, columns=columns)

    def _path(self, block_row: int, block_col: int) -> StorePath:
        return self._record_path(block_id(block_row, block_col))


def _fate(status: TileStatus, reason: Reason) -> RasterFate:
    if status is TileStatus.FAILED:
        return RasterFate.FAILED
    if status is TileStatus.FOUND:
        return RasterFate.FOUND
    return RasterFate.NOT_LOOKED_AT if reason in NOT_LOOKED_AT else RasterFate.LOOKED_AT


def _strip_bytes(blobs: dict[tuple[int, int, int], bytes]) -> int:
    return 64 + sum(len(blob) for blob in blobs.values())


def _fate_bytes(fates: dict[tuple[int, int], RasterFate]) -> int:
    return 64 + 100 * len(fates)


def _blob_bytes(blobs: dict[tuple[int, int], bytes]) -> int:
    return 64 + sum(len(blob) for blob in blobs.values())


class _ByteCache[Value]:
    """Least-recently-used values within a budget of bytes; the newest value is always kept."""

    def __init__(self, budget_bytes: int, *, size_of: Callable[[Value], int]) -> None:
        self._budget = budget_bytes
        self._size_of = size_of
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self.n_bytes = 0

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = make()
        self._values[key] = value
        self.n_bytes += self._size_of(value)
        while self.n_bytes > self._budget and len(self._values) > 1:
            self.n_bytes -= self._size_of(self._values.popitem(last=False)[1])
        return value
