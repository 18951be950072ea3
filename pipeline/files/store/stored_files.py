"""What libraries open of an object in a store: Arrow's files, Zarr's stores, files of this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files.store.store import Store
from pipeline.files.store.store_path import Place, store_path
from pipeline.files.store.zarr_adapter import ZarrFolder

_BUFFER_BYTES = 2**20
"""Bytes that one request for a part of an object in a bucket brings at least."""


@contextmanager
def open_parquet(place: Place, **options: Any) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file. `options`: of `pyarrow.parquet.ParquetFile`. Raises FileNotFoundError."""
    with arrow_file(place) as source, pq.ParquetFile(source, **options) as file:
        yield file


def read_parquet(place: Place, columns: Sequence[str] | None = None, *, filters: Any = None) -> pa.Table:
    """Read a Parquet file, or some columns and rows of it. `filters`: as `pyarrow.parquet.read_table` has
    them. Raises FileNotFoundError.
    """
    with arrow_file(place) as source:
        wanted = None if columns is None else list(columns)
        return pq.read_table(source, columns=wanted, filters=filters, partitioning=None)


def row_count(place: Place) -> int:
    """Count the rows of a Parquet file, from its footer. Raises FileNotFoundError."""
    with open_parquet(place) as file:
        return int(file.metadata.num_rows)


@contextmanager
def arrow_file(place: Place) -> Iterator[pa.NativeFile]:
    """Open an object for reading at any place, as pyarrow wants it. Raises FileNotFoundError."""
    path = store_path(place)
    if path.is_local:
        with pa.OSFile(str(path), "rb") as file:
            yield file
        return
    with pa.PythonFile(_Ranges(path.store, path.key, path.size()), mode="r") as file:
        yield file


def zarr_store(place: Place, *, read_only: bool = False) -> ZarrFolder:
    """Give what zarr opens."""
    return ZarrFolder(store_path(place), read_only=read_only)


def measured(place: Place) -> tuple[int, str]:
    """Count the bytes of an object, and hash them: (size, SHA-256 in hexadecimal). Raises
    FileNotFoundError.
    """
    path = store_path(place)
    if not path.is_local:
        data = path.read_bytes()
        return len(data), hashlib.sha256(data).hexdigest()
    with path.local().open("rb") as file:
        return os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()


class _Ranges:
    """A readable, seekable file over range requests, with one buffer."""

    def __init__(self, store: Store, key: str, size: int) -> None:
        self._store = store
        self._key = key
        self._size = size
        self._at = 0
        self._start = 0
        self._buffer = b""
        self.closed = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        return self._size

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, n: int = -1) -> bytes:
        end = self._size if n is None or n < 0 else min(self._at + n, self._size)
        if end <= self._at:
            return b""
        if not (self._start <= self._at and end <= self._start + len(self._buffer)):
            length = min(max(end - self._at, _BUFFER_BYTES), self._size - self._at)
            self._buffer = self._store.get_range(self._key, self._at, length)
            self._start = self._at
        data = self._buffer[self._at - self._start : end - self._start]
        self._at = end
        return data
