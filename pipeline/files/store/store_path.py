"""Paths in the store of a run: a folder of this machine or a prefix in a bucket, with the same few methods.

1. `store_path` reads what a user gives: a local path, or `s3://bucket/prefix`.
2. A path is two texts, so it goes to other processes as it is. Each process keeps one store per root.
3. Writing is whole (`write_bytes`, `being_written`) or conditional (`create`, `swap`). Nothing is renamed.
4. Other kinds of stores can be added: `register_store` opens roots of another scheme, in this process.
5. A local path works wherever Python takes a path (`os.fspath`); one in a bucket raises there, which finds
   code that assumes a disk. Libraries get what they can open from `stored_files`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from pipeline.errors import InputError
from pipeline.files.atomic_file import atomic_path
from pipeline.files.store.local_store import LocalStore, is_own_file
from pipeline.files.store.s3_store import SCHEME, S3Store
from pipeline.files.store.store import Content, ObjectEntry, Store, Stored

type Place = str | Path | StorePath
"""What functions take that want a place in a store: a path in one, or a local path."""


@dataclass(frozen=True, slots=True, order=True)
class StorePath:
    """An object or a folder of objects in a store. Folders exist as far as there is something in them."""

    root: str
    """Absolute local path or URL of the store."""
    key: str = ""
    """Path in the store, with slashes. Empty: the store itself."""

    def __truediv__(self, name: str) -> StorePath:
        return StorePath(self.root, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"{self.root}/{self.key}" if self.key else self.root

    def __fspath__(self) -> str:
        if not self.is_local:
            raise TypeError(f"{self} is an object of a store, not a file of this machine")
        return str(self)

    @property
    def is_local(self) -> bool:
        """Whether the store is a folder of this machine."""
        return _scheme_of(self.root) is None

    @property
    def store(self) -> Store:
        """The store of this process."""
        return open_store(self.root)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.key or self.root).name

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The last suffix of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> StorePath:
        """The folder of this path. The store's own root has none within it, and gives the root's."""
        if not self.key:
            return StorePath(self.root.rpartition("/")[0] or "/")
        return StorePath(self.root, self.key.rpartition("/")[0])

    def below(self, folder: StorePath) -> str:
        """The path from a folder to what lies in it. Raises ValueError for what does not."""
        start = f"{folder}/"
        if not str(self).startswith(start):
            raise ValueError(f"{self} does not lie in {folder}")
        return str(self)[len(start) :]

    def local(self) -> Path:
        """The file of this machine. Raises TypeError for an object in a bucket."""
        return Path(self)

    def read_stored(self) -> Stored:
        """Read the bytes and their version. Raises FileNotFoundError."""
        return self.store.get(self.key)

    def read_bytes(self) -> bytes:
        """Read the bytes. Raises FileNotFoundError."""
        return self.store.get(self.key).data

    def read_text(self) -> str:
        """Read UTF-8. Raises FileNotFoundError, UnicodeDecodeError."""
        return self.read_bytes().decode()

    def head(self) -> ObjectEntry | None:
        """Look for an object here. None: there is none."""
        return self.store.head(self.key)

    def exists(self) -> bool:
        """Whether an object or a folder with something in it is here."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether an object is here."""
        return self.store.head(self.key) is not None

    def is_dir(self) -> bool:
        """Whether a folder is here. In a bucket: one with something in it."""
        if self.is_local:
            return self.local().is_dir()
        return next(iter(self.store.entries(self.key)), None) is not None

    def size(self) -> int:
        """Count the bytes of the object. Raises FileNotFoundError."""
        entry = self.store.head(self.key)
        if entry is None:
            raise FileNotFoundError(2, "there is no such object", str(self))
        return entry.size

    def write_bytes(self, content: Content) -> StorePath:
        """Write the object, whole, over any other."""
        self.store.put(self.key, content)
        return self

    def create(self, content: Content) -> str | None:
        """Write the object where there is none; returns its version. None: there is another one."""
        return self.store.create(self.key, content)

    def swap(self, content: Content, version: str) -> str | None:
        """Write the object over that version; returns the new one. None: it is another one by now."""
        return self.store.swap(self.key, content, version)

    def delete(self) -> None:
        """Remove the object, if there is one."""
        self.store.delete(self.key)

    def delete_tree(self, guard: Callable[[], None] | None = None) -> None:
        """Remove what is here, object or folder; nothing happens when there is nothing. A link is removed
        itself, not what it leads to. `guard` is called before each removal of a file or object; what it
        raises ends them.
        """
        if self.is_local:
            _remove_tree(self.local(), guard or (lambda: None))
            return
        keys = [*(entry.key for entry in self.store.entries(self.key)), self.key]
        if guard is None:
            self.store.delete(*keys)
            return
        for key in keys:
            guard()
            self.store.delete(key)

    def entries(self) -> Iterator[StorePath]:
        """List the objects below this folder, at any depth, by key. A listing: not for hot paths."""
        for entry in self.store.entries(self.key):
            yield StorePath(self.root, entry.key)

    def children(self) -> list[str]:
        """List the names directly in this folder, of objects and of folders, sorted."""
        if self.is_local:
            folder = self.local()
            names = os.listdir(folder) if folder.is_dir() else []
            return sorted(name for name in names if not is_own_file(name))
        skip = len(self.key) + 1 if self.key else 0
        return sorted({entry.key[skip:].partition("/")[0] for entry in self.store.entries(self.key)})

    @contextmanager
    def being_written(self, *, lasting: bool = True) -> Iterator[Path]:
        """Give a temporary file of this machine; when the body ends without an exception, it is the object.

        An exception leaves the object as it was. `lasting`: it must survive a power cut, too.
        """
        if self.is_local:
            with atomic_path(self.local(), lasting=lasting) as temporary:
                yield temporary
            return
        with tempfile.TemporaryDirectory(prefix="terraquery-") as folder:
            temporary = Path(folder) / self.name
            temporary.touch()
            yield temporary
            self.store.put(self.key, temporary)


def _remove_tree(path: Path, guard: Callable[[], None]) -> None:
    """Remove a file, link or folder; `guard` is called before each of them."""
    if path.is_dir() and not path.is_symlink():
        for name in os.listdir(path):
            _remove_tree(path / name, guard)
        guard()
        path.rmdir()
    else:
        guard()
        path.unlink(missing_ok=True)


_OPENERS: dict[str, Callable[[str], Store]] = {SCHEME: S3Store}
"""Start of a root -> what opens it. All others are folders of this machine."""


def register_store(scheme: str, opener: Callable[[str], Store]) -> None:
    """Let roots that begin with `scheme`, such as `gs://`, be opened by `opener`, in this process."""
    if not scheme.endswith("://"):
        raise ValueError(f"a scheme ends with ://, got {scheme}")
    _OPENERS[scheme] = opener
    open_store.cache_clear()


def _scheme_of(text: str) -> str | None:
    """The scheme of a place in an object store. None: it is a local path."""
    return next((scheme for scheme in _OPENERS if text.startswith(scheme)), None)


@lru_cache(maxsize=64)
def open_store(root: str) -> Store:
    """Give the store of a root; one per process and root. Raises StoreError without credentials."""
    scheme = _scheme_of(root)
    return LocalStore(Path(root)) if scheme is None else _OPENERS[scheme](root)


def store_path(given: Place, option: str = "--out") -> StorePath:
    """Read a place that a user gives: a local path or `s3://bucket/prefix`. Raises InputError, which names
    `option`.
    """
    if isinstance(given, StorePath):
        return given
    text = str(given)
    scheme = _scheme_of(text)
    if scheme is None:
        return StorePath(str(Path(text).absolute()))
    bucket, _, prefix = text[len(scheme) :].partition("/")
    parts = [part for part in prefix.split("/") if part]
    if not bucket or any(part in (".", "..") for part in parts) or any(mark in text for mark in "?#"):
        raise InputError(
            f"{option} in an object store must be {scheme}bucket/prefix",
            came=text,
            remedy=f"correct {option}",
        )
    if not parts:
        raise InputError(
            f"{option} must name a prefix in the bucket: a run does not own a whole bucket",
            came=text,
            remedy=f"give for example {scheme}{bucket}/runs/first",
        )
    return StorePath(scheme + "/".join((bucket, *parts)))
