"""Rasters of component numbers, block by block -> whole polygons, in bounded memory.

A component whose bounding window lies in one block is final there. Pieces of the others wait for the last
block of their window (row by row), are dissolved and leave. Between blocks only one row and one column of
numbers is kept, to count the pixel edges that pieces share.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.schema.tiling import TileLattice
from pipeline.stitch.dissolve import dissolve
from pipeline.stitch.flat.flat_sources import blocks_of
from pipeline.stitch.trace import polygonise

PolygonBatch = tuple[NDArray[np.int64], NDArray[np.object_]]
"""(component numbers, geometries)."""


class PolygonStream:
    """Feed every block once, row-major, through `add`; each call returns what became final."""

    def __init__(self, lattice: TileLattice, bounds: NDArray[np.int64], area_px: NDArray[np.int64]) -> None:
        """`bounds` (m + 1, 4) row0, col0, row1, col1 and `area_px` (m + 1,): per number, as painted."""
        self._lattice = lattice
        self._bounds = bounds
        self._area_px = area_px
        self._pieces: dict[int, list[shapely.Geometry]] = {}
        self._shared: defaultdict[int, int] = defaultdict(int)
        self._due: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        self._above = np.zeros(lattice.grid.width, dtype=np.int32)
        self._left = np.zeros(0, dtype=np.int32)

    def add(self, block_row: int, block_col: int, image: NDArray[np.int32]) -> PolygonBatch:
        """Polygons that are final after the block `image` (h, w) of component numbers, ascending."""
        window = self._lattice.block_core(block_row, block_col)
        self._count_shared(self._above[window.col0 : window.col1], image[0])
        if block_col:
            self._count_shared(self._left, image[:, 0])
        self._above[window.col0 : window.col1], self._left = image[-1], image[:, -1].copy()
        numbers, polygons, area = polygonise(image, (window.row0, window.col0))
        bounds = self._bounds[numbers]
        inside = (bounds[:, :2] >= (window.row0, window.col0)).all(axis=1) & (
            bounds[:, 2:] <= (window.row1, window.col1)
        ).all(axis=1)
        assert (area[inside] == self._area_px[numbers[inside]]).all(), (
            "a block was painted differently than it was measured"
        )
        for number, piece in zip(numbers[~inside].tolist(), polygons[~inside], strict=True):
            if number not in self._pieces:
                self._pieces[number] = []
                self._due[self._last_block(number)].append(number)
            self._pieces[number].append(piece)
        ready = sorted(self._due.pop((block_row, block_col), []))
        whole = np.array([self._dissolve(number) for number in ready], dtype=np.object_)
        final = np.concatenate([numbers[inside].astype(np.int64), np.array(ready, dtype=np.int64)])
        order = np.argsort(final)
        return final[order], np.concatenate([polygons[inside], whole])[order]

    @property
    def n_waiting(self) -> int:
        """Components with pieces whose last block has not passed yet."""
        return len(self._pieces)

    def _last_block(self, number: int) -> tuple[int, int]:
        _, _, row1, col1 = (int(v) for v in self._bounds[number])
        return (row1 - 1) // self._lattice.shard_px, (col1 - 1) // self._lattice.shard_px

    def _count_shared(self, a: NDArray[np.int32], b: NDArray[np.int32]) -> None:
        numbers, counts = np.unique(a[(a == b) & (a > 0)], return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            self._shared[number] += count

    def _dissolve(self, number: int) -> shapely.Geometry:
        pieces = self._pieces.pop(number)
        shared = self._shared.pop(number, 0)
        return dissolve(pieces, area_px=int(self._area_px[number]), shared_px=shared)


def stream_polygons(
    lattice: TileLattice,
    paint: Callable[[int, int], NDArray[np.int32]],
    bounds: NDArray[np.int64],
    area_px: NDArray[np.int64],
) -> Iterator[PolygonBatch]:
    """All polygons of a region, painting each block once; batches follow the blocks, numbers ascend inside a
    batch.
    """
    stream = PolygonStream(lattice, bounds, area_px)
    for block_row, block_col in blocks_of(lattice):
        numbers, polygons = stream.add(block_row, block_col, paint(block_row, block_col))
        if numbers.size:
            yield numbers, polygons
    assert stream.n_waiting == 0, "pieces are left after the last block"
