"""Tables that pass between the tasks of one publication: Arrow IPC files, read by memory map.

A file holds batches of the same columns, usually one per block, in a fixed order. A task maps a super-tile's
file and touches only the blocks it needs. Files appear whole, by rename. A resumed run never reads them, so
they are not synced to disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import RecordError
from pipeline.files.store.store_path import StorePath

Columns = Mapping[str, NDArray[Any]]
"""Name -> (n,) or (n, w) array; all of one length."""


def write_columns(path: StorePath, *batches: Columns) -> StorePath:
    """Write batches of columns; an existing file is replaced."""
    return write_batches(path, [_to_batch(columns) for columns in batches], compression=None)


def write_table(path: StorePath, table: pa.Table) -> StorePath:
    """Write an Arrow table of any types as one compressed batch."""
    whole = table.combine_chunks().to_batches()
    return write_batches(
        path, whole or [pa.RecordBatch.from_pylist([], schema=table.schema)], compression="zstd"
    )


def write_batches(
    path: StorePath, batches: Sequence[pa.RecordBatch], *, compression: str | None
) -> StorePath:
    """Write one IPC file from at least one batch; an existing file is replaced."""
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (
        path.being_written(lasting=False) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, batches[0].schema, options=options) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)
    return path


def read_columns(path: StorePath, batch: int = 0) -> dict[str, NDArray[Any]]:
    """Read one batch as arrays; numbers are views into the mapped file. Raises RecordError for a file that
    cannot be read."""
    return read_batches(path, [batch])[0]


def read_batches(path: StorePath, batches: Sequence[int]) -> list[dict[str, NDArray[Any]]]:
    """Read some batches of one file as `read_columns` reads one. Raises RecordError."""
    return [
        {name: _to_array(record.column(i)) for i, name in enumerate(record.schema.names)}
        for record in _read(path, batches)
    ]


def _read(path: StorePath, batches: Sequence[int], *, column: str | None = None) -> list[pa.RecordBatch]:
    """Read batches of a file, or one column of them. Raises RecordError for a file that is missing or
    damaged.
    """
    try:
        with _mapped(path) as source:
            file = pa.ipc.open_file(source)
            if column is not None:
                wanted = pa.ipc.IpcReadOptions(included_fields=[file.schema.get_field_index(column)])
                file = pa.ipc.open_file(source, options=wanted)
            return [file.get_batch(batch) for batch in batches]
    except (OSError, pa.ArrowException, IndexError) as error:
        raise RecordError(
            f"the intermediate table {path} cannot be read ({error}). To fix: start the merge again"
        ) from error


def read_tables(paths: Sequence[StorePath], *, column: str | None = None) -> pa.Table:
    """Read one or more files as one table, in the order given. Each holds one batch, all of one schema.

    `column`: read this column alone. Raises RecordError for a file that is missing or damaged.
    """
    return pa.Table.from_batches([_read(path, [0], column=column)[0] for path in paths])


def _mapped(path: StorePath) -> pa.NativeFile:
    """Map a file of this machine; read one in a bucket."""
    return pa.memory_map(str(path), "rb") if path.is_local else pa.BufferReader(path.read_bytes())


def _to_batch(columns: Columns) -> pa.RecordBatch:
    arrays = {}
    for name, values in columns.items():
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        arrays[name] = flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _to_array(column: pa.Array) -> NDArray[Any]:
    if pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(-1, column.type.list_size)
    return np.asarray(column.to_numpy(zero_copy_only=False))
