"""Outlines that were made anew for an export, piece by piece, on disk: memory does not grow with the run.

1. `add` files the pieces of one window of the raster under query and id, in an SQLite file.
2. `outlines` gives the pieces of some objects back, joined.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.write.georeference import Geometries

Join = Callable[[Geometries], shapely.Geometry]
"""Joins the pieces of one object."""


class OutlineStore:
    """Outlines by query and id, in pixel-edge coordinates of the run grid."""

    def __init__(self, path: Path, join: Join) -> None:
        """path: a file that does not exist yet. It belongs to whoever made its folder."""
        self.note = ""
        """What came of it, for the layer's description."""
        self._join = join
        self._file = sqlite3.connect(path)
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute("PRAGMA synchronous = OFF")  # a killed export leaves nothing that anyone reads
        self._file.execute("CREATE TABLE pieces (query INTEGER, id INTEGER, wkb BLOB)")

    def __enter__(self) -> OutlineStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, query_index: int, ids: NDArray[np.uint64], polygons: Geometries) -> None:
        """File pieces of objects of one query. ids: (n,); polygons: (n,)."""
        rows: Iterable[tuple[int, int, bytes]] = zip(
            [query_index] * len(ids), ids.astype(np.int64).tolist(), shapely.to_wkb(polygons), strict=True
        )
        self._file.executemany("INSERT INTO pieces VALUES (?, ?, ?)", rows)

    def close_pieces(self) -> None:
        """All pieces are there; from now on they are asked for."""
        self._file.execute("CREATE INDEX by_id ON pieces (query, id)")

    def ids(self, query_index: int) -> NDArray[np.uint64]:
        """Ids of the objects of a query of which pieces were filed, ascending."""
        rows = self._file.execute("SELECT DISTINCT id FROM pieces WHERE query = ?", (query_index,)).fetchall()
        return np.sort(np.array([number for (number,) in rows], dtype=np.int64).astype(np.uint64))

    def replace(self, query_index: int, instance_id: int, outline: shapely.Geometry) -> None:
        """Put one outline in the place of an object's pieces."""
        number = int(np.uint64(instance_id).astype(np.int64))
        self._file.execute("DELETE FROM pieces WHERE query = ? AND id = ?", (query_index, number))
        row = query_index, number, shapely.to_wkb(outline)
        self._file.execute("INSERT INTO pieces VALUES (?, ?, ?)", row)

    def outlines(self, query_index: int, ids: NDArray[np.uint64]) -> Geometries:
        """(n,) outlines of the objects; None for one of which no piece was filed."""
        found = np.full(len(ids), None, dtype=object)
        for at, wanted in enumerate(ids.astype(np.int64).tolist()):
            rows = self._file.execute(
                "SELECT wkb FROM pieces WHERE query = ? AND id = ?", (query_index, wanted)
            ).fetchall()
            if rows:
                found[at] = self._join(np.asarray(shapely.from_wkb([wkb for (wkb,) in rows]), dtype=object))
        return found
