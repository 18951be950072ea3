"""Block records as the merge wants them: one query, tile by tile, within a fixed amount of memory.

The merge stage declares what it needs as a Protocol and never sees a file; `RecordSource` fits that Protocol by shape alone,
because stages do not import each other. Pixels are decoded anew each time (half a millisecond a tile; the merge keeps the few
it works on); what is kept here, within a budget of bytes and least recently used out first, are the compressed columns of
recent blocks: neighbouring tiles are asked for in turn, so a handful of blocks serves all requests.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RecordError
from pipeline.schema import Fragment, Reason, TileLattice, TileStatus
from pipeline.write.block_records import REMEDY, read_columns, read_label_blobs, read_valid_blobs
from pipeline.write.label_codec import decode_bits, decode_labels
from pipeline.write.record_columns import fragment_lists
from pipeline.write.run_dir import RunDir

BLOCK_CACHE_BYTES = 64 * 2**20
"""Compressed label images of recent blocks kept in memory; validity masks have a budget of the same size."""

NOT_LOOKED_AT = frozenset({Reason.OUTSIDE_AOI, Reason.NODATA, Reason.CLOUD})
"""Reasons of empty tiles whose pixels no model and no gate judged; rasters keep the fill value there."""


class TileFate(IntEnum):
    """What the rasters may say about one tile and one query."""

    UNPLANNED = 0
    FOUND = 1
    LOOKED_AT = 2
    NOT_LOOKED_AT = 3
    FAILED = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class TileSummary:
    """One tile in which something was found."""

    tile_row: int
    tile_col: int
    fragments: tuple[Fragment, ...]


class RecordSource:
    """One query's tiles, read from the block records of a run.

    Every method raises RecordError when a record is truncated, damaged or foreign; a missing record means that its tiles are
    unplanned here (`write_coverage` is what notices planned tiles without a record).
    """

    def __init__(
        self,
        run_dir: RunDir,
        lattice: TileLattice,
        *,
        fingerprint: str,
        query_index: int,
        block_cache_bytes: int = BLOCK_CACHE_BYTES,
    ) -> None:
        self.lattice = lattice
        self.query_index = query_index
        self._run_dir = run_dir
        self._fingerprint = fingerprint
        self._blobs: _ByteCache[dict[tuple[int, int], bytes]] = _ByteCache(block_cache_bytes, size_of=_blob_bytes)
        self._valid: _ByteCache[dict[tuple[int, int], bytes]] = _ByteCache(block_cache_bytes, size_of=_blob_bytes)

    def records(self) -> Iterator[TileSummary]:
        """Tiles where this query found something, in order of block, then row of the record; fragments in local order."""
        for block_id in self._block_ids:
            columns = ["tile_row", "tile_col", "query_index", "status", "fragments"]
            table = read_columns(self._run_dir.block(block_id), self._fingerprint, columns=columns)
            rows, cols, queries, statuses = (table[name].to_pylist() for name in columns[:-1])
            for row, col, query, status, fragments in zip(rows, cols, queries, statuses, fragment_lists(table["fragments"]), strict=True):
                if query == self.query_index and status == TileStatus.FOUND:
                    yield TileSummary(tile_row=row, tile_col=col, fragments=fragments)

    def labels(self, tile_row: int, tile_col: int) -> NDArray[np.uint16] | None:
        """(H, W) uint16 over the tile's read window, 0 = background; None when nothing was found there."""
        if self.fate(tile_row, tile_col) is not TileFate.FOUND:
            return None
        block = (tile_row // self.lattice.block_tiles, tile_col // self.lattice.block_tiles)
        blob = self._blobs.get(block, lambda: self._read_labels(*block)).get((tile_row, tile_col))
        try:
            return None if blob is None else decode_labels(blob)
        except ValueError as error:
            raise RecordError(f"block record {self._path(*block)} is damaged ({error}). To fix: {REMEDY}") from error

    def paintable(self, tile_row: int, tile_col: int) -> bool:
        """Whether the tile's pixels may be written: False for failed, unplanned and never-looked-at tiles."""
        return self.fate(tile_row, tile_col) in (TileFate.FOUND, TileFate.LOOKED_AT)

    def fate(self, tile_row: int, tile_col: int) -> TileFate:
        """What became of a tile for this query."""
        return TileFate(int(self.fates[tile_row, tile_col]))

    @cached_property
    def fates(self) -> NDArray[np.uint8]:
        """(n_tile_rows, n_tile_cols) TileFate values; one byte per tile of the lattice."""
        fates = np.zeros((self.lattice.n_tile_rows, self.lattice.n_tile_cols), dtype=np.uint8)
        columns = ["tile_row", "tile_col", "query_index", "status", "reason"]
        for block_id in self._block_ids:
            table = read_columns(self._run_dir.block(block_id), self._fingerprint, columns=columns)
            for row, col, query, status, reason in zip(*(table[name].to_pylist() for name in columns), strict=True):
                if query == self.query_index:
                    fates[row, col] = _fate(TileStatus(status), Reason(reason))
        return fates

    def looked_at(self, block_row: int, block_col: int) -> NDArray[np.bool_]:
        """(h, w) bool over the block's core window: True where a model or gate judged valid imagery for this query.

        False pixels keep the fill value in every raster: outside the plan, failed, nodata, cloud.
        """
        window = self.lattice.block_core(block_row, block_col)
        judged = np.zeros(window.shape, dtype=np.bool_)
        for tile in self.lattice.tiles_of_block(block_row, block_col):
            if self.paintable(tile.tile_row, tile.tile_col):
                blobs = self._valid.get((block_row, block_col), lambda: self._read_valid(block_row, block_col))
                blob = blobs.get((tile.tile_row, tile.tile_col))
                if blob is None:
                    path = self._path(block_row, block_col)
                    raise RecordError(f"block record {path} holds no validity for tile {tile.tile_id}. To fix: {REMEDY}")
                judged[tile.core.slices_in(window)] = decode_bits(blob)
        return judged

    @cached_property
    def _block_ids(self) -> tuple[str, ...]:
        return tuple(sorted(path.stem for path in self._run_dir.blocks.glob("*.parquet") if not path.name.startswith(".")))

    def _read_labels(self, block_row: int, block_col: int) -> dict[tuple[int, int], bytes]:
        return read_label_blobs(self._path(block_row, block_col), self._fingerprint, query_index=self.query_index)

    def _read_valid(self, block_row: int, block_col: int) -> dict[tuple[int, int], bytes]:
        return read_valid_blobs(self._path(block_row, block_col), self._fingerprint)

    def _path(self, block_row: int, block_col: int) -> Path:
        return self._run_dir.block(f"b{block_row:05d}_{block_col:05d}")


def _fate(status: TileStatus, reason: Reason) -> TileFate:
    if status is TileStatus.FAILED:
        return TileFate.FAILED
    if status is TileStatus.FOUND:
        return TileFate.FOUND
    return TileFate.NOT_LOOKED_AT if reason in NOT_LOOKED_AT else TileFate.LOOKED_AT


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
