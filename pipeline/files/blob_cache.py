"""A folder of blobs that can be made again, up to a size: what was not asked for longest goes first.

1. A blob lies in a file that is named by its key, and begins with the SHA-256 of its content. One that is cut
   off or damaged is a miss, and is removed (`get`).
2. `put` writes a file whole, under another name first. It asks for no permanence: what a power cut leaves is
   found by its hash. A folder that is full or cannot be written to costs the blob, and nothing else.
3. A hit moves a file's time. Every process looks through the folder when it first writes, and then each time
   that it has added `1 / LOOKS` of the limit. Where the folder is fuller than the limit it removes the oldest
   files, down to nine tenths. One process does this at a time: the others write on. So P processes together
   may exceed the limit by P / LOOKS of it for a moment.
4. A file that is removed while another process reads it is read to its end.

Every machine has a folder of its own: files are locked by the system, and shared file systems may not do so.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.files.atomic_file import atomic_path, remove_leftovers

LOOKS = 64
"""How often a process looks through the folder while it adds as much as the limit."""

KEPT_SHARE = 0.9
"""Share of the limit that stays when files are removed."""

_DIGEST_BYTES = 32
_SUFFIX = ".blob"


@dataclass
class BlobCounts:
    """What a process did with a cache."""

    hits: int = 0
    misses: int = 0
    damaged: int = 0
    """Of the misses, files whose content was not what was written."""
    stored: int = 0
    not_stored: int = 0
    """Blobs that could not be written, or are larger than the limit."""


class BlobCache:
    """Blobs by key, in a folder with a size limit. Any number of processes may share it on one machine."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """Touch nothing yet: the folder is made with the first blob."""
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._added_bytes: int | None = None
        """Since this process last looked through the folder. None: it has not."""
        self.counts = BlobCounts()

    def get(self, key: str) -> memoryview | None:
        """Read a blob. `key`: hexadecimal digits. None: it is not there, or damaged."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            self.counts.misses += 1
            return None
        blob = memoryview(data)[_DIGEST_BYTES:]
        if hashlib.sha256(blob).digest() != data[:_DIGEST_BYTES]:
            self.counts.misses += 1
            self.counts.damaged += 1
            with suppress(OSError):
                path.unlink()
            return None
        self.counts.hits += 1
        with suppress(OSError):  # it was removed meanwhile, or the folder can only be read
            os.utime(path)
        return blob

    def put(self, key: str, blob: bytes) -> None:
        """Keep a blob, if there is room for it."""
        n_bytes = len(blob) + _DIGEST_BYTES
        if n_bytes > self._limit_bytes:
            self.counts.not_stored += 1
            return
        try:
            if self._added_bytes is None or self._added_bytes + n_bytes > self._limit_bytes // LOOKS:
                self._make_room(n_bytes)
                self._added_bytes = 0
            with atomic_path(self._path(key), lasting=False) as temporary, temporary.open("wb") as file:
                file.write(hashlib.sha256(blob).digest())
                file.write(blob)
        except OSError:
            self.counts.not_stored += 1
            return
        self._added_bytes += n_bytes
        self.counts.stored += 1

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}{_SUFFIX}"

    def _make_room(self, n_bytes: int) -> None:
        """Remove the oldest files where the folder is fuller than the limit, and what killed writers left."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._alone() as alone:
            if not alone:
                return
            remove_leftovers(self._folder, deep=True)
            files = sorted(self._files())
            total = sum(size for _, size, _ in files) + n_bytes
            if total <= self._limit_bytes:
                return
            for _, size, path in files:
                with suppress(FileNotFoundError):
                    path.unlink()
                total -= size
                if total <= KEPT_SHARE * self._limit_bytes:
                    return

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """Time in ns, size in bytes and path of every blob."""
        for path in self._folder.glob(f"??/*{_SUFFIX}"):
            with suppress(FileNotFoundError):
                stat = path.stat()
                yield stat.st_mtime_ns, stat.st_size, path

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other process removes files now."""
        handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True
        finally:
            os.close(handle)
