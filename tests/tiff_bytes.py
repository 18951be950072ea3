"""TIFFs written byte by byte, so that a test can make them say anything."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SHORT, LONG, LONG8, ASCII = 3, 4, 16, 2
_LETTERS = {SHORT: "H", LONG: "I", LONG8: "Q"}


@dataclass(frozen=True, kw_only=True)
class RawTag:
    """A tag as it stands in the file; where `count` and `offset` are given, they belie the values."""

    kind: int = LONG
    values: Sequence[int] = ()
    text: bytes = b""
    count: int | None = None
    offset: int | None = None


@dataclass(frozen=True, kw_only=True)
class RawDirectory:
    """One directory. `following`: where the next one lies; None: behind this one, or nowhere."""

    tags: Mapping[int, RawTag] = field(default_factory=dict)
    following: int | None = None
    n_tags: int | None = None


def tag(*values: int, kind: int = LONG, **odd: int) -> RawTag:
    return RawTag(kind=kind, values=values, **odd)


def image_tags(side: int = 64, *, samples: int = 3, tile: int = 64, **more: RawTag) -> dict[int, RawTag]:
    """Tags of an honest RGB image of one uncompressed tile; `more`: other tags, as `t322=...`."""
    tags = {
        256: tag(side),
        257: tag(side),
        258: tag(*[8] * samples, kind=SHORT),
        259: tag(1, kind=SHORT),
        262: tag(2, kind=SHORT),
        277: tag(samples, kind=SHORT),
        284: tag(1, kind=SHORT),
        322: tag(tile),
        323: tag(tile),
        324: tag(8, kind=LONG),
        325: tag(tile * tile * samples),
    }
    return dict(sorted((tags | {int(name[1:]): value for name, value in more.items()}).items()))


def tiff_bytes(*directories: RawDirectory, big: bool = False, first: int | None = None) -> bytes:
    """Write a little-endian TIFF: header, then each directory with its values, then zeros for pixels."""
    pointer = "<Q" if big else "<I"
    head = struct.pack("<2sHHH", b"II", 43, 8, 0) if big else struct.pack("<2sH", b"II", 42)
    start = len(head) + struct.calcsize(pointer)
    body = b""
    for number, directory in enumerate(directories):
        here = start + len(body)
        written = _directory(directory, here, big=big, last=number == len(directories) - 1)
        body += written
    at = start if first is None else first
    return head + struct.pack(pointer, at) + body + bytes(64 * 64 * 3)


def _directory(directory: RawDirectory, here: int, *, big: bool, last: bool) -> bytes:
    pointer = "<Q" if big else "<I"
    room = struct.calcsize(pointer)
    entry = (20 if big else 12) * len(directory.tags)
    values_at = here + (8 if big else 2) + entry + room
    entries = b""
    values = b""
    for number, own in directory.tags.items():
        data = own.text or struct.pack(f"<{len(own.values)}{_LETTERS.get(own.kind, 'B')}", *own.values)
        count = own.count if own.count is not None else (len(own.text) or len(own.values))
        if own.offset is not None:
            inline = struct.pack(pointer, own.offset)
        elif len(data) <= room:
            inline = data.ljust(room, b"\0")
        else:
            inline = struct.pack(pointer, values_at + len(values))
            values += data + bytes(-len(data) % 2)
        entries += struct.pack("<HHQ" if big else "<HHI", number, own.kind, count) + inline
    n_tags = len(directory.tags) if directory.n_tags is None else directory.n_tags
    following = directory.following
    if following is None:
        following = 0 if last else values_at + len(values)
    return struct.pack("<Q" if big else "<H", n_tags) + entries + struct.pack(pointer, following) + values
