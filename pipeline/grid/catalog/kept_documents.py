"""Documents of a catalogue that a search has read, for the searches after it.

1. A catalogue is searched for the area, and then for what tiles see around it, zone by zone where there are
   several. A static catalogue has no index: every search walks all of it.
2. So what was read lies compressed in a temporary file, in memory while it is small, and is not asked for
   again. The same holds for what could not be read: its server was given all the time that it gets.
3. Where no more fits on the disk, documents are asked for again.
"""

from __future__ import annotations

import zlib
from tempfile import SpooledTemporaryFile
from threading import Lock

from pipeline.errors import TerraqueryError

_MEMORY_BYTES = 8 * 1024 * 1024
"""Bytes of compressed documents that need no file: some thousands."""

_LEVEL = 1
"""Of zlib. Recorded items of Sentinel-2 shrink from 17.3 to 3.1 kB."""


class KeptDocuments:
    """Remembers documents by their places. Threads may share it."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115 (`__del__` closes it)
        self._places: dict[str, tuple[int, int]] = {}
        self._failures: dict[str, TerraqueryError] = {}
        self._end = 0
        self._full = False
        self._lock = Lock()

    def __del__(self) -> None:
        self._file.close()

    def content(self, place: str) -> bytes | None:
        """Read a document again. None: it is not kept. Raises the error of one that could not be read."""
        if place in self._failures:
            raise self._failures[place]
        with self._lock:
            if place not in self._places:
                return None
            start, size = self._places[place]
            self._file.seek(start)
            packed = self._file.read(size)
        return zlib.decompress(packed)

    def keep(self, place: str, content: bytes) -> None:
        """Remember what was read."""
        packed = zlib.compress(content, _LEVEL)
        with self._lock:
            if self._full:
                return
            try:
                self._file.seek(self._end)
                self._file.write(packed)
            except OSError:  # what was written before may be gone too
                self._full = True
                self._places.clear()
                return
            self._places[place] = (self._end, len(packed))
            self._end += len(packed)

    def fail(self, place: str, error: TerraqueryError) -> None:
        """Remember that a document could not be read."""
        self._failures[place] = error
