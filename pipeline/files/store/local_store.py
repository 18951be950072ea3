"""A store in a folder of this machine, or of a file system that several machines mount.

1. Bytes go to a temporary name in the same folder, are synced and renamed, so an object appears whole.
2. `create` links the temporary file to its name, which fails where there is one.
3. `swap` looks and renames while it holds the lock of `.swap.lock` in the root. The system gives that lock
   back when a process ends, so nobody waits for the dead.
4. The version of a file is its inode, its time of writing and its size: every write makes another file.
   Inodes are used again and clocks tick slowly, so `swap` dates a file later than the one before it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.files.atomic_file import atomic_path, settle, sync_folder, temporary_beside
from pipeline.files.fail_point import reach
from pipeline.files.store.store import Content, ObjectEntry, Stored

SWAP_LOCK = ".swap.lock"
"""Empty file in the root that holds no content: only its lock counts."""


class LocalStore:
    """Implements `store.Store`."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @property
    def root(self) -> str:
        return str(self._root)

    def path(self, key: str) -> Path:
        """The file behind a key; the root itself for an empty one."""
        return self._root / key if key else self._root

    def get(self, key: str) -> Stored:
        """See `store.Store`."""
        with self.path(key).open("rb") as file:
            return Stored(data=file.read(), version=_version(os.fstat(file.fileno())))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `store.Store`."""
        with self.path(key).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def head(self, key: str) -> ObjectEntry | None:
        """See `store.Store`."""
        path = self.path(key)
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if path.is_dir() else ObjectEntry(key, status.st_size, _version(status))

    def put(self, key: str, content: Content) -> str:
        """See `store.Store`."""
        return self._put(key, content)

    def _put(self, key: str, content: Content, *, after_ns: int = 0) -> str:
        """Write a file, dated later than `after_ns`."""
        with atomic_path(self.path(key)) as temporary:
            _fill(temporary, content)
            if temporary.stat().st_mtime_ns <= after_ns:
                os.utime(temporary, ns=(after_ns + 1, after_ns + 1))
            status = temporary.stat()
        return _version(status)

    def create(self, key: str, content: Content) -> str | None:
        """See `store.Store`."""
        path = self.path(key)
        with temporary_beside(path) as temporary:
            _fill(temporary, content)
            settle(temporary)
            status = temporary.stat()
            reach("before_object")
            try:
                os.link(temporary, path)
            except FileExistsError:
                return self._same(key, content)
            reach("after_object")
            sync_folder(path.parent)
        return _version(status)

    def swap(self, key: str, content: Content, version: str) -> str | None:
        """See `store.Store`."""
        with self.swapping():
            found = self.head(key)
            if found is None or found.version != version:
                return None if found is None else self._same(key, content)
            return self._put(key, content, after_ns=self.path(key).stat().st_mtime_ns)

    def delete(self, *keys: str) -> None:
        """See `store.Store`."""
        for key in keys:
            self.path(key).unlink(missing_ok=True)

    def discard(self, key: str, version: str) -> bool:
        """See `store.Store`."""
        with self.swapping():
            found = self.head(key)
            if found is None or found.version != version:
                return False
            self.delete(key)
        return True

    def age_s(self, key: str) -> float:
        """See `store.Store`. Both times are the file system's own: a file made now says what time it is
        there.
        """
        written = self.path(key).stat().st_mtime
        try:
            with temporary_beside(self.path(key)) as probe:
                return probe.stat().st_mtime - written
        except OSError:  # a full disk
            return time.time() - written

    def entries(self, prefix: str) -> Iterator[ObjectEntry]:
        """See `store.Store`. Temporary files of writers are no objects."""
        base = self.path(prefix)
        found = []
        for folder, _, names in os.walk(base):
            for name in names:
                if not is_own_file(name):
                    found.append((Path(folder) / name).relative_to(self._root).as_posix())
        for key in sorted(found):
            entry = self.head(key)
            if entry is not None:
                yield entry

    def _same(self, key: str, content: Content) -> str | None:
        try:
            found = self.get(key)
        except FileNotFoundError:
            return None
        return found.version if found.data == _bytes(content) else None

    @contextmanager
    def swapping(self) -> Iterator[None]:
        """Hold the lock of `SWAP_LOCK`: nobody swaps or discards meanwhile."""
        self._root.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._root / SWAP_LOCK, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def is_own_file(name: str) -> bool:
    """Whether a file is one of the store's own, and no object."""
    return name.startswith(".") and (name.endswith(".tmp") or name == SWAP_LOCK)


def _fill(path: Path, content: Content) -> None:
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        path.write_bytes(content)


def _bytes(content: Content) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content


def _version(status: os.stat_result) -> str:
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
