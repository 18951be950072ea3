"""What every store of a run promises.

1. An object is there whole or not at all. There is no rename and no append.
2. `create` writes only where nothing is, and `swap` only over the version that the caller has seen. Of
   several writers one wins, and the others are told so.
3. What a writer has been told is written, every reader sees. A listing may lag behind; no result rests on
   one, whatever the number of machines. Lists serve to clean up, and to say what lies in a folder.

A *key* is a path with slashes, relative to the root of the store. A *version* is an opaque text that is
another one after every write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

Content = bytes | Path
"""What is written: bytes, or a file of this machine, whose bytes are copied."""


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """An object, without its bytes."""

    key: str
    size: int
    version: str


@dataclass(frozen=True, slots=True)
class Stored:
    """An object and its bytes, both of one version."""

    data: bytes
    version: str


class StoreError(OSError):
    """A store could not be reached, or refused. `filename` is the object's public address."""


@runtime_checkable
class Store(Protocol):
    """A folder of objects. Every method raises StoreError or another OSError when the store itself fails."""

    @property
    def root(self) -> str:
        """Absolute path or URL of the folder, without a slash at its end."""
        ...

    def get(self, key: str) -> Stored:
        """Read an object. Raises FileNotFoundError."""
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Read bytes of an object; fewer where it ends before. Raises FileNotFoundError."""
        ...

    def head(self, key: str) -> ObjectEntry | None:
        """Look an object up. None: there is none."""
        ...

    def put(self, key: str, content: Content) -> str:
        """Write an object, over any other; returns its version."""
        ...

    def create(self, key: str, content: Content) -> str | None:
        """Write an object where there is none; returns its version. None: there is another one.

        An object of the very same bytes counts as this one: a store may have written it and lost its answer.
        """
        ...

    def swap(self, key: str, content: Content, version: str) -> str | None:
        """Write an object over that version of it; returns the new version. None: it is another one by now.

        An object of the very same bytes counts as this one, as for `create`.
        """
        ...

    def delete(self, *keys: str) -> None:
        """Remove objects, in any order; nothing happens for those that are not there."""
        ...

    def discard(self, key: str, version: str) -> bool:
        """Remove an object if it is still that version. False: it is another one, or none, by now."""
        ...

    def age_s(self, key: str) -> float:
        """Seconds since an object was written, by the store's own clock; negative where that clock was set
        back. Raises FileNotFoundError.
        """
        ...

    def entries(self, prefix: str) -> Iterator[ObjectEntry]:
        """List the objects below a folder, at any depth, in the order of their keys. `prefix`: its key, or
        empty for everything.
        """
        ...
