"""Step 7: rows in the order of the files, sorted in ranges of the Hilbert curve, so that no process holds all
of them.

1. `count_keys` puts every row on the curve over the extent of ALL rows' centres and counts them in bins.
2. `range_edges` cuts the curve into ranges; `scatter_rows` splits tables by range.
3. `sort_range` sorts one range. Ranges follow each other along the curve, so their concatenation is sorted.
4. `write_part_file` streams the sorted ranges into one GeoParquet part, row group by row group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.files.store.store_path import StorePath
from pipeline.run.merge.filed_tables import Filed, FiledTables
from pipeline.run.merge.merge_job import MergeJob
from pipeline.write.geo_parquet import ROW_GROUP_ROWS
from pipeline.write.instances import PART_ROWS, file_order, hilbert_keys, write_part
from pipeline.write.merge_files import read_tables, write_table

KEY_BITS = 32
BINS = 1 << 16
"""Bins of the curve's histogram."""

RANGE_ROWS = 131_072
"""Rows sorted at once, about; a single bin with more of them is one range."""

FILES_PER_TASK = 16
"""Row tables that one counting or scattering task takes."""

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class OrderKey:
    """Some row tables and how they are to be ordered."""

    files: tuple[StorePath, ...]
    bounds: Bounds
    edges: tuple[int, ...] = ()
    """Lower bounds of the ranges after the first, as Hilbert keys."""
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class PartKey:
    """One part file: rows [first, last) of the concatenated ranges."""

    part: int
    ranges: tuple[tuple[StorePath, int], ...]
    """(file, rows) of every sorted range, in order."""
    first: int
    last: int


def row_files(job: MergeJob, filed: FiledTables) -> list[StorePath]:
    """Every table of rows, all queries."""
    return [
        path
        for query in range(len(job.queries))
        for kind in ("rows", "whole-rows")
        for path in filed.paths(job, kind, query)
    ]


def batches_of(files: Sequence[StorePath], bounds: Bounds, edges: tuple[int, ...] = ()) -> list[OrderKey]:
    """Keys of counting and scattering tasks."""
    starts = range(0, len(files), FILES_PER_TASK)
    return [
        OrderKey(files=tuple(files[i : i + FILES_PER_TASK]), bounds=bounds, edges=edges, number=n)
        for n, i in enumerate(starts)
    ]


def count_keys(_job: MergeJob, key: OrderKey) -> NDArray[np.int64]:
    """Count the rows in each bin of the curve, (BINS,)."""
    counts = np.zeros(BINS, dtype=np.int64)
    for file in key.files:
        found = hilbert_keys(read_tables([file], column="bbox"), np.array(key.bounds))
        counts += np.bincount(found.astype(np.int64) >> (KEY_BITS - BINS.bit_length() + 1), minlength=BINS)
    return counts


def range_edges(counts: NDArray[np.int64], range_rows: int = RANGE_ROWS) -> tuple[int, ...]:
    """Lower bounds of the ranges after the first, at bin borders; most hold about `range_rows` rows."""
    before = np.cumsum(counts) - counts
    starts = np.flatnonzero((before // range_rows)[1:] > (before // range_rows)[:-1]) + 1
    shift = KEY_BITS - BINS.bit_length() + 1
    return tuple((starts << shift).tolist())


def scatter_rows(job: MergeJob, key: OrderKey) -> tuple[Filed, ...]:
    """Split some row tables by range; files one table for each range that gets anything."""
    filed = []
    rows = read_tables(key.files)
    where = np.searchsorted(
        np.array(key.edges, dtype=np.int64),
        hilbert_keys(rows, np.array(key.bounds)).astype(np.int64),
        side="right",
    )
    for number in np.unique(where).tolist():
        filed.append(Filed("ranges", 0, key.number, reader=number))
        write_table(filed[-1].path(job), rows.take(pa.array(np.flatnonzero(where == number))))
    return tuple(filed)


def range_keys(job: MergeJob, filed: FiledTables, bounds: Bounds) -> list[OrderKey]:
    """Keys of the sorting tasks, after scattering."""
    return [
        OrderKey(files=filed.paths(job, "ranges", 0, number), bounds=bounds, number=number)
        for number in filed.readers("ranges", 0)
    ]


def sort_range(job: MergeJob, key: OrderKey) -> tuple[int, StorePath, int]:
    """Sort the rows of one range; returns (number, file, rows)."""
    rows = read_tables(key.files)
    path = job.tables / "sorted" / f"{key.number:08d}.arrow"
    write_table(path, rows.take(pa.array(file_order(rows, np.array(key.bounds)))))
    return key.number, path, rows.num_rows


def part_keys(ranges: Sequence[tuple[int, StorePath, int]]) -> list[PartKey]:
    """One key per part file; a run without rows gets one empty part."""
    ordered = tuple((file, rows) for _, file, rows in sorted(ranges))
    total = sum(rows for _, rows in ordered)
    n_parts = max(-(-total // PART_ROWS), 1)
    return [
        PartKey(part=p, ranges=ordered, first=p * PART_ROWS, last=min((p + 1) * PART_ROWS, total))
        for p in range(n_parts)
    ]


def write_part_file(job: MergeJob, key: PartKey) -> int:
    """Write one part; returns its rows. Memory: one range and one row group."""
    return write_part(job.run_dir, key.part, _row_groups(key), grid=job.lattice.grid, schema=job.meta.schema)


def _row_groups(key: PartKey) -> Iterator[pa.Table]:
    """The part's rows in tables of ROW_GROUP_ROWS, the last one shorter."""
    pending: list[pa.Table] = []
    held = start = 0
    for file, n_rows in key.ranges:
        first = max(key.first - start, 0)
        last = min(key.last - start, n_rows)
        start += n_rows
        if first >= last:
            continue
        pending.append(read_tables([file]).slice(first, last - first))
        held += last - first
        while held >= ROW_GROUP_ROWS:
            whole = pa.concat_tables(pending)
            yield whole.slice(0, ROW_GROUP_ROWS).combine_chunks()
            held -= ROW_GROUP_ROWS
            pending = [whole.slice(ROW_GROUP_ROWS)]
    if held:
        yield pa.concat_tables(pending).combine_chunks()
