"""What every task of phase two knows, and where its tables lie."""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.files.store.store_path import StorePath, store_path
from pipeline.run.config import MergeMode
from pipeline.run.stop_signals import unbroken
from pipeline.schema.imagery import Scene
from pipeline.schema.tiling import TileLattice, Window
from pipeline.stitch.block_picture import near_blocks
from pipeline.stitch.stitch_options import StitchOptions
from pipeline.stitch.supertiles import SuperLattice, SuperTile
from pipeline.write.georeference import touched_pixels
from pipeline.write.instances import InstanceMeta
from pipeline.write.plan_table import planned_blocks
from pipeline.write.records.record_keys import RecordKeys
from pipeline.write.records.record_source import RecordSource
from pipeline.write.run_dir import RunDir

BLOCK_CACHE_BYTES = 32 * 2**20
"""Compressed columns of recent block records that a task keeps, per kind of column."""

LEAST_GROUPS = 64
"""Squares of blocks into which a region is cut at least, if it has so many blocks."""

MOST_GROUP_SIDE = 4
"""Blocks along a side of a square: it reads (4 + 2) ** 2 / 16 = 2.25 records per block, where one alone
reads 9.
"""

Task = Callable[["MergeJob", Any], Any]
"""A pure step: reads records and tables, writes tables of its own, returns a few numbers."""

TaskRunner = Callable[[Task, "MergeJob", Sequence[Any]], Iterator[Any]]
"""Applies a task to every key, in any order, in any number of processes; yields results as they come."""


@dataclass(frozen=True, kw_only=True)
class MergeJob:
    """Everything phase two is told. Small and picklable: no records, no geometries but the AOI's."""

    records_dir: str
    """Folder of the block records."""
    out_dir: str
    """Run directory that is written."""
    snapshot: str = ""
    """Name of the snapshot that is written (`named_job`)."""
    copies_dir: str = ""
    """Folder of this machine to which a task copies the block records and tables that it reads more than
    once. Empty: it reads them where they lie (`records_at_hand`).
    """
    tables_dir: str = ""
    """Folder of intermediate tables. Empty: the run directory's own."""
    keys: RecordKeys
    """Of the block records."""
    lattice: TileLattice
    inside: NDArray[np.bool_]
    """(n_tile_rows, n_tile_cols) tiles that were looked at."""
    aoi_grid: Any
    """Shapely AOI in the run grid's CRS; None for whole scenes."""
    scenes: tuple[Scene, ...]
    meta: InstanceMeta
    stitch: StitchOptions
    mode: MergeMode
    min_area_m2: float
    super_tile_tiles: int
    gated: bool = False
    """The block records hold what a gate thought of their tiles."""
    masked: bool = False
    """Some scene has a quality mask."""

    @property
    def queries(self) -> tuple[str, ...]:
        return self.meta.queries

    @cached_property
    def supers(self) -> SuperLattice:
        """The region in super-tiles."""
        return SuperLattice(self.lattice, self.super_tile_tiles)

    @property
    def run_dir(self) -> RunDir:
        """The run directory that is written, with the results of the snapshot; its block records may lie
        elsewhere.
        """
        return RunDir(self.out_dir, records=self.records_dir).in_snapshot(self.snapshot)

    @property
    def tables(self) -> StorePath:
        """Folder of intermediate tables."""
        return store_path(self.tables_dir) if self.tables_dir else self.run_dir.merge

    def source(self, query_index: int) -> RecordSource:
        """Block records of one query."""
        return RecordSource(
            self.record,
            self.lattice,
            keys=self.keys,
            query_index=query_index,
            block_cache_bytes=BLOCK_CACHE_BYTES,
        )

    def record(self, block_id: str) -> StorePath:
        """Path of a block record: of its copy, where records are copied."""
        path = self.run_dir.block(block_id)
        return self._at_hand(path, path.name)

    def table_at_hand(self, kind: str, query_index: int, name: str) -> StorePath:
        """Path of an intermediate table of which a task reads several batches: of its copy, in a bucket."""
        return self._at_hand(self.table(kind, query_index, name), f"q{query_index}-{kind}-{name}")

    def _at_hand(self, path: StorePath, name: str) -> StorePath:
        if path.is_local or not self.copies_dir:
            return path
        copy = store_path(self.copies_dir) / name
        if not copy.is_file():
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return path  # whoever reads it says that it is missing
            with copy.being_written(lasting=False) as temporary:
                temporary.write_bytes(data)
        return copy

    def table(self, kind: str, query_index: int, name: str) -> StorePath:
        """Path of an intermediate table."""
        return self.tables / f"q{query_index}" / kind / f"{name}.arrow"

    def super_keys(self) -> list[tuple[int, int]]:
        """List (query_index, super-tile number) of every super-tile task."""
        n = self.supers.n_rows * self.supers.n_cols
        return [(query, number) for query in range(len(self.queries)) for number in range(n)]

    def super_at(self, number: int) -> SuperTile:
        return self.supers.numbered(number)

    def batch_of(self, block_row: int, block_col: int) -> tuple[SuperTile, int]:
        """Find a block's super-tile, and its position among that one's blocks."""
        tile = self.supers.of_block(block_row, block_col)
        first_row, first_col = self.supers.blocks(tile)[0]
        width = -(-len(tile.tile_cols) // self.lattice.block_tiles)
        return tile, (block_row - first_row) * width + block_col - first_col

    def writes(self, block_row: int, block_col: int) -> bool:
        """Whether a block has a tile that was looked at, and so a shard."""
        k = self.lattice.block_tiles
        return bool(
            self.inside[block_row * k : (block_row + 1) * k, block_col * k : (block_col + 1) * k].any()
        )

    def planned_blocks(self) -> list[tuple[int, int]]:
        """Blocks with a tile that was looked at, row-major."""
        return planned_blocks(self.lattice, self.inside) if self.inside.size else []

    def blocks(self) -> list[tuple[int, int]]:
        """Blocks in which anything can show or be stopped: those with a tile that was looked at, and their
        neighbours.
        """
        return sorted(
            {near for row, col in self.planned_blocks() for near in near_blocks(self.lattice, row, col)}
        )

    def block_groups(self) -> list[tuple[tuple[int, int], ...]]:
        """Cut `blocks` into squares that one task paints: neighbours need the same records and tables.

        Squares are single blocks while there are few, so that every process has work.
        """
        blocks = self.blocks()
        side = min(max(math.isqrt(len(blocks) // LEAST_GROUPS), 1), MOST_GROUP_SIDE)
        groups: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for row, col in blocks:
            groups[row // side, col // side].append((row, col))
        return [tuple(groups[place]) for place in sorted(groups)]

    def aoi_mask(self, window: Window) -> NDArray[np.bool_] | None:
        """Make the mask (h, w) of a window: True where a pixel touches the AOI. None: there is no AOI."""
        if self.aoi_grid is None:
            return None
        return touched_pixels(self.aoi_grid, self.lattice.grid, window)


def run_here(task: Task, job: MergeJob, keys: Sequence[Any]) -> Iterator[Any]:
    """The `TaskRunner` of one process."""
    for key in keys:
        yield task(job, key)


def records_at_hand(run_tasks: TaskRunner) -> TaskRunner:
    """The same `TaskRunner`, whose tasks copy the block records and tables that they read to their machine: a
    task asks a bucket for each once, however many of its columns and batches are read.
    """

    def run(task: Task, job: MergeJob, keys: Sequence[Any]) -> Iterator[Any]:
        yield from run_tasks(_WithCopies(task), job, keys)

    return run


@dataclass(frozen=True)
class _WithCopies:
    """A task, with a folder of its own for copies."""

    task: Task

    def __call__(self, job: MergeJob, key: Any) -> Any:
        with tempfile.TemporaryDirectory(prefix="terraquery-records-") as folder:
            return self.task(replace(job, copies_dir=folder), key)


def whole_tasks(run_tasks: TaskRunner) -> TaskRunner:
    """The same `TaskRunner`, which a signal stops between two tasks."""

    def run(task: Task, job: MergeJob, keys: Sequence[Any]) -> Iterator[Any]:
        results = run_tasks(task, job, keys)
        for _ in keys:
            with unbroken():
                result = next(results)
            yield result

    return run
