"""What libraries open of an object in a store: Arrow's files, Zarr's stores, files of this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.files.store.s3_store import S3Store
from pipeline.files.store.store_path import StorePath

_BUFFER_BYTES = 2**20
"""Bytes that one request for a part of an object in a bucket brings at least."""


@contextmanager
def arrow_file(path: StorePath) -> Iterator[pa.NativeFile]:
    """Open an object for reading at any place, as pyarrow wants it. Raises FileNotFoundError."""
    if path.is_local:
        with pa.OSFile(str(path), "rb") as file:
            yield file
        return
    store = path.store
    assert isinstance(store, S3Store)
    entry = store.head(path.key)
    if entry is None:
        raise FileNotFoundError(2, "there is no such object", str(path))
    with pa.PythonFile(_Ranges(store, path.key, entry.size), mode="r") as file:
        yield file


def zarr_store(path: StorePath, *, read_only: bool = False) -> Any:
    """Give what zarr opens: a local path, or a store on obstore."""
    if path.is_local:
        return str(path)
    from zarr.storage import ObjectStore
    from zarr.storage import StorePath as ZarrPath

    store = path.store
    assert isinstance(store, S3Store)
    return ZarrPath(ObjectStore(store.bucket, read_only=read_only), store.path(path.key))


@contextmanager
def local_copy(path: StorePath) -> Iterator[Path]:
    """Give the object as a file of this machine: itself, or a copy that is removed at the end."""
    if path.is_local:
        yield path.local()
        return
    with tempfile.TemporaryDirectory(prefix="terraquery-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        yield copy


class _Ranges:
    """A readable, seekable file over range requests, with one buffer."""

    def __init__(self, store: S3Store, key: str, size: int) -> None:
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
