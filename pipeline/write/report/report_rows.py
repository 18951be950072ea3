"""Rows of the published Parquet files, a bounded number at a time.

`batches` streams some columns of a file. `rows_where` first reads the narrow columns that decide, then opens
wide ones (geometries, texts) only in row groups with a wanted row. Memory: one row group
(`geo_parquet.ROW_GROUP_ROWS` rows) of deciding columns and of compressed wide ones, and `WIDE_ROWS` rows
unpacked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.files.store.store_path import StorePath
from pipeline.files.store.stored_files import open_parquet
from pipeline.write.geo_parquet import ROW_GROUP_ROWS
from pipeline.write.instances import part_files
from pipeline.write.run_dir import RunDir

WIDE_ROWS = 1024
"""Number of rows whose geometries and texts are unpacked at once."""

_READ_BYTES = 1 << 20
"""Bytes of a column that are fetched at once."""


def instance_files(run_dir: RunDir) -> list[StorePath]:
    """List the part files in their order. Raises InputError when there is none: a run without objects has one
    empty part."""
    files = part_files(run_dir)
    if not files:
        remedy = "let the run finish, or merge its block records again"
        raise InputError(
            f"{run_dir.instances} must hold the instances of a finished run",
            came="no part file",
            remedy=remedy,
        )
    return files


def batches(
    path: StorePath, columns: Sequence[str], *, coded: Sequence[str] = ()
) -> Iterator[pa.RecordBatch]:
    """Read some columns of a file in batches of at most ROW_GROUP_ROWS rows, in order. `coded` ones arrive as
    dictionary codes."""
    with _opened(path, coded) as file:
        yield from file.iter_batches(batch_size=ROW_GROUP_ROWS, columns=list(columns))


def rows_where(
    path: StorePath,
    wanted: Callable[[pa.Table], NDArray[np.bool_]],
    *,
    by: Sequence[str],
    columns: Sequence[str],
    coded: Sequence[str] = (),
) -> Iterator[pa.RecordBatch]:
    """Read `columns` of the rows for which `wanted` says True, in order, in batches of at most WIDE_ROWS
    rows.

    `wanted` takes the columns `by` of one row group, of which `coded` ones are dictionary codes, and returns
    (n,).
    """
    with _opened(path, coded) as file:
        for group in range(file.metadata.num_row_groups):
            mask = wanted(file.read_row_group(group, columns=list(by)))
            if not mask.any():
                continue
            start = 0
            for batch in file.iter_batches(batch_size=WIDE_ROWS, row_groups=[group], columns=list(columns)):
                here = mask[start : start + batch.num_rows]
                start += batch.num_rows
                if here.any():
                    yield batch.filter(pa.array(here))


def _opened(path: StorePath, coded: Sequence[str]) -> AbstractContextManager[pq.ParquetFile]:
    # the whole footer's columns would otherwise be fetched ahead, geometry included
    return open_parquet(path, read_dictionary=list(coded), buffer_size=_READ_BYTES, pre_buffer=False)
