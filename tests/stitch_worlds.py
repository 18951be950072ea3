"""Worlds with a known answer, and a tile source that cuts them as an oracle would see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.schema.tiling import RunGrid, TileLattice
from pipeline.stitch.flat.flat_merge import Merge
from pipeline.stitch.flat.flat_sources import TileFragments, TileSource
from pipeline.stitch.flatten import measure

Tile = tuple[int, int]


@dataclass
class ArraySource:
    """Tiles held in memory. Asserts that it is asked for tiles of the lattice only; counts label reads."""

    lattice: TileLattice
    tiles: Mapping[Tile, NDArray[np.uint16]]
    scores: Mapping[Tile, list[int]] = field(default_factory=dict)
    closed: frozenset[Tile] = frozenset()
    seed: int = 0
    reads: int = 0

    def records(self) -> Iterator[TileFragments]:
        keys = sorted(self.tiles)
        for i in np.random.default_rng(self.seed).permutation(len(keys)):
            tile_row, tile_col = keys[i]
            labels = self.tiles[keys[i]]
            scores = self.scores.get(keys[i]) or [40000] * int(labels.max(initial=0))
            identity = [(index, score) for index, score in enumerate(scores)]
            fragments = measure(
                self.lattice.tile(tile_row, tile_col), labels, self.lattice, identity=identity
            )
            order = np.random.default_rng((self.seed, 1)).permutation(len(fragments))
            yield TileFragments(
                tile_row=tile_row, tile_col=tile_col, fragments=tuple(fragments[j] for j in order)
            )

    def labels(self, tile_row: int, tile_col: int) -> NDArray[np.uint16] | None:
        self.lattice.tile(tile_row, tile_col)
        self.reads += 1
        return self.tiles.get((tile_row, tile_col))

    def paintable(self, tile_row: int, tile_col: int) -> bool:
        self.lattice.tile(tile_row, tile_col)
        return (tile_row, tile_col) not in self.closed


_CONFORMS: type[TileSource] = ArraySource


def make_lattice(shape: tuple[int, int], core: int, halo: int, block_tiles: int = 2) -> TileLattice:
    grid = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0), width=shape[1], height=shape[0])
    return TileLattice(grid=grid, tile_px=core + 2 * halo, halo_px=halo, block_tiles=block_tiles)


def all_tiles(lattice: TileLattice) -> list[Tile]:
    return [(r, c) for r in range(lattice.n_tile_rows) for c in range(lattice.n_tile_cols)]


def cut(truth: NDArray[np.int64], lattice: TileLattice, *, mode: str, seed: int = 0) -> ArraySource:
    """The truth seen tile by tile with arbitrary local ids: "whole" = one id per object and tile, "pieces" =
    one per visible piece.
    """
    rng = np.random.default_rng(seed)
    tiles = {}
    scores = {}
    for key in all_tiles(lattice):
        view = truth[lattice.tile(*key).read.slices_in(lattice.grid.window)]
        local = cc(view) if mode == "pieces" else view
        present = np.unique(local[local > 0])
        if present.size:
            table = np.zeros(int(local.max()) + 1, dtype=np.uint16)
            table[present] = rng.permutation(present.size) + 1
            tiles[key] = table[local]
            scores[key] = rng.integers(0, 65536, present.size).tolist()
    return ArraySource(lattice=lattice, tiles=tiles, scores=scores, seed=seed)


def round_the_corner() -> tuple[ArraySource, TileLattice]:
    """Four tiles of core 10 and halo 4. The first sees two whole houses that touch; each of its neighbours
    continues one of them, and the last tile joins what they see.
    """
    lattice = make_lattice((20, 20), 10, 4, 1)
    tiles = {key: np.zeros((14, 14), dtype=np.uint16) for key in ((0, 0), (0, 1), (1, 0), (1, 1))}
    tiles[0, 0][2:6, 5:11] = 1
    tiles[0, 0][6:11, 2:6] = 2
    tiles[0, 1][2:14, 0:5] = 1
    tiles[1, 0][0:5, 2:14] = 1
    tiles[1, 1][0:8, 0:5] = 1
    tiles[1, 1][0:5, 0:8] = 1
    return ArraySource(lattice=lattice, tiles=tiles), lattice


def roof_and_shed() -> tuple[ArraySource, TileLattice]:
    """Two tiles of core 12 and halo 4. Both see a roof of 72 px, neither of them whole. In the left one a
    stray piece of its mask lies on a shed of 12 px, which the right one sees whole.
    """
    lattice = make_lattice((10, 24), 12, 4, 1)
    left, right = (np.zeros((10, 16), dtype=np.uint16) for _ in range(2))
    left[1:5, 3:16] = left[7:9, 12:15] = 1
    right[1:5, 0:13] = 1
    right[7:9, 5:11] = 2
    return ArraySource(lattice=lattice, tiles={(0, 0): left, (0, 1): right}), lattice


def cc(image: NDArray[np.int64]) -> NDArray[np.int64]:
    """4-connected components of equal non-zero values, by scipy (not the library under test), numbered
    arbitrarily.
    """
    out = np.zeros(image.shape, dtype=np.int64)
    for value in np.unique(image[image > 0]):
        labels, _ = ndimage.label(image == value)
        out = np.where(labels > 0, labels + out.max(), out)
    return out


def canonical(objects: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Ids of whole objects: 1 + smallest pixel index, straight from the definition."""
    out = np.zeros(objects.shape, dtype=np.uint64)
    for value in np.unique(objects[objects > 0]):
        out[objects == value] = 1 + int(np.flatnonzero(objects == value)[0])
    return out


def raster(merge: Merge, keep: object = None) -> NDArray[np.uint64]:
    """All blocks put together. Every pixel must come from exactly one block."""
    grid = merge.lattice.grid
    out = np.zeros((grid.height, grid.width), dtype=np.uint64)
    written = np.zeros(out.shape, dtype=np.int64)
    for block_row in range(merge.lattice.n_block_rows):
        for block_col in range(merge.lattice.n_block_cols):
            where = merge.lattice.block_core(block_row, block_col).slices_in(grid.window)
            out[where] = merge.paint_block(block_row, block_col, keep)  # type: ignore[arg-type]
            written[where] += 1
    assert (written == 1).all()
    return out


def random_world(rng: np.random.Generator, kind: str, side: int) -> NDArray[np.int64]:
    """Label images whose objects are 4-connected: colour noise, touching cells, overlapping rectangles, 1-px
    lines.
    """
    height, width = (int(v) for v in rng.integers(1, side + 1, 2))
    image = np.zeros((height, width), dtype=np.int64)
    if kind == "noise":
        image = rng.integers(0, int(rng.integers(2, 5)), (height, width)).astype(np.int64)
    elif kind == "cells":
        points = rng.random((int(rng.integers(1, 12)), 2)) * (height, width)
        rows, cols = np.indices(image.shape)
        distance = (rows[..., None] - points[:, 0]) ** 2 + (cols[..., None] - points[:, 1]) ** 2
        image = distance.argmin(axis=-1) + 1
        image[rng.random(image.shape) < 0.1] = 0
    elif kind == "rectangles":
        for value in range(1, int(rng.integers(2, 14))):
            row = int(rng.integers(0, height))
            col = int(rng.integers(0, width))
            image[row : row + int(rng.integers(1, 12)), col : col + int(rng.integers(1, 12))] = value
    else:
        for value in range(1, 5):
            image[int(rng.integers(0, height)), :] = value
            image[:, int(rng.integers(0, width))] = value + 4
    return cc(image)


KINDS = ("noise", "cells", "rectangles", "lines")
