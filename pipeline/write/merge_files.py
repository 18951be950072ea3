"""Tables that pass between the tasks of one publication: Arrow IPC files, read by memory map.

A file holds batches of the same columns, usually one per block, in a fixed order. A task maps a super-tile's
file and touches only the blocks it needs. Files appear whole, by rename. A resumed run never reads them, so
they are not synced to disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import RecordError

Columns = Mapping[str, NDArray[Any]]
"""Name -> (n,) or (n, w) array; all of one length."""


def write_columns(path: Path, *batches: Columns) -> Path:
    """Write batches of columns; an existing file is replaced."""
    return write_batches(path, [_to_batch(columns) for columns in batches], compression=None)


def write_table(path: Path, table: pa.Table) -> Path:
    """Write an Arrow table of any types as one compressed batch."""
    whole = table.combine_chunks().to_batches()
    return write_batches(
        path, whole or [pa.RecordBatch.from_pylist([], schema=table.schema)], compression="zstd"
    )


def write_batches(path: Path, batches: Sequence[pa.RecordBatch], *, compression: str | None) -> Path:
    """Write one IPC file from at least one batch; an existing file is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, batches[0].schema, options=options) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)
    temporary.replace(path)
    return path


def read_columns(path: Path, batch: int = 0) -> dict[str, NDArray[Any]]:
    """Read one batch as arrays; numbers are views into the mapped file. Raises RecordError for a file that
    cannot be read."""
    record = read_batch(path, batch)
    return {name: _to_array(record.column(i)) for i, name in enumerate(record.schema.names)}


def read_batch(path: Path, batch: int = 0, *, column: str | None = None) -> pa.RecordBatch:
    """Read one batch of a file, or one column of it. Raises RecordError when either is missing or damaged."""
    try:
        with pa.memory_map(str(path), "rb") as source:
            file = pa.ipc.open_file(source)
            if column is not None:
                wanted = pa.ipc.IpcReadOptions(included_fields=[file.schema.get_field_index(column)])
                file = pa.ipc.open_file(source, options=wanted)
            return file.get_batch(batch)
    except (OSError, pa.ArrowException, IndexError) as error:
        raise RecordError(
            f"the intermediate table {path} cannot be read ({error}). To fix: start the merge again"
        ) from error


def read_tables(paths: Sequence[Path], *, column: str | None = None) -> pa.Table:
    """Read one or more files as one table, in the order given. Each holds one batch, all of one schema.

    `column`: read this column alone. Raises RecordError as `read_batch`.
    """
    return pa.Table.from_batches([read_batch(path, column=column) for path in paths])


def files_in(folder: Path) -> list[Path]:
    """List the tables directly in a folder, by name; none when there is no such folder."""
    return (
        sorted(path for path in folder.glob("*.arrow") if not path.name.startswith("."))
        if folder.is_dir()
        else []
    )


def folders_in(folder: Path) -> Iterator[str]:
    """List the names of the folders directly in a folder, sorted."""
    yield from sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else ()


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
