"""Polygons leave the stream as soon as their last block has passed, and not before."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import shapely

from pipeline.stitch.flat.polygon_stream import PolygonStream, stream_polygons
from pipeline.stitch.trace import polygonise


def prepare(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = int(image.max())
    bounds = np.zeros((n + 1, 4), dtype=np.int64)
    area = np.zeros(n + 1, dtype=np.int64)
    for number in range(1, n + 1):
        rows, cols = np.nonzero(image == number)
        bounds[number] = rows.min(), cols.min(), rows.max() + 1, cols.max() + 1
        area[number] = rows.size
    return bounds, area


def test_objects_leave_when_complete(worlds: SimpleNamespace) -> None:
    image = np.zeros((8, 8), dtype=np.int32)
    image[0:2, 0:2] = 1  # block (0, 0) alone
    image[1:3, 3:6] = 2  # blocks (0, 0) and (0, 1)
    image[3:7, 0:1] = 3  # blocks (0, 0) and (1, 0)
    image[7, 0:6] = 4  # an L over blocks (1, 0), (1, 1) and up to (0, 1)
    image[0:8, 6] = 4
    image[7, 5:7] = 4
    lattice = worlds.make_lattice(image.shape, 2, 1, 2)  # blocks of 4 x 4
    stream = PolygonStream(lattice, *prepare(image))
    left = []
    for row, col in ((0, 0), (0, 1), (1, 0), (1, 1)):
        numbers, _ = stream.add(row, col, image[lattice.block_core(row, col).slices_in(lattice.grid.window)])
        left.append((numbers.tolist(), stream.n_waiting))
    assert left == [([1], 2), ([2], 2), ([3], 1), ([4], 0)]


def test_equal_to_tracing_the_whole(worlds: SimpleNamespace) -> None:
    rng = np.random.default_rng(2)
    image = worlds.cc(rng.integers(0, 3, (30, 34))).astype(np.int32)
    lattice = worlds.make_lattice(image.shape, 3, 1, 2)

    def paint(row: int, col: int) -> np.ndarray:
        return image[lattice.block_core(row, col).slices_in(lattice.grid.window)]

    batches = list(stream_polygons(lattice, paint, *prepare(image)))
    got = {
        int(n): shapely.to_wkb(g) for numbers, shapes in batches for n, g in zip(numbers, shapes, strict=True)
    }
    numbers, shapes, _ = polygonise(image, (0, 0))
    assert got == {int(n): shapely.to_wkb(g) for n, g in zip(numbers, shapes, strict=True)}
