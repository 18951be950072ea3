"""The directories of a TIFF, walked and capped before GDAL sees them.

A header of some bytes can claim more than a machine holds. `raster_access.check_header` caps the first image
once GDAL has opened it. GDAL reads more than that: overviews, masks, tags of any length, and all directories
when it looks for overviews. So `check_directories` walks the chain first, subdirectories included.

Files beside a local one are part of it: `sidecars` finds them.

What is malformed ends the walk without an error, because GDAL reads many such files all the same, and stops
at the same places. Only what would cost too much is refused. Source: TIFF 6.0, section 2; BigTIFF as in
libtiff.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pipeline.errors import InputError

MAX_DIRECTORIES = 1024
"""Directories of one file: its image, overviews, masks and further pages."""

MAX_TAGS = 4096
"""Tags of one directory; libtiff reads no more in a BigTIFF."""

MAX_TAG_BYTES = 16 * 1024 * 1024
"""Bytes of one tag, such as metadata or a colour profile."""

MAX_TABLE_BYTES = 512 * 1024 * 1024
"""Bytes of a table of blocks, of which GDAL reads what it needs: 64 million blocks."""

_TABLES = frozenset((273, 279, 324, 325))
"""StripOffsets, StripByteCounts, TileOffsets, TileByteCounts."""

_TYPE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
"""Bytes of one value, by the number of its type."""

_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""`struct` letters of the unsigned types."""


class SeekableFile(Protocol):
    """A file to read from, local or remote. At its end, and where it cannot be read, fewer bytes come."""

    def seek(self, offset: int, /) -> int: ...

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class DirectoryCaps:
    """What one image of a file may claim."""

    pixels: int
    block_bytes: int
    """Decoded bytes of a tile or strip."""


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How a file writes numbers."""

    order: str
    """`<` or `>`."""
    big: bool

    @property
    def pointer(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def entry_bytes(self) -> int:
        return 20 if self.big else 12


@dataclass(frozen=True, kw_only=True)
class _Tag:
    kind: int
    count: int
    inline: bytes
    """The value itself, or where it lies."""

    @property
    def n_bytes(self) -> int:
        return _TYPE_BYTES.get(self.kind, 1) * self.count


def check_directories(file: SeekableFile, name: str, caps: DirectoryCaps) -> None:
    """Walk all directories of a TIFF, and refuse what claims too much. Raises InputError.

    A file that is no TIFF passes: GDAL says so. `name` names the file in messages.
    """
    layout, first = _opening(file)
    if layout is None:
        return
    waiting = [first]
    seen: set[int] = set()
    while waiting:
        offset = waiting.pop()
        if offset == 0 or offset in seen:
            continue  # the end of a chain, or a circle
        seen.add(offset)
        if len(seen) > MAX_DIRECTORIES:
            raise _refused(name, f"A source may have at most {MAX_DIRECTORIES:,} directories", "more of them")
        tags, following = _directory(file, layout, offset, name)
        _require_small(tags, name)
        subdirectories = _values(file, layout, tags.get(330), MAX_DIRECTORIES + 1)
        if len(seen) > 1:
            _require_bounded(file, layout, tags, name, caps)
        waiting += [following, *subdirectories]


def sidecars(path: str) -> list[str]:
    """List the files of overviews and of a mask beside a local TIFF, all of them TIFFs themselves.

    GDAL opens a mask file with whatever driver knows it, and a VRT among them could lead anywhere. Raises
    InputError for files that are no TIFF.
    """
    found = []
    for suffix in (".ovr", ".OVR", ".msk", ".MSK"):
        name = path + suffix
        if not os.path.isfile(name):
            continue
        with open(name, "rb") as file:
            if file.read(4) not in _SIGNATURES:
                raise InputError(
                    f"The overviews and the mask beside a source must be TIFFs: {name}",
                    came="another format",
                    remedy="remove it, or make it with `gdaladdo -ro` or `gdal_translate`",
                )
        found.append(name)
    return found


_SIGNATURES = (b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b")
"""First bytes of a TIFF and of a BigTIFF."""


def _opening(file: SeekableFile) -> tuple[_Layout | None, int]:
    """Read the first bytes: how numbers are written, and where the first directory lies."""
    head = _bytes(file, 0, 16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return None, 0
    version = struct.unpack_from(order + "H", head, 2)[0]
    if version == 42:
        return _Layout(order=order, big=False), struct.unpack_from(order + "I", head, 4)[0]
    if version == 43:
        return _Layout(order=order, big=True), struct.unpack_from(order + "Q", head, 8)[0]
    return None, 0


def _directory(file: SeekableFile, layout: _Layout, offset: int, name: str) -> tuple[dict[int, _Tag], int]:
    """Read the tags of one directory and where the next one lies; nothing where it breaks off."""
    counter = layout.order + ("Q" if layout.big else "H")
    head = _bytes(file, offset, struct.calcsize(counter))
    if len(head) < struct.calcsize(counter):
        return {}, 0
    n_tags = struct.unpack(counter, head)[0]
    if n_tags > MAX_TAGS:
        raise _refused(name, f"A directory of a source may have at most {MAX_TAGS:,} tags", f"{n_tags:,}")
    n_bytes = n_tags * layout.entry_bytes + struct.calcsize(layout.pointer)
    body = _bytes(file, offset + len(head), n_bytes)
    if len(body) < n_tags * layout.entry_bytes:
        return {}, 0
    found: dict[int, _Tag] = {}
    form = layout.order + ("HHQ" if layout.big else "HHI")
    for start in range(0, n_tags * layout.entry_bytes, layout.entry_bytes):
        number, kind, count = struct.unpack_from(form, body, start)
        inline = body[start + struct.calcsize(form) : start + layout.entry_bytes]
        found.setdefault(number, _Tag(kind=kind, count=count, inline=inline))
    rest = body[n_tags * layout.entry_bytes :]
    complete = len(rest) == struct.calcsize(layout.pointer)
    return found, struct.unpack(layout.pointer, rest)[0] if complete else 0


def _values(file: SeekableFile, layout: _Layout, tag: _Tag | None, most: int) -> list[int]:
    """Read up to `most` integers of a tag; none where it has others, or breaks off."""
    if tag is None or tag.kind not in _INTEGERS:
        return []
    count = min(tag.count, most)
    form = f"{layout.order}{count}{_INTEGERS[tag.kind]}"
    data = tag.inline
    if tag.n_bytes > len(data):
        data = _bytes(file, struct.unpack(layout.pointer, data)[0], struct.calcsize(form))
    return list(struct.unpack_from(form, data)) if len(data) >= struct.calcsize(form) else []


def _bytes(file: SeekableFile, offset: int, size: int) -> bytes:
    """Read bytes, fewer where the file ends. A signed 64-bit offset is all that systems can seek."""
    if offset >= 1 << 62:
        return b""
    file.seek(offset)
    return file.read(size)


def _require_small(tags: Mapping[int, _Tag], name: str) -> None:
    for number, tag in tags.items():
        most = MAX_TABLE_BYTES if number in _TABLES else MAX_TAG_BYTES
        if tag.n_bytes > most:
            raise _refused(
                name,
                f"A tag of a source may hold at most {most:,} bytes",
                f"{tag.n_bytes:,} bytes in tag {number}",
            )


def _require_bounded(
    file: SeekableFile, layout: _Layout, tags: Mapping[int, _Tag], name: str, caps: DirectoryCaps
) -> None:
    """Refuse an overview or mask whose pixels or blocks are too many. Other pages are not read."""

    def value(number: int, default: int) -> int:
        found = _values(file, layout, tags.get(number), 1)
        return found[0] if found else default

    if not value(254, 0) & 0b101:
        return
    width = value(256, 0)
    height = value(257, 0)
    if width * height > caps.pixels:
        raise _refused(
            name,
            f"An overview of a source may have at most {caps.pixels:,} pixels",
            f"{width} x {height}",
        )
    tiled = 322 in tags
    if not tiled and value(259, 1) == 1:
        return  # GDAL reads strips that are not compressed row by row
    cols = value(322, width) if tiled else width
    rows = value(323, height) if tiled else min(value(278, height), height)
    samples = value(277, 1) if value(284, 1) == 1 else 1
    bits = max(_values(file, layout, tags.get(258), 16), default=1)
    n_bytes = cols * rows * samples * bits // 8
    if n_bytes > caps.block_bytes:
        raise _refused(
            name,
            f"An internal block of a source may hold at most {caps.block_bytes:,} bytes",
            f"blocks of {cols} x {rows} px in an overview or mask, {n_bytes:,} bytes",
        )


def _refused(name: str, what: str, came: str) -> InputError:
    return InputError(
        f"{what}: {name}",
        came=came,
        remedy="rewrite it with `gdal_translate -of COG -co BLOCKSIZE=512 in.tif out.tif`",
    )
