"""What zarr reads from and writes to: the objects below a folder of a store.

Every object that is set is whole, as the store promises, and is hashed on its way (`written`), so that a
manifest needs no second look at it.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

from pipeline.files.store.store_path import StorePath

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer, BufferPrototype


@dataclass(frozen=True, slots=True)
class Written:
    """An object that was written."""

    key: str
    """Relative to the folder."""
    size: int
    sha256: str


class ZarrFolder(Store):
    """Implements zarr's store over a folder of a `store.Store`."""

    def __init__(
        self, folder: StorePath, *, known: Mapping[str, bytes] | None = None, read_only: bool = False
    ) -> None:
        """`known`: all objects whose bytes are ever read, where the caller knows them and writes whole shards
        beside them. Then nothing is read, also not what a shard at the edge of an array held before.
        """
        super().__init__(read_only=read_only)
        self.folder = folder
        self._known = known
        self.written: dict[str, Written] = {}
        """Key -> the last object that was set under it, of this instance."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZarrFolder) and (self.folder, self.read_only) == (
            other.folder,
            other.read_only,
        )

    def __hash__(self) -> int:
        return hash((self.folder, self.read_only))

    def __str__(self) -> str:
        return str(self.folder)

    def with_read_only(self, read_only: bool = False) -> ZarrFolder:
        """See zarr's `Store`."""
        return ZarrFolder(self.folder, known=self._known, read_only=read_only)

    @property
    def supports_writes(self) -> bool:
        """See zarr's `Store`."""
        return True

    @property
    def supports_deletes(self) -> bool:
        """See zarr's `Store`."""
        return True

    @property
    def supports_listing(self) -> bool:
        """See zarr's `Store`."""
        return True

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """See zarr's `Store`. None: there is no such object."""
        if self._known is not None:
            return prototype.buffer.from_bytes(self._known[key]) if key in self._known else None
        try:
            data = self._read(self.folder / key, byte_range)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        return prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """See zarr's `Store`."""
        return [await self.get(key, prototype, wanted) for key, wanted in key_ranges]

    async def exists(self, key: str) -> bool:
        """See zarr's `Store`."""
        return (self.folder / key).is_file()

    async def set(self, key: str, value: Buffer) -> None:
        """See zarr's `Store`."""
        self._check_writable()
        self.write(key, value.to_bytes())

    def write(self, key: str, data: bytes) -> None:
        """Write an object whole, and note its hash."""
        (self.folder / key).write_bytes(data)
        self.written[key] = Written(key, len(data), hashlib.sha256(data).hexdigest())

    async def delete(self, key: str) -> None:
        """See zarr's `Store`."""
        self._check_writable()
        (self.folder / key).delete()
        self.written.pop(key, None)

    async def list(self) -> AsyncIterator[str]:
        """See zarr's `Store`."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """See zarr's `Store`. `prefix`: a folder."""
        skip = len(self.folder.key) + 1 if self.folder.key else 0
        place = self.folder / prefix.strip("/") if prefix.strip("/") else self.folder
        for path in place.entries():
            yield path.key[skip:]

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """See zarr's `Store`."""
        place = self.folder / prefix.strip("/") if prefix.strip("/") else self.folder
        for name in place.children():
            yield name

    def _read(self, path: StorePath, wanted: ByteRequest | None) -> bytes:
        store = path.store
        if isinstance(wanted, RangeByteRequest):
            return store.get_range(path.key, wanted.start, wanted.end - wanted.start)
        if wanted is None:
            return store.get(path.key).data
        size = path.size()
        if isinstance(wanted, SuffixByteRequest):
            start = max(size - wanted.suffix, 0)
            return store.get_range(path.key, start, size - start)
        assert isinstance(wanted, OffsetByteRequest)
        return store.get_range(path.key, wanted.offset, size - wanted.offset)
