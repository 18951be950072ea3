"""Remote objects as files that GDAL can read, and a record of the reads that failed.

1. `open_remote` opens a `RemoteObject` as a rasterio dataset. GDAL knows it by a path without host or token.
2. `_RemoteFile` answers GDAL's reads: small ones from a cache of chunks, those of a whole block at once.
3. GDAL takes some failed reads for holes in the file: black pixels, and valid. So a file that failed once
   answers nothing more, and `failures` counts the failure. Whoever reads compares the count before and after
   (`raster_access.raster_environment`), and trusts no pixel in between.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

import rasterio
from rasterio import _vsiopener
from rasterio.abc import MultiByteRangeResourceContainer

from pipeline.files.remote_error import RemoteError
from pipeline.files.remote_object import HEAD_BYTES, THE_USERS, RemoteObject, Terms
from pipeline.files.tiff_directories import SeekableFile
from pipeline.files.traffic import traffic

CHUNK_BYTES = HEAD_BYTES
"""Small reads fetch whole chunks: headers and tables of offsets are read in many small steps."""

MOST_CHUNKS = 64
"""Chunks that one open file keeps."""

MOST_READ_BYTES = 128 * 1024 * 1024
"""Bytes of one read. A header that leads to longer ones lies: a block of imagery has fewer, packed or not."""

MOST_OBJECTS = 512
"""Objects whose paths GDAL may open again; each holds the first `HEAD_BYTES`."""


type HeaderCheck = Callable[[SeekableFile, str], None]
"""Raises for a file, of that name in messages, which GDAL must not open."""


class Failures:
    """Counts the failed reads of every remote object in this process, and keeps the last error of each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, tuple[int, RemoteError]] = {}

    def add(self, name: str, error: RemoteError) -> None:
        with self._lock:
            self._found[name] = (self.count(name) + 1, error)

    def count(self, name: str) -> int:
        """How many reads of the object `name`, a public href, have failed."""
        return self._found[name][0] if name in self._found else 0

    def last(self, name: str) -> RemoteError:
        """Make the last error anew: one that was raised holds the frames and datasets of whoever read."""
        error = self._found[name][1]
        return type(error)(
            name, error.reason, remedy=error.remedy, retryable=error.retryable, status=error.status
        )


failures = Failures()


class _RemoteFile(_vsiopener.MultiByteRangeResource):
    """One open remote object. It raises nothing, because GDAL would not hear of it.

    Its methods are those of a binary file that `rasterio.abc` asks for.
    """

    def __init__(self, content: RemoteObject) -> None:
        self._content = content
        self._at = 0
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        self._failure: RemoteError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._chunks.clear()

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._content.size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes from the current place; fewer at the end, none after a failure."""
        end = self._content.size
        stop = end if size < 0 else min(self._at + size, end)
        if stop <= self._at:
            return b""
        data = self._read(self._at, stop)
        self._at += len(data)
        return data

    def get_byte_ranges(self, offsets: list[int], sizes: list[int]) -> list[bytes]:
        """Read many ranges at once. After a failure they are zeros: GDAL takes so many bytes in any case."""
        ranges = [(offset, offset + size) for offset, size in zip(offsets, sizes, strict=True)]
        try:
            self._require_sound()
            self._require_readable(max(sizes, default=0))
            return self._content.read_many(ranges)
        except Exception as error:
            self._fail(error)
            return [bytes(size) for size in sizes]

    def _read(self, start: int, stop: int) -> bytes:
        try:
            self._require_sound()
            self._require_readable(stop - start)
            if stop - start > CHUNK_BYTES:
                return self._content.read(start, stop)
            first = start // CHUNK_BYTES
            last = (stop - 1) // CHUNK_BYTES
            data = b"".join(self._chunk(index) for index in range(first, last + 1))
            return data[start - first * CHUNK_BYTES : stop - first * CHUNK_BYTES]
        except Exception as error:
            self._fail(error)
            return b""

    def _chunk(self, index: int) -> bytes:
        start = index * CHUNK_BYTES
        stop = min(start + CHUNK_BYTES, self._content.size)
        is_here = index in self._chunks or stop <= len(self._content.head)
        traffic.add("chunks_hits" if is_here else "chunks_misses")
        if index not in self._chunks:
            self._chunks[index] = self._content.read(start, stop)
            while len(self._chunks) > MOST_CHUNKS:
                self._chunks.popitem(last=False)
        self._chunks.move_to_end(index)
        return self._chunks[index]

    def _require_sound(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _require_readable(self, n_bytes: int) -> None:
        if n_bytes > MOST_READ_BYTES:
            raise RemoteError(
                self._content.name,
                f"its header leads to {n_bytes:,} bytes at once, and no block may have more than "
                f"{MOST_READ_BYTES:,}",
                remedy="check the file",
            )

    def _fail(self, error: Exception) -> None:
        name = self._content.name
        if not isinstance(error, RemoteError):
            error = RemoteError(name, f"it could not be read ({type(error).__name__})")
        self._failure = error
        failures.add(name, error)


class _RemoteFiles(MultiByteRangeResourceContainer):
    """GDAL's folder of remote objects. A path stays valid for a while: a VRT over a dataset opens it again by
    its path."""

    def __init__(self) -> None:
        self.contents: OrderedDict[str, RemoteObject] = OrderedDict()
        self._opened: dict[str, _RemoteFile] = {}
        self._lock = threading.Lock()

    def add(self, path: str, content: RemoteObject, opened: _RemoteFile) -> None:
        """Make an object known. `opened`: a file of it, which the first to open the path gets."""
        with self._lock:
            self.contents[path] = content
            self._opened[path] = opened
            while len(self.contents) > MOST_OBJECTS:
                self.contents.popitem(last=False)

    def open(self, path: str, mode: str = "r", **_: object) -> _RemoteFile:
        if "w" in mode or "+" in mode:
            raise PermissionError(path)
        with self._lock:
            if path not in self.contents:
                raise FileNotFoundError(path)
            self.contents.move_to_end(path)
            return self._opened.pop(path, None) or _RemoteFile(self.contents[path])

    def isfile(self, path: str) -> bool:
        return path in self.contents

    def isdir(self, path: str) -> bool:  # noqa: ARG002
        return False

    def ls(self, path: str) -> list[str]:  # noqa: ARG002
        return []

    def mtime(self, path: str) -> int:  # noqa: ARG002
        return 0

    def rm(self, path: str) -> None:
        raise PermissionError(path)

    def size(self, path: str) -> int:
        return self.contents[path].size


class _EveryThread:
    """Stands for a context variable of rasterio's whose value all threads must see."""

    def __init__(self) -> None:
        self._value: dict[Any, Any] = {}

    def get(self, _default: object = None) -> dict[Any, Any]:
        return self._value

    def set(self, value: dict[Any, Any]) -> None:
        self._value = value


class _Mount:
    """The one place of this process where GDAL finds remote objects.

    rasterio's openers are made for one dataset and one thread. Each mounts a file system of its own, and its
    tables are context variables: a dataset could not be closed by another thread than the one that opened
    it. Here one mount lasts as long as the process, and all threads see the same tables.
    """

    def __init__(self) -> None:
        _vsiopener._OPENER_REGISTRY = _EveryThread()
        _vsiopener._OPEN_FILE_EXIT_STACKS = _EveryThread()
        self._files = _RemoteFiles()
        self._number = itertools.count()
        self._life = ExitStack()  # never closed: GDAL keeps pointers into it
        path = self._life.enter_context(_vsiopener._opener_registration("objects/any", self._files))
        self._root = path.removesuffix("any")

    def open(self, content: RemoteObject, check: HeaderCheck) -> Any:
        """Open an object as dataset, under a path that nobody else has, if its header passes `check`."""
        file = _RemoteFile(content)
        check(file, content.name)
        file.seek(0)
        path = f"{next(self._number)}/{os.path.basename(content.name) or 'scene.tif'}"
        self._files.add(f"objects/{path}", content, file)
        return rasterio.open(f"{self._root}{path}", driver="GTiff", sharing=False)


_mounting = threading.Lock()


@lru_cache(maxsize=1)
def _mount() -> _Mount:
    return _Mount()


def open_remote(
    href: str,
    planned: Mapping[str, str] | None = None,
    terms: Terms = THE_USERS,
    check: HeaderCheck = lambda _file, _name: None,
) -> tuple[Any, Mapping[str, str]]:
    """Open a remote TIFF as `rasterio.DatasetReader`; returns it and the object's identity.

    `planned`: the identity that it must have. `check` looks at the header before GDAL does, and shares what
    it read with GDAL. Raises what `check` raises, RemoteError, InputError for an href that its guard
    refuses, and rasterio's errors for what is no TIFF.
    """
    content = RemoteObject(href, planned, terms)
    with _mounting:
        mount = _mount()
    return mount.open(content, check), content.identity
